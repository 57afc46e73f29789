"""A node is waited for as long as it gets on, however slow the machine, and no longer."""

import threading

import psutil
import pytest

from search.cluster import asking
from search.cluster.asking import SAY_SECONDS, SILENCE_SECONDS, Beats, Waiting


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_node_that_gets_on_is_waited_for_however_long_it_takes(clock):
    waiting = Waiting({"slow": "slow (address)"}, lambda line: None, clock)
    for beat in range(100):
        clock.now += 0.9 * SILENCE_SECONDS
        waiting.hear({"slow": (beat, "imports the libraries")})
        assert waiting.silent("slow") is None


def test_a_node_that_makes_no_progress_is_given_up_with_what_it_did_last(clock):
    waiting = Waiting({"hung": "hung", "dumb": "dumb"}, lambda line: None, clock)
    waiting.hear({"hung": (1, "reads the data set")})
    clock.now += SILENCE_SECONDS
    waiting.hear({"hung": (1, "reads the data set")})
    assert waiting.silent("hung") == "has made no progress for 5 minutes; the last seen of it: reads the data set"
    assert waiting.silent("dumb").endswith("the last seen of it: starts a process")


def test_what_is_waited_for_is_said_now_and_then(clock):
    said = []
    waiting = Waiting({"one": "one (10.0.0.1)", "two": "two (10.0.0.2)"}, said.append, clock)
    waiting.hear({"one": (1, "imports the libraries")})
    assert said == [], "nothing where nodes are quick"
    clock.now += SAY_SECONDS
    waiting.hear({"one": (2, "reads the data set")})
    waiting.answered("one")
    clock.now += SAY_SECONDS
    waiting.hear({})
    waiting.answered("two")
    clock.now += SAY_SECONDS
    waiting.hear({})
    assert said == [
        "waiting for 2 node(s): one (10.0.0.1) reads the data set; two (10.0.0.2) starts a process",
        "waiting for 1 node(s): two (10.0.0.2) starts a process",
    ]


def test_a_process_that_works_sends_word_within_a_step_and_one_that_hangs_does_not(monkeypatch):
    sent, uses, looked = [], iter([(0.0, 0), (1.0, 0), (1.0, 10**6), (1.0, 10**6), (1.0, 10**6)]), threading.Event()

    def used():
        use = next(uses, None)
        if use is None:
            looked.set()
            return (1.0, 10**6)
        return use

    monkeypatch.setattr(asking, "_used", used)
    with Beats(sent.append, seconds=0.001) as beats:
        beats.tell("reads the data set")
        assert looked.wait(60)
    # Once when the step began, once for its time, once for what it read.
    assert sent == ["reads the data set"] * 3 or sent == ["", "reads the data set", "reads the data set"]


def test_what_this_process_has_used_grows_with_what_it_does():
    before = asking._used()
    while asking._used()[0] - before[0] < asking.LEAST_CPU_SECONDS:
        psutil.Process().memory_info()
