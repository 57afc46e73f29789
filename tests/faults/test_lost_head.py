"""A cluster's head that is gone pauses the search within a minute, with the command that goes on."""

import time

from tests.terminal import USUAL_PORT, Terminal, free_port
from tests.whole_search import Program, reports_of

WITHIN = 60
"""Seconds in which the search has paused, from the moment on that the head is gone."""


def started_head(terminal: Terminal) -> Program:
    return terminal.start_node(
        f"ray start --head --port {USUAL_PORT} --ray-client-server-port {free_port()} "
        "--num-cpus 1 --include-dashboard false --block"
    )


def test_a_lost_head_pauses_the_search_and_a_new_one_goes_on(terminal, data_folder, checkpoint, tmp_path):
    port, run = terminal.port, tmp_path / "run"
    head = started_head(terminal)
    flags = ("--data", data_folder, "--model", checkpoint, "--storage", tmp_path, "--name", "run", "--trials", 2)
    address = ("--address", f"127.0.0.1:{port}")
    search = terminal.type_in("python search/run.py", *flags, "--max-epochs", 400, *address)
    search.wait_for(lambda: reports_of(run), "first epoch")
    head.kill()
    gone = time.monotonic()
    code, output = search.wait()
    assert code == 4, output
    assert time.monotonic() - gone < WITHIN
    assert "has not answered for 30 s. When that is mended, go on with:" in output
    assert output.splitlines()[-1].endswith(f"search/run.py --resume {run}")
    known = len(reports_of(run))

    code, output = terminal.type_in("python search/run.py", "--resume", run, *address).wait()
    assert code == 4 and "Traceback" not in output, output
    assert f"Ray at 127.0.0.1:{port} cannot be used" in output and f"--resume {run}" in output

    started_head(terminal)
    search = terminal.type_in("python search/run.py", "--resume", run, *address)
    search.wait_for(lambda: len(reports_of(run)) > known, "epoch after the head came back")
    epochs = [event.metrics.epoch for event in reports_of(run) if event.trial == 0]
    assert epochs == list(range(1, len(epochs) + 1))
