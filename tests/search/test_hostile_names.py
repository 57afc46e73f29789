"""A run folder, a class or a stage of any name is a name to consoles, databases, shells, files and pages alike."""

import io
import re
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest

from results.export import export
from results.report import write_report
from results.tensorboard_log.scalars import rebuild
from search import finish
from search.cluster.cluster import Resources
from search.console.monitor import Monitor
from search.inputs import Inputs
from search.options import Options
from search.run_folder.run_folder import create_run, resume_command, resume_options
from tests.made_up import made_up_row
from trainable.text.console import plain_console

NAMES = [
    "a?b=c&mode=ro",
    "50%41 #1",
    "[red]x[bold]",
    ":car: {y} {0}",
    "round-*[0-9]",
    "$(touch pwned) `touch pwned` 'q' \"d\" ; touch pwned",
    "<script>alert(1)<script>",
    "-rf --resume ~",
    "größe 部品 | x",
    "a\\b\\",
]


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(params=NAMES)
def run(request, tmp_path, search, monkeypatch):
    """A run of such a name after two trials, with its options."""
    monkeypatch.chdir(tmp_path)
    storage = str(tmp_path / "runs [red]x[" / "bold]?")
    options = Options("learning_rate", None, "embedded", 2, 8, 2, storage=storage, name=request.param)
    create_run(options, {"data": request.param})
    return options, search(folder=options.run).run(2)


def test_the_command_that_goes_on_names_the_run(run):
    options, _ = run
    words = shlex.split(resume_command(options))
    assert words[-2:] == ["--resume", str(options.run)]
    assert resume_options(words[-1], {}) == options
    shown = subprocess.run(["bash", "-c", f"printf %s {shlex.join(words[-1:])}"], capture_output=True, text=True)
    assert shown.stdout == str(options.run)
    assert (options.run / "search.yaml").read_text().splitlines()[1] == f"#   {resume_command(options)}"
    assert not Path("pwned").exists()


def test_all_that_follows_a_search_is_written_beside_it_and_nowhere_else(run, tmp_path, pair_data, monkeypatch):
    options, ended = run
    output = io.StringIO()
    console = plain_console(file=output, width=80)
    with Monitor(options, ended.study, 1, console):
        pass
    assert output.getvalue() == ""  # What ended before is not told again.
    rebuild(options.run / "tensorboard", list(ended.study.records.values())).close()
    monkeypatch.setattr(finish, "_evaluate_best", lambda *arguments: (_ for _ in ()).throw(OSError(options.name)))
    inputs = Inputs(pair_data, None, ended.study.space, ["embedded"])
    assert finish.write_results(options, ended.study, 0, inputs, Resources(1, 0.0, 1), console) == finish.NOT_EVALUATED
    assert resume_command(options) in output.getvalue() and f": {options.name}\n" in output.getvalue()
    assert [path.name for path in Path(options.storage).iterdir()] == [options.name]
    there = {path.name for path in options.run.iterdir()}
    assert {"optuna.db", "results.csv", "results.md", "report.html", "tensorboard", "journal.jsonl"} <= there
    copied = tmp_path / "copy.db"
    copied.write_bytes((options.run / "optuna.db").read_bytes())
    assert optuna.load_study(study_name=options.name, storage=f"sqlite:///{copied}").trials


def test_the_report_shows_the_name_and_runs_nothing_of_it(run):
    options, _ = run
    page, plain = Page(), Page()
    page.feed(write_report(options.run).read_text())
    assert options.name in page.text and resume_command(options) in page.text
    named = options.run.rename(options.run.parent / "plain")
    plain.feed(write_report(named).read_text())
    assert page.scripts == plain.scripts


def test_its_tables_are_exported(run):
    options, _ = run
    for path in export(options.run, ["csv", "md", "html"], None, options.run / "[out] *?"):
        assert path.exists()


def test_the_best_recipes_header_stays_a_comment_whatever_the_paths_are(tmp_path):
    from results.model.trial_model import _header, train_command
    from results.page.contents import read_run
    from trainable.recipe import REFERENCE, Recipe

    command = train_command("/runs/a\nb: [x]/recipe.yaml", {"data": "/da\nta\n- #"})
    point = {"score_threshold": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    header = _header("The best recipe of x", 3, made_up_row(2, 1.0), command, {"recommended": point})
    (tmp_path / "best").mkdir()
    path = tmp_path / "best" / "recipe.yaml"
    path.write_text(header + REFERENCE.to_yaml())
    (tmp_path / "journal.jsonl").write_text("")
    assert Recipe.from_yaml(path) == REFERENCE
    assert all(line.startswith("#") for line in header.splitlines())
    assert read_run(tmp_path).train_command == command and read_run(tmp_path).evaluated == 3
    assert re.search(r"train\.py", command)
