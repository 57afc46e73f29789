"""One GPU for two: two plain processes, without Ray; and searches, with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.conftest import ON_CPU
from trainable.recipe import PARTS, Recipe, Stage

ROOT = Path(__file__).parents[2]
STAGES = (Stage("heads", PARTS[3:], 2, 1e-3), Stage("all", PARTS, 4, 5e-4))
RECIPE = Recipe(STAGES, batch_size=2, accumulation_steps=1, dtype="float32")


@pytest.fixture
def training(data_folder, checkpoint, tmp_path):
    """Starts `trainable/train.py` in a process of its own."""
    (tmp_path / "recipe.yaml").write_text(RECIPE.to_yaml())

    def training(name):
        command = ["trainable/train.py", "--recipe", tmp_path / "recipe.yaml", "--data", data_folder]
        command += ["--model", checkpoint, "--out", tmp_path / name, "--cpus", 2]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return training


def losses_in(folder):
    return [row["val_loss"] for row in json.loads((folder / "progress.json").read_text())["history"]]


def test_two_processes_at_once_train_what_one_alone_trains(training, tmp_path):
    outputs = {}
    for names in (("alone",), ("one", "other")):
        processes = {name: training(name) for name in names}
        outputs |= {name: process.communicate(timeout=240)[0] for name, process in processes.items()}
        for name, process in processes.items():
            assert process.returncode == 0, outputs[name]
    expected = losses_in(tmp_path / "alone")
    assert len(expected) == 6
    for name in ("one", "other"):
        assert losses_in(tmp_path / name) == pytest.approx(expected, rel=1e-2)


class TestSearch:
    @pytest.fixture
    def search(self, request, data_folder, checkpoint, storage):
        """The run folder of a search that has ended well."""
        pytest.importorskip("ray")
        start = request.getfixturevalue("start")

        def search(name, trials, gpus, *flags):
            command = ("--data", data_folder, "--model", checkpoint, "--storage", storage, "--name", name)
            command += ("--trials", trials, "--max-epochs", 4, "--seed", 3)
            command += () if ON_CPU else ("--gpus-per-trial", gpus)
            code, output = start(*command, *flags).wait()
            assert code == 0, output
            return storage / name

        return search

    def test_four_trials_run_on_the_gpu_and_the_best_model_is_worth_what_its_trial_was(self, search):
        from results.model.trial_model import TOLERANCE
        from tests.whole_search import table_of

        run = search("gpu", 4, 1)
        table = table_of(run)
        assert len(table) == 4 and set(table["status"]) <= {"COMPLETED", "PRUNED"}
        resources = json.loads((run / "environment.json").read_text())["resources"]
        assert resources["gpus"] == (0 if ON_CPU else 1)
        metrics = json.loads((run / "best" / "metrics.json").read_text())
        best = table.loc[table["val_loss"].idxmin()]
        assert metrics["val_loss"] == pytest.approx(best["val_loss"], rel=TOLERANCE[best["dtype"]])

    def test_two_trials_share_it_by_halves_at_the_same_time(self, search):
        from tests.whole_search import table_of

        table = table_of(search("halves", 2, 0.5, "--max-concurrent", 2))
        assert set(table["status"]) <= {"COMPLETED", "PRUNED"}
        assert table["pid"].nunique() == 2
        assert table["started"].max() < table["ended"].min(), "one waited for the other"
