"""Whether a checkpoint's class head is kept for the names of a data set, and what a user may not have meant if not."""

import unicodedata
from collections.abc import Sequence

from trainable.data.notices import Notice

_MOST_LISTED = 12
"""Class names that a sentence lists."""


def is_kept(own: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a class head that tells `own` apart serves for `names` as it is: the same names, by class id."""
    return tuple(own) == tuple(names)


def new_head_notice(own: Sequence[str], names: Sequence[str]) -> Notice | None:
    """What is told where the class head starts anew, though the checkpoint was trained on these classes.

    That a head starts anew for other classes is what fine-tuning is, and is not told here.

    Args:
        own: what the checkpoint's class head tells apart, by class id.
        names: those of the data set, by class id.
    """
    if is_kept(own, names):
        return None
    if tuple(map(_folded, own)) == tuple(map(_folded, names)):
        apart = [(old, new) for old, new in zip(own, names, strict=True) if old != new]
        why = f"{len(apart)} of {len(names)} class names differ from the checkpoint's in their spelling alone"
        return _notice(why, own, tuple(f"{new} ({old} there)" for old, new in apart))
    if sorted(map(_folded, own)) == sorted(map(_folded, names)):
        return _notice("the class names are the checkpoint's in another order", own, tuple(names))
    if tuple(names) == tuple(map(str, range(len(names)))) and len(names) <= len(own) <= _MOST_LISTED:
        return _notice("the data set does not name its classes, and the checkpoint does", own, tuple(own))
    return None


def _notice(why: str, own: Sequence[str], names: tuple[str, ...]) -> Notice:
    wanted = ", ".join(own) if len(own) <= _MOST_LISTED else f"those of its config.json, {len(own)} of them"
    advice = f"its class head starts anew; to keep what it has learnt, name the classes {wanted}"
    return Notice(why, advice, names, "--model")


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())
