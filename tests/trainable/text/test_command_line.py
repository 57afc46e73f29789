"""How commands refuse, and how the commands that they print are written."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainable.text.command_line import (
    ENTRY_POINT,
    PROJECT,
    SCRIPTS,
    command_line,
    documented,
    quoted,
    stop,
    this_command,
)


@pytest.mark.parametrize("code", [2, 3])
def test_a_command_stops_with_its_code_and_the_message_as_it_is(capsys, code):
    message = "runs/[red]x[/bold]/pairs.csv: " + "is not there and " * 20
    with pytest.raises(typer.Exit) as stopped:
        stop(ValueError(message), code)
    assert stopped.value.exit_code == code
    assert capsys.readouterr() == ("", message + "\n")


def words_of(command: str, folder: Path) -> list[str]:
    """What a program gets whose command is pasted into a shell."""
    shown = "import sys; sys.stdout.buffer.write(b'\\0'.join(map(__import__('os').fsencode, sys.argv[1:])))"
    pasted = f'show() {{ {shlex.join([sys.executable, "-c", shown])} "$@"; }}; show {command}'
    result = subprocess.run(["bash", "-c", pasted], cwd=folder, capture_output=True, check=True)
    return [os.fsdecode(word) for word in result.stdout.split(b"\0")]


HOSTILE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("'\"\\$`!*?[]{}()<>|&;~# \n\t\r\x1b\udcff\u202f"),
    min_size=1,
)


@settings(max_examples=30)
@given(st.lists(HOSTILE, min_size=1, max_size=20))
@example(["runs/$(touch x)/`y`", "a'b", "a\nb", "\udcff", "*", "~", "-x", "a\\", "a\x1b[31m", "\u202f1"])
def test_a_shell_takes_each_word_as_it_is_and_the_command_is_one_line(words):
    command = quoted(words)
    assert command.isprintable()
    assert words_of(command, Path("/")) == words


def test_in_the_projects_folder_a_command_is_short(monkeypatch):
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("shutil.which", lambda name: str(Path(sys.executable).parent / name))
    assert command_line("resume", "/a b") == "python search/run.py --resume '/a b'"


def test_from_another_folder_the_pasted_command_finds_its_script_and_its_python(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command_line("export", "--help"))
    assert Path(words[1]).is_absolute()
    result = subprocess.run(
        words, cwd="/", capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROJECT)}
    )
    assert result.returncode == 0 and "Write results.FORMAT" in result.stdout


def test_where_python_is_another_one_the_interpreter_is_named(monkeypatch):
    for elsewhere in (None, "/somewhere/else/python"):
        monkeypatch.setattr("shutil.which", lambda name, elsewhere=elsewhere: elsewhere)
        assert shlex.split(command_line("search"))[0] == sys.executable


def test_a_deleted_working_directory_is_no_reason_to_end(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shlex.split(command_line("search"))[1] == str(PROJECT / "search/run.py")


@pytest.fixture
def entry_point(monkeypatch, tmp_path):
    """The installed command, as the one that runs this process and that a shell finds."""
    path = tmp_path / ENTRY_POINT
    monkeypatch.setattr("sys.argv", [str(path), "search", "--trials", "2"])
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / name))
    return path


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_sub_command_is_named_where_the_installed_command_was_used(entry_point, name):
    assert command_line(name, "a b") == f"moved-object-search {name} 'a b'"
    assert documented(name) == f"moved-object-search {name}"


@pytest.mark.parametrize("other", [None, "/somewhere/else/moved-object-search"])
def test_an_installed_command_that_a_shell_does_not_find_is_named_by_its_path(entry_point, monkeypatch, other):
    monkeypatch.setattr("shutil.which", lambda name: other)
    assert command_line("resume", "x") == f"{entry_point} resume x"
    assert this_command() == f"{entry_point} search --trials 2"


def test_the_command_to_be_given_again_is_the_one_that_was_given(entry_point, monkeypatch):
    assert this_command() == "moved-object-search search --trials 2"
    monkeypatch.setattr("sys.argv", ["search/run.py", "--trials", "2"])
    assert shlex.split(this_command())[1:] == ["search/run.py", "--trials", "2"]


def test_a_script_is_called_by_its_interpreter_and_documented_without_a_path_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, (script, *first) in SCRIPTS.items():
        assert shlex.split(command_line(name, "x"))[1:] == [str(PROJECT / script), *first, "x"]
        assert documented(name) == " ".join(["python", script, *first])
