"""Stages that trials share: who may take whose, and what becomes of damage, races, a full store and a bad disk."""

import dataclasses
import logging
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trainable.reuse.shared_stages
from tests.made_up import trained_row
from tests.s3 import BUSY
from trainable.history import Row
from trainable.recipe import DTYPES, PARTS, Recipe, Stage
from trainable.reuse.shared_stages import SharedStages, stage_key
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote

HEADS = Stage("heads", ("box_head", "class_head"), epochs=2, learning_rate=1e-3)
DECODER = Stage("decoder", PARTS[2:], epochs=3, learning_rate=1e-4)
EVERYTHING = Stage("everything", PARTS, epochs=4, learning_rate=1e-5)
RECIPE = Recipe((HEADS, DECODER, EVERYTHING))
WITHIN = Row(epoch=1.5, stage=0, val_loss=1 / 3, precision=0.5, recall=0.5, f1=0.5, seconds=2.25)
ROWS = [
    trained_row(1, 0.1 + 0.2, train_loss=None),
    trained_row(2, 1e-7, within_epoch=(WITHIN,)),
]
OTHER_VALUES = {
    "epochs": st.integers(1, 9),
    "learning_rate": st.floats(1e-9, 1.0),
    "restart_cycles": st.integers(1, 9),
    "trainable": st.sampled_from([PARTS[index:] for index in range(5)]),
    "batch_size": st.integers(1, 9),
    "accumulation_steps": st.integers(1, 32),
    "weight_decay": st.floats(0, 1),
    "backbone_learning_rate_factor": st.floats(0.01, 2.0),
    "warmup_share": st.floats(0, 0.9),
    "max_grad_norm": st.floats(0, 1),
    "evaluations_per_epoch": st.integers(1, 9),
    "patience": st.none() | st.integers(1, 9),
    "dtype": st.sampled_from(DTYPES),
    "seed": st.integers(0, 2**32 - 1),
    "micro_batch": st.none() | st.integers(1, 32),
    "image_size": st.none() | st.integers(32, 4096),
}
RECIPE_FIELDS = [field.name for field in dataclasses.fields(Recipe) if field.name != "stages"]
STAGE_FIELDS = [field.name for field in dataclasses.fields(Stage) if field.name != "name"]


def with_stage(recipe: Recipe, index: int, **changes) -> Recipe:
    """The recipe with fields of one stage changed."""
    stages = list(recipe.stages)
    stages[index] = dataclasses.replace(stages[index], **changes)
    return dataclasses.replace(recipe, stages=tuple(stages))


@pytest.fixture
def store(tmp_path: Path) -> SharedStages:
    return SharedStages(tmp_path / "shared", "data and model", max_bytes=10**6)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    path.write_bytes(b"weights" * 100)
    return path


def entries(store: SharedStages) -> list[Path]:
    return list(store.folder.iterdir())


def age(path: Path, seconds: float) -> None:
    """Lets a file or folder look as if it had last been touched so long ago."""
    os.utime(path, times=(time.time() - seconds,) * 2)


def test_what_one_trial_added_another_finds_unchanged(store: SharedStages, weights: Path):
    store.add(RECIPE, 0, ROWS, weights, "0003")
    found = store.find(with_stage(RECIPE, 2, epochs=9), 0)
    assert found is not None
    assert (found.trial, found.rows) == ("0003", ROWS)
    assert found.weights.read_bytes() == weights.read_bytes()
    assert found.weights.suffix == ".safetensors"


def test_nothing_is_found_where_nothing_was_added(store: SharedStages, caplog):
    assert store.find(RECIPE, 0) is None
    assert not caplog.records


def test_every_stage_is_kept_by_itself(store: SharedStages, weights: Path):
    store.add(RECIPE, 0, ROWS, weights, "0003")
    store.add(RECIPE, 1, ROWS[:1], weights, "0005")
    assert [found and found.trial for found in (store.find(RECIPE, stage) for stage in range(3))] == [
        "0003",
        "0005",
        None,
    ]


@pytest.mark.parametrize(
    "other",
    [dataclasses.replace(RECIPE, seed=1), with_stage(RECIPE, 0, learning_rate=1.1e-3)],
    ids=["seed", "earlier stage"],
)
def test_a_stage_of_another_beginning_is_not_found(store: SharedStages, weights: Path, other: Recipe):
    store.add(RECIPE, 1, ROWS, weights, "0003")
    assert store.find(RECIPE, 1)
    assert store.find(other, 1) is None


def test_a_stage_of_other_data_is_not_found(store: SharedStages, weights: Path):
    store.add(RECIPE, 0, ROWS, weights, "0003")
    assert dataclasses.replace(store, context="other data").find(RECIPE, 0) is None


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_a_stage_of_another_library_version_is_not_found(store: SharedStages, weights: Path, monkeypatch, library: str):
    store.add(RECIPE, 0, ROWS, weights, "0003")
    monkeypatch.setattr(getattr(trainable.reuse.shared_stages, library), "__version__", "0.1")
    assert store.find(RECIPE, 0) is None


def test_the_store_travels_to_another_process(store: SharedStages):
    assert pickle.loads(pickle.dumps(store)) == store


class TestKey:
    @given(st.data(), st.integers(0, 2))
    def test_changing_a_field_that_training_depends_on_changes_it(self, data: st.DataObject, stage: int):
        name = data.draw(st.sampled_from(RECIPE_FIELDS))
        value = data.draw(OTHER_VALUES[name].filter(lambda value: value != getattr(RECIPE, name)))
        changed = dataclasses.replace(RECIPE, **{name: value})
        unused = name == "backbone_learning_rate_factor" and stage < 2
        assert (stage_key("", changed, stage) == stage_key("", RECIPE, stage)) == unused

    @given(st.data(), st.integers(0, 2), st.integers(0, 2))
    def test_changing_a_stage_changes_it_from_there_on(self, data: st.DataObject, changed_stage: int, stage: int):
        name = data.draw(st.sampled_from(STAGE_FIELDS))
        kept = getattr(RECIPE.stages[changed_stage], name)
        value = data.draw(OTHER_VALUES[name].filter(lambda value: value != kept))
        changed = with_stage(RECIPE, changed_stage, **{name: value})
        assert (stage_key("", changed, stage) == stage_key("", RECIPE, stage)) == (changed_stage > stage)

    def test_names_and_the_order_of_parts_make_no_difference(self):
        renamed = with_stage(RECIPE, 0, name="first", trainable=("class_head", "box_head"))
        assert stage_key("", renamed, 2) == stage_key("", RECIPE, 2)

    def test_it_is_the_same_for_a_recipe_with_fewer_stages(self):
        shorter = dataclasses.replace(RECIPE, stages=RECIPE.stages[:2])
        assert stage_key("", shorter, 1) == stage_key("", RECIPE, 1)
        assert stage_key("", shorter, 1) != stage_key("", RECIPE, 2)


class TestDamage:
    @pytest.mark.parametrize("name", ["weights.safetensors", "stage.json"])
    @pytest.mark.parametrize("damage", ["changed", "cut short", "emptied", "lost"])
    def test_a_damaged_stage_is_removed_and_can_be_added_again(
        self, store: SharedStages, weights: Path, caplog, name: str, damage: str
    ):
        store.add(RECIPE, 0, ROWS, weights, "0003")
        (path,) = store.folder.glob(f"*/{name}")
        whole = path.read_bytes()
        path.unlink()
        broken = {"changed": whole.replace(b"e", b"f", 1), "cut short": whole[:-1], "emptied": b""}
        if damage in broken:
            path.write_bytes(broken[damage])
        assert store.find(RECIPE, 0) is None
        assert "is damaged and is removed" in caplog.text and len(caplog.records) == 1
        assert entries(store) == []
        store.add(RECIPE, 0, ROWS, weights, "0004")
        assert store.find(RECIPE, 0).trial == "0004"

    def test_rows_that_were_changed_are_damage_too(self, store: SharedStages, weights: Path):
        store.add(RECIPE, 0, ROWS, weights, "0003")
        (path,) = store.folder.glob("*/stage.json")
        path.write_text(path.read_text().replace("1e-07", "1e-08"))
        assert store.find(RECIPE, 0) is None

    def test_a_folder_that_cannot_be_written_costs_a_line_and_no_trial(self, tmp_path: Path, weights: Path, caplog):
        (tmp_path / "file").write_text("in the way")
        store = SharedStages(tmp_path / "file" / "shared", "", max_bytes=10**6)
        store.add(RECIPE, 0, ROWS, weights, "0003")
        assert store.find(RECIPE, 0) is None
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "stage of trial 0003 is not shared" in caplog.text

    def test_weights_that_are_gone_cost_a_line_and_no_trial(self, store: SharedStages, tmp_path: Path, caplog):
        store.add(RECIPE, 0, ROWS, tmp_path / "gone", "0003")
        assert len(caplog.records) == 1
        assert store.find(RECIPE, 0) is None

    def test_a_disk_that_cannot_be_read_costs_a_line_and_no_trial(self, store, weights: Path, caplog, monkeypatch):
        store.add(RECIPE, 0, ROWS, weights, "0003")
        monkeypatch.setattr(Path, "read_bytes", _fails)
        assert store.find(RECIPE, 0) is None
        assert "cannot be read and is trained again: broken disk" in caplog.text
        assert len(entries(store)) == 1, "it may be readable later"


def _fails(*args, **kwargs):
    raise OSError("broken disk")


class TestLinks:
    def test_weights_take_no_room_of_their_own(self, store: SharedStages, weights: Path, tmp_path: Path):
        store.add(RECIPE, 0, ROWS, weights, "0003")
        found = store.find(RECIPE, 0)
        (tmp_path / "mine.safetensors").hardlink_to(found.weights)
        assert weights.stat().st_nlink == 3

    def test_they_are_copied_where_links_are_not_to_be_had(self, store: SharedStages, weights: Path, monkeypatch):
        monkeypatch.setattr(os, "link", _fails)
        store.add(RECIPE, 0, ROWS, weights, "0003")
        assert store.find(RECIPE, 0).weights.read_bytes() == weights.read_bytes()
        assert weights.stat().st_nlink == 1

    def test_they_outlive_the_trial_that_made_them(self, store: SharedStages, weights: Path):
        store.add(RECIPE, 0, ROWS, weights, "0003")
        weights.unlink()
        assert store.find(RECIPE, 0)


def _add_at_once(store: SharedStages, barrier, trial: str, weights: Path) -> None:
    # Both are past the look whether the entry is there before either puts it in place.
    rename = Path.rename

    def wait_and_rename(self, target):
        barrier.wait(timeout=30)
        return rename(self, target)

    Path.rename = wait_and_rename  # type: ignore[method-assign]
    store.add(RECIPE, 0, ROWS, weights, trial)


def test_two_processes_that_add_one_stage_at_once_leave_one_whole_entry(store: SharedStages, weights: Path, caplog):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=_add_at_once, args=(store, barrier, trial, weights)) for trial in ("0001", "0002")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(entries(store)) == 1
    assert store.find(RECIPE, 0).trial in ("0001", "0002")


class TestRoom:
    @pytest.fixture
    def small(self, store: SharedStages, weights: Path) -> SharedStages:
        """Has room for two stages."""
        return dataclasses.replace(store, max_bytes=2 * weights.stat().st_size)

    def add(self, store: SharedStages, weights: Path, seed: int) -> None:
        recipe = dataclasses.replace(RECIPE, seed=seed)
        store.add(recipe, 0, ROWS, weights, f"{seed:04}")
        # The clock of a file system may tick more slowly than this test adds.
        if (entry := store.folder / stage_key(store.context, recipe, 0)).exists():
            age(entry / "stage.json", 3600 - 60 * seed)

    def kept(self, store: SharedStages) -> list[str]:
        return [f"{seed:04}" for seed in range(5) if store.find(dataclasses.replace(RECIPE, seed=seed), 0)]

    def test_the_oldest_stage_makes_room(self, small: SharedStages, weights: Path):
        for seed in range(4):
            self.add(small, weights, seed)
        assert self.kept(small) == ["0002", "0003"]

    def test_a_stage_that_was_used_outlives_a_newer_one_that_was_not(self, small: SharedStages, weights: Path):
        self.add(small, weights, 0)
        self.add(small, weights, 1)
        assert small.find(dataclasses.replace(RECIPE, seed=0), 0)
        self.add(small, weights, 2)
        assert self.kept(small) == ["0000", "0002"]

    def test_a_stage_larger_than_the_store_drops_no_others(self, small: SharedStages, weights: Path, tmp_path: Path):
        self.add(small, weights, 0)
        (tmp_path / "large").write_bytes(b"1" * (small.max_bytes + 1))
        self.add(small, tmp_path / "large", 1)
        assert self.kept(small) == ["0000"]

    def test_what_a_killed_process_left_is_no_stage_and_goes_once_old(self, store: SharedStages, weights: Path):
        old, young = store.folder / "old.unfinished", store.folder / "young.unfinished"
        for scratch in (old, young):
            scratch.mkdir(parents=True)
            (scratch / "weights.safetensors").write_bytes(b"half")
        age(old, 7200)
        self.add(store, weights, 0)
        assert not old.exists()
        assert young.exists(), "its process may be writing"
        assert self.kept(store) == ["0000"]


class TestInARemoteStorage:
    @pytest.fixture
    def machines(self, store: SharedStages, tmp_path: Path) -> list[SharedStages]:
        """The store of one run on two machines."""
        remote = Remote((tmp_path / "storage").as_uri())
        return [store.in_run(Mirror(remote, tmp_path / name)) for name in ("first", "second")]

    def stored(self, tmp_path: Path) -> list[Path]:
        return list((tmp_path / "storage" / "shared").glob("*/*"))

    def test_what_a_trial_added_on_one_machine_another_finds_on_a_second(self, machines, weights: Path):
        machines[0].add(RECIPE, 0, ROWS, weights, "0003")
        found = machines[1].find(RECIPE, 0)
        assert (found.trial, found.rows, found.weights.read_bytes()) == ("0003", ROWS, weights.read_bytes())
        assert machines[1].find(RECIPE, 1) is None

    def test_a_stage_that_is_still_on_its_way_is_neither_found_nor_damaged(
        self, machines, weights: Path, monkeypatch, caplog, tmp_path: Path
    ):
        push = Mirror.push

        def look_first(mirror: Mirror, path: Path) -> None:
            assert machines[1].find(RECIPE, 0) is None
            push(mirror, path)

        monkeypatch.setattr(Mirror, "push", look_first)
        machines[0].add(RECIPE, 0, ROWS, weights, "0003")
        assert len(self.stored(tmp_path)) == 2 and not caplog.records
        assert machines[1].find(RECIPE, 0)

    @pytest.mark.parametrize("name", ["weights.safetensors", "stage.json"])
    def test_what_is_damaged_there_is_removed_there(self, machines, weights: Path, tmp_path: Path, caplog, name: str):
        machines[0].add(RECIPE, 0, ROWS, weights, "0003")
        (path,) = (tmp_path / "storage").glob(f"shared/*/{name}")
        path.write_bytes(path.read_bytes()[:-1])
        assert machines[1].find(RECIPE, 0) is None
        assert "is damaged and is removed" in caplog.text
        assert not self.stored(tmp_path) and not entries(machines[1])

    def test_all_machines_together_keep_no_more_than_one_may(self, machines, weights: Path, tmp_path: Path):
        first, second = (dataclasses.replace(store, max_bytes=2 * weights.stat().st_size) for store in machines)
        for stage, store in enumerate((first, second, second)):
            store.add(RECIPE, stage, ROWS, weights, "0003")
            for path in self.stored(tmp_path):
                age(path, time.time() - path.stat().st_mtime + 60)
        assert len(self.stored(tmp_path)) == 2 * 2
        assert machines[1].find(RECIPE, 0) is None, "the first machine may have vanished with it"
        assert machines[0].find(RECIPE, 1) and machines[0].find(RECIPE, 2)

    def test_a_storage_that_cannot_be_reached_costs_a_line_and_no_trial(
        self, store: SharedStages, weights: Path, s3, tmp_path: Path, caplog
    ):
        shared = store.in_run(Mirror(Remote(s3.uri("bucket/shared stages")), tmp_path / "run"))
        s3.failure = BUSY
        started = time.monotonic()
        assert shared.find(RECIPE, 0) is None
        shared.add(RECIPE, 0, ROWS, weights, "0003")
        assert time.monotonic() - started < 10, "nobody waits for a stage"
        assert (
            "cannot be read and is trained again" in caplog.text and "stage of trial 0003 is not shared" in caplog.text
        )
