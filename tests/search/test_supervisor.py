"""The supervisor: a search that ends without a word is gone on with, and nobody is left behind."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
ONE_SIGNAL = 0.4
"""Seconds within which signals count as one."""

PATIENCE = 30
"""Seconds after which a program that hangs fails its test."""

PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
from search import signals
from search.supervisor import EngineLostError, supervise

signals.ONE_SIGNAL_SECONDS = {one_signal}

def note(text):
    with open("notes", "a") as file:
        file.write(f"{{text}}\\n")

def starts():
    "How many searches have begun, this one among them."
    note("start")
    return Path("notes").read_text().split().count("start")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def search(line):
{search}

if __name__ == "__main__":
    sys.exit(supervise(search))
"""

BEGUN = "line.tell(name='yard', command='the command')"

Start = Callable[..., subprocess.Popen[str]]


def heard() -> None:
    """Signals end a program that starts, also where whatever runs the tests has them ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program whose search has these lines, in the test's folder and a session of its own."""
    started = []

    def start(*lines: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        body = "\n".join(f"    {line}" for line in lines)
        (tmp_path / "program.py").write_text(PROGRAM.format(search=body, one_signal=ONE_SIGNAL))
        started.append(
            subprocess.Popen(
                [sys.executable, "program.py"],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=before or heard,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def outcome(start: Start) -> Callable[..., tuple[int, list[str]]]:
    """Exit code and lines printed of a search of these lines."""

    def outcome(*lines: str) -> tuple[int, list[str]]:
        process = start(*lines)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output.splitlines()

    return outcome


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().split("\n")[:-1] if file.exists() else []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_a_search_that_says_how_it_ended_ends_so(outcome, code):
    assert outcome("print('all is said')", f"sys.exit({code})") == (code, ["all is said"])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("die()", "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("os._exit(1)", "exit code 1 from within a library"),
        ("os._exit(0)", "exit code 0 from within a library"),
        ("sys.exit(15)", "exit code 15 from within a library"),
    ],
)
def test_an_end_without_a_word_is_said_in_one_line_and_the_search_goes_on(outcome, end, said):
    code, lines = outcome(BEGUN, "if starts() == 1:", f"    {end}", "print('done')")
    assert code == 0
    assert lines == [f"the search ended without a word ({said}); it goes on by itself from its journal", "done"]


def test_a_search_that_lost_its_engine_is_gone_on_with(outcome):
    code, lines = outcome(
        BEGUN, "if starts() == 1:", "    raise EngineLostError('RaySystemError: gone')", "print('done')"
    )
    assert (code, lines[0], lines[-1]) == (0, "RaySystemError: gone", "done")


def test_the_next_search_knows_what_the_one_before_has_told(outcome):
    code, lines = outcome(
        "if starts() == 1:",
        "    line.tell(name='yard', command='the command', searching_since=12.5)",
        "    die()",
        "print(line.before.name, line.before.searching_since, line.told.epoch)",
    )
    assert code == 0 and lines[-1] == "yard 12.5 False"


def test_one_that_crashed_before_there_was_a_run_begins_anew(outcome):
    code, lines = outcome("if starts() == 1: die()", "print(line.before.name)")
    assert (code, lines) == (
        0,
        ["the search ended without a word (killed by SIGKILL); it goes on by itself", "None"],
    )


def test_three_crashes_without_a_new_epoch_pause_the_search(outcome, tmp_path):
    code, lines = outcome(BEGUN, "starts()", "die()")
    assert code == 4 and notes(tmp_path) == ["start"] * 3
    assert lines[-2:] == [
        "the search ended without a word (killed by SIGKILL), 3 times without a new epoch; go on with:",
        "the command",
    ]


def test_crashes_with_epochs_in_between_pause_it_after_ten_restarts(outcome, tmp_path):
    code, lines = outcome(BEGUN, "starts()", "line.tell(epoch=True)", "die()")
    assert code == 4 and notes(tmp_path) == ["start"] * 11
    assert "11 times in all" in lines[-2] and lines[-1] == "the command"


def test_an_error_that_nobody_thought_of_is_kept_and_not_tried_again(outcome, tmp_path):
    code, lines = outcome(BEGUN, "starts()", "raise LookupError('a bug')")
    assert code == 4 and notes(tmp_path) == ["start"]
    said, kept, command = lines
    assert said == "an error that the search does not know: LookupError: a bug" and command == "the command"
    (path,) = tmp_path.glob("moved-object-search-*.txt")
    assert kept == f"its traceback, to be reported as a bug: {path}; go on with:"
    assert path.read_text().endswith("raise LookupError('a bug')\nLookupError: a bug\n")


def test_on_a_cluster_nothing_goes_on_by_itself(outcome, tmp_path):
    code, lines = outcome("line.tell(restartable=False)", BEGUN, "starts()", "os._exit(1)")
    assert code == 4 and notes(tmp_path) == ["start"]
    assert "the cluster's head may be gone; go on with:" in lines[-2] and lines[-1] == "the command"


def test_a_run_that_exists_is_not_wrong_input_after_a_crash(outcome):
    code, lines = outcome(BEGUN, "if starts() == 1: die()", "sys.exit(2)")
    assert code == 4 and lines[-1] == "the command"


def test_what_a_crashed_search_has_left_is_gone_before_the_next_begins(outcome, tmp_path):
    code, lines = outcome(
        BEGUN,
        "if starts() == 1:",
        "    left = subprocess.Popen(['sh', '-c', 'sleep 60 & sleep 60'], start_new_session=True)",
        "    Path('left').write_text(str(left.pid))",
        "    time.sleep(0.2)",
        "    die()",
        "left = Path('left').read_text()",
        "print(Path(f'/proc/{left}').exists())",
    )
    assert (code, lines[-1]) == (0, "False")
    left = int((tmp_path / "left").read_text())
    assert not [p for p in psutil.process_iter() if p.pid != os.getpid() and session_of(p.pid) == left]


def session_of(process: int) -> int:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return -1


LISTENING = (
    BEGUN,
    "def came(number, frame): note(signal.Signals(number).name)",
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, came)",
    "note('listening')",
    "while len(Path('notes').read_text().split()) < {count}: time.sleep(0.01)",
    "sys.exit(130)",
)


def listening(count: int) -> list[str]:
    return [line.format(count=count + 1) for line in LISTENING]


def test_ctrl_c_while_python_ends_does_not_change_the_exit_code(start, tmp_path):
    process = start(*listening(1))
    wait_for(lambda: "listening" in notes(tmp_path))
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.0005)
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_comes_to_the_search_once_however_many_of_its_processes_are_told(start, tmp_path, number):
    process = start(*listening(2))
    wait_for(lambda: "listening" in notes(tmp_path))
    for _ in range(3):
        os.killpg(process.pid, number)  # As a terminal does.
    time.sleep(1.5 * ONE_SIGNAL)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert notes(tmp_path) == ["listening", number.name, "SIGINT"]


def test_before_it_listens_an_interrupted_search_ends_in_one_line(start):
    process = start("print('importing', flush=True)", "time.sleep(60)")
    assert process.stdout and process.stdout.readline() == "importing\n"
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    said, command = output.splitlines()
    assert said == "interrupted; nothing was started:" and command.endswith(" program.py")


def test_after_a_signal_nothing_is_started_again(start, tmp_path):
    process = start(BEGUN, "starts()", "print('begun', flush=True)", "time.sleep(60)")
    assert process.stdout and process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGTERM)  # Which ends the search before it listens, without a word.
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and output == "interrupted; go on with:\nthe command\n"
    assert notes(tmp_path) == ["start"]


def test_a_search_that_does_not_listen_is_ended_by_the_third_signal(start, tmp_path):
    process = start(BEGUN, "signal.signal(signal.SIGINT, signal.SIG_IGN)", "note('deaf')", "time.sleep(60)")
    wait_for(lambda: "deaf" in notes(tmp_path))
    for _ in range(3):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.5 * ONE_SIGNAL)
    assert process.wait(PATIENCE) == 130


def test_under_nohup_a_closed_terminal_ends_nothing(start, tmp_path):
    process = start(
        BEGUN,
        "note('listening')",
        "time.sleep(0.5)",
        "note('ignored' if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else 'heard')",
        before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(lambda: "listening" in notes(tmp_path))
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(PATIENCE) == 0
    assert notes(tmp_path) == ["listening", "ignored"]


def test_when_the_supervisor_is_killed_the_search_and_all_that_it_started_end(start):
    process = start(
        "child = subprocess.Popen(['sh', '-c', 'sleep 60 & sleep 60'], start_new_session=True)",
        "time.sleep(0.2)",
        "print(os.getpid(), child.pid, flush=True)",
        "time.sleep(60)",
    )
    assert process.stdout
    found = psutil.Process(process.pid).children(recursive=True)
    search, child = map(int, process.stdout.readline().split())
    found = psutil.Process(process.pid).children(recursive=True)
    assert {search, child} < {one.pid for one in found}
    process.kill()
    _, alive = psutil.wait_procs(found, timeout=PATIENCE)
    assert not alive


def test_a_terminal_has_its_cursor_back_after_a_crash_and_ctrl_c_comes_once(tmp_path):
    lines = (
        BEGUN,
        "if starts() == 1:",
        "    print('\\x1b[?25l', end='', flush=True)",
        "    die()",
        *LISTENING[1:3],
        "print('listening', flush=True)",
        "while len(notes := Path('notes').read_text().split()) < 3: time.sleep(0.01)",
        "time.sleep(0.3)",
        "print(Path('notes').read_text().split())",
        "sys.exit(130)",
    )
    (tmp_path / "program.py").write_text(
        PROGRAM.format(search="\n".join(f"    {line}" for line in lines), one_signal=ONE_SIGNAL)
    )
    child, terminal = pty.fork()
    if not child:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "program.py"], os.environ | {"PYTHONPATH": str(ROOT)})
    shown = read_until(terminal, b"listening")
    assert b"\x1b[?25l" in shown and shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    os.write(terminal, b"\x03")
    assert b"['start', 'start', 'SIGINT']" in read_until(terminal, b"]")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130


def read_until(terminal: int, end: bytes) -> bytes:
    text, deadline = b"", time.monotonic() + PATIENCE
    while end not in text:
        assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], text
        text += os.read(terminal, 4096)
    return text


def test_ctrl_z_rests_the_search_until_it_is_woken(start, tmp_path):
    process = start(BEGUN, "starts()", "while not Path('enough').exists(): time.sleep(0.01)")
    wait_for(lambda: notes(tmp_path))
    (search,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGTSTP)
    wait_for(lambda: search.status() == psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    (tmp_path / "enough").touch()
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(PATIENCE) == 0


def test_it_imports_neither_ray_nor_torch_nor_what_else_takes_long():
    program = (
        "import sys; import search.supervisor; "
        "print(sorted({'ray', 'torch', 'optuna', 'pyarrow', 'numpy', 'transformers', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
