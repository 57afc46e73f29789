import copy
import dataclasses
import json
import shutil

import pytest
import torch

import trainable.trial_folder
from trainable.evaluation import evaluate
from trainable.model import load_model, load_processor
from trainable.recipe import PARTS, Recipe, Stage
from trainable.stage_trainer import StageTrainer, TrialData
from trainable.staged_trainer import effective_recipe, train_recipe
from trainable.trial_folder import ROW_FIELDS, TrialFolder, best_row

HEADS = ("box_head", "class_head")

# Of eight training pairs: four updates an epoch.
RECIPE = Recipe(
    (Stage("heads", HEADS, epochs=1, learning_rate=1e-3), Stage("all", PARTS, epochs=2, learning_rate=1e-3)),
    accumulation_steps=1,
)
# The rate of the first stage is too high, so that its patience ends it.
EVENTFUL = Recipe(
    (
        Stage("heads", HEADS, epochs=4, learning_rate=0.1),
        Stage("without backbone", PARTS[1:], epochs=1, learning_rate=1e-3),
        Stage("all", PARTS, epochs=2, learning_rate=1e-3),
    ),
    accumulation_steps=2,
    max_grad_norm=0.0,
    evaluations_per_epoch=2,
    patience=1,
)


class KilledError(Exception):
    """Stands for a process that ends here."""


@pytest.fixture
def train(pair_data, checkpoint, tmp_path):
    """Trains a recipe in a folder of its own, or in the one named."""
    count = 0

    def run(recipe, folder=None, report=lambda row: None, checkpoint=checkpoint, cache_bytes=0):
        nonlocal count
        count += 1
        folder = tmp_path / (folder or f"trial-{count}")
        return train_recipe(recipe, pair_data, checkpoint, folder, report, cache_bytes=cache_bytes)

    return run


def without_seconds(history):
    """A history without the one figure that may differ."""
    history = copy.deepcopy(history)
    for row in history:
        for evaluation in (row, *row["within_epoch"]):
            del evaluation["seconds"]
    return history


def last_weights(trial):
    """The bytes of the weights of the last epoch."""
    progress = json.loads((trial.path / "progress.json").read_text())
    return (trial.path / progress["checkpoint"] / "model.safetensors").read_bytes()


def best_weights(trial):
    return (trial.best_weights / "model.safetensors").read_bytes()


def with_stages(recipe, **fields):
    return dataclasses.replace(recipe, stages=tuple(dataclasses.replace(stage, **fields) for stage in recipe.stages))


class TestRepeating:
    def test_the_same_recipe_data_and_seed_give_the_same_bits(self, train):
        first = train(EVENTFUL)
        torch.rand(3)
        again = train(EVENTFUL)
        assert without_seconds(again.history) == without_seconds(first.history)
        assert last_weights(again) == last_weights(first)
        assert best_weights(again) == best_weights(first)

    def test_stored_differences_give_the_same_bits_as_differences_made_anew(self, train, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        without = train(EVENTFUL)
        assert not (tmp_path / "cache").exists()
        train(RECIPE, cache_bytes=10**9)
        # From here on there is nothing but the store: no picture may be decoded.
        monkeypatch.setattr("trainable.data.resizing.open_picture", lambda path: pytest.fail(f"{path} was read"))
        stored = train(EVENTFUL, cache_bytes=10**9)
        assert without_seconds(stored.history) == without_seconds(without.history)
        assert last_weights(stored) == last_weights(without)
        assert best_weights(stored) == best_weights(without)

    def test_a_stage_in_bfloat16_leaves_no_trace_on_a_later_trial(self, train):
        first = train(RECIPE)
        train(dataclasses.replace(RECIPE, dtype="bfloat16"))
        assert without_seconds(train(RECIPE).history) == without_seconds(first.history)


class TestReporting:
    def test_each_epoch_is_reported_once_after_it_is_safe_on_disk(self, train, tmp_path):
        rows = []

        def report(row):
            on_disk = TrialFolder(tmp_path / "trial", effective_recipe(EVENTFUL, 8))
            assert on_disk.history == [*rows, row]
            rows.append(copy.deepcopy(row))

        trial = train(EVENTFUL, "trial", report)
        assert trial.history == rows
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["final"] for row in rows] == [False] * (len(rows) - 1) + [True]
        assert all(set(row) == set(ROW_FIELDS) for row in rows)

    def test_evaluations_within_an_epoch_are_in_its_row(self, train):
        history = train(EVENTFUL).history
        for row in history:
            (within,) = row["within_epoch"]
            assert set(within) == set(ROW_FIELDS) - {"final", "within_epoch"}
            assert within["epoch"] == row["epoch"] - 0.5
            assert within["val_loss"] != row["val_loss"]

    def test_a_finished_trial_reports_its_history_again_and_trains_nothing(self, train, monkeypatch):
        trial = train(RECIPE, "trial")
        monkeypatch.setattr(StageTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
        rows = []
        train(RECIPE, "trial", rows.append)
        assert rows == trial.history

    def test_the_effective_recipe_is_kept(self, train):
        trial = train(dataclasses.replace(with_stages(RECIPE, restart_cycles=5), dtype="auto"))
        kept = Recipe.from_yaml(trial.path / "recipe.yaml")
        # Four updates an epoch, four or more a cycle.
        assert [stage.restart_cycles for stage in kept.stages] == [1, 2]
        assert kept.dtype == "float32" or torch.cuda.is_available()


class TestStages:
    def test_patience_ends_a_stage_and_the_next_starts_from_its_best_weights(self, train):
        first, *_ = EVENTFUL.stages
        still = Stage("still", PARTS, epochs=1, learning_rate=1e-12)
        history = train(dataclasses.replace(EVENTFUL, stages=(first, still))).history
        heads, after = [row for row in history if row["stage"] == 0], history[-1]
        best = best_row(heads)
        assert len(heads) < first.epochs and heads[-1] != best
        assert (after["stage"], after["epoch"]) == (1, len(heads) + 1)
        assert after["val_loss"] == pytest.approx(best["val_loss"], rel=1e-5)
        assert after["val_loss"] != pytest.approx(heads[-1]["val_loss"], rel=1e-3)

    def test_patience_in_the_last_stage_makes_the_last_row_final(self, train):
        first, *_ = EVENTFUL.stages
        history = train(dataclasses.replace(EVENTFUL, stages=(first,))).history
        assert len(history) < first.epochs
        assert history[-1]["final"]

    def test_a_new_class_head_learns_while_everything_else_is_frozen(self, pair_data, checkpoint, tmp_path):
        seen = dataclasses.replace(pair_data, val=pair_data.train)
        data = TrialData.of(seen, load_processor(checkpoint))
        untrained = evaluate(load_model(checkpoint, seen.names), data.val, data.collator).losses
        head_only = Recipe((Stage("head", ("class_head",), epochs=2, learning_rate=0.01),), accumulation_steps=4)
        first, second = train_recipe(head_only, seen, checkpoint, tmp_path, lambda row: None).history
        assert untrained["val_loss_ce"] > first["val_loss_ce"] > second["val_loss_ce"]

    def test_the_best_weights_give_the_best_val_loss_again(self, train, pair_data, checkpoint):
        trial = train(EVENTFUL)
        data = TrialData.of(pair_data, load_processor(checkpoint))
        losses = evaluate(load_model(trial.best_weights, pair_data.names), data.val, data.collator).losses
        assert losses["val_loss"] == best_row(trial.history)["val_loss"]

    def test_weights_that_are_not_finite_end_the_trial_by_name(self, train, checkpoint, tmp_path):
        model = load_model(checkpoint, ("person", "car"))
        with torch.no_grad():
            model.model.decoder.layernorm.weight.fill_(torch.nan)
        broken = shutil.copytree(checkpoint, tmp_path / "broken")
        model.save_pretrained(broken)
        with pytest.raises(
            FloatingPointError, match=r"stage 'heads', update 1 of 4, learning rate 0\.001: the model's"
        ):
            train(RECIPE, checkpoint=broken)


class TestResume:
    @pytest.fixture(scope="class")
    def unbroken(self, pair_data, checkpoint, tmp_path_factory):
        trial = train_recipe(EVENTFUL, pair_data, checkpoint, tmp_path_factory.mktemp("unbroken"), lambda row: None)
        stages = [row["stage"] for row in trial.history]
        assert {0, 1, 2} == set(stages) and stages.count(0) < 4, "the recipe must be eventful"
        return trial

    def until_done(self, train, most=12):
        """Starts the trial again after every kill."""
        for start in range(1, most + 1):
            try:
                return train(EVENTFUL, "broken"), start
            except KilledError:
                pass
        return pytest.fail(f"not done after {most} starts")

    def check(self, broken, unbroken):
        assert without_seconds(broken.history) == without_seconds(unbroken.history)
        assert best_weights(broken) == best_weights(unbroken)
        assert last_weights(broken) == last_weights(unbroken)

    def test_killed_after_every_epoch(self, train, unbroken):
        for epoch in range(1, len(unbroken.history)):
            rows = []

            def report(row, rows=rows, epoch=epoch):
                rows.append(copy.deepcopy(row))
                if len(rows) == epoch:
                    raise KilledError

            with pytest.raises(KilledError):
                train(EVENTFUL, "broken", report)
            assert without_seconds(rows) == without_seconds(unbroken.history[:epoch])
        self.check(train(EVENTFUL, "broken"), unbroken)

    @pytest.mark.parametrize("call", [3, 4], ids=["in the middle of an epoch", "at the end of an epoch"])
    def test_killed_while_evaluating(self, train, unbroken, monkeypatch, call):
        calls = 0
        original = StageTrainer.evaluate_data_set

        def evaluate_data_set(trainer):
            nonlocal calls
            calls += 1
            if calls == call:
                calls = 0
                raise KilledError
            return original(trainer)

        monkeypatch.setattr(StageTrainer, "evaluate_data_set", evaluate_data_set)
        trial, starts = self.until_done(train)
        assert starts == len(unbroken.history)
        self.check(trial, unbroken)

    @pytest.mark.parametrize("moment", ["before the commit", "before its last write", "after its last write"])
    def test_killed_in_every_commit(self, train, unbroken, monkeypatch, moment):
        commit, write = TrialFolder.commit, trainable.trial_folder.write_atomically
        killed_at = set()

        def killed_once(key):
            first = key not in killed_at
            killed_at.add(key)
            return first

        def broken_commit(folder, row, checkpoint, model):
            if killed_once(row["epoch"]):
                leave_half_written_files(folder.path, checkpoint)
                raise KilledError
            commit(folder, row, checkpoint, model)

        def broken_write(path, text):
            if path.name != "progress.json" or not killed_once(text.count('"final"')):
                return write(path, text)
            if moment == "after its last write":
                write(path, text)
            raise KilledError

        if moment == "before the commit":
            monkeypatch.setattr(TrialFolder, "commit", broken_commit)
        else:
            monkeypatch.setattr(trainable.trial_folder, "write_atomically", broken_write)
        trial, starts = self.until_done(train)
        assert starts == len(unbroken.history) + 1
        self.check(trial, unbroken)
        assert not list(trial.path.glob("weights/*.tmp"))

    def test_moved_between_two_epochs(self, train, unbroken, tmp_path):
        def report(row):
            if row["epoch"] == 2:
                raise KilledError

        with pytest.raises(KilledError):
            train(EVENTFUL, "before", report)
        (tmp_path / "before").rename(tmp_path / "after")
        self.check(train(EVENTFUL, "after"), unbroken)


def leave_half_written_files(folder, checkpoint):
    """As a process leaves them that is killed while it writes."""
    for file in checkpoint.iterdir():
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    (folder / "progress.json.tmp").write_text('{"history": [')
    scratch = folder / "weights" / "epoch-0003.tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "model.safetensors").write_bytes(b"half")


class TestEveryFieldIsUsed:
    @pytest.fixture(scope="class")
    def base(self, pair_data, checkpoint, tmp_path_factory):
        return train_recipe(RECIPE, pair_data, checkpoint, tmp_path_factory.mktemp("base"), lambda row: None)

    @pytest.mark.parametrize(
        "change",
        [
            *({"batch_size": 4}, {"accumulation_steps": 2}, {"weight_decay": 0.01}, {"warmup_share": 0.3}, {"seed": 1}),
            *({"backbone_learning_rate_factor": 0.5}, {"max_grad_norm": 0.0}, {"max_grad_norm": 0.05}),
            *({"dtype": "bfloat16"}, {"dtype": "float16"}),
        ],
        ids=str,
    )
    def test_changing_the_recipe_changes_the_training(self, train, base, change):
        trial = train(dataclasses.replace(RECIPE, **change))
        assert last_weights(trial) != last_weights(base)
        assert without_seconds(trial.history) != without_seconds(base.history)

    @pytest.mark.parametrize(
        ("stage", "change"),
        [
            *((stage, {"learning_rate": 2e-3}) for stage in (0, 1)),
            *((stage, {"epochs": 3}) for stage in (0, 1)),
            *((stage, {"trainable": ("decoder", "class_head")}) for stage in (0, 1)),
            (1, {"restart_cycles": 2}),  # stage 0 has too few updates for two cycles
        ],
        ids=str,
    )
    def test_changing_a_stage_changes_the_training(self, train, base, stage, change):
        stages = list(RECIPE.stages)
        stages[stage] = dataclasses.replace(stages[stage], **change)
        trial = train(dataclasses.replace(RECIPE, stages=tuple(stages)))
        assert last_weights(trial) != last_weights(base)
        assert without_seconds(trial.history) != without_seconds(base.history)

    def test_a_patience_that_bites_changes_the_training(self, train):
        patient = train(dataclasses.replace(EVENTFUL, patience=None))
        assert without_seconds(patient.history) != without_seconds(train(EVENTFUL).history)

    @pytest.mark.parametrize("recipe", [with_stages(RECIPE, name="x"), dataclasses.replace(RECIPE, patience=9)])
    def test_names_and_an_untouched_patience_change_nothing(self, train, base, recipe):
        trial = train(recipe)
        assert without_seconds(trial.history) == without_seconds(base.history)
        assert last_weights(trial) == last_weights(base)

    def test_evaluating_more_often_changes_nothing_but_the_finer_rows(self, train, base):
        trial = train(dataclasses.replace(RECIPE, evaluations_per_epoch=3))
        assert [len(row["within_epoch"]) for row in trial.history] == [2, 2, 2]
        rows = [row | {"within_epoch": []} for row in trial.history]
        assert without_seconds(rows) == without_seconds(base.history)
        assert last_weights(trial) == last_weights(base)

    def test_every_field_is_looked_at_here(self):
        looked_at = {"batch_size", "accumulation_steps", "weight_decay", "warmup_share", "seed", "dtype", "stages"}
        looked_at |= {"backbone_learning_rate_factor", "max_grad_norm", "patience", "evaluations_per_epoch"}
        assert looked_at == {field.name for field in dataclasses.fields(Recipe)}
        stage_fields = {"name", "trainable", "epochs", "learning_rate", "restart_cycles"}
        assert stage_fields == {field.name for field in dataclasses.fields(Stage)}
