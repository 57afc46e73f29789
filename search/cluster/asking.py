"""How nodes are asked something that may take long, and tell meanwhile how far they are.

Light to import: torch over a network's folder can take minutes, and that, too, is to be seen from here.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import psutil
import ray

if TYPE_CHECKING:
    from search.cluster.inspection import Task

BEAT_SECONDS = 3.0
"""Between two looks of a node at whether its process gets on."""
LEAST_CPU_SECONDS, LEAST_BYTES = 0.03, 65536
"""What a process that gets on has had, or read, between two looks; the look itself needs far less."""
SILENCE_SECONDS = 300.0
"""Without any progress, after which a node is waited for no longer."""
SAY_SECONDS = 20.0
"""Between two lines on what is waited for."""

News = Mapping[str, tuple[int, str]]
"""Of each node that has been heard of, by its id: how often, and what it does now."""


class Board:
    """Where nodes leave word of their progress; an actor."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[int, str]] = {}

    def heard(self, node: str, step: str) -> None:
        """A node gets on with a step."""
        self._news[node] = (self._news.get(node, (0, ""))[0] + 1, step)

    def news(self) -> News:
        """All of it."""
        return self._news


def answer(node: str, board: "ray.actor.ActorHandle[Board]", task: "list[ray.ObjectRef[Task]]") -> list[str]:
    """What is wrong with the node that this is run on, whose progress goes to the board."""
    with Beats(lambda step: board.heard.remote(node, step)) as beats:
        beats.tell("imports the libraries")
        from search.cluster.inspection import inspect

        return inspect(ray.get(task[0]), beats.tell)


class Beats:
    """Sends word at each step of a long task, and as long as the process gets on within one.

    Args:
        send: takes what is being done.
        seconds: between two looks.
    """

    def __init__(self, send: Callable[[str], object], seconds: float = BEAT_SECONDS):
        self._send = send
        self._seconds = seconds
        self._step = ""
        self._over = threading.Event()

    def __enter__(self) -> "Beats":
        threading.Thread(target=self._beat, name="beats", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def tell(self, step: str) -> None:
        """A step begins."""
        self._step = step
        self._send(step)

    def _beat(self) -> None:
        before = _used()
        while not self._over.wait(self._seconds):
            now = _used()
            if now[0] - before[0] >= LEAST_CPU_SECONDS or now[1] - before[1] >= LEAST_BYTES:
                self._send(self._step)
            before = now


class Waiting:
    """Which nodes are still waited for, said now and then, and which have been silent for too long.

    Args:
        nodes: their names, by their ids.
        say: called with a line on those that take long.
        clock: seconds, from any moment on.
    """

    def __init__(
        self, nodes: Mapping[str, str], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ):
        self._names = dict(nodes)
        self._say = say
        self._clock = clock
        self._said = clock()
        self._news = dict.fromkeys(nodes, (0, "starts a process"))
        self._heard = dict.fromkeys(nodes, clock())

    def hear(self, news: News) -> None:
        """Takes in what the board has; says what is waited for where that has taken long."""
        for node in self._names:
            if node in news and news[node] != self._news[node]:
                self._news[node], self._heard[node] = news[node], self._clock()
        if self._names and self._clock() - self._said >= SAY_SECONDS:
            self._said = self._clock()
            doing = "; ".join(f"{name} {self._news[node][1]}" for node, name in self._names.items())
            self._say(f"waiting for {len(self._names)} node(s): {doing}")

    def answered(self, node: str) -> None:
        """It is waited for no longer."""
        self._names.pop(node, None)

    def silent(self, node: str) -> str | None:
        """That it has made no progress for long, in words; None where it gets on."""
        if self._clock() - self._heard[node] < SILENCE_SECONDS:
            return None
        return f"has made no progress for {SILENCE_SECONDS / 60:g} minutes; the last seen of it: {self._news[node][1]}"


def _used() -> tuple[float, int]:
    """Seconds of a core that this process has had, and bytes that it has read."""
    process = psutil.Process()
    times = process.cpu_times()
    counters = process.io_counters() if hasattr(process, "io_counters") else None  # Not on macOS.
    return times.user + times.system, counters.read_chars if counters else 0
