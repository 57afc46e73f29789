"""The installed command: its sub-commands are the scripts, and searches are supervised."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from results.model.trial_model import train_command
from results.page.contents import read_run
from search import entry_point
from search.options import Options
from search.run_folder.run_folder import create_run
from search.supervisor import Line
from trainable.text.command_line import SCRIPTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Calls the installed command; gives its exit code and what it printed, on one line."""
    monkeypatch.setenv("COLUMNS", "500")
    # A process of its own would not see what a test has replaced.
    monkeypatch.setattr(entry_point, "supervise", lambda search: pytest.fail("not supervised"))

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", [str(tmp_path / "moved-object-search"), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            entry_point.main()
        return ended.value.code, " ".join("".join(capsys.readouterr()).split())

    return call


@pytest.fixture
def supervised(call, monkeypatch):
    """`call`, with searches supervised in this very process; each line that a search got is listed."""
    lines = []

    def supervise(search):
        lines.append(Line())
        search(lines[-1])

    monkeypatch.setattr(entry_point, "supervise", supervise)
    return call, lines


def test_every_script_that_a_user_starts_is_a_sub_command():
    scripts = {
        path.relative_to(ROOT).as_posix()
        for package in ("search", "results", "trainable")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^if __name__ == .__main__.:\n    (app\(\)|guard_output\(\))", path.read_text(), re.MULTILINE)
    }
    assert scripts - {"search/command_line.py"} == {script for script, *_ in SCRIPTS.values()}
    assert list(entry_point.SUMMARIES) == list(SCRIPTS)


def test_help_lists_the_sub_commands_and_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['moved-object-search', '--help']\n"
        "from search.entry_point import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'ray', 'optuna', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in SCRIPTS)


def test_without_a_sub_command_or_with_another_one_nothing_is_started(call):
    assert call()[0] == 2
    code, output = call("find")
    assert code == 2 and "No such command 'find'" in output


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in entry_point.SUPERVISED])
def test_a_sub_command_speaks_of_itself_by_its_name(call, name):
    code, output = call(name, "--help")
    assert code == 0 and f"Usage: moved-object-search {name} " in output and f"{SCRIPTS[name][0]} " not in output
    code, output = call(name, "--nope")
    assert code == 2 and f"Try 'moved-object-search {name} --help'" in output


def test_a_script_gets_its_words_as_they_are(call, tmp_path):
    code, output = call("report", "--", "--nowhere")
    assert code == 2 and "--nowhere" in output and "No such option" not in output
    assert call("export", tmp_path / "nowhere")[1].startswith(f"{tmp_path / 'nowhere'}: there is no such folder")


def test_a_search_is_supervised(supervised):
    call, lines = supervised
    code, output = call("search", "--help")
    assert code == 0 and len(lines) == 1
    assert "moved-object-search search --space staged --data my_pairs/" in output and "search/run.py" not in output


def test_a_run_is_resumed_by_its_folder_with_what_a_resume_may_change(supervised, monkeypatch, tmp_path):
    call, lines = supervised
    begun = Options("learning_rate", None, "embedded", 2, 8, 2, storage=str(tmp_path), name="begun")
    create_run(begun, {})
    asked = []

    def run_search(options, resumed, force, console, line):
        asked.append((options.trials, options.name, resumed, force, line))
        return 0

    monkeypatch.setattr("search.driver.run_search", run_search)
    assert call("resume", "--trials", "5", begun.run, "--force")[0] == 0
    assert asked == [(5, "begun", True, True, lines[0])]
    code, output = call("resume", begun.run, "--seed", "1")
    assert code == 2 and "--seed: cannot be given beside --resume" in output


def test_help_of_resume_leaves_out_what_is_refused_and_defaults_that_are_not_the_runs(supervised):
    call, _ = supervised
    code, output = call("resume", "--help")
    assert code == 0 and "--trials" in output and "--force" in output
    assert "--seed" not in output and "--resume" not in output and "default" not in output


def test_what_a_run_keeps_names_the_installed_command(call, tmp_path):
    call("nothing")  # The command that this process then takes itself for.
    options = Options("learning_rate", None, "embedded", 2, 8, 2, storage=str(tmp_path), name="run")
    create_run(options, {})
    program = tmp_path / "moved-object-search"
    text = (options.run / "search.yaml").read_text()
    assert f"{program} resume {options.run}\n" in text
    assert yaml.safe_load(text)["command"].startswith(f"{program} search --space learning_rate ")
    (options.run / "best").mkdir()
    command = train_command("best/recipe.yaml", {})
    (options.run / "best" / "recipe.yaml").write_text(f"# Train it again:\n#   {command}\n")
    assert read_run(options.run).train_command == command == f"{program} train --recipe best/recipe.yaml"
