"""The first signal waits for a moment at which nothing is half done."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from search.console.interrupts import SIGNALS, Interrupts


@pytest.fixture
def interrupts():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # The tests may run under `nohup`.
    listening = Interrupts("the command")
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_loop_it_raises_at_once(interrupts, number):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_sigint_is_heard_where_a_shells_script_has_it_ignored_and_sighup_is_not():
    program = (
        "import signal; from search.console.interrupts import SIGNALS, Interrupts\n"
        "for number in SIGNALS: signal.signal(number, signal.SIG_IGN)\n"
        "Interrupts('the command').listen()\n"
        "print([number.name for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['SIGHUP']\n"


def test_in_the_loop_it_waits_for_the_end_of_a_step(interrupts):
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts:
        for step in range(3):
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            steps.append(step)
            interrupts.check()
    assert steps == [0, 1]


def test_after_the_loop_it_raises_at_once(interrupts):
    with interrupts:
        interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_second_one_ends_the_process_and_its_children_with_the_command_that_goes_on():
    program = (
        "import os, subprocess, signal; from search.console.interrupts import Interrupts\n"
        "interrupts = Interrupts('the command'); interrupts.listen()\n"
        "child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True)\n"
        "with interrupts:\n"
        "    interrupts.check()\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130 and not done.stderr
    child, *_, last = done.stdout.splitlines()
    assert last == "the command" and "stopped at once" in done.stdout
    # SIGKILL is on its way when its sender is gone already.
    _, alive = psutil.wait_procs([psutil.Process(int(child))] if psutil.pid_exists(int(child)) else [], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
