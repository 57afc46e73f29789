"""A small search as its journal tells it: the reference, one pruned, one that failed, one that still runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from results.journal.journal import TrialRecord, trial_records
from tests.made_up import events_of
from trainable.data.pairs import PairData
from trainable.detector.loading import load_model
from trainable.recipe import Recipe, Stage, reference

Plain = dict[str, Any]
"""A line of a journal, as JSON gives it."""

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC

SHORT = Recipe((Stage("heads", ("box_head", "class_head"), epochs=4, learning_rate=0.1 + 0.2),), patience=2)


def asked(trial: int, recipe: dict[str, Any], time: float) -> Plain:
    return {
        "event": "asked",
        "trial": trial,
        "parameters": {"stages.0.learning_rate": 1e-4},
        "recipe": recipe,
        "reference": trial == 0,
        "time": time,
    }


def reported(trial: int, epoch: int, val_loss: float, time: float, stage: int = 0, **more: Any) -> Plain:
    metrics = {
        "epoch": epoch,
        "stage": stage,
        "train_loss": val_loss + 0.1,
        "val_loss": val_loss,
        "val_loss_ce": val_loss / 2,
        "val_loss_bbox": val_loss / 8,
        "val_loss_giou": val_loss / 4,
        "learning_rate": 1e-4 / epoch,
        "precision": 0.1 * epoch,
        "recall": 0.2 * epoch,
        "f1": 0.15 * epoch,
        "seconds": 10.0 * epoch,
        "final": False,
        "within_epoch": [],
        "node": "worker-1",
        "pid": 4242,
    }
    return {"event": "reported", "trial": trial, "metrics": metrics | more, "time": time}


def ended(trial: int, status: str, time: float, error: str | None = None) -> Plain:
    return {"event": "ended", "trial": trial, "status": status, "error": error, "time": time}


@pytest.fixture
def events() -> list[Plain]:
    middle = {"epoch": 1.5, "stage": 1, "train_loss": 1.6, "val_loss": 0.1, "seconds": 15.0}
    middle |= {"precision": 0.9, "recall": 0.9, "f1": 0.9}
    return [
        asked(0, reference(3).to_dict(), NOON),
        asked(1, SHORT.to_dict(), NOON + 1),
        reported(0, 1, 2.0, NOON + 10),
        reported(1, 1, 5.0, NOON + 11),
        reported(0, 2, 0.1 + 0.2, NOON + 20, stage=1, within_epoch=[middle]),
        reported(1, 2, 4.5, NOON + 21),
        ended(1, "PRUNED", NOON + 21.5),
        asked(2, {}, NOON + 22),
        ended(2, "FAILED", NOON + 22, "space mine raised ValueError: a | b\nand more"),
        reported(0, 3, 1.0, NOON + 30, stage=2, final=True),
        ended(0, "COMPLETED", NOON + 30.5),
        asked(3, SHORT.to_dict(), NOON + 31),
        reported(3, 1, 1.5, NOON + 41),
        asked(4, SHORT.to_dict(), NOON + 42),
        reported(4, 1, 0.01, NOON + 50),
        ended(4, "FAILED", NOON + 51, "FloatingPointError: val_loss is nan"),
    ]


@pytest.fixture
def records(events: list[Plain]) -> list[TrialRecord]:
    return trial_records(events_of(events))


@pytest.fixture(scope="session")
def finding_checkpoint(
    make_checkpoint: Callable[..., Path], pair_data: PairData, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of the data set's classes; it sees the first validation pair's first object, there and in every other pair."""
    untrained = make_checkpoint(pair_data.names)
    model, labels = load_model(untrained, pair_data.names), pair_data.val[0].labels
    with torch.no_grad():
        for last, bias in (
            (model.bbox_predictor.layers[-1], torch.tensor(labels.boxes_cxcywh_normalised[0]).logit()),
            (model.class_labels_classifier, torch.eye(len(pair_data.names) + 1)[labels.class_ids[0]] * 3),
        ):
            last.weight.mul_(1e-3)
            last.bias.copy_(bias)
    folder = Path(shutil.copytree(untrained, tmp_path_factory.mktemp("finding") / "checkpoint"))
    model.save_pretrained(folder)
    return folder
