"""Rows and events that nobody trained for."""

from collections.abc import Iterable
from typing import Any

from results.journal.events import Event, EventReader
from trainable.history import EpochRow


def trained_row(epoch: int, val_loss: float, **more: Any) -> EpochRow:
    """What a trial has of an epoch before it reports it."""
    figures = dict.fromkeys(("train_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"), 0.5)
    figures |= {"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "seconds": 1.5 * epoch}
    return EpochRow(**{"epoch": epoch, "stage": 0, "val_loss": val_loss, **figures, **more})


def made_up_row(epoch: int, val_loss: float, **more: Any) -> EpochRow:
    """What a trial reports of an epoch."""
    return trained_row(epoch, val_loss, **{"node": "worker", "pid": 1, **more})


def events_of(plain: Iterable[Any]) -> list[Event]:
    """The events of a journal's lines, as JSON gives them.

    Raises:
        JournalError: one of them breaks a rule.
    """
    reader = EventReader("journal.jsonl")
    reader.read(plain)
    return reader.events
