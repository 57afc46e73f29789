"""A run folder: its name is taken once, it may be moved, and it is resumed with what it was started with."""

import dataclasses
import re

import pytest
import yaml

from results.journal.events import Asked
from results.journal.objects import read_objects
from search.options import Options, OptionsError
from search.run_folder.owner import OwnerError
from search.run_folder.run_folder import (
    RunFolderError,
    check_identity,
    create_run,
    open_journal,
    publish,
    resume_command,
    resume_options,
    run_folder,
    update_run,
)
from trainable.storage.remote import StorageError

IDENTITY = {"data": "1" * 16, "model": "2" * 16, "space": "staged", "results": "version 1", "code": "3" * 16}


@pytest.fixture
def options(tmp_path) -> Options:
    asked = {"space": "staged", "data": "/pairs", "model": "embedded", "trials": 16, "max_epochs": 24, "grace": 4}
    return Options(**asked, storage=str(tmp_path / "runs"), name="one", seed=5, skip_bad=True, time_budget=60.0)


def test_search_yaml_holds_what_was_asked_and_what_with(options):
    create_run(options, IDENTITY)
    plain = yaml.safe_load((options.run / "search.yaml").read_text())
    assert plain.pop("identity") == IDENTITY
    assert plain.pop("command").startswith("python search/run.py --space staged --data /pairs ")
    assert Options.from_dict(plain) == options


def test_a_taken_name_is_refused_and_left_as_it_was(options):
    create_run(options, IDENTITY)
    before = (options.run / "search.yaml").read_bytes()
    with pytest.raises(RunFolderError, match=r"--name one: .*runs/one is taken.*--resume .*runs/one"):
        create_run(options, {**IDENTITY, "data": "other"})
    assert (options.run / "search.yaml").read_bytes() == before


def test_a_folder_without_search_yaml_is_not_taken(options):
    options.run.mkdir(parents=True)
    (options.run / "data_report.csv").write_text("left by a refused search")
    create_run(options, IDENTITY)


def test_a_storage_that_cannot_be_written_is_named(options, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunFolderError, match=r"--storage .*runs: .*one cannot be written: "):
        create_run(options, IDENTITY)


def test_resuming_takes_the_options_of_the_run_with_what_was_changed(options):
    create_run(options, IDENTITY)
    resumed = resume_options(options.run, {"trials": 20, "max_concurrent": 2})
    assert (resumed.trials, resumed.max_concurrent, resumed.seed, resumed.skip_bad) == (20, 2, 5, True)
    assert resumed.run == options.run


def test_a_moved_and_renamed_folder_is_resumed_where_it_is(options, tmp_path, monkeypatch):
    create_run(options, IDENTITY)
    moved = tmp_path / "elsewhere" / "two"
    moved.parent.mkdir()
    options.run.rename(moved)
    monkeypatch.chdir(moved.parent)
    for given in (moved, moved.relative_to(moved.parent)):
        assert resume_options(given, {}).run == moved


def test_a_run_from_before_the_sampler_was_shown_a_part_of_many_trials_shows_it_all(options):
    create_run(options, IDENTITY)
    assert resume_options(options.run, {}).bounded
    asked = options.run / "search.yaml"
    asked.write_text(asked.read_text().replace("bounded: true\n", ""))
    assert not resume_options(options.run, {}).bounded


def test_a_changed_option_that_breaks_a_rule_is_told(options):
    create_run(options, IDENTITY)
    with pytest.raises(OptionsError, match="--trials: at least 1, got 0"):
        resume_options(options.run, {"trials": 0})


@pytest.mark.parametrize("content", [None, "", "- a list", "a: 1", "{", b"\xff\xfe\x00"])
def test_what_is_no_run_folder_is_refused_by_name(tmp_path, content):
    run = tmp_path / "no_run"
    run.mkdir()
    if content is not None:
        (run / "search.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunFolderError, match=r"--resume .*no_run: .*search\.yaml "):
        resume_options(run, {})


def test_the_same_identity_may_be_resumed(options):
    create_run(options, IDENTITY)
    check_identity(options, IDENTITY)


def test_a_changed_identity_is_refused_showing_only_what_differs(options):
    create_run(options, IDENTITY)
    with pytest.raises(RunFolderError) as caught:
        check_identity(options, IDENTITY | {"data": "9" * 16, "results": "version 2"})
    message = str(caught.value)
    assert f"  data: was {'1' * 16}, is {'9' * 16}" in message and "  results: was version 1, is version 2" in message
    assert "model" not in message and "space" not in message and "--force" in message


def test_other_code_of_the_same_results_version_resumes_a_run_and_is_recorded(options):
    create_run(options, IDENTITY)
    check_identity(options, IDENTITY | {"code": "8" * 16})
    update_run(options, IDENTITY | {"code": "8" * 16})
    assert yaml.safe_load((options.run / "search.yaml").read_text())["identity"]["code"] == "8" * 16


def test_a_run_from_before_there_were_results_versions_is_of_the_first(options):
    create_run(options, {name: value for name, value in IDENTITY.items() if name != "results"})
    check_identity(options, IDENTITY)
    with pytest.raises(RunFolderError, match="results: was version 1, is version 2"):
        check_identity(options, IDENTITY | {"results": "version 2"})


def test_a_run_that_says_nothing_of_what_it_was_started_with_is_refused(options):
    create_run(options, {})
    with pytest.raises(RunFolderError, match="results: was None, is version 1"):
        check_identity(options, IDENTITY)


def test_a_run_of_the_time_before_names_were_pinned_goes_on_pinned(options):
    create_run(options, IDENTITY | {"model": "facebook/detr-resnet-50"})
    now = IDENTITY | {"model": f"facebook/detr-resnet-50@{'a' * 40}"}
    check_identity(options, now)
    update_run(dataclasses.replace(options, model=now["model"]), now)
    assert resume_options(options.run, {}).model == now["model"]
    with pytest.raises(RunFolderError, match=f"model: was .*{'a' * 40}, is .*{'b' * 40}"):
        check_identity(options, IDENTITY | {"model": f"facebook/detr-resnet-50@{'b' * 40}"})


def test_a_cache_folder_that_cannot_be_written_is_refused_for_a_run_in_a_storage(options, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    elsewhere = dataclasses.replace(options, storage=(tmp_path / "bucket").as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    with (
        pytest.raises(RunFolderError, match=r"--storage .*cache folder, which cannot be written.*XDG_CACHE_HOME"),
        run_folder(elsewhere, resumed=False),
    ):
        pass


def test_the_command_that_resumes_can_be_pasted(options):
    options = dataclasses.replace(options, name="my run")
    assert resume_command(options) == f"python search/run.py --resume '{options.storage}/my run'"


def test_a_run_may_be_renamed_to_whatever_the_file_system_takes(options):
    create_run(options, IDENTITY)
    renamed = options.run.rename(options.run.with_name("run (2)"))
    assert resume_options(renamed, {}).run == renamed


def test_an_extension_that_was_interrupted_is_gone_on_with_by_the_plain_resume(options):
    create_run(options, IDENTITY)
    update_run(resume_options(options.run, {"trials": 99}), IDENTITY)
    assert resume_options(options.run, {}).trials == 99
    check_identity(options, IDENTITY)


def test_a_taken_name_is_refused_before_anything_else(options):
    with run_folder(options, resumed=False):
        create_run(options, IDENTITY)
    with pytest.raises(RunFolderError, match="is taken"), run_folder(options, resumed=False):
        pytest.fail("the name is taken")
    with run_folder(options, resumed=True):
        assert options.run.exists(), "a run in a folder stays where it is"


class TestInARemoteStorage:
    @pytest.fixture
    def options(self, options, s3, request, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return dataclasses.replace(options, storage=s3.uri(f"bucket/{request.node.name}"), name="my run")

    @pytest.fixture
    def elsewhere(self, monkeypatch, tmp_path):
        """Goes to another machine."""
        return lambda: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other cache"))

    def start(self, options):
        with run_folder(options, resumed=False):
            create_run(options, IDENTITY)

    def uri(self, options):
        return options.remote.uri

    def test_what_was_asked_and_what_with_is_found_from_elsewhere(self, options, elsewhere):
        self.start(options)
        elsewhere()
        resumed = resume_options(self.uri(options), {"trials": 20})
        assert resumed == dataclasses.replace(options, trials=20)
        with run_folder(resumed, resumed=True):
            check_identity(resumed, IDENTITY)
            with pytest.raises(RunFolderError, match=r"s3://bucket/.*/my run: cannot be resumed, since"):
                check_identity(resumed, IDENTITY | {"data": "9" * 16})
            update_run(resumed, IDENTITY)
        assert resume_options(self.uri(options) + "&", {}).trials == 20

    def test_a_taken_name_is_refused_from_elsewhere(self, options, elsewhere):
        self.start(options)
        elsewhere()
        with pytest.raises(RunFolderError, match=r"--name my run: s3://.*/my run is taken.*--resume 's3://.*region="):
            self.start(options)

    def test_a_run_is_held_by_one_search_at_a_time(self, options, elsewhere):
        with run_folder(options, resumed=False) as still_ours:
            still_ours()
            create_run(options, IDENTITY)
            elsewhere()
            with pytest.raises(OwnerError, match="another search"):
                self.start(options)
        with run_folder(options, resumed=True):
            pass

    def test_nothing_of_an_earlier_run_of_the_name_is_taken_for_this_one(self, options):
        options.run.mkdir(parents=True)
        (options.run / "journal.jsonl").write_text("of a run that was deleted in the storage")
        with run_folder(options, resumed=False):
            create_run(options, IDENTITY)
            journal = open_journal(options)
            assert not journal.events
            journal.close()
        assert not options.run.exists(), "what was worked on is not kept"

    def test_its_journal_is_in_the_storage(self, options):
        with run_folder(options, resumed=False):
            create_run(options, IDENTITY)
            journal = open_journal(options)
            asked = Asked(0, {}, None, True, 1.0)
            journal.append(asked)
            journal.close()
        assert read_objects(options.remote.at("journal")) == [asked]

    def test_what_is_published_is_in_the_storage_and_what_is_not_there_is_left_out(self, options):
        (options.run / "best").mkdir(parents=True)
        (options.run / "best" / "recipe.yaml").write_text("good")
        publish(options, "best", "report.html")
        assert options.remote.files() == ["best/recipe.yaml"]
        assert options.shown("best/recipe.yaml").startswith("s3://bucket/")

    def test_the_command_that_resumes_names_the_endpoint_and_no_key(self, options):
        with_key = dataclasses.replace(options, storage=options.storage.replace("s3://", "s3://KEY:SECRET@"))
        command = resume_command(with_key)
        assert "SECRET" not in command and "endpoint_override=" in command
        assert resume_command(options) == command

    def test_no_key_is_written_into_the_storage(self, options):
        self.start(dataclasses.replace(options, storage=options.storage.replace("s3://", "s3://test:SECRET@")))
        assert b"SECRET" not in options.remote.read("search.yaml")

    @pytest.mark.parametrize("content", [None, b"- a list", b"{", b"\xff"])
    def test_what_is_no_run_is_refused_by_name(self, options, content):
        if content is not None:
            options.remote.write("search.yaml", content)
        with pytest.raises(RunFolderError, match=r"--resume s3://bucket/.*/my run: .*search\.yaml"):
            resume_options(self.uri(options), {})

    @pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://?region=x"])
    def test_a_uri_without_a_name_is_refused(self, uri):
        with pytest.raises(RunFolderError, match=f"--resume {re.escape(uri)}: names no run"):
            resume_options(uri, {})

    def test_a_storage_that_there_is_no_filesystem_for_is_named(self):
        with pytest.raises(StorageError, match=r"nonsense://bucket/one/search\.yaml: cannot be used"):
            resume_options("nonsense://bucket/one", {})
