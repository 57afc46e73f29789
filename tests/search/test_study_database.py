"""The mirror holds what the study holds, whoever reads it and whatever became of the file."""

import json
import sqlite3
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.trial import TrialState

from search.study_database import StudyDatabase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "my search").mkdir()
    return tmp_path / "my search" / "optuna.db"


@pytest.fixture
def study() -> optuna.Study:
    """Trials 0 to 3 ended as COMPLETE, PRUNED, FAIL and not at all."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for ending in ({"values": 0.1 + 0.2}, {"state": TrialState.PRUNED}, {"state": TrialState.FAIL}, None):
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True)
        trial.suggest_categorical("parts", ["heads", "everything"])
        trial.set_user_attr("recipe", {"batch_size": 2})
        trial.report(2 / 3, 1)
        if ending:
            study.tell(trial, **ending)
    return study


def load(path: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{path}")


def mirrored(path: Path) -> dict[int, optuna.trial.FrozenTrial]:
    return {trial.user_attrs["trial"]: trial for trial in load(path).trials}


def complete_one(study: optuna.Study) -> None:
    study.tell(study.ask(), 1.0)


def test_the_file_opens_as_a_study_named_after_the_run(path, study):
    assert StudyDatabase(path).sync(study)
    assert load(path).study_name == "my search"
    assert load(path).best_value == 0.1 + 0.2
    assert load(path).direction == study.direction


@pytest.mark.parametrize(
    "name", ["50%", "what?", "#1", "{SCHEMA_VERSION}", "{x}", "a?mode=ro&uri=true", "[red]", "a'b;"]
)
def test_no_name_of_a_run_folder_is_taken_for_an_option(tmp_path, study, name):
    path = tmp_path / name / "optuna.db"
    path.parent.mkdir()
    assert StudyDatabase(path).sync(study) and StudyDatabase(path).sync(study)
    assert [file.name for file in tmp_path.iterdir()] == [name] and [file.name for file in path.parent.iterdir()] == [
        path.name
    ]
    (tmp_path / "plain.db").write_bytes(path.read_bytes())
    assert load(tmp_path / "plain.db").study_name == name
    assert len(load(tmp_path / "plain.db").trials) == 3


def test_optuna_dashboard_shows_states_intermediate_values_and_readable_parameters(path, study):
    wsgi = pytest.importorskip("optuna_dashboard").wsgi
    StudyDatabase(path).sync(study)
    request = {"PATH_INFO": "/api/studies/1", "REQUEST_METHOD": "GET"}
    setup_testing_defaults(request)
    body = b"".join(wsgi(f"sqlite:///{path}")(request, lambda *answer: None))
    shown = json.loads(body)["trials"]
    assert [trial["state"] for trial in shown] == ["Complete", "Pruned", "Fail"]
    assert {parameter["name"] for parameter in shown[0]["params"]} == {"learning_rate", "parts"}
    assert shown[1]["intermediate_values"] == [{"step": 1, "value": 2 / 3}]


def test_finished_trials_are_mirrored_as_they_are(path, study):
    StudyDatabase(path).sync(study)
    copies = mirrored(path)
    assert sorted(copies) == [0, 1, 2]
    for number, copied in copies.items():
        original = study.trials[number]
        for field in (
            *("state", "values", "params", "distributions", "intermediate_values"),
            *("datetime_start", "datetime_complete"),
        ):
            assert getattr(copied, field) == getattr(original, field)
        assert copied.user_attrs == {"recipe": {"batch_size": 2}, "trial": number}


def test_the_study_itself_is_left_as_it_was(path, study):
    StudyDatabase(path).sync(study)
    assert "trial" not in study.trials[0].user_attrs


def test_each_sync_adds_only_what_is_new_in_the_order_of_endings(path, study):
    mirror = StudyDatabase(path)
    mirror.sync(study)
    complete_one(study)
    assert mirror.sync(study) and mirror.sync(study)
    study.tell(3, 0.5)
    mirror.sync(study)
    assert [trial.user_attrs["trial"] for trial in load(path).trials] == [0, 1, 2, 4, 3]


def test_a_search_without_finished_trials_has_a_file_already(path):
    StudyDatabase(path).sync(optuna.create_study())
    assert load(path).trials == []


def test_a_resumed_search_adds_to_the_file_that_it_finds(path, study):
    StudyDatabase(path).sync(study)
    complete_one(study)
    StudyDatabase(path).sync(study)
    assert sorted(mirrored(path)) == [0, 1, 2, 4]


def test_a_run_folder_that_moved_keeps_one_study(path, study):
    StudyDatabase(path).sync(study)
    moved = path.parent.rename(path.parent.with_name("moved")) / path.name
    complete_one(study)
    StudyDatabase(moved).sync(study)
    assert optuna.get_all_study_names(f"sqlite:///{moved}") == ["my search"]
    assert len(load(moved).trials) == 4


@pytest.mark.parametrize("opened_before", [True, False])
def test_a_reader_that_holds_the_file_costs_nothing_but_time(path, study, opened_before):
    mirror = StudyDatabase(path)
    mirror.sync(study)
    complete_one(study)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trials").fetchone()
    mirror = mirror if opened_before else StudyDatabase(path)
    assert not mirror.sync(study)
    assert len(reader.execute("SELECT * FROM trials").fetchall()) == 3
    reader.close()
    assert mirror.sync(study)
    assert sorted(mirrored(path)) == [0, 1, 2, 4]


@pytest.mark.parametrize("damage", ["no database", "half of it", "empty"])
def test_a_damaged_file_is_made_anew_when_a_search_is_resumed(path, study, damage):
    StudyDatabase(path).sync(study)
    whole = path.read_bytes()
    contents = {"no database": b"no database" * 100, "half of it": whole[: len(whole) // 2], "empty": b""}
    path.write_bytes(contents[damage])
    assert StudyDatabase(path).sync(study)
    assert sorted(mirrored(path)) == [0, 1, 2]


def test_a_file_deleted_under_a_running_search_is_made_anew(path, study):
    mirror = StudyDatabase(path)
    mirror.sync(study)
    path.unlink()
    assert mirror.sync(study)
    assert sorted(mirrored(path)) == [0, 1, 2]


def test_nothing_is_printed(path, study, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    StudyDatabase(path).sync(study)
    assert capfd.readouterr() == ("", "")
