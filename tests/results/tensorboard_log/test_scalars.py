"""What TensorBoard itself reads back: curves, hyperparameters of all trials, and how each ended."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from results.journal.journal import TrialRecord
from results.tensorboard_log.scalars import SCALARS, TensorBoardLog, rebuild


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


def hparams_view(folder: Path) -> tuple[list[str], dict[str, api_pb2.SessionGroup]]:
    """The columns and, by trial, the rows of TensorBoard's HParams page."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    by_run = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, by_run, [])
    every = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=api_pb2.Status.values(),
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    groups = list_session_groups.Handler(request, context, "", every).run().session_groups
    return [info.name for info in experiment.hparam_infos], {group.name: group for group in groups}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tensorboard"


def test_curves_have_a_point_an_epoch_at_the_time_of_its_report(folder, records):
    rebuild(folder, records).close()
    assert curve(folder / "0000", "val_loss") == [(1, 2.0), (2, pytest.approx(0.3)), (3, 1.0)]
    assert curve(folder / "0000", "stage") == [(1, 0), (2, 1), (3, 2)]
    assert set(SCALARS) - {"map", "max_f1"} <= set(read(folder / "0003").Tags()["scalars"])
    assert [event.wall_time for event in read(folder / "0000").Scalars("f1")] == records[0].reported


def test_a_running_trial_can_be_watched_before_its_file_is_closed(folder, records):
    log = TensorBoardLog(folder)
    log.reported(records[3], records[3].history[0], records[3].reported[0])
    assert curve(folder / "0003", "val_loss") == [(1, 1.5)]
    _, trials = hparams_view(folder)
    assert trials["0003"].hparams["batch_size"].number_value == 2
    log.close()


def test_the_hparams_page_shows_the_fields_of_all_trials(folder, records):
    rebuild(folder, [records[1], records[0], records[2]]).close()
    columns, trials = hparams_view(folder)
    assert {"stages.0.learning_rate", "stages.2.learning_rate", "patience", "dtype"} <= set(columns)
    assert trials["0001"].hparams["stages.0.learning_rate"].number_value == 0.1 + 0.2
    assert trials["0001"].hparams["stages.0.trainable"].string_value == "box_head+class_head"
    assert "stages.2.epochs" not in trials["0001"].hparams
    assert trials["0000"].hparams["stages.2.epochs"].number_value == 1


def test_trials_are_compared_by_their_best_epoch(folder, records):
    rebuild(folder, records).close()
    _, trials = hparams_view(folder)
    values = {value.name.tag: value.value for value in trials["0000"].metric_values}
    assert values["val_loss"] == 1.0, "the curve's last value"
    assert values["hparam/val_loss"] == pytest.approx(0.3)
    assert values["hparam/f1"] == pytest.approx(0.3)
    assert values["hparam/epochs"] == 3


def test_the_hparams_page_tells_how_and_when_each_trial_ended(folder, records):
    rebuild(folder, records).close()
    _, trials = hparams_view(folder)
    sessions = {name: trial.sessions[0] for name, trial in trials.items()}
    assert {name: api_pb2.Status.Name(session.status) for name, session in sessions.items()} == {
        "0000": "STATUS_SUCCESS",
        "0001": "STATUS_SUCCESS",
        "0002": "STATUS_FAILURE",
        "0003": "STATUS_UNKNOWN",
        "0004": "STATUS_FAILURE",
    }
    assert (sessions["0001"].start_time_secs, sessions["0001"].end_time_secs) == (records[1].asked, records[1].ended)


def test_rebuilding_drops_what_the_trials_do_not_tell(folder, records):
    rebuild(folder, records).close()
    rebuild(folder, records[:2]).close()
    assert sorted(path.name for path in folder.iterdir()) == ["0000", "0001"]
    assert len(list((folder / "0000").iterdir())) == 1


def test_a_rebuilt_log_goes_on_where_the_trial_was(folder, records):
    first = TrialRecord(0, {}, records[0].recipe, True, records[0].asked)
    first.history, first.reported = records[0].history[:1], records[0].reported[:1]
    log = rebuild(folder, [first])
    for row, time in zip(records[0].history[1:], records[0].reported[1:], strict=True):
        log.reported(records[0], row, time)
    log.ended(records[0])
    log.close()
    assert [step for step, _ in curve(folder / "0000", "val_loss")] == [1, 2, 3]
    assert len(list((folder / "0000").iterdir())) == 1
