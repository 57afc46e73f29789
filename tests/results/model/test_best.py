"""The best model is written, reloaded and held against what its trial reported."""

import dataclasses
from pathlib import Path

import pytest

from results.journal.journal import TrialRecord
from results.measures.metrics import evaluate_checkpoint
from results.measures.operating_point import PointRule
from results.model.best import write_best
from results.model.trial_model import TOLERANCE
from results.retrained import Chosen
from tests.made_up import made_up_row
from trainable.compute import usable_device
from trainable.data.dataset import padded_size
from trainable.detector.loading import load_processor
from trainable.recipe import PARTS, REFERENCE, Recipe
from trainable.training.progress import Progress
from trainable.training.trial_folder import weights_path
from trainable.training.weights import save_weights, trial_model

COMMAND = "python trainable/train.py --recipe best/recipe.yaml"


class Run:
    """A run folder whose trial 7 reached its best at epoch 2."""

    def __init__(self, folder: Path, pairs, checkpoint: Path, recipe: Recipe):
        self.folder, self.pairs, self.checkpoint = folder, pairs, checkpoint
        trial = folder / "trials" / "0007"
        save_weights(trial_model(checkpoint, pairs.names, 0), frozenset(PARTS), weights_path(trial, 2))
        (trial / "recipe.yaml").write_text(recipe.to_yaml())
        self.val_loss = self.evaluate(checkpoint).losses["val_loss"]

    def evaluate(self, model: Path):
        padded = padded_size((*self.pairs.train, *self.pairs.val), load_processor(model))
        return evaluate_checkpoint(model, self.pairs.val, self.pairs.names, padded, 1, device=usable_device())

    def write_best(self, val_loss: float, asked: Recipe | None = None):
        record = TrialRecord(7, {}, asked, False, 0.0)
        record.history = [made_up_row(1, val_loss + 1, f1=0.0), made_up_row(2, val_loss, f1=0.5)]
        checkpoint = str(self.checkpoint)
        best = Chosen(record, "trials/0007", "The best recipe")
        return write_best(self.folder, best, self.pairs, checkpoint, self.evaluate, COMMAND, PointRule(), overlays=0)


@pytest.fixture
def make_run(tmp_path, pair_data, checkpoint):
    return lambda recipe=REFERENCE: Run(tmp_path / "my run", pair_data, checkpoint, recipe)


def test_the_reloaded_model_gives_the_reported_loss(make_run):
    run = make_run()
    best = run.write_best(run.val_loss)
    assert best.agrees and best.metrics["val_loss"] == run.val_loss


@pytest.mark.parametrize("has_progress", [True, False])
def test_a_damaged_recipe_is_said_and_made_up_for(make_run, caplog, has_progress):
    run = make_run()
    trial = run.folder / "trials" / "0007"
    effective = dataclasses.replace(REFERENCE, batch_size=1, dtype="float32")
    if has_progress:
        Progress([], None, {}, effective).write(trial)
    (trial / "recipe.yaml").write_bytes(b"\xff stages: {")
    best = run.write_best(run.val_loss, REFERENCE)
    assert f"{trial / 'recipe.yaml'}" in caplog.text
    assert Recipe.from_yaml(run.folder / "best" / "recipe.yaml") == (effective if has_progress else REFERENCE)
    assert best.agrees


def test_a_loss_that_is_not_reproduced_is_seen(make_run):
    run = make_run()
    assert run.write_best(run.val_loss * (1 + TOLERANCE["float32"] / 2)).agrees
    assert not run.write_best(run.val_loss * (1 + TOLERANCE["float32"] * 2)).agrees


def test_half_precision_is_not_held_against_float32(make_run):
    run = make_run(dataclasses.replace(REFERENCE, dtype="bfloat16"))
    assert run.write_best(run.val_loss * 1.01).agrees
    assert not run.write_best(run.val_loss * 1.5).agrees, "these would be other weights"


def test_the_model_has_the_processor_of_its_trials_size(make_run):
    run = make_run(dataclasses.replace(REFERENCE, image_size=64))
    run.write_best(run.val_loss)
    assert dict(load_processor(run.folder / "best" / "model").size)["shortest_edge"] == 64
    assert Recipe.from_yaml(run.folder / "best" / "recipe.yaml").image_size == 64


def test_the_recipe_says_where_it_comes_from_and_how_to_train_it(make_run):
    run = make_run()
    run.write_best(run.val_loss)
    path = run.folder / "best" / "recipe.yaml"
    assert Recipe.from_yaml(path) == REFERENCE
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert "my run: trial 7" in header[0] and "F1 0.500" in header[0] and "after epoch 2" in header[0]
    assert header[-1] == f"#   {COMMAND}"


def test_writing_again_replaces_everything_and_leaves_nothing_over(make_run):
    run = make_run()
    (run.folder / "best" / "model").mkdir(parents=True)
    (run.folder / "best" / "left over").write_text("of an earlier best trial")
    (run.folder / "best.tmp").mkdir()
    (run.folder / "best.tmp" / "left over").write_text("of a write that was killed")
    run.write_best(run.val_loss)
    assert not [path for path in run.folder.rglob("*") if path.name in ("left over", "best.tmp")]
    assert {"model", "recipe.yaml", "metrics.json", "sweep.csv"} <= {
        path.name for path in (run.folder / "best").iterdir()
    }


def test_the_old_best_stays_whole_until_the_new_one_is_measured(make_run, monkeypatch):
    run = make_run()
    run.write_best(run.val_loss)
    before = {path.name: path.read_bytes() for path in (run.folder / "best").iterdir() if path.is_file()}

    def killed(model):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        run.write_best(run.val_loss)
    assert {path.name: path.read_bytes() for path in (run.folder / "best").iterdir() if path.is_file()} == before
