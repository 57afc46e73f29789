"""The folder that predictions are written to: where each file lies, and what becomes of what is there already."""

import json
from pathlib import Path

from trainable.data.listing import files_by_id

SUMMARY = "predictions.json"
"""Lists the pairs of the call that wrote it, each by its `id`; where there is none, nothing here is ours."""

LABELS, OVERLAYS = "labels", "overlays"
_SUFFIXES = {LABELS: ".txt", OVERLAYS: ".png"}


class PredictionFolderError(ValueError):
    """A folder holds files that no earlier call has written; the message says which and what to do."""


def file_of(out: Path, kind: str, pair_id: str) -> Path:
    """The file of a pair in `LABELS` or `OVERLAYS`."""
    return out / kind / f"{pair_id}{_SUFFIXES[kind]}"


def refuse_files_of_others(out: Path) -> None:
    """Keeps what a user has in a folder, such as the labels of a data set, from being replaced by predictions.

    Raises:
        PredictionFolderError: it holds what predictions are written to, but not from an earlier call.
    """
    met = [name for name in (SUMMARY, LABELS, OVERLAYS) if (out / name).exists()]
    if met and _earlier_ids(out) is None:
        raise PredictionFolderError(
            f"--out {out}: {out / met[0]} is there, and no earlier call has written it (its {SUMMARY} would list the "
            "pairs); it would be replaced, so choose another folder"
        )


def drop_earlier(out: Path) -> None:
    """Deletes the labels and overlays of an earlier call, and nothing else."""
    ids = _earlier_ids(out) or set()
    for kind, suffix in _SUFFIXES.items():
        # Found rather than named by what the summary says, which could name any file of the machine.
        for pair_id, files in files_by_id(out / kind, (suffix,)).items():
            if pair_id in ids:
                for file in files:
                    file.unlink()


def _earlier_ids(out: Path) -> set[str] | None:
    """The pairs of an earlier call; None where there was none."""
    try:
        return {pair["id"] for pair in json.loads((out / SUMMARY).read_bytes())["pairs"]}
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError, RecursionError):
        return None
