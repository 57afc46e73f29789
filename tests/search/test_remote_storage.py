"""Whole searches whose storage and data lie in a bucket: the same results as in folders, and no folder is needed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from results.table import tables_agree
from tests.s3 import BUSY, FORBIDDEN
from tests.whole_search import (
    Search,
    Start,
    assert_each_event_once,
    assert_study_is_that_of_the_table,
    reports_of,
    table_of,
)
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote


@pytest.fixture(scope="module")
def at_s3(s3_server, data_in_bucket, flags) -> tuple[Any, ...]:
    """The flags of `complete`, with data and storage in a bucket, and a test set there."""
    data, test = data_in_bucket
    return (*flags, "--data", data, "--test", test, "--storage", s3_server.uri("bucket/my runs"))


def copies(cache: Path) -> list[Path]:
    """Where a machine whose cache this is keeps its copies of data sets."""
    return [folder for folder in cache.glob("*/data/*/*/files") if (folder / "before" / "t0.png").is_file()]


@pytest.fixture(scope="module")
def run(s3_server) -> Remote:
    return Remote(s3_server.uri("bucket/my runs/one"))


@pytest.fixture(scope="module")
def copied(run: Remote, tmp_path_factory) -> Callable[[], Path]:
    """Copies the run folder as it is now to this machine."""

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("copy") / "one"
        assert Mirror(run, folder).pull(folder)
        return folder

    return copy


@pytest.fixture(scope="module")
def finished(start: Start, at_s3, copied, tmp_path_factory) -> tuple[Path, str, Path, str]:
    """A search of three trials: a copy of its run, its output and its cache; and what a second of its name printed."""
    cache = tmp_path_factory.mktemp("cache")
    search = start(*at_s3, "--name", "one", "--trials", 3, cache=cache)
    search.wait_for(lambda: list(cache.glob("*/runs/*/one/journal.jsonl")), "journal")
    code, refusal = start(*at_s3, "--name", "one").wait()
    assert code == 2, refusal
    code, output = search.wait()
    assert code == 0, output
    return copied(), output, cache, refusal


def test_its_results_are_those_of_a_search_in_a_folder(finished, complete):
    copy = finished[0]
    assert tables_agree(table_of(copy), table_of(complete[0])[:3]) == []
    assert_each_event_once(copy)
    assert_study_is_that_of_the_table(copy)
    names = {path.relative_to(complete[0]).parts[0] for path in complete[0].rglob("*") if path.is_file()}
    assert {path.name for path in copy.iterdir()} == names - {"tune", "selection.json"} | {"journal"}, (
        "with a test set nothing is estimated"
    )
    best = complete[0] / "best"
    assert {path.relative_to(best) for path in best.rglob("*.json")} <= {
        path.relative_to(copy / "best") for path in (copy / "best").rglob("*.json")
    }


def test_only_what_a_trial_leaves_in_a_folder_is_left_of_it(finished):
    copy, _, cache, _ = finished
    assert {path.name for path in (copy / "trials" / "0000").iterdir()} == {
        *("recipe.yaml", "progress.json", "validation_terms.npz", "weights")
    }
    assert not [path for path in cache.glob("*/runs/*/*") if path.is_dir()], "what was worked on is kept here"


def test_what_is_printed_can_be_found_in_the_storage(finished, run):
    output = finished[1]
    assert "s3://bucket/my runs/one/report.html" in output and "s3://bucket/my runs/one/best/model" in output
    assert run.read("report.html") and run.read("best/model/config.json")
    assert str(finished[2] / "moved-object-search" / "runs") not in output


def test_the_data_are_pulled_and_named_by_their_uri(finished):
    copy, output, cache, _ = finished
    assert "s3://bucket/data/pairs: pulling 39 files" in output and "s3://bucket/data/test: pulling" in output
    assert "data   s3://bucket/data/pairs: 8 training and 4 validation pairs of person, car" in output
    assert (copy / "best" / "test" / "metrics.json").exists()
    assert "--data 's3://bucket/data/pairs?" in (copy / "best" / "recipe.yaml").read_text()
    assert len(copies(cache)) == 2


def test_a_second_search_of_the_name_is_refused_while_the_first_one_runs_and_after_it(finished, start, at_s3):
    assert "another search, process" in finished[3] and "is writing this run" in finished[3]
    code, output = start(*at_s3, "--name", "one").wait()
    assert code == 2 and "--name one: s3://bucket/my runs/one is taken" in output
    assert "--resume 's3://bucket/my runs/one?endpoint_override=" in output


def test_it_goes_on_from_other_machines_as_if_nothing_had_happened(
    finished, start, run, s3, copied, complete, tmp_path
):
    journal = run.at("journal")

    def wait_for_events(search: Search, count: int) -> None:
        def have_come() -> bool:
            time.sleep(0.2)  # Each look takes the server's time.
            return len(journal.names()) >= count

        search.wait_for(have_come, f"{count} in the journal")

    known = len(journal.names())
    killed = start("--resume", run.uri, "--trials", 5, cache=tmp_path / "second")
    wait_for_events(killed, known + 2)
    killed.kill()

    known = len(journal.names())
    paused = start("--resume", run.uri, cache=tmp_path / "third")
    wait_for_events(paused, known + 1)
    s3.failure = BUSY
    time.sleep(2)
    s3.failure = None
    wait_for_events(paused, known + 2)
    s3.failure = FORBIDDEN
    code, output = paused.wait()
    s3.failure = None
    assert code == 4 and "paused after" in output and "cannot be used" in output, output
    assert f"--resume '{run.uri}'" in output

    code, output = start("--resume", run.uri, cache=tmp_path / "fourth").wait()
    assert code == 0, output
    assert "s3://bucket/data/pairs: pulled in" in output and len(copies(tmp_path / "fourth")) == 2
    copy = copied()
    assert tables_agree(table_of(copy), table_of(complete[0])) == []
    assert_each_event_once(copy)


@pytest.fixture
def lone_node(s3_server, tmp_path) -> Iterator[str]:
    """The address of a cluster with a node that shares no folder with the driver, and one that cannot have a cache."""
    (tmp_path / "full").write_text("no folder")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for cache in ("node", "full"):
        cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(tmp_path / cache)})
    yield cluster.address
    cluster.shutdown()


def test_workers_need_to_share_nothing_with_the_driver_but_the_bucket_and_one_that_cannot_pull_is_left_out(
    start, at_s3, lone_node, s3_server, tmp_path, complete
):
    flags = ("--name", "apart", "--address", lone_node, "--trials", 2)
    search = start(*at_s3, *flags, cache=tmp_path / "driver")
    search.wait_for(lambda: copies(tmp_path / "node"), "copy of the node")
    # Or the node, which is on this machine, might train on the driver's copy.
    hidden = [path.rename(f"{path}-hidden") for path in (tmp_path / "driver").glob("*/data/*/*/files/before/t*.png")]
    assert hidden
    search.wait_for(lambda: any(map(reports_of, (tmp_path / "driver").glob("*/runs/*/apart"))), "epoch on the node")
    for path in hidden:
        path.rename(str(path).removesuffix("-hidden"))
    code, output = search.wait()
    assert code == 0, output
    assert "s3://bucket/data/pairs: every node pulls its copy, 39 files" in output
    assert "cannot pull the data: s3://bucket/data/pairs: cannot be copied to" in output
    assert "it is left out" in output
    run = Remote(s3_server.uri("bucket/my runs/apart"))
    assert Mirror(run, tmp_path / "copy").pull(tmp_path / "copy")
    assert tables_agree(table_of(tmp_path / "copy"), table_of(complete[0])[:2]) == []
    assert not run.names("preflight")
    assert list((tmp_path / "node").glob("*/runs/*")) and not list((tmp_path / "node").glob("*/runs/*/apart/trials/*"))


def test_a_bucket_that_does_not_exist_is_named_and_nothing_is_started(start, flags, s3_server):
    code, output = start(*flags, "--storage", s3_server.uri("nowhere/runs")).wait()
    assert (
        code == 2 and "s3://nowhere/runs" in output and "cannot be used" in output and "nothing was started" in output
    )


def test_what_is_no_run_cannot_be_resumed(start, s3_server):
    code, output = start("--resume", s3_server.uri("bucket/nothing")).wait()
    assert code == 2 and "--resume s3://bucket/nothing: there is no search.yaml" in output
