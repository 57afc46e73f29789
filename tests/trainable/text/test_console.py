"""Printing is a side effect: whatever the output is, a command goes on, and prints names as they are."""

import fcntl
import importlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainable.text.command_line import Command
from trainable.text.console import plain_console

ROOT = Path(__file__).parents[3]

PROGRAM = """
import subprocess, sys
from trainable.text.console import guard_output, plain_console
guard_output()
guard_output()
for _ in range(3):
    print("4/16 trials \\xb7 best 0.5 \\u2013 \\xe9 \\u4e2d \\udcff", flush=True)
    plain_console().print("a trial", style="red")
    plain_console(stderr=True).print("an error \\xb7")
subprocess.run(["echo", "a child's line"], check=True)
with open(sys.argv[1], "w") as done:
    print("done", file=done)
"""


@pytest.fixture
def run(tmp_path):
    """Runs the program with these outputs; it must have gone on to its end, without an error, nor one at its exit."""

    def run(**how) -> subprocess.CompletedProcess:
        done = tmp_path / "done"
        how["env"] = {**os.environ, "PYTHONPATH": str(ROOT)} | how.get("env", {})
        result = subprocess.run([sys.executable, "-c", PROGRAM, str(done)], timeout=60, **how)
        assert result.returncode == 0
        assert done.read_text() == "done\n", "nothing that is printed may land in a file"
        return result

    return run


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"4/16 trials * best 0.5 - \xe9 \u4e2d \udcff"),
        ("latin-1", b"4/16 trials \xb7 best 0.5 - \xe9 \\u4e2d \\udcff"),
        ("utf-8", "4/16 trials · best 0.5 – é 中 \\udcff".encode()),
        ("ascii:strict", rb"4/16 trials * best 0.5 - \xe9 \u4e2d \udcff"),
    ],
)
def test_what_an_encoding_cannot_hold_is_written_in_another_way(run, encoding, shown):
    result = run(env={"PYTHONIOENCODING": encoding}, capture_output=True)
    lines = result.stdout.splitlines()
    assert lines == [shown, b"a trial"] * 3 + [b"a child's line"]
    assert result.stderr.decode("latin-1").count("an error") == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_switches_that_output_off(run):
    with Path("/dev/full").open("w") as full:
        assert run(stdout=full, stderr=subprocess.PIPE).stderr.count(b"an error") == 3
        assert run(stderr=full, stdout=subprocess.PIPE).stdout.count(b"a trial") == 3
        run(stdout=full, stderr=full)


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_outputs_that_are_closed_are_done_without(run, closed):
    run(preexec_fn=lambda: [os.close(descriptor) for descriptor in closed])


def test_a_pipe_whose_reader_left_is_switched_off_for_children_too(run):
    reader, writer = os.pipe()
    os.close(reader)
    result = run(stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert result.stderr.count(b"an error") == 3


def test_a_pipe_that_does_not_wait_loses_nothing(run):
    """As an output is that is shared with a program which made it so."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4090)
    drain = subprocess.Popen(["sh", "-c", "sleep 1; cat"], stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    run(stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    assert drain.communicate()[0].count(b"a trial") == 3


def test_every_command_has_the_guard():
    scripts = [path for name in ("search", "results", "trainable") for path in (ROOT / name).glob("*.py")]
    commands = [path for path in scripts if 'if __name__ == "__main__"' in path.read_text()]
    assert len(commands) >= 7
    for path in commands:
        stem = "command_line" if path.name == "run.py" else path.stem  # The search's own process has its flags there.
        module = importlib.import_module(f"{path.parent.name}.{stem}")
        assert isinstance(module.app, Command), path


def test_no_command_makes_a_console_that_takes_names_for_markup():
    for path in (path for name in ("search", "results", "trainable") for path in (ROOT / name).rglob("*.py")):
        assert path.name == "console.py" or not re.search(r"\bConsole\(", path.read_text()), path


@pytest.mark.parametrize("text", ["runs/[red]x[/bold]", ":car:", "[link=http://x]a[/]", "https://a:b@c"])
def test_names_are_printed_as_they_are(text):
    output = io.StringIO()
    plain_console(file=output).print(text)
    assert output.getvalue() == f"{text}\n"
