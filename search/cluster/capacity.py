"""Whether a machine has the memory that its trials take, told before the first one begins; and if not, what it has."""

from bisect import bisect_right
from dataclasses import dataclass

from transformers import PreTrainedConfig

from results.formatting import gib
from trainable.compute import memory_share
from trainable.data.model_input import Size, SizeRule
from trainable.data.pairs import PairData
from trainable.data.resizing import size_rule
from trainable.detector.loading import load_processor, model_config
from trainable.detector.memory import TrainingMemory, training_memory
from trainable.recipe import SMALLEST_IMAGE
from trainable.training.evaluation import evaluation_batch_size


@dataclass(frozen=True)
class TrialSize:
    """What decides how much memory a trial takes; it travels to the nodes of a cluster."""

    config: PreTrainedConfig
    rule: SizeRule
    images: frozenset[Size]
    """The sizes of the data set's images as they lie on the disk."""
    gpus: float
    """Of a trial."""

    @property
    def device(self) -> str:
        """Where trials train: `cpu` or `cuda`."""
        return "cuda" if self.gpus else "cpu"

    def padded(self, rule: SizeRule) -> tuple[int, int]:
        """Height and width of every image."""
        widths, heights = zip(*map(rule.resized, self.images), strict=True)
        return max(heights), max(widths)

    def memory(self, rule: SizeRule) -> TrainingMemory:
        """What a trial takes where all parts learn: the reference gets there."""
        return training_memory(self.config, self.padded(rule), device=self.device)

    def needed(self, rule: SizeRule) -> int:
        """Bytes that it takes of one image at a time."""
        return self.memory(rule).of(1, evaluation_batch_size(self.padded(rule), self.device))


def trial_size(checkpoint: str, image_size: int | None, pairs: PairData, gpus: float) -> TrialSize:
    """That of trials that start from a checkpoint.

    Args:
        checkpoint: folder or hub name.
        image_size: pixels of images' shorter edges; None is what the checkpoint's image processor says.
        pairs: the data set.
        gpus: of a trial.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    images = frozenset(pair.size for pair in (*pairs.train, *pairs.val))
    return TrialSize(model_config(checkpoint), size_rule(load_processor(checkpoint, image_size)), images, gpus)


def memory_fault(trial: TrialSize, trials: int) -> str | None:
    """What this machine has too little of, and what would do; None where a trial fits.

    Args:
        trial: what each of them takes.
        trials: at a time on this machine.
    """
    needed, share = trial.needed(trial.rule), memory_share(trial.gpus, trials)
    if needed <= share:
        return None
    height, width = trial.padded(trial.rule)
    edges = range(SMALLEST_IMAGE, min(height, width), SMALLEST_IMAGE)
    fit = bisect_right(edges, share, key=lambda edge: trial.needed(trial.rule.with_shorter_edge(edge)))
    ways = [f"--image-size {edges[fit - 1]} or less"] if fit else []
    if not trial.gpus and (fewer := memory_share(0, 1) // needed):
        ways.append(f"--max-concurrent {fewer}")
    beside = f", its share of {gib(memory_share(trial.gpus, 1))} for {trials} at a time" if trials > 1 else ""
    return (
        f"has {gib(share)} of {'GPU ' if trial.gpus else ''}memory for a trial{beside}, but at {height}x{width} one "
        f"takes about {gib(needed)}, be it of one image at a time; "
        + (f"what fits: {', or '.join(ways)}" if ways else "no size of images fits")
    )
