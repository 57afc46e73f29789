"""Writes the model of any trial whose weights a search has kept, measured as the search measures its best one.

python results/export_model.py runs/NAME --trial 5 --out my_model/ [--format onnx]
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer
from rich.console import Console

from results.evaluate import print_metrics
from results.journal.events import JournalError
from results.journal.opened_run import NoRunError
from results.model.kept_trial import KeptTrial, kept_trial
from results.prediction.detector import DetectorError
from trainable.data.difference import ImageError
from trainable.data.faults import DataError
from trainable.data.model_input import read_strictest_input
from trainable.data.pairs import PairData
from trainable.data.source import read_source
from trainable.recipe import RecipeError
from trainable.sample import checkpoint_of
from trainable.sample.data_set import located
from trainable.text.command_line import Command, Threads, stop
from trainable.text.console import plain_console

if TYPE_CHECKING:
    from results.model.onnx_export import OnnxFile
    from results.model.trial_model import MeasuredModel

app = Command()


class ExportError(ValueError):
    """The model cannot be written; the message says why and what to do."""


FAULTS = (ExportError, DetectorError, NoRunError, JournalError, DataError, ImageError, RecipeError)
"""What can be wrong with what a user has given."""


class Format(StrEnum):
    """What there is to write."""

    TRANSFORMERS = "transformers"
    ONNX = "onnx"


@app.command(help=__doc__)
def main(
    run: Annotated[str, typer.Argument(help="The run folder, here or as s3://BUCKET/FOLDER/NAME")],
    trial: Annotated[int, typer.Option(min=0, help="The trial's number, as in the run's results.csv")],
    out: Annotated[Path, typer.Option(help="Folder to write, which must not be there yet")],
    data: Annotated[
        str | None,
        typer.Option(help="The search's data set, where it has moved", show_default="where the search found it"),
    ] = None,
    to: Annotated[
        Format,
        typer.Option("--format", help="A folder for transformers, or that with a model.onnx for onnxruntime"),
    ] = Format.TRANSFORMERS,
    cpus: Threads = 1,
) -> None:
    console = plain_console(soft_wrap=True)
    try:
        if out.exists():
            raise ExportError(f"--out {out}: is there already; choose another folder")
        with kept_trial(run, trial) as kept:
            if data:
                kept = replace(kept, asked={**kept.asked, "data": data})
            metrics, onnx = export_model(kept, _read_pairs(kept.asked, console), out, cpus, to is Format.ONNX)
    except (*FAULTS, OSError) as error:
        stop(error)
    console.print(f"trial {trial}, {kept.record.status.lower()}, as of epoch {kept.best.epoch}")
    print_metrics(metrics, out)
    console.print(f"model    {out}")
    if onnx:
        console.print(
            f"onnx     {out / onnx.path.name}, opset {onnx.opset}; on {onnx.pairs} pairs, boxes within "
            f"{onnx.boxes_within:.1e} of torch's, F1 {onnx.f1:.3f} (torch {onnx.f1_of_torch:.3f})",
            highlight=False,
        )


def export_model(
    kept: KeptTrial, pairs: PairData, out: Path, cpus: int, with_onnx: bool = False
) -> tuple[dict[str, Any], "OnnxFile | None"]:
    """Writes a trial's model, its image processor and its card, with `metrics.json`, `sweep.csv` and `recipe.yaml`.

    Args:
        kept: the trial.
        pairs: the data set of its search; the validation pairs are what it is measured on.
        out: the folder; it appears only when whole.
        cpus: threads of the forward pass.
        with_onnx: write the model as an ONNX file as well, see `results.model.onnx_export`.

    Returns:
        Contents of `metrics.json`, and what the ONNX file is.

    Raises:
        ExportError: the model cannot be made, or does not give the loss that its trial reported.
        DetectorError: the ONNX file cannot be written, or does not give what torch gives.
        ImageError: an image can no longer be read.
        RecipeError: the trial's recipe cannot be read.
        OSError: the folder cannot be written.
    """
    import transformers

    from results.measures.metrics import evaluate_checkpoint
    from results.measures.operating_point import PointRule
    from results.model.onnx_export import check_packages
    from results.model.trial_model import TrainedTrial, train_command, write_trial_model
    from trainable.compute import usable_device
    from trainable.data.dataset import padded_size
    from trainable.detector.loading import ModelError, load_processor

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if with_onnx:
        check_packages()
    asked, number, checkpoint = kept.asked, kept.record.number, checkpoint_of(kept.model)
    trained = TrainedTrial(kept.run, kept.folder, kept.record, pairs, checkpoint)
    rule = PointRule(asked.get("min_precision"), asked.get("min_recall"))
    command = train_command(str(out / "recipe.yaml"), asked)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{out.name}-", dir=out.parent) as workshop:
        made = Path(workshop) / "made"
        try:
            padded = padded_size((*pairs.train, *pairs.val), load_processor(checkpoint, asked.get("image_size")))
            evaluate = partial(
                evaluate_checkpoint,
                pairs=pairs.val,
                names=pairs.names,
                padded=padded,
                cpus=cpus,
                device=usable_device(),
                skip_bad=pairs.skip_bad,
            )
            written = write_trial_model(trained, made, made, evaluate, rule, "A recipe", command)
        except (ModelError, RuntimeError) as error:
            raise ExportError(f"--trial {number}: its model cannot be made on top of {checkpoint}: {error}") from None
        if not written.agrees and not _has_lost_pairs(asked, pairs):
            raise ExportError(
                f"--trial {number}: its model has a val_loss of {written.metrics['val_loss']:.6g}, but the trial "
                f"reported {kept.best.val_loss:.6g}: {checkpoint} or the code has changed since the search"
            )
        onnx = None
        if with_onnx:
            onnx = _export_onnx(made, padded, pairs, written, cpus)
        made.rename(out)
    return written.metrics, onnx


def _export_onnx(
    made: Path, padded: tuple[int, int], pairs: PairData, written: "MeasuredModel", cpus: int
) -> "OnnxFile":
    """The model as an ONNX file beside it, held against what torch gives on a CPU."""
    from results.measures.metrics import evaluate_checkpoint
    from results.model.onnx_export import export_onnx
    from trainable.compute import usable_device

    evaluation = written.evaluation
    if usable_device().type != "cpu":  # Whose convolutions may round to 10 bits.
        evaluation = evaluate_checkpoint(made, pairs.val, pairs.names, padded, cpus, skip_bad=pairs.skip_bad)
    return export_onnx(made, padded, pairs.val, evaluation, written.metrics["counted_at"])


def _read_pairs(asked: Mapping[str, Any], console: Console) -> PairData:
    """The data set of a search, as the search read it.

    Raises:
        ExportError: it is another one now.
        DataError: it has faults.
        StorageError: it lies in a bucket and cannot be pulled.
    """
    location = located(asked.get("data"))
    how = {name: asked.get(name) for name in ("subset", "group_by")}
    models = asked["model"] if isinstance(asked["model"], list) else [asked["model"]]
    # What they take decides what is faulty.
    takes = read_strictest_input(list(map(checkpoint_of, models)), asked.get("image_size"))
    pairs = read_source(location, console.print, skip_bad=bool(asked.get("skip_bad")), model=takes, **how)
    before, now = (asked.get("identity") or {}).get("data"), pairs.fingerprint
    if _has_lost_pairs(asked, pairs):
        files = len({fault.file for fault in pairs.left_out})
        console.print(
            f"{pairs.location}: has changed since the search; {files} faulty file(s) are left out of it now, so that "
            "figures are not held against those of the trial",
            style="yellow",
        )
    elif _is_another(asked, pairs):
        raise ExportError(
            f"--data {pairs.location}: is not the data set of the search: its fingerprint is "
            f"{now[: len(str(before))]}, was {before}; give the one that was searched with"
        )
    return pairs


def _is_another(asked: Mapping[str, Any], pairs: PairData) -> bool:
    """Whether this is not the data set of the search as the search read it."""
    before = (asked.get("identity") or {}).get("data")
    return bool(before) and not pairs.fingerprint.startswith(str(before))


def _has_lost_pairs(asked: Mapping[str, Any], pairs: PairData) -> bool:
    """Whether it differs where bad pairs were to be skipped, and there are some."""
    return pairs.skip_bad and bool(pairs.left_out) and _is_another(asked, pairs)


if __name__ == "__main__":
    app()
