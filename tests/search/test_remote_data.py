"""`--data` and `--test` that lie in a bucket: pulled by each machine, then all goes on as with a folder."""

import contextlib
import shutil

import pandas as pd
import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

import search.driver
from search.cluster.cluster import Resources
from search.cluster.preflight import preflight
from search.command_line import app
from search.options import Options
from tests.s3 import FORBIDDEN
from tests.whole_search import table_of
from trainable.data.source import read_source
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote


@pytest.fixture(scope="module")
def data(s3_server, data_folder, other_data_folder):
    """The tests' pairs in the bucket, and a test set."""
    for name, folder in (("pairs", data_folder), ("test", other_data_folder)):
        Mirror(Remote(s3_server.uri(f"bucket/data/{name}")), folder).push(folder)
    return s3_server.uri("bucket/data/pairs"), s3_server.uri("bucket/data/test")


@pytest.fixture(scope="module")
def short(data, checkpoint, storage):
    """The flags of a short search on them."""
    return (
        *("--data", data[0], "--test", data[1], "--model", checkpoint, "--subset", 4, "--max-epochs", 3),
        *("--max-concurrent", 1, "--storage", storage),
    )


def copies(cache):
    """Where a machine whose cache this is keeps its copies of data sets."""
    return [folder for folder in cache.glob("*/data/*/*/files") if (folder / "before" / "t0.png").is_file()]


def test_a_search_on_them_ends_as_any_other_and_goes_on_where_they_must_be_pulled_again(
    start, short, storage, tmp_path
):
    code, output = start(*short, "--name", "bucket-data", "--trials", 1, cache=tmp_path / "first").wait()
    assert code == 0, output
    assert "s3://bucket/data/pairs: pulling 39 files" in output and "s3://bucket/data/test: pulling" in output
    assert "data   s3://bucket/data/pairs: 4 training and 4 validation pairs of person, car" in output
    run = storage / "bucket-data"
    assert (run / "best" / "test" / "metrics.json").exists()
    assert "--data 's3://bucket/data/pairs?" in (run / "best" / "recipe.yaml").read_text()

    code, output = start("--resume", run, "--trials", 2, cache=tmp_path / "second").wait()
    assert code == 0, output
    assert "s3://bucket/data/pairs: pulled in" in output and len(table_of(run)) == 2
    assert len(copies(tmp_path / "first")) == len(copies(tmp_path / "second")) == 2


@pytest.fixture
def lone_node(s3_server, tmp_path):
    """The address of a cluster whose only node that can train has a cache of its own, `tmp_path / "node"`."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(tmp_path / "node")})
    yield cluster.address
    cluster.shutdown()


def test_a_node_that_shares_no_folder_with_the_driver_trains_on_its_own_copy(
    start, short, storage, lone_node, tmp_path
):
    flags = (*short, "--name", "bucket-node", "--trials", 1, "--address", lone_node)
    search = start(*flags, cache=tmp_path / "driver")
    search.wait_for(lambda: copies(tmp_path / "node"), "copy of the node")
    for folder in copies(tmp_path / "driver"):
        shutil.rmtree(folder)
    _, output = search.wait()
    assert "s3://bucket/data/pairs: every node pulls its copy, 39 files" in output
    (trial,) = table_of(storage / "bucket-node").itertuples()
    assert (trial.status, trial.epochs) == ("COMPLETED", 3), output


def test_a_node_that_cannot_pull_them_is_named_and_left_out(data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    (tmp_path / "full").write_text("no folder")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for cache in ("good", "full"):
            cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(tmp_path / cache)})
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        said = []
        options = Options("staged", data[0], "embedded", 1, 3, 2, str(tmp_path), "run", address="auto")
        preflight(options, Resources(1, 0.0, 2), read_source(data[0]), said.append)
    finally:
        ray.shutdown()
        cluster.shutdown()
    asked, bad = said
    assert asked.startswith("s3://bucket/data/pairs: every node pulls its copy")
    assert "cannot pull the data: s3://bucket/data/pairs: cannot be copied to" in bad and bad.endswith("is left out")
    assert len(copies(tmp_path / "good")) == 1


@pytest.fixture
def searched(s3, tmp_path, monkeypatch):
    """Runs the command line up to the search itself, on a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(search.driver, "_ray", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(search.driver, "_search", lambda *arguments: 0)
    asked = ("--storage", tmp_path / "runs", "--name", "run")
    return lambda *flags: CliRunner().invoke(app, [str(flag) for flag in (*asked, *flags)])


@pytest.mark.parametrize("flag", ["--data", "--test"])
@pytest.mark.parametrize("place", ["nowhere/pairs", "bucket/data/nothing", "bucket/data/data.yaml"])
def test_what_is_not_there_is_named_and_nothing_is_started(searched, data, s3_server, tmp_path, flag, place):
    flags = {"--data": data[0]} | {flag: s3_server.uri(place)}
    result = searched(*(text for pair in flags.items() for text in pair))
    assert result.exit_code == 2
    assert f"s3://{place}: " in result.output and "nothing was started" in result.output
    assert not (tmp_path / "runs" / "run").exists()


def test_refused_credentials_are_told_with_the_uri_and_the_key_is_not(searched, data, s3, tmp_path):
    s3.failure = FORBIDDEN
    result = searched("--data", data[0].replace("s3://", "s3://somebody:secret@"))
    assert result.exit_code == 2 and "s3://bucket/data/pairs: cannot be used" in result.output
    assert "secret" not in result.output and not (tmp_path / "runs" / "run").exists()


def test_a_test_set_that_the_search_sees_is_refused(searched, data):
    result = searched("--data", data[0], "--test", data[0])
    assert result.exit_code == 2
    assert "--test s3://bucket/data/pairs: 12 of its pairs have images of the data" in result.output


def test_faults_are_reported_by_the_names_of_the_objects(searched, data_folder, s3_server, tmp_path):
    remote = Remote(s3_server.uri("bucket/data/faulty"))
    Mirror(remote, data_folder).push(data_folder)
    remote.write("labels/v0.txt", b"0 2 0.5 0.1 0.1")
    result = searched("--data", remote.uri)
    assert result.exit_code == 2 and "s3://bucket/data/faulty/labels/v0.txt:1: " in result.output
    (file,) = pd.read_csv(tmp_path / "runs" / "run" / "data_report.csv")["file"]
    assert file == "s3://bucket/data/faulty/labels/v0.txt"


def test_a_key_in_the_uri_is_not_kept_and_other_objects_are_another_data_set(
    searched, data_folder, checkpoint, s3_server, tmp_path
):
    remote = Remote(s3_server.uri("bucket/data/changing"))
    Mirror(remote, data_folder).push(data_folder)
    begun = searched("--data", remote.uri.replace("s3://", "s3://somebody:secret@"), "--model", checkpoint)
    assert begun.exit_code == 0, begun.output
    run = tmp_path / "runs" / "run"
    assert yaml.safe_load((run / "search.yaml").read_text())["data"] == remote.uri
    assert CliRunner().invoke(app, ["--resume", str(run)]).exit_code == 0
    remote.write("labels/t0.txt", b"")
    resumed = CliRunner().invoke(app, ["--resume", str(run)])
    assert resumed.exit_code == 2 and "  data: was " in resumed.output
