"""The embedded default: a data set made by code and a checkpoint trained on other made-up scenes."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The embedded checkpoint, made by `benchmarks/pretrain.py`."""

EMBEDDED = "embedded"
"""What the command lines call it."""


def checkpoint_of(model: str) -> str:
    """What a user's `--model` loads: the embedded checkpoint, a folder (made absolute), or a name on the hub."""
    if model == EMBEDDED:
        return str(CHECKPOINT)
    return str(Path(model).resolve()) if Path(model).exists() else model


def run_folder_fault(folder: str | Path) -> str:
    """What to give for a folder that is a run's, or its `best`, and no checkpoint; empty where it is neither."""
    for model in (Path(folder) / "best" / "model", Path(folder) / "model"):
        if (model / "config.json").is_file():
            return f"it is the folder of a run; give its best model, {model}"
    return "it is the folder of a run that has no best/model yet" if (Path(folder) / "search.yaml").is_file() else ""
