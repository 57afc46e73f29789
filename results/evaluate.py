"""Evaluates a model on a data set, as a search does with its best one.

python results/evaluate.py --model best/model --data my_pairs/ --out evaluated/
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from results.description import figures_at
from results.formatting import cameras, ratio, unread
from trainable.data.difference import ImageError
from trainable.data.faults import DataError
from trainable.data.model_input import read_model_input
from trainable.data.notices import print_notices
from trainable.data.pair import Pair
from trainable.data.pairs import PairData
from trainable.data.source import read_source
from trainable.sample import checkpoint_of, run_folder_fault
from trainable.sample.data_set import located
from trainable.storage.remote import StorageError
from trainable.text.command_line import Command, Data, SkipBad, Subset, Threads, stop
from trainable.text.console import plain_console

if TYPE_CHECKING:
    from results.measures.operating_point import PointRule

app = Command()


class Side(StrEnum):
    """Which pairs of a data set count."""

    VAL = "val"
    TRAIN = "train"
    ALL = "all"

    def of(self, data: PairData) -> tuple[Pair, ...]:
        """These pairs of `data`."""
        return {Side.VAL: data.val, Side.TRAIN: data.train, Side.ALL: (*data.train, *data.val)}[self]


@app.command(help=__doc__)
def main(
    model: Annotated[str, typer.Option(help="Model folder, such as a run's best/model")],
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and sweep.csv")] = Path("evaluated"),
    split: Annotated[Side, typer.Option(help="Which pairs count; a test set's are all")] = Side.VAL,
    min_precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Recommend a score threshold that keeps this precision")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Recommend a score threshold that keeps this recall")
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Measure at this one instead of choosing one, as is fair on a test set"),
    ] = None,
    cpus: Threads = 1,
    skip_bad: SkipBad = False,
    subset: Subset = None,
    group_by: Annotated[
        str | None, typer.Option(help="Keep scenes on one side of the split, as the search did")
    ] = None,
) -> None:
    checkpoint = Path(checkpoint_of(model))
    if not (checkpoint / "config.json").is_file():
        other = "no folder with a config.json; give one made by save_pretrained, as a run's best/model"
        stop(f"--model {model}: {run_folder_fault(checkpoint) or other}")
    try:
        how: dict[str, Any] = {"skip_bad": skip_bad, "subset": subset, "group_by": group_by}
        takes = read_model_input(checkpoint)
        pairs = read_source(located(data), print, **how, model=takes, one_side=True)
        out.mkdir(parents=True, exist_ok=True)
    except (DataError, StorageError) as error:
        stop(error)
    except OSError as error:
        # The sample's cache folder has a message of its own, without a system's error.
        stop(f"--out {out}: cannot be made: {error.strerror}" if error.strerror else error)
    # Torch and transformers take seconds to import: only now that the data are good.
    from results.measures.operating_point import PointRule

    console = plain_console(soft_wrap=True)
    print_notices(pairs.notices, console)
    if split != "all":
        every = len(pairs.train) + len(pairs.val)
        console.print(f"the {split} pairs of {every}; --split all takes every pair", style="dim")
    _evaluate(checkpoint, pairs, split, PointRule(min_precision, min_recall, score_threshold), cpus, out)


def _evaluate(checkpoint: Path, data: PairData, side: Side, rule: "PointRule", cpus: int, out: Path) -> None:
    import transformers

    from results.measures.metrics import evaluate_checkpoint, write_evaluation
    from trainable.compute import usable_device
    from trainable.data.dataset import padded_size
    from trainable.data.resizing import alignment_of
    from trainable.detector.loading import ModelError, class_names, load_processor

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        if (names := class_names(checkpoint)) != data.names:
            stop(
                f"model {checkpoint}: it finds {', '.join(names)}, but the data set {data.location} has "
                f"{', '.join(data.names)}; give the data set these names in this order (classes.txt or `names`)"
            )
        # The amount of padding moves DETR's outputs a little: that of the search, whichever pairs are asked for.
        processor = load_processor(checkpoint)
        padded = padded_size((*data.train, *data.val), processor)
        evaluation = evaluate_checkpoint(
            *(checkpoint, side.of(data), data.names, padded, cpus, usable_device()), skip_bad=data.skip_bad
        )
        how = (data.skip_bad, alignment_of(processor))
        metrics = write_evaluation(evaluation, side.of(data), data.names, out, rule, *how)
    except (ModelError, ImageError) as error:
        stop(error)
    except OSError as error:
        stop(f"--out {out}: cannot be written: {error.strerror}")
    print_metrics(metrics, out)


def print_metrics(metrics: dict[str, Any], out: Path) -> None:
    """Prints what `metrics.json` in the folder `out` says, in a few lines."""
    console, point = plain_console(soft_wrap=True), metrics["recommended"]
    console.print(f"{metrics['pairs']} pairs, {metrics['boxes']} boxes: val_loss {metrics['val_loss']:.4f}")
    console.print(", ".join(f"{name} {ratio(metrics[name])}" for name in ("mAP", "mAP50", "mAP75", "AR")))
    if point is None:
        said = f"no score threshold can be recommended: {metrics['not_recommended']}"
        console.print(said, style="yellow")
    else:
        console.print(f"at score >= {point['score_threshold']:.2f} (IoU 0.5, 95 % intervals): {figures_at(point)}")
        if point["constraint_kept"] is False:
            console.print(point["constraint"], style="yellow")
    if said := cameras(metrics):
        console.print(said)
    if left_out := unread(metrics):
        console.print(left_out, style="yellow")
    errors = ", ".join(f"{count} {kind}" for kind, count in metrics["errors"].items())
    console.print(f"errors at score >= {metrics['counted_at']:.2f}: {errors}")
    console.print(f"metrics  {out / 'metrics.json'}\nsweep    {out / 'sweep.csv'}")


if __name__ == "__main__":
    app()
