"""What a trial does once, or seldom, where it could do it again and again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReuseConfig:
    """Every saving can be switched off alone, and leaves every bit of a trial as it is."""

    cache_bytes: int = 0
    """Most bytes that this node may keep of images and layer outputs together; 0 keeps none of either."""
    images: bool = True
    """Keep the resized differences (`trainable.data.image_cache`)."""
    frozen_layers: bool = True
    """Keep the outputs of the layers that a stage leaves frozen (`trainable.reuse.frozen_features`)."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints of a stage: what a killed trial trains again at most, beside its running
    epoch and the time until a checkpoint is durable. 0 writes one after every epoch for which that is not still waited
    for. Weights that are the best so far are always written before they are reported."""
    checkpoint_epochs: tuple[int, ...] = ()
    """Epochs after which a trial may be told to wait: one is always written there, but where a stage ends."""

    @property
    def image_bytes(self) -> int:
        """`cache_bytes` as far as images may be kept."""
        return self.cache_bytes if self.images else 0

    @property
    def layer_bytes(self) -> int:
        """`cache_bytes` as far as layer outputs may be kept."""
        return self.cache_bytes if self.frozen_layers else 0


NO_CACHE = ReuseConfig()
"""What a trial by itself makes do with."""
