import dataclasses
import shutil
import threading
from concurrent.futures import wait
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

import trainable.training.progress
from results.measures.operating_point import point_of_best_f1
from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.coco import coco_metrics
from trainable.data.trial_data import TrialData
from trainable.detection import match
from trainable.detector.loading import load_model, load_processor
from trainable.history import best_row
from trainable.recipe import PARTS, Augmentation, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.training.evaluation import evaluate
from trainable.training.progress import read_progress
from trainable.training.stage_trainer import StageTrainer
from trainable.training.staged_trainer import _EpochCallback, train_recipe
from trainable.training.trial_folder import TrialFolder, drop_progress
from trainable.training.weights import trial_model

HEADS = ("box_head", "class_head")

# Of eight training pairs: four updates an epoch.
RECIPE = Recipe(
    (Stage("heads", HEADS, epochs=1, learning_rate=1e-3), Stage("all", PARTS, epochs=2, learning_rate=1e-3)),
    accumulation_steps=1,
)
# The learning rate of the first stage is too high, so that its patience ends it.
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


LAST_STATES = {}
OFTEN = ReuseConfig(checkpoint_seconds=0)
"""A checkpoint after every epoch."""


class KilledError(Exception):
    """Stands for a process that ends here."""


@pytest.fixture(scope="module", autouse=True)
def last_state():
    """Keeps what the model was at the last commit of each trial, for `last_weights`."""
    commit = TrialFolder.commit

    def keeping(folder, row, model, terms):
        LAST_STATES[folder.path] = save({name: value.clone() for name, value in model.state_dict().items()})
        commit(folder, row, model, terms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialFolder, "commit", keeping)
        yield


@pytest.fixture
def train(pair_data, checkpoint, tmp_path):
    """Trains a recipe in a folder of its own, or in the one named."""
    count = 0

    def run(recipe, folder=None, report=lambda row: None, checkpoint=checkpoint, reuse=OFTEN):
        nonlocal count
        count += 1
        folder = tmp_path / (folder or f"trial-{count}")
        return train_recipe(recipe, pair_data, checkpoint, folder, report, reuse=reuse)

    return run


def without_seconds(history):
    """A history without the one figure that may differ."""
    return [
        dataclasses.replace(
            row,
            seconds=0.0,
            within_epoch=tuple(dataclasses.replace(within, seconds=0.0) for within in row.within_epoch),
        )
        for row in history
    ]


def last_weights(trial):
    """The bytes of the weights of the last epoch."""
    return LAST_STATES[trial.path]


def best_weights(trial):
    return trial.best_weights.read_bytes()


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
        reuse = ReuseConfig(10**9, frozen_layers=False)
        train(RECIPE, reuse=reuse)
        # From here on there is nothing but the store: no image may be decoded.
        monkeypatch.setattr("trainable.data.signal_images.open_image", lambda path: pytest.fail(f"{path} was read"))
        stored = train(EVENTFUL, reuse=reuse)
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
            on_disk = read_progress(tmp_path / "trial")
            assert on_disk.history == [*rows, row]
            rows.append(row)

        trial = train(EVENTFUL, "trial", report)
        assert trial.history == rows
        assert [row.epoch for row in rows] == list(range(1, len(rows) + 1))
        assert [row.final for row in rows] == [False] * (len(rows) - 1) + [True]
        for row in rows:
            assert None not in row.to_dict().values()

    def test_evaluations_within_an_epoch_are_in_its_row(self, train):
        history = train(EVENTFUL).history
        for row in history:
            (within,) = row.within_epoch
            assert None not in within.to_dict().values()
            assert within.epoch == row.epoch - 0.5
            assert within.val_loss != row.val_loss

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
        heads, after = [row for row in history if row.stage == 0], history[-1]
        best = best_row(heads)
        assert len(heads) < first.epochs and heads[-1] != best
        assert (after.stage, after.epoch) == (1, len(heads) + 1)
        assert after.val_loss == pytest.approx(best.val_loss, rel=1e-5)
        assert after.val_loss != pytest.approx(heads[-1].val_loss, rel=1e-3)

    def test_patience_in_the_last_stage_makes_the_last_row_final(self, train):
        first, *_ = EVENTFUL.stages
        history = train(dataclasses.replace(EVENTFUL, stages=(first,))).history
        assert len(history) < first.epochs
        assert history[-1].final

    def test_a_new_class_head_learns_while_everything_else_is_frozen(self, pair_data, checkpoint, tmp_path):
        seen = dataclasses.replace(pair_data, val=pair_data.train)
        data = TrialData.of(seen, load_processor(checkpoint))
        untrained = evaluate(load_model(checkpoint, seen.names), data.val, data.collator).losses
        head_only = Recipe((Stage("head", ("class_head",), epochs=2, learning_rate=0.01),), accumulation_steps=4)
        first, second = train_recipe(head_only, seen, checkpoint, tmp_path, lambda row: None).history
        assert untrained["val_loss_ce"] > first.val_loss_ce > second.val_loss_ce

    def test_the_best_weights_give_the_best_val_loss_again(self, train, pair_data, checkpoint):
        trial = train(with_stages(RECIPE, trainable=PARTS))
        data = TrialData.of(pair_data, load_processor(checkpoint))
        model = trial_model(checkpoint, pair_data.names, RECIPE.seed, trial.best_weights)
        losses = evaluate(model, data.val, data.collator).losses
        assert losses["val_loss"] == best_row(trial.history).val_loss

    @pytest.mark.parametrize("metric", ["map", "f1"])
    def test_by_another_metric_the_next_stage_starts_from_the_epoch_that_finds_most(self, train, metric):
        stages = Stage("all", PARTS, 6, 1e-3), Stage("still", PARTS, 1, 1e-12)
        recipe = Recipe(stages, accumulation_steps=1, metric=metric)
        *rows, after = train(recipe, checkpoint=checkpoint_of(EMBEDDED)).history
        best = best_row(rows)
        assert best.compared == max(row.compared for row in rows) > 0
        assert best.val_loss != min(row.val_loss for row in rows), "it must make a difference"
        assert after.val_loss == pytest.approx(best.val_loss, rel=1e-5)

    @pytest.mark.parametrize("metric", ["map", "f1"])
    def test_by_another_metric_the_best_weights_give_its_value_again(self, train, pair_data, metric):
        checkpoint = checkpoint_of(EMBEDDED)
        recipe = Recipe((Stage("all", PARTS, 2, 1e-3),), accumulation_steps=1, metric=metric)
        trial = train(recipe, checkpoint=checkpoint)
        data = TrialData.of(pair_data, load_processor(checkpoint))
        model = trial_model(checkpoint, pair_data.names, recipe.seed, trial.best_weights)
        found = evaluate(model, data.val, data.collator)
        sizes = [pair.size for pair in pair_data.val]
        expected = {
            "map": coco_metrics(found.detections, found.ground_truth, sizes, pair_data.names)["mAP"],
            "f1": point_of_best_f1(
                sweep(match(found.detections, found.ground_truth, IOU_THRESHOLDS), pair_data.names)
            ).f1,
        }
        assert best_row(trial.history).compared == pytest.approx(expected[metric], abs=1e-12)

    @pytest.mark.parametrize("trainable", [PARTS[1:], PARTS[2:], HEADS], ids="+".join)
    def test_behind_frozen_layers_the_best_weights_give_it_to_rounding(self, train, pair_data, checkpoint, trainable):
        """Which the README says: training runs them image by image, an evaluation afterwards in batches."""
        trial = train(with_stages(RECIPE, trainable=trainable))
        data = TrialData.of(pair_data, load_processor(checkpoint))
        model = trial_model(checkpoint, pair_data.names, RECIPE.seed, trial.best_weights)
        losses = evaluate(model, data.val, data.collator).losses
        assert losses["val_loss"] == pytest.approx(best_row(trial.history).val_loss, rel=1e-6)

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
        stages = [row.stage for row in trial.history]
        assert {0, 1, 2} == set(stages) and stages.count(0) < 4, "the recipe must be eventful"
        return trial

    @pytest.fixture(params=[0, 1e9], ids=["a checkpoint every epoch", "no checkpoints"])
    def reuse(self, request):
        return ReuseConfig(checkpoint_seconds=request.param)

    def until_done(self, train, reuse, most=12):
        """Starts the trial again after every kill."""
        for start in range(1, most + 1):
            try:
                return train(EVENTFUL, "broken", reuse=reuse), start
            except KilledError:
                pass
        return pytest.fail(f"not done after {most} starts")

    def check(self, broken, unbroken):
        assert without_seconds(broken.history) == without_seconds(unbroken.history)
        assert best_weights(broken) == best_weights(unbroken)
        assert last_weights(broken) == last_weights(unbroken)

    def test_killed_after_every_epoch(self, train, unbroken, reuse):
        for epoch in range(1, len(unbroken.history)):
            rows = []

            def report(row, rows=rows, epoch=epoch):
                rows.append(row)
                if len(rows) == epoch:
                    raise KilledError

            with pytest.raises(KilledError):
                train(EVENTFUL, "broken", report, reuse=reuse)
            assert without_seconds(rows) == without_seconds(unbroken.history[:epoch])
        self.check(train(EVENTFUL, "broken", reuse=reuse), unbroken)

    @pytest.mark.parametrize("call", [3, 4], ids=["in the middle of an epoch", "at the end of an epoch"])
    def test_killed_while_evaluating(self, train, unbroken, reuse, monkeypatch, call):
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
        trial, starts = self.until_done(train, reuse)
        assert starts == len(unbroken.history)
        self.check(trial, unbroken)

    @pytest.mark.parametrize("moment", ["before the commit", "before its last write", "after its last write"])
    def test_killed_in_every_commit(self, train, unbroken, reuse, monkeypatch, moment):
        commit, write = TrialFolder.commit, trainable.training.progress.write_atomically
        killed_at = set()

        def killed_once(key):
            first = key not in killed_at
            killed_at.add(key)
            return first

        def broken_commit(folder, row, model, terms):
            if killed_once(row.epoch):
                leave_half_written_files(folder.path)
                raise KilledError
            commit(folder, row, model, terms)

        def broken_write(path, text):
            if path.name != "progress.json" or not killed_once(text.count('"final"')):
                return write(path, text)
            if moment == "after its last write":
                write(path, text)
            raise KilledError

        if moment == "before the commit":
            monkeypatch.setattr(TrialFolder, "commit", broken_commit)
        else:
            monkeypatch.setattr(trainable.training.progress, "write_atomically", broken_write)
        trial, starts = self.until_done(train, reuse)
        assert starts == len(unbroken.history) + 1
        self.check(trial, unbroken)

    def test_what_an_earlier_version_had_halved_goes_on_with_its_batch(self, train, tmp_path):
        recipe = dataclasses.replace(RECIPE, batch_size=4)
        halved = dataclasses.replace(recipe, batch_size=2, accumulation_steps=2)
        unbroken = train(halved)

        def report(row):
            if row.epoch == 2:
                raise KilledError

        with pytest.raises(KilledError):
            train(halved, "broken", report)
        broken = train(recipe, "broken")
        assert broken.recipe == unbroken.recipe
        self.check(broken, unbroken)

    def test_with_a_micro_batch_of_its_own_that_it_keeps(self, train, tmp_path):
        """Wherever it goes on, and whatever would be chosen there."""
        chosen = dataclasses.replace(EVENTFUL, micro_batch=3)
        unbroken = train(chosen)
        for epoch in range(1, len(unbroken.history)):

            def report(row, epoch=epoch):
                if row.epoch == epoch:
                    raise KilledError

            with pytest.raises(KilledError):
                train(chosen if epoch < 3 else dataclasses.replace(EVENTFUL, micro_batch=4), "broken", report)
        broken = train(EVENTFUL, "broken")
        assert broken.recipe.micro_batch == 3 == Recipe.from_yaml(broken.path / "recipe.yaml").micro_batch
        self.check(broken, unbroken)

    def test_moved_between_two_epochs(self, train, unbroken, tmp_path):
        def report(row):
            if row.epoch == 2:
                raise KilledError

        with pytest.raises(KilledError):
            train(EVENTFUL, "before", report)
        (tmp_path / "before").rename(tmp_path / "after")
        self.check(train(EVENTFUL, "after"), unbroken)


def leave_half_written_files(folder):
    """As a process leaves them that is killed while it writes."""
    for path in ("stage-0/checkpoint-99/optimizer.pt", "weights/epoch-0003.safetensors.tmp", "progress.json.tmp"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text('{"history": [')


class TestSavings:
    def test_kept_layer_outputs_leave_every_bit_and_resume_exactly(self, train, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        reuse = ReuseConfig(10**9)
        whole, cached = train(EVENTFUL), train(EVENTFUL, reuse=reuse)
        assert list((tmp_path / "cache").rglob("activations/*")), "the first stages were trained from what was kept"
        assert without_seconds(cached.history) == without_seconds(whole.history)
        assert last_weights(cached) == last_weights(whole)

        def stop(row):
            raise KilledError

        with pytest.raises(KilledError):
            train(EVENTFUL, "broken", stop, reuse=reuse)
        broken = train(EVENTFUL, "broken", reuse=reuse)
        assert without_seconds(broken.history) == without_seconds(cached.history)
        assert best_weights(broken) == best_weights(cached)


class TestCheckpoints:
    """What a killed trial trains again at most is what `checkpoint_seconds` promises, beside its running epoch."""

    EPOCH_SECONDS = 40.0
    LONG = Recipe((Stage("heads", HEADS, epochs=9, learning_rate=1e-3),), accumulation_steps=1)

    @pytest.fixture
    def clock(self, monkeypatch):
        """Stands still but for the epochs, each of which takes `EPOCH_SECONDS`."""
        clock = SimpleNamespace(now=0.0)
        evaluate_data_set = StageTrainer.evaluate_data_set

        def evaluated(trainer):
            clock.now += self.EPOCH_SECONDS
            return evaluate_data_set(trainer)

        monkeypatch.setattr("trainable.training.staged_trainer.time.monotonic", lambda: clock.now)
        monkeypatch.setattr(StageTrainer, "evaluate_data_set", evaluated)
        return clock

    @pytest.fixture
    def at_each_step(self, monkeypatch):
        """Calls back at the end of each step."""
        on_step_end = _EpochCallback.on_step_end

        def at_each_step(look):
            def looked_at(callback, args, state, control, **kwargs):
                on_step_end(callback, args, state, control, **kwargs)
                look(callback.trial, state.global_step)

            monkeypatch.setattr(_EpochCallback, "on_step_end", looked_at)

        return at_each_step

    @pytest.mark.parametrize("seconds", [0, 60, 100])
    def test_no_more_than_was_promised_is_trained_again(self, train, clock, at_each_step, monkeypatch, seconds):
        lost = []
        written = TrialFolder.checkpoint_written

        def written_at_once(trial, path, stage):
            written(trial, path, stage)
            wait([trial._pending])

        monkeypatch.setattr(TrialFolder, "checkpoint_written", written_at_once)

        def look(trial, step):
            checkpoint = read_progress(trial.path) and read_progress(trial.path).checkpoint
            saved = int(checkpoint.path.rpartition("-")[2]) if checkpoint else 0
            lost.append((step - 1) // 4 * self.EPOCH_SECONDS - saved // 4 * self.EPOCH_SECONDS)

        at_each_step(look)
        train(self.LONG, reuse=ReuseConfig(checkpoint_seconds=seconds))
        assert len(lost) == 36
        assert max(lost) <= seconds
        assert max(lost) >= seconds - self.EPOCH_SECONDS, "they are no more frequent than was asked for"

    def test_ones_that_take_longer_than_an_epoch_neither_starve_nor_pile_up(self, train, at_each_step, monkeypatch):
        most, named, ended = [], [], threading.Event()
        durable, turn = TrialFolder._durable, threading.Semaphore(0)

        def slowly(trial, path, stage):
            turn.acquire()
            return durable(trial, path, stage)

        def look(trial, step):
            most.append(len(list(trial.path.glob("stage-*/checkpoint-*"))))
            checkpoint = read_progress(trial.path) and read_progress(trial.path).checkpoint
            named.append(checkpoint and checkpoint.path)
            if step % 6 == 0 and trial.is_writing:  # one and a half epochs
                turn.release()
                wait([trial._pending])

        monkeypatch.setattr(TrialFolder, "_durable", slowly)
        at_each_step(look)
        threading.Thread(target=lambda: (ended.wait(), turn.release(9)), daemon=True).start()
        train(self.LONG, report=lambda row: ended.set() if row.final else None)
        assert max(most) == 2
        assert len(set(named) - {None}) >= 4

    def test_a_trial_that_waits_at_a_rung_goes_on_from_that_very_epoch(self, train, tmp_path, monkeypatch):
        epochs = []
        evaluate_data_set = StageTrainer.evaluate_data_set
        monkeypatch.setattr(
            StageTrainer, "evaluate_data_set", lambda trainer: epochs.append(1) or evaluate_data_set(trainer)
        )
        rungs = ReuseConfig(checkpoint_seconds=1e9, checkpoint_epochs=(3, 6))
        unbroken = train(self.LONG, "unbroken", reuse=rungs)
        epochs.clear()
        for rung in (3, 6):

            def stop(row, rung=rung):
                if row.epoch == rung:
                    raise SystemExit

            with pytest.raises(SystemExit):
                train(self.LONG, "waiting", stop, reuse=rungs)
        waiting = train(self.LONG, "waiting", reuse=rungs)
        assert len(epochs) == 9, "no epoch was trained twice"
        assert without_seconds(waiting.history) == without_seconds(unbroken.history)
        assert best_weights(waiting) == best_weights(unbroken)

    def test_what_a_trial_goes_on_from_can_be_dropped_and_it_trains_the_same_again(self, train, tmp_path, caplog):
        unbroken = train(self.LONG, "unbroken")

        def stop(row):
            if row.epoch == 3:
                raise SystemExit

        with pytest.raises(SystemExit):
            train(self.LONG, "waiting", stop)
        drop_progress(tmp_path / "waiting")
        left = {path.name for path in (tmp_path / "waiting").iterdir()}
        assert left == {"recipe.yaml", "validation_terms.npz"}
        assert best_weights(train(self.LONG, "waiting")) == best_weights(unbroken)
        assert not caplog.records, "nothing is damaged"

    def test_ray_stops_a_trial_in_its_report_and_the_checkpoint_of_that_epoch_is_there(self, train, tmp_path):
        def stop(row):
            if row.epoch == 3:
                raise SystemExit

        with pytest.raises(SystemExit):
            train(self.LONG, "stopped", stop)
        assert read_progress(tmp_path / "stopped").checkpoint.path == "stage-0/checkpoint-12"


class TestDamage:
    """What is wrong with a file on the disk is noticed, and what was trained before stands."""

    def break_off(self, train, after):
        def stop(row):
            if row.epoch == after:
                raise KilledError

        with pytest.raises(KilledError):
            train(EVENTFUL, "broken", stop)

    @pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
    def test_a_damaged_checkpoint_costs_its_stage_alone(self, train, tmp_path, caplog, name):
        unbroken = train(EVENTFUL)
        self.break_off(train, len(unbroken.history))
        (checkpoint,) = (tmp_path / "broken").glob("stage-2/checkpoint-*")
        (checkpoint / name).write_bytes(b"damaged")
        broken = train(EVENTFUL, "broken")
        assert f"{checkpoint.name} is damaged; its stage is trained again" in caplog.text
        assert without_seconds(broken.history) == without_seconds(unbroken.history)
        assert best_weights(broken) == best_weights(unbroken)

    @pytest.mark.parametrize("stage", [1, 2])
    def test_damaged_weights_of_the_stage_before_cost_the_stages_up_to_it_too(self, train, tmp_path, caplog, stage):
        unbroken = train(EVENTFUL)
        self.break_off(train, next(row.epoch for row in unbroken.history if row.stage == stage))
        start = best_row(unbroken.history, 1).epoch
        (tmp_path / "broken" / "weights" / f"epoch-{start:04d}.safetensors").write_bytes(b"")
        broken = train(EVENTFUL, "broken")
        assert "is damaged or gone; its stage is trained again" in caplog.text
        assert without_seconds(broken.history) == without_seconds(unbroken.history)
        assert last_weights(broken) == last_weights(unbroken)


class TestEveryFieldIsUsed:
    @pytest.fixture(scope="class")
    def base(self, pair_data, checkpoint, tmp_path_factory):
        return train_recipe(RECIPE, pair_data, checkpoint, tmp_path_factory.mktemp("base"), lambda row: None)

    @pytest.mark.parametrize(
        "change",
        [
            *({"batch_size": 4}, {"accumulation_steps": 2}, {"weight_decay": 0.01}, {"warmup_share": 0.3}, {"seed": 1}),
            *({"backbone_learning_rate_factor": 0.5}, {"max_grad_norm": 0.0}, {"max_grad_norm": 0.05}),
            *({"dtype": "bfloat16"}, {"dtype": "float16"}, {"image_size": 64}),
            {"augmentation": Augmentation(0.8, 0.5)},
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

    @pytest.mark.parametrize("micro_batch", [1, 3, 5, 8])
    def test_how_many_images_go_at_a_time_moves_figures_by_rounding_and_nothing_else(
        self, train, make_checkpoint, micro_batch
    ):
        """The last step of an epoch is cut off; evaluations within epochs stay where they were."""
        recipe = dataclasses.replace(RECIPE, batch_size=3, accumulation_steps=2, evaluations_per_epoch=2)
        without_dropout = make_checkpoint(("person", "car"), dropout=0.0)
        own, other = (
            train(dataclasses.replace(recipe, micro_batch=size), checkpoint=without_dropout)
            for size in (None, micro_batch)
        )
        assert last_weights(own) != last_weights(other) or micro_batch == 3
        for expected, found in zip(own.history, other.history, strict=True):
            (within,), (found_within,) = expected.within_epoch, found.within_epoch
            for theirs, ours in ((expected, found), (within, found_within)):
                assert ours.epoch == theirs.epoch
                for name in ("train_loss", "val_loss", "learning_rate"):
                    assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4), name

    @pytest.mark.parametrize("recipe", [with_stages(RECIPE, name="x"), dataclasses.replace(RECIPE, patience=9)])
    def test_names_and_an_untouched_patience_change_nothing(self, train, base, recipe):
        trial = train(recipe)
        assert without_seconds(trial.history) == without_seconds(base.history)
        assert last_weights(trial) == last_weights(base)

    def test_evaluating_more_often_changes_nothing_but_the_finer_rows(self, train, base):
        trial = train(dataclasses.replace(RECIPE, evaluations_per_epoch=3))
        assert [len(row.within_epoch) for row in trial.history] == [2, 2, 2]
        rows = [dataclasses.replace(row, within_epoch=()) for row in trial.history]
        assert without_seconds(rows) == without_seconds(base.history)
        assert last_weights(trial) == last_weights(base)
