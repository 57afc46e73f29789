"""What a user got wrong is said before anything starts: exit code 2, with the flag or file, the rule and the value."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import search.cluster.capacity
import search.cluster.cluster
import search.cluster.preflight
from results.journal.journal import Journal
from search.command_line import app
from spaces.registry import spaces
from tests.tiny_detectors import save_tiny_detector
from trainable.detector.loading import load_model, load_processor
from trainable.sample import CHECKPOINT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, data_folder: Path, checkpoint: Path, run: Path):
    """Runs the command line with good flags and those given, without Ray, up to where trials would start."""

    def stop(*arguments: Any) -> None:
        raise search.cluster.cluster.ClusterError("all checks are passed")

    def searched(*arguments: Any, data: Path = data_folder, model: Any = checkpoint) -> Result:
        good = ("--data", data, "--model", model, "--storage", run.parent, "--name", run.name)
        return call(*good, *arguments)

    monkeypatch.setattr(
        search.cluster.cluster, "connect", lambda options, say: search.cluster.cluster.Resources(1, 0, 1)
    )
    monkeypatch.setattr(search.cluster.preflight, "preflight", stop)
    monkeypatch.setenv("COLUMNS", "200")
    return searched


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def assert_refused(result: Result, *messages: str) -> None:
    assert result.exit_code == 2, result.output
    for message in messages:
        assert message in result.output
    assert "Traceback" not in result.output and "all checks are passed" not in result.output


def test_good_input_passes_all_checks(searched, run):
    result = searched()
    assert "all checks are passed" in result.output
    assert (run / "search.yaml").exists()


def test_trials_that_cannot_fit_into_memory_are_refused_with_the_size_that_would(searched, run, monkeypatch):
    monkeypatch.setattr(search.cluster.capacity, "memory_share", lambda gpus, trials: 10**9 // trials)
    result = searched("--image-size", 800)
    assert_refused(result, "this machine has 0.9 GiB of memory for a trial, but at 1066x1066 one takes about")
    (edge,) = re.findall(r"what fits: --image-size (\d+) or less", result.output)
    assert not run.exists()
    assert "all checks are passed" in searched("--image-size", edge).output
    assert yaml.safe_load((run / "search.yaml").read_text())["image_size"] == int(edge)
    assert f"--image-size {edge}" in yaml.safe_load((run / "search.yaml").read_text())["command"]


def test_a_cluster_that_cannot_be_reached_is_said_before_a_run_folder_is_made(searched, run, monkeypatch):
    def no_ray(*arguments: Any) -> None:
        raise search.cluster.cluster.ClusterError("Ray at auto cannot be used")

    monkeypatch.setattr(search.cluster.cluster, "connect", no_ray)
    assert_refused(searched("--address", "auto"), "Ray at auto cannot be used")
    assert not run.exists()


def test_on_a_cluster_labels_of_another_format_are_made_into_pairs_in_the_storage(searched, run, data_folder, tmp_path):
    images = Path(shutil.copytree(data_folder / "before", tmp_path / "images"))
    rows = ["image,class,left,top,width,height"]
    for image in sorted(images.iterdir()):
        name = f"{image.stem}_before{image.suffix}"
        shutil.copy(data_folder / "after" / image.name, images / f"{image.stem}_after{image.suffix}")
        image.rename(images / name)
        rows += [f"{name},person,5,5,15,15", f"{image.stem}_after{image.suffix},person,20,20,15,15"]
    (images / "boxes.csv").write_text("\n".join(rows))
    result = searched("--address", "auto", "--micro-batch", "recipe", data=images / "boxes.csv")
    assert "all checks are passed" in result.output
    assert list((run.parent / "converted").glob("*/before/*.png"))


def test_a_cluster_that_is_gone_when_a_run_is_resumed_pauses_it(searched, run, monkeypatch):
    def no_ray(*arguments: Any) -> None:
        raise search.cluster.cluster.ClusterError("Ray at auto cannot be used")

    searched()
    monkeypatch.setattr(search.cluster.cluster, "connect", no_ray)
    result = call("--resume", run, "--address", "auto")
    assert result.exit_code == 4, result.output
    assert f"Ray at auto cannot be used; go on with:\npython search/run.py --resume {run}\n" in result.output


def test_a_cache_folder_that_cannot_be_written_is_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    result = call("--storage", tmp_path)
    assert_refused(result, f"{tmp_path / 'a file'}/moved-object-search: the sample data set cannot be written here")


def test_a_user_without_a_home_is_told_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/moved-object-search"))
    result = call("--storage", tmp_path)
    assert_refused(result, "this user has no home; set HOME or XDG_CACHE_HOME to a folder")


def test_a_name_on_the_hub_is_kept_with_the_commit_that_it_stands_for(searched, run, checkpoint, tmp_path, monkeypatch):
    commit, home = "c" * 40, tmp_path / "models--somebody--detr"
    shutil.copytree(checkpoint, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "all checks are passed" in searched(model="somebody/detr").output
    kept = yaml.safe_load((run / "search.yaml").read_text())
    assert kept["model"] == kept["identity"]["model"] == f"somebody/detr@{commit}"
    assert f"--model somebody/detr@{commit}" in kept["command"]
    # The hub moves on, the run does not.
    shutil.copytree(checkpoint, home / "snapshots" / ("d" * 40))
    (home / "refs" / "main").write_text("d" * 40)
    assert "all checks are passed" in call("--resume", run).output
    assert yaml.safe_load((run / "search.yaml").read_text())["model"] == f"somebody/detr@{commit}"


def test_faulty_data_are_refused_with_every_fault_and_a_report(searched, run, data_folder, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    (data / "labels" / "t0.txt").write_text("0 0.5 0.5 0.1\n0 nan 0.5 0.1 0.1")
    (data / "after" / "v1.png").unlink()
    assert_refused(searched(data=data), "t0.txt:1", "t0.txt:2", "v1", f"all of them: {run / 'data_report.csv'}")
    report = (run / "data_report.csv").read_text()
    assert report.count("t0.txt") == 2 and "missing after" in report
    assert [path.name for path in run.iterdir()] == ["data_report.csv"]
    assert "all checks are passed" in searched().output, "the name is still free"


def test_faulty_pairs_are_left_out_where_asked_and_reported_all_the_same(searched, run, data_folder, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    (data / "after" / "v1.png").unlink()
    assert "all checks are passed" in searched("--skip-bad", data=data).output
    assert "missing after" in (run / "data_report.csv").read_text()


def test_an_image_that_the_model_cannot_be_given_is_refused_like_any_fault(searched, run, data_folder, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    for side in ("before", "after"):
        Image.effect_noise((4, 4000), 90).convert("RGB").save(data / side / "t2.png")
    assert_refused(searched(data=data), "image too thin for the model (met: 4x4000 pixels become 0x64 at the model's")
    assert "t2.png" in (run / "data_report.csv").read_text()
    assert "all checks are passed" in searched("--skip-bad", data=data).output
    assert "too thin" in (run / "data_report.csv").read_text()


def test_what_would_surprise_in_data_and_test_set_is_said_and_kept(
    searched, run, data_folder, other_data_folder, tmp_path
):
    data, test = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in (data_folder, other_data_folder))
    shutil.copy(data / "after" / "t0.png", data / "before" / "t0.png")
    (data / "labels" / "t3.txt").write_text("".join(f"0 0.5 0.5 0.4 0.{size}\n" for size in range(41, 48)))
    for label in (test / "labels").iterdir():
        label.write_text("")
    result = searched("--test", test, data=data)
    assert "all checks are passed" in result.output
    expected = [
        ("--data", "1 of 10 labelled pairs are (almost) black where before is subtracted from after", ["t0"]),
        ("--data", "1 of 12 pairs have more boxes than the model has queries, 6", ["t3"]),
        ("--test", "none of the 12 pairs has a box", []),
    ]
    kept = json.loads((run / "notices.json").read_text())
    assert len(kept) == len(expected)
    for notice, (about, found, names) in zip(kept, expected, strict=True):
        assert (notice["about"], notice["names"]) == (about, names) and notice["found"].startswith(found)
        assert f"{about}: {found}" in result.output


@pytest.mark.parametrize("name", ["[red]x", "[/red]x"])
def test_paths_with_square_brackets_are_printed_as_they_are(searched, data_folder, tmp_path, name):
    data = Path(shutil.copytree(data_folder, tmp_path / name / "data"))
    (data / "after" / "v1.png").unlink()
    result = searched("--skip-bad", "--storage", tmp_path / name, "--name", "[bold]one", data=data)
    assert f"left out, see {tmp_path}/{name}/[bold]one/data_report.csv" in result.output
    assert "all checks are passed" in result.output
    absent = tmp_path / name / "nothing"
    assert_refused(searched("--space", f"{absent}.py:mine"), f"{absent}.py")
    assert_refused(call("--resume", absent), f"--resume {absent}: ")


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("--space", "stagd"), ("no space is called 'stagd' (did you mean staged?); there are flat,",)),
        (("--space", "missing.py:mine"), ("missing.py: there is no such file",)),
        (("--trials", 0, "--sampler", "grid"), ("--trials: at least 1, got 0", "--sampler: one of tpe, random, got")),
        (("--address", "ray://head:10001"), ("--address: ray://", "--address auto", "ray job submit")),
        (("--trails", 4), ("No such option: --trails", "--trials")),
        (("--trials", "many"), ("'--trials'", "valid integer")),
        (("--time-budget", "soon"), ("--time-budget: a duration such as 90s, 30m or 1.5h, got 'soon'",)),
        (("--data", "no/such/folder"), ("no/such/folder",)),
        (("--group-by", "("), ("--group-by",)),
        (("--image-size", 31), ("--image-size: a whole number of pixels from 32, the stride of a backbone", "got 31")),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) and str(value[0]).startswith("--") else "",
)
def test_a_wrong_flag_is_refused_with_what_is_allowed(searched, run, arguments, messages):
    assert_refused(searched(*arguments), *messages)
    assert not (run / "search.yaml").exists()


def test_a_space_that_goes_over_the_budget_is_refused(searched, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from trainable.recipe import Recipe, Stage\n"
        "def long(trial, max_epochs):\n"
        "    return Recipe((Stage('all', ('decoder',), max_epochs + 1, 1e-4),))\n"
    )
    result = searched("--space", f"{tmp_path / 'mine.py'}:long", "--max-epochs", 6)
    assert_refused(result, "mine.py:long: a recipe has at most max_epochs = 6 epochs, got 7")


def test_a_taken_name_is_refused(searched, run):
    searched()
    before = (run / "search.yaml").read_bytes()
    assert_refused(searched("--trials", 3), f"--name one: {run} is taken", f"--resume {run}")
    assert (run / "search.yaml").read_bytes() == before


def test_a_model_that_is_nowhere_is_refused(searched):
    assert_refused(searched(model="no/such/model"), "model no/such/model: neither a folder with a config.json nor")


def test_a_model_of_another_kind_is_refused(searched, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "yolos"}')
    (tmp_path / "other" / "preprocessor_config.json").write_text('{"image_processor_type": "DetrImageProcessor"}')
    assert_refused(
        searched(model=tmp_path / "other"), "only models of type conditional_detr, ", "'yolos'; it has no decoder"
    )


STACKED = """
from trainable.recipe import PARTS, Input, Recipe, Stage

def mine(trial, max_epochs):
    rate = trial.suggest_float("rate", 1e-5, 1e-3)
    return Recipe((Stage("all", PARTS, max_epochs, rate),), input=Input(signal="stacked"))
"""


def test_what_a_family_of_models_does_not_take_is_refused_before_anything_starts(searched, tmp_path):
    square = save_tiny_detector("rt_detr", tmp_path / "square")
    assert_refused(searched("--image-size", 100, model=square), "height and width divisible by 32", "'height': 100")
    (tmp_path / "mine.py").write_text(STACKED)
    said = ("mine.py:mine: its recipes give a model stacked of a pair", "type 'rt_detr' takes difference alone")
    assert_refused(searched("--space", f"{tmp_path / 'mine.py'}:mine", model=square), *said)
    several = ("--model", square, "--metric", "map")
    assert_refused(searched("--space", f"{tmp_path / 'mine.py'}:mine", *several), *said)


def test_the_space_for_scenes_draws_of_a_model_only_what_it_takes(searched, tmp_path):
    square = save_tiny_detector("rt_detr", tmp_path / "square")
    assert "all checks are passed" in searched("--space", "scenes", model=square).output
    several = ("--name", "two", "--model", square, "--metric", "map")
    assert "all checks are passed" in searched("--space", "scenes", *several).output


def test_several_models_are_kept_in_their_order_and_compared_by_what_they_find(searched, run, checkpoint, tmp_path):
    square = save_tiny_detector("rt_detr", tmp_path / "square")
    assert_refused(searched("--model", square), "--metric: map or f1 for several models", "got val_loss")
    assert_refused(
        searched("--model", checkpoint, "--metric", "map"),
        "--model: the name of a model, or a list of",
    )
    assert "all checks are passed" in searched("--model", square, "--metric", "f1").output
    kept = yaml.safe_load((run / "search.yaml").read_text())
    assert kept["model"] == [str(checkpoint), str(square)]
    assert kept["command"].count("--model ") == 2
    assert len(kept["identity"]["model"].split()) == 2


def test_without_a_labelled_object_to_measure_by_only_the_loss_compares(searched, data_folder, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    for labels in (data / "labels").glob("**/v*.txt"):
        labels.write_text("")
    assert_refused(searched("--metric", "f1", data=data), "--metric f1: no validation pair has a labelled object")


def test_a_runs_folder_for_a_model_is_told_its_best_model(searched, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "old" / "best" / "model")
    assert_refused(searched(model=tmp_path / "old"), f"give its best model, {tmp_path / 'old' / 'best' / 'model'}")


def test_a_class_head_that_starts_anew_for_a_capital_is_said_and_kept_for_the_report(
    searched, run, data_folder, tmp_path
):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    names = (data / "classes.txt").read_text().split()
    checkpoint = tmp_path / "checkpoint"
    load_model(CHECKPOINT, names).save_pretrained(checkpoint)
    load_processor(CHECKPOINT).save_pretrained(checkpoint)
    assert "starts anew" not in searched(data=data, model=checkpoint).output
    (data / "classes.txt").write_text("\n".join([names[0].upper(), *names[1:]]))
    result = searched("--name", "two", data=data, model=checkpoint)
    said = f"--model: 1 of {len(names)} class names differ from the checkpoint's in their spelling alone"
    assert f"{said}: {names[0].upper()} ({names[0]} there)" in result.output
    assert "all checks are passed" in result.output
    (notice,) = json.loads((run.parent / "two" / "notices.json").read_text())
    assert notice["advice"].startswith("its class head starts anew")


def test_what_is_left_alone_is_said_and_kept_for_the_report(searched, run, data_folder, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    (data / "obj.data.yaml").write_text("names: [x]")
    output = searched(data=data).output
    assert f"--data: 1 YAML file(s) of the folder are not read: {data / 'obj.data.yaml'}; " in output
    assert "YAML" in (run / "notices.json").read_text()


def test_resuming_what_is_no_run_is_refused(tmp_path):
    assert_refused(call("--resume", tmp_path), f"--resume {tmp_path}: ", "search.yaml cannot be read", "no run folder")


def test_what_cannot_be_changed_is_refused_beside_resume(searched, run):
    searched()
    result = call("--resume", run, "--space", "flat", "--max-epochs", 9, "--trials", 20)
    assert_refused(result, "--max-epochs, --space: cannot be given beside --resume")


def test_a_run_that_is_being_written_is_not_resumed(searched, run):
    searched()
    journal = Journal(run / "journal.jsonl")
    assert_refused(call("--resume", run), "journal.jsonl: another search is writing this run")
    journal.close()
    assert "all checks are passed" in call("--resume", run).output


def test_torch_and_ray_are_not_imported_before_the_data_are_checked(tmp_path):
    program = (
        "import sys; from search.command_line import app\n"
        f"sys.argv = ['run.py', '--data', {str(tmp_path / 'no data')!r}, '--storage', {str(tmp_path)!r}]\n"
        "try: app()\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "2 []", done.stdout + done.stderr


def test_the_spaces_are_listed_with_a_line_each():
    result = call("--list-spaces")
    assert result.exit_code == 0
    for space in spaces().values():
        assert f"{space.name} " in result.output and space.description in result.output
