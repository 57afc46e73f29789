"""The end of a search loses nothing, whatever goes wrong in it, and the best recipe says how to train it again."""

import contextlib
import gc
import shlex
import threading
import weakref
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from search import finish
from search.cluster.cluster import Resources
from search.inputs import Inputs
from search.options import Options
from trainable import train
from trainable.data.difference import ImageError
from trainable.recipe import REFERENCE


def test_an_image_that_went_away_costs_the_evaluation_and_no_trial(search, monkeypatch, tmp_path, pair_data):
    ended = search().run(2)

    def gone(*arguments):
        raise ImageError("before/v0.png: there is no such file")

    monkeypatch.setattr(finish, "_evaluate_best", gone)
    asked = {"trials": 2, "max_epochs": 8, "grace": 2, "storage": str(tmp_path.parent), "name": tmp_path.name}
    options = Options(space="learning_rate", data=None, model="embedded", **asked)
    inputs = Inputs(pair_data, None, ended.study.space, ["embedded"])
    console = Console(record=True, width=200)
    assert finish.write_results(options, ended.study, 0, inputs, Resources(1, 0.0, 1), console) == 1
    said = console.export_text()
    assert "before/v0.png: there is no such file" in said
    assert f"--resume {tmp_path}" in said
    assert (tmp_path / "results.csv").exists() and (tmp_path / "report.html").exists()


@pytest.fixture
def train_command(search, monkeypatch, tmp_path, pair_data):
    """The words of the command that a search of some options writes into its best recipe, after `train.py`."""
    ended = search().run(2)

    def of(cpus: int, **asked) -> list[str]:
        written = []

        def write_best(run, record, pairs, checkpoint, evaluate, command, *more):
            written.append(command)
            raise ImageError("enough")

        monkeypatch.setattr(finish, "write_best", write_best)
        asked = {"storage": str(tmp_path.parent), "name": tmp_path.name} | asked
        options = Options("learning_rate", None, "embedded", 2, 8, 2, **asked)
        inputs = Inputs(pair_data, None, ended.study.space, ["embedded"])
        options.run.mkdir(parents=True, exist_ok=True)
        finish.write_results(options, ended.study, 0, inputs, Resources(cpus, 0.0, 1), Console(quiet=True))
        return shlex.split(written[0])[2:]

    return of


def test_the_best_recipe_is_trained_again_with_the_threads_that_its_trial_had(
    train_command, monkeypatch, tmp_path, data_folder
):
    words = train_command(cpus=3)
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "recipe.yaml").write_text(REFERENCE.to_yaml())
    trained = []
    monkeypatch.setattr(train, "_train", lambda *arguments: trained.append(arguments))
    result = CliRunner().invoke(train.app, [*words, "--data", str(data_folder)])
    assert result.exit_code == 0, result.output
    ((recipe, _, _, _, cpus, *_),) = trained
    assert (recipe, cpus) == (REFERENCE, 3)


def test_a_run_in_a_storage_names_the_recipe_of_a_copy_of_the_run_folder(train_command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = train_command(cpus=1, storage=f"file://{tmp_path}/storage", name="one")
    assert words[words.index("--recipe") + 1] == str(Path("one", "best", "recipe.yaml"))


def test_the_stages_that_an_earlier_version_kept_in_a_storage_go(train_command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept, other = (tmp_path / "storage" / "one" / name for name in ("shared/0f3a/weights.safetensors", "search.yaml"))
    for file in (kept, other):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"written before")
    train_command(cpus=1, storage=f"file://{tmp_path}/storage", name="one")
    assert other.exists() and not kept.parents[1].exists()


def test_ray_on_this_machine_ends_while_the_best_model_is_evaluated(in_this_process, tmp_path, monkeypatch):
    ended = threading.Event()
    seen = []

    @contextlib.contextmanager
    def ray():
        yield Resources(1, 0.0, 1, 1)
        ended.set()

    def evaluate(*arguments):
        seen.append(ended.wait(10))
        return 0

    monkeypatch.setattr(finish, "write_results", evaluate)
    flags = ("--storage", tmp_path, "--name", "run", "--trials", 1, "--max-epochs", 3)
    assert in_this_process(*flags, ray=ray()).exit_code == 0
    assert seen == [True]


def test_what_tune_has_left_is_freed_before_ray_ends_beside_it(in_this_process, fake_ray, tmp_path, monkeypatch):
    """Freed while another thread ends Ray, an object of Ray's ends the process (Ray 2.60)."""
    left, alive = [], []
    fit = fake_ray.fit

    class Controller:
        def __init__(self):
            self.itself = self

    def leaves_a_cycle(tuner):
        given = fit(tuner)
        left.append(weakref.ref(Controller()))
        return given

    @contextlib.contextmanager
    def ray():
        gc.disable()  # It comes by when it likes.
        yield Resources(1, 0.0, 1, 1)
        alive.extend(each() for each in left)

    monkeypatch.setattr(fake_ray, "fit", leaves_a_cycle)
    flags = ("--storage", tmp_path, "--name", "run", "--trials", 1, "--max-epochs", 3)
    try:
        in_this_process(*flags, ray=ray())
    finally:
        gc.enable()
    assert alive and set(alive) == {None}
