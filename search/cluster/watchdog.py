"""Says why nothing happens: where no trial has begun for long, with what Ray's own logs end in.

Ray starts a worker again and again, without a word, when it cannot be started.
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import ray

SECONDS = 120.0
"""Without a trial that has begun, after which that is said."""
SAMPLE_SECONDS = 10.0
"""Over which a process is watched for whether it works."""
BUSY_SHARE = 0.02
"""Of one core's time, that a process which is only slow has at least."""
LINES = 8
"""Of a log that are shown at most."""

_ROUTINE = re.compile(r"^\[state-dump\]|^\[[^\]]* [ID] \d+ \d+\]|^:(job_id|actor_name|task_name):")
"""Lines of Ray's logs that tell of no fault: dumps of its state, levels info and debug, marks for its log monitor."""

CpuTimes = Mapping[int, float]
"""Seconds of a core that each of Ray's workers has had, by process id."""


class Watchdog:
    """Says once that no trial has begun, unless a worker is on its way.

    On a machine that is merely slow, a worker lives on and works, be it little; where none can be started, none lives
    long, or those there are wait for something.

    Args:
        say: called with the line.
        logs: gives Ray's folder of logs here; None where the search runs on a cluster, whose workers are elsewhere.
        workers: gives the workers that there are.
        clock: seconds, from any moment on.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        logs: Callable[[], Path] | None,
        workers: Callable[[], CpuTimes] = lambda: workers_of_this_machine(),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._say = say
        self._logs = logs
        self._workers = workers
        self._clock = clock
        self._waits_since = clock()
        self._sample: tuple[float, CpuTimes] | None = None
        self._done = False

    def tick(self, begun: bool) -> None:
        """To be called again and again; says nothing any more once a trial has begun."""
        self._done |= begun
        now = self._clock()
        if self._done or now - self._waits_since < SECONDS:
            return
        if self._logs is None:
            self._tell(
                "the nodes may all be in use, or none may have what a trial needs; `ray status` says which, and "
                "the logs of Ray on the nodes why a worker does not come up"
            )
        elif self._sample is None:
            self._sample = (now, self._workers())
        elif now - self._sample[0] >= SAMPLE_SECONDS:
            before, self._sample = self._sample, (now, self._workers())
            if not _work(before[1], self._sample[1], now - before[0]):
                self._tell(last_words(self._logs()))

    def _tell(self, why: str) -> None:
        self._done = True
        self._say(f"no trial has begun in {SECONDS / 60:g} minutes, and the search goes on waiting: {why}")


def logs_of_this_machine() -> Path:
    """The folder of the logs of the Ray that was started here."""
    context = ray.get_runtime_context()
    return Path(context.get_temp_dir(), context.get_session_name(), "logs")


def workers_of_this_machine() -> CpuTimes:
    """The workers of the Ray that this process has started, and what starts up to be one."""
    times = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if _is_worker(process):
                used = process.cpu_times()
                times[process.pid] = used.user + used.system
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return times


def last_words(logs: Path) -> str:
    """The end of the log that tells most: a worker's where one has said something, else the raylet's.

    Args:
        logs: Ray's folder of logs.
    """
    workers = sorted((*logs.glob("worker-*.err"), *logs.glob("worker-*.out")), key=_written, reverse=True)
    for log in (*workers, logs / "raylet.err", logs / "raylet.out", logs / "runtime_env_agent.log"):
        if lines := _telling_lines(log):
            return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in lines)
    return f"Ray's logs, in {logs}, say nothing of it"


def _is_worker(process: psutil.Process) -> bool:
    """By what Ray 2.60 calls them, or the file that they run; its agents run other files."""
    command = process.cmdline()
    title = command[0] if command else ""
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    started = any(word.endswith(("default_worker.py", "setup_worker.py")) for word in command[:3])
    return started or (title.startswith("ray::") and title not in agents)


def _work(before: CpuTimes, after: CpuTimes, seconds: float) -> bool:
    """Whether a worker has lived through all of these seconds and had something to do."""
    return any(after[pid] - before[pid] >= BUSY_SHARE * seconds for pid in before.keys() & after.keys())


def _telling_lines(log: Path) -> list[str]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip() and not _ROUTINE.match(line)][-LINES:]


def _written(log: Path) -> float:
    try:
        return log.stat().st_mtime
    except OSError:
        return 0.0
