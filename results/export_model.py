"""Writes the model of any trial whose weights a search has kept, measured as the search measures its best one.

python results/export_model.py runs/NAME --trial 5 --out my_model/
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer
from rich.console import Console

from results.evaluate import print_metrics
from results.journal.events import JournalError
from results.journal.opened_run import NoRunError
from results.model.kept_trial import KeptTrial, kept_trial
from trainable.data.difference import ImageError
from trainable.data.faults import DataError
from trainable.data.model_input import read_model_input
from trainable.data.pairs import PairData
from trainable.data.source import read_source
from trainable.recipe import RecipeError
from trainable.sample import checkpoint_of
from trainable.sample.data_set import located
from trainable.text.command_line import Command, Threads, stop
from trainable.text.console import plain_console

app = Command()


class ExportError(ValueError):
    """The model cannot be written; the message says why and what to do."""


@app.command(help=__doc__)
def main(
    run: Annotated[str, typer.Argument(help="The run folder, here or as s3://BUCKET/FOLDER/NAME")],
    trial: Annotated[int, typer.Option(min=0, help="The trial's number, as in the run's results.csv")],
    out: Annotated[Path, typer.Option(help="Folder to write, which must not be there yet")],
    data: Annotated[
        str | None,
        typer.Option(help="The search's data set, where it has moved", show_default="where the search found it"),
    ] = None,
    cpus: Threads = 1,
) -> None:
    console = plain_console(soft_wrap=True)
    try:
        if out.exists():
            raise ExportError(f"--out {out}: is there already; choose another folder")
        with kept_trial(run, trial) as kept:
            if data:
                kept = replace(kept, asked={**kept.asked, "data": data})
            metrics = export_model(kept, _read_pairs(kept.asked, console), out, cpus)
    except (ExportError, NoRunError, JournalError, DataError, ImageError, RecipeError, OSError) as error:
        stop(error)
    console.print(f"trial {trial}, {kept.record.status.lower()}, as of epoch {kept.best.epoch}")
    print_metrics(metrics, out)
    console.print(f"model    {out}")


def export_model(kept: KeptTrial, pairs: PairData, out: Path, cpus: int) -> dict[str, Any]:
    """Writes a trial's model, its image processor and its card, with `metrics.json`, `sweep.csv` and `recipe.yaml`.

    Args:
        kept: the trial.
        pairs: the data set of its search; the validation pairs are what it is measured on.
        out: the folder; it appears only when whole.
        cpus: threads of the forward pass.

    Returns:
        Contents of `metrics.json`.

    Raises:
        ExportError: the model cannot be made, or does not give the loss that its trial reported.
        ImageError: an image can no longer be read.
        RecipeError: the trial's recipe cannot be read.
        OSError: the folder cannot be written.
    """
    import transformers

    from results.measures.metrics import evaluate_checkpoint
    from results.measures.operating_point import PointRule
    from results.model.trial_model import TrainedTrial, train_command, write_trial_model
    from trainable.compute import usable_device
    from trainable.data.dataset import padded_size
    from trainable.detector.loading import ModelError, load_processor

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked, number, checkpoint = kept.asked, kept.record.number, checkpoint_of(kept.asked["model"])
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
        made.rename(out)
    return written.metrics


def _read_pairs(asked: Mapping[str, Any], console: Console) -> PairData:
    """The data set of a search, as the search read it.

    Raises:
        ExportError: it is another one now.
        DataError: it has faults.
        StorageError: it lies in a bucket and cannot be pulled.
    """
    location = located(asked.get("data"))
    how = {name: asked.get(name) for name in ("subset", "group_by")}
    takes = read_model_input(checkpoint_of(asked["model"]), asked.get("image_size"))  # It decides what is faulty.
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
