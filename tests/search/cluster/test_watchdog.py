"""Where no trial begins, the user is told why, once; a machine that is merely slow is left in peace."""

import pytest

from search.cluster.watchdog import SAMPLE_SECONDS, SECONDS, Watchdog, last_words


@pytest.fixture
def logs(tmp_path):
    return tmp_path


class Machine:
    """Time, and what its workers have had of the cores, by process id."""

    def __init__(self, logs):
        self.now, self.workers, self.said = 0.0, {}, []
        self.dog = Watchdog(self.said.append, logs and (lambda: logs), lambda: dict(self.workers), lambda: self.now)

    def let_pass(self, seconds, begun=False, each=lambda: None):
        """Time goes by, with a look every second."""
        for _ in range(int(seconds)):
            self.now += 1
            each()
            self.dog.tick(begun)


def test_nothing_is_said_where_trials_begin_in_time(logs):
    machine = Machine(logs)
    machine.let_pass(SECONDS - 1)
    machine.let_pass(1, begun=True)
    machine.let_pass(10 * SECONDS)
    assert machine.said == []


def test_workers_that_end_one_after_the_other_are_said_once_with_their_own_words(logs):
    machine, pids = Machine(logs), iter(range(10**6))
    (logs / "worker-1-01000000-5.err").write_text(":job_id:01000000\nbash: line 1: exec: /home/me/my: not found\n")
    (logs / "raylet.out").write_text("[2026-01-01 00:00:00,000 W 1 1] (raylet) a worker failed to register\n")

    def another_one():
        machine.workers = {next(pids): 0.3}

    machine.let_pass(SECONDS + 5 * SAMPLE_SECONDS, each=another_one)
    (line,) = machine.said
    assert line.startswith("no trial has begun in 2 minutes, and the search goes on waiting: the end of ")
    assert line.endswith("worker-1-01000000-5.err:\n  bash: line 1: exec: /home/me/my: not found")


def test_a_worker_that_lives_on_and_works_is_only_slow(logs):
    machine = Machine(logs)

    def a_little_more():
        machine.workers = {7: machine.workers.get(7, 0.0) + 0.05, 8: 0.3}

    machine.let_pass(10 * SECONDS, each=a_little_more)
    assert machine.said == []
    machine.let_pass(3 * SAMPLE_SECONDS)
    assert len(machine.said) == 1, "and now it hangs"


def test_on_a_cluster_it_is_said_where_to_look(logs):
    machine = Machine(None)
    machine.let_pass(SECONDS + 1)
    assert len(machine.said) == 1 and "`ray status` says which" in machine.said[0]


def test_the_raylets_faults_are_told_without_its_routine(logs):
    lines = [f"[2026-01-01 00:00:00,{n:03} I 1 1] (raylet) fine {n}" for n in range(50)]
    fault = "[2026-01-01 00:00:01,000 E 1 1] (raylet) worker_pool.cc:586: Some workers have not registered"
    (logs / "raylet.out").write_text("\n".join([*lines, fault, "[state-dump] Event stats:", *lines]))
    (logs / "raylet.err").write_text("")
    assert last_words(logs) == f"the end of {logs / 'raylet.out'}:\n  {fault}"


def test_where_the_logs_say_nothing_their_folder_is_named(logs):
    assert last_words(logs) == f"Ray's logs, in {logs}, say nothing of it"
