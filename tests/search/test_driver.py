"""What a user got wrong is said before anything starts: exit code 2, with the flag or file, the rule and the value."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import search.cluster
import search.preflight
from results.journal import Journal
from search.command_line import app
from spaces.registry import spaces


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, data_folder: Path, checkpoint: Path, run: Path):
    """Runs the command line with good flags and those given, without Ray, up to where trials would start."""

    def stop(*arguments: Any) -> None:
        raise search.cluster.ClusterError("all checks are passed")

    def searched(*arguments: Any, data: Path = data_folder, model: Any = checkpoint) -> Result:
        good = ("--data", data, "--model", model, "--storage", run.parent, "--name", run.name)
        return call(*good, *arguments)

    monkeypatch.setattr(search.cluster, "connect", lambda options: search.cluster.Resources(1, 0, 1))
    monkeypatch.setattr(search.preflight, "preflight", stop)
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


def test_a_cluster_that_cannot_be_reached_is_said_before_a_run_folder_is_made(searched, run, monkeypatch):
    def no_ray(options: Any) -> None:
        raise search.cluster.ClusterError("Ray at auto cannot be used")

    monkeypatch.setattr(search.cluster, "connect", no_ray)
    assert_refused(searched("--address", "auto"), "Ray at auto cannot be used")
    assert not run.exists()


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
        (("--model", "no/such/model"), ("model no/such/model: neither a folder with a config.json nor",)),
        (("--group-by", "("), ("--group-by",)),
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


def test_a_model_of_another_kind_is_refused(searched, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "yolos"}')
    (tmp_path / "other" / "preprocessor_config.json").write_text('{"image_processor_type": "DetrImageProcessor"}')
    assert_refused(searched(model=tmp_path / "other"), "only models of type 'detr'", "'yolos'")


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
