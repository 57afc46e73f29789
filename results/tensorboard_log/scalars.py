"""TensorBoard's view of a search: scalars and hyperparameters of every trial, one TensorBoard run a trial.

Written as TensorBoard's own events, without a framework. No `experiment` summary is written: TensorBoard would take
the first one that it finds and hide the fields that only other trials have; without one it collects all of them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from results.journal.journal import TrialRecord
from trainable.history import EpochRow
from trainable.recipe import flatten

SCALARS = (
    *("val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "train_loss", "learning_rate"),
    *("precision", "recall", "f1", "map", "max_f1", "stage"),
)
"""Metrics of an epoch that become curves, with the epoch as the step."""


class TensorBoardLog:
    """Writes each trial's events under `folder/<trial>/` as they happen.

    Args:
        folder: TensorBoard's log folder; each trial makes its own folder in it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._writers: dict[int, EventFileWriter] = {}

    def reported(self, record: TrialRecord, row: EpochRow, time: float) -> None:
        """Writes the curves' next points; the trial's first also writes its hyperparameters.

        Args:
            record: the trial.
            row: what it has reported.
            time: when.
        """
        measured = {name: getattr(row, name) for name in SCALARS}
        known = {name: value for name, value in measured.items() if value is not None}
        self._write_scalars(record, known, row.epoch, time)

    def ended(self, record: TrialRecord) -> None:
        """Writes what the hyperparameter view compares trials by, and closes the trial's file.

        These are `hparam/val_loss`, `hparam/f1` and what else trials are compared by, of the best epoch, and
        `hparam/epochs`; a curve's own last value is not its best. A trial that FAILED is shown as such.
        """
        time = record.asked if record.ended is None else record.ended
        if record.best:
            epochs = record.history[-1].epoch
            best = record.best
            compared = {"val_loss": best.val_loss, best.metric.field: best.compared, "f1": best.f1, "epochs": epochs}
            scalars = {f"hparam/{name}": value for name, value in compared.items()}
            self._write_scalars(record, scalars, epochs, time)
        status = api_pb2.STATUS_FAILURE if record.status == "FAILED" else api_pb2.STATUS_SUCCESS
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time))
        summary = Summary()
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(end),
            tensor=metadata.NULL_TENSOR,
        )
        writer = self._writer(record)
        writer.add_event(Event(wall_time=time, summary=summary))
        writer.close()
        del self._writers[record.number]

    def paused(self, record: TrialRecord) -> None:
        """Closes the trial's file; there will be another one if it goes on."""
        if writer := self._writers.pop(record.number, None):
            writer.close()

    def close(self) -> None:
        """Closes the files of the trials that have not ended."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write_scalars(self, record: TrialRecord, scalars: dict[str, float], epoch: int, time: float) -> None:
        writer = self._writer(record)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        writer.add_event(Event(wall_time=time, step=epoch, summary=Summary(value=values)))
        writer.flush()

    def _writer(self, record: TrialRecord) -> EventFileWriter:
        """The trial's open file. A new one starts with the hyperparameters, so that a killed run shows them too."""
        if record.number not in self._writers:
            name = f"{record.number:04d}"
            writer = self._writers[record.number] = EventFileWriter(str(self.folder / name))
            fields = flatten(record.recipe) if record.recipe else {}
            values = {field: value for field, value in fields.items() if value is not None}
            start = hparams_pb(values, trial_id=name, start_time_secs=record.asked)
            writer.add_event(Event(wall_time=record.asked, summary=start))
        return self._writers[record.number]


def rebuild(folder: Path, records: Sequence[TrialRecord]) -> TensorBoardLog:
    """Deletes `folder` and writes it anew from the trials.

    Returns:
        The log, for the trials that go on and those to come.
    """
    shutil.rmtree(folder, ignore_errors=True)
    log = TensorBoardLog(folder)
    for record in records:
        for row, time in zip(record.history, record.reported, strict=True):
            log.reported(record, row, time)
        if record.ended is not None:
            log.ended(record)
        elif record.status == "PAUSED":
            log.paused(record)
    return log
