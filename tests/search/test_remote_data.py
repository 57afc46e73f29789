"""`--data` and `--test` that lie in a bucket are checked as folders are; whole searches: see `test_remote_storage`."""

import contextlib

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import search.driver
from search.cluster.cluster import Resources
from search.command_line import app
from tests.s3 import FORBIDDEN
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote


@pytest.fixture
def searched(s3, tmp_path, monkeypatch):
    """Runs the command line up to the search itself, on a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(search.driver, "_ray", lambda *arguments: contextlib.nullcontext(Resources(1, 0.0, 1)))
    monkeypatch.setattr(search.driver, "_search", lambda *arguments: 0)
    asked = ("--storage", tmp_path / "runs", "--name", "run")
    return lambda *flags: CliRunner().invoke(app, [str(flag) for flag in (*asked, *flags)])


@pytest.mark.parametrize("flag", ["--data", "--test"])
@pytest.mark.parametrize("place", ["nowhere/pairs", "bucket/data/nothing", "bucket/data/data.yaml"])
def test_what_is_not_there_is_named_and_nothing_is_started(searched, data_in_bucket, s3_server, tmp_path, flag, place):
    flags = {"--data": data_in_bucket[0]} | {flag: s3_server.uri(place)}
    result = searched(*(text for pair in flags.items() for text in pair))
    assert result.exit_code == 2
    assert f"s3://{place}: " in result.output and "nothing was started" in result.output
    assert not (tmp_path / "runs" / "run").exists()


def test_refused_credentials_are_told_with_the_uri_and_the_key_is_not(searched, data_in_bucket, s3, tmp_path):
    s3.failure = FORBIDDEN
    result = searched("--data", data_in_bucket[0].replace("s3://", "s3://somebody:secret@"))
    assert result.exit_code == 2 and "s3://bucket/data/pairs: cannot be used" in result.output
    assert "secret" not in result.output and not (tmp_path / "runs" / "run").exists()


def test_a_test_set_that_the_search_sees_is_refused(searched, data_in_bucket):
    result = searched("--data", data_in_bucket[0], "--test", data_in_bucket[0])
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
