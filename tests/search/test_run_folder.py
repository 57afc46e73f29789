"""A run folder: its name is taken once, it may be moved, and it is resumed with what it was started with."""

import pytest
import yaml

from search.options import Options, OptionsError
from search.run_folder import (
    RunFolderError,
    check_identity,
    create_run,
    identity_of,
    resume_command,
    resume_options,
    update_run,
)

IDENTITY = {"data": "1" * 16, "model": "2" * 16, "space": "staged", "code": "3" * 16}


@pytest.fixture
def options(tmp_path) -> Options:
    asked = {"space": "staged", "data": "/pairs", "model": "embedded", "trials": 16, "max_epochs": 24, "grace": 4}
    return Options(**asked, storage=str(tmp_path / "runs"), name="one", seed=5, skip_bad=True, time_budget=60.0)


def test_search_yaml_holds_what_was_asked_and_what_with(options):
    create_run(options, IDENTITY)
    plain = yaml.safe_load((options.run / "search.yaml").read_text())
    assert plain.pop("identity") == IDENTITY
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
    check_identity(options.run, IDENTITY)


def test_a_changed_identity_is_refused_showing_only_what_differs(options):
    create_run(options, IDENTITY)
    with pytest.raises(RunFolderError) as caught:
        check_identity(options.run, IDENTITY | {"data": "9" * 16, "code": "8" * 16})
    message = str(caught.value)
    assert f"  data: was {'1' * 16}, is {'9' * 16}" in message and f"  code: was {'3' * 16}, is {'8' * 16}" in message
    assert "model" not in message and "space" not in message and "--force" in message


def test_the_identity_follows_data_model_space_and_its_file(tmp_path):
    checkpoint, space = tmp_path / "checkpoint", tmp_path / "mine.py"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    space.write_text("def narrow(trial, max_epochs): ...")
    asked = ("fingerprint of the data", str(checkpoint), f"{space}:narrow")
    first = identity_of(*asked)
    assert identity_of(*asked) == first

    def changed() -> set[str]:
        return {name for name, value in identity_of(*asked).items() if value != first[name]}

    space.write_text("def narrow(trial, max_epochs): return None")
    assert changed() == {"space"}
    (checkpoint / "model.safetensors").write_bytes(b"other weights")
    assert changed() == {"space", "model"}
    assert identity_of("other data", *asked[1:])["data"] != first["data"]


def test_the_identity_does_not_follow_where_model_and_space_lie(tmp_path):
    identities = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "mine.py").write_text("def narrow(trial, max_epochs): ...")
        identities.append(identity_of("data", str(tmp_path / place), f"{tmp_path / place / 'mine.py'}:narrow"))
    assert identities[0] == identities[1]


def test_the_command_that_resumes_can_be_pasted(tmp_path):
    assert resume_command(tmp_path / "my run") == f"python search/run.py --resume '{tmp_path}/my run'"


def test_a_run_may_be_renamed_to_whatever_the_file_system_takes(options):
    create_run(options, IDENTITY)
    renamed = options.run.rename(options.run.with_name("run (2)"))
    assert resume_options(renamed, {}).run == renamed


def test_an_extension_that_was_interrupted_is_gone_on_with_by_the_plain_resume(options):
    create_run(options, IDENTITY)
    update_run(resume_options(options.run, {"trials": 99}), IDENTITY)
    assert resume_options(options.run, {}).trials == 99
    check_identity(options.run, IDENTITY)
