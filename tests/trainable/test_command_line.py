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

from trainable.command_line import PROJECT, command_line, quoted, stop


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
    assert command_line("search/run.py", "--resume", "/a b") == "python search/run.py --resume '/a b'"


def test_from_another_folder_the_pasted_command_finds_its_script_and_its_python(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command_line("results/export.py", "--help"))
    assert Path(words[1]).is_absolute()
    result = subprocess.run(
        words, cwd="/", capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROJECT)}
    )
    assert result.returncode == 0 and "Write results.FORMAT" in result.stdout


def test_where_python_is_another_one_the_interpreter_is_named(monkeypatch):
    for elsewhere in (None, "/somewhere/else/python"):
        monkeypatch.setattr("shutil.which", lambda name, elsewhere=elsewhere: elsewhere)
        assert shlex.split(command_line("search/run.py"))[0] == sys.executable


def test_a_deleted_working_directory_is_no_reason_to_end(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shlex.split(command_line("search/run.py"))[1] == str(PROJECT / "search/run.py")


def test_the_entry_point_that_was_used_is_named(monkeypatch, tmp_path):
    entry_point = tmp_path / "moved-object-search"
    monkeypatch.setattr("sys.argv", [str(entry_point), "--trials", "2"])
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / name))
    assert command_line("search/run.py", "--resume", "x") == "moved-object-search --resume x"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert command_line("search/run.py", "--resume", "x") == f"{entry_point} --resume x"
    assert command_line("results/report.py", "x").endswith("results/report.py x")
