"""A small search's journal with a hostile text wherever one can stand, and damaged ones."""

import json
from typing import Any

from fuzzing import HOSTILE, damaged, damaged_events
from hypothesis import strategies as st

from trainable.recipe import Recipe, Stage, reference

PRINTABLE = "".join(filter(str.isprintable, HOSTILE))
"""What of `HOSTILE` a stage may be called."""


def _event(kind: str, trial: int, **more: Any) -> dict[str, Any]:
    return {"event": kind, "trial": trial, **more, "time": 1_767_268_800.0 + trial}


def _asked(trial: int, recipe: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return _event("asked", trial, parameters=parameters, recipe=recipe, reference=trial == 0)


def _reported(trial: int, epoch: int, stage: int, **more: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "precision", "recall", "f1"), 0.5)
    place = {"epoch": epoch, "stage": stage, "seconds": 9.5 * epoch, "final": epoch == 3, "node": "a", "pid": 7}
    return _event("reported", trial, metrics=numbers | place | {"within_epoch": []} | more)


def _ended(trial: int, status: str, error: str | None = None) -> dict[str, Any]:
    return _event("ended", trial, status=status, error=error)


WITHIN = {"epoch": 0.5, "stage": 0, "seconds": 4.0} | dict.fromkeys(("val_loss", "precision", "recall", "f1"), 0.25)
EVENTS = [
    _asked(0, reference(3).to_dict(), rate=1e-4, kind=HOSTILE),
    *(_reported(0, epoch, epoch - 1) for epoch in (1, 2, 3)),
    _asked(1, Recipe((Stage(PRINTABLE, ("decoder",), 2, 1e-4),)).to_dict(), rate=1e-3, kind="b"),
    _reported(1, 1, 0, shared_from="0000", within_epoch=[WITHIN]),
    _ended(0, "COMPLETED"),
    _asked(2, {}),
    _ended(2, "FAILED", f"ImageError: {HOSTILE}"),
    _ended(1, "COMPLETED"),
]
JOURNAL = "".join(json.dumps(event) + "\n" for event in EVENTS).encode()
JOURNALS = st.binary(max_size=60) | damaged([JOURNAL, JOURNAL[:2000]]) | damaged_events([EVENTS, EVENTS[:4]])
