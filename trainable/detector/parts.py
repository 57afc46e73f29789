"""The named parts of a detector, and which of them learn."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from trainable.detector.families.registry import family_of


def part_of(model: PreTrainedModel, name: str) -> str:
    """The part that a parameter or buffer of a model belongs to.

    Args:
        model: or a view of one, see `trainable.detector.model_view`.
        name: its dotted name.

    Raises:
        KeyError: it belongs to none.
    """
    return family_of(model.config).part_of(name)


def freeze_all_but(model: PreTrainedModel, trainable: Sequence[str]) -> None:
    """Lets only the parts `trainable` require gradients. Sets every parameter: built and loaded models differ."""
    family = family_of(model.config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(family.part_of(name) in trainable and name not in family.constants)


def set_modes(model: PreTrainedModel, trainable: Sequence[str]) -> None:
    """Puts the parts `trainable` into train mode and the others into eval mode (no dropout).

    Batch norm is in eval mode everywhere: statistics of a batch would make the loss of accumulated micro-batches
    another than that of the whole, and change what is frozen. Its scale and shift learn all the same.
    A model that lacks frozen parts (see `trainable.reuse.frozen_features`) is as good.
    """
    nn.Module.train(model)
    modules = dict(model.named_modules())
    owners = {module: part for part, owned in family_of(model.config).parts.items() for module in owned}
    # What lies within another comes after it.
    for name in sorted(owners, key=len):
        if name in modules:
            modules[name].train(owners[name] in trainable)
    for module in modules.values():
        if isinstance(module, _BatchNorm):
            module.eval()
            if _lay_out_gradient not in module._forward_hooks.values():
                module.register_forward_hook(_lay_out_gradient)


def _lay_out_gradient(module: nn.Module, inputs: object, output: Tensor) -> None:
    """Has batch norm be given its gradient contiguous in memory.

    On a CPU in eval mode, torch 2.13 computes other gradients for one image whose own has been transposed, as behind a
    map that is flattened to a sequence, without a word.
    """
    if output.requires_grad:
        output.register_hook(Tensor.contiguous)
