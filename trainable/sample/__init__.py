"""The embedded default: a data set made by code and a checkpoint trained on other made-up scenes."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The embedded checkpoint, see `pretrain.py`."""

EMBEDDED = "embedded"
"""What the command lines call it."""


def checkpoint_of(model: str) -> str:
    """What a user's `--model` loads: the embedded checkpoint, a folder (made absolute), or a name on the hub."""
    if model == EMBEDDED:
        return str(CHECKPOINT)
    return str(Path(model).resolve()) if Path(model).exists() else model
