"""Finds what moved in pairs of images, with a model that a search or a training has written.

python results/predict.py --model best/model before.png after.png

python results/predict.py --model best/model before/ after/ --out found/

python results/predict.py --model best/model --pairs pairs.csv

Writes predictions.json, YOLO labels (five columns, ready to be corrected and trained on), COCO results and images of
what was found.
"""

import sys
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer
from rich.console import Console
from rich.progress import track

from results.prediction.detector import Detector, DetectorError
from results.prediction.image_pairs import ImagePair, pairs_of_csv, pairs_of_paths
from results.prediction.onnx_detector import SUFFIX, onnx_detector
from results.prediction.prediction_folder import PredictionFolderError, drop_earlier, refuse_files_of_others
from trainable.data.difference import ImageError
from trainable.data.faults import DataError, Fault, write_report
from trainable.data.model_input import ModelInput, read_model_input
from trainable.data.notices import print_notices
from trainable.data.surprises import image_notices
from trainable.sample import checkpoint_of
from trainable.text.command_line import Command, SkipBad, stop
from trainable.text.console import plain_console

DEFAULT_SCORE = 0.5
"""The score threshold where neither the user nor the model's config says one."""

app = Command()


@app.command(help=__doc__)
def main(
    model: Annotated[str, typer.Option(help="Model folder, such as a run's best/model, or an exported model.onnx")],
    before: Annotated[Path | None, typer.Argument(help="The before image, or a folder of them")] = None,
    after: Annotated[
        Path | None, typer.Argument(help="The after image, or a folder in which they have the same names")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns before,after; paths relative to it", metavar="FILE.csv"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to; what an earlier call wrote there is replaced")] = Path(
        "predictions"
    ),
    score: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Least score of a detection", show_default="what the model's config recommends"
        ),
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    if (pairs is None) == (before is None) or (before is None) != (after is None):
        stop("give two images or two folders (BEFORE AFTER), or --pairs FILE.csv")
    console = plain_console(soft_wrap=True)
    try:
        refuse_files_of_others(out)
        out.mkdir(parents=True, exist_ok=True)
        checkpoint = checkpoint_of(model)
        takes = read_model_input(Path(checkpoint).parent if checkpoint.endswith(SUFFIX) else checkpoint)
        usable = _usable_pairs(before, after, pairs, takes, out, skip_bad, console)
        print_notices(image_notices([pair.id for pair in usable], [pair.sight for pair in usable]), console)
        _predict(checkpoint, usable, score, out, console)
    except (DataError, DetectorError, ImageError, PredictionFolderError) as error:
        stop(error)
    except OSError as error:
        stop(f"--out {out}: cannot be written: {error}")


def _usable_pairs(
    before: Path | None,
    after: Path | None,
    listed: Path | None,
    model: ModelInput | None,
    out: Path,
    skip_bad: bool,
    console: Console,
) -> list[ImagePair]:
    if listed is not None:
        usable, faults = pairs_of_csv(listed, model)
    else:
        assert before is not None and after is not None, "checked by main"
        usable, faults = pairs_of_paths(before, after, model)
    if not faults:
        return usable
    report = out / "data_report.csv"
    write_report(faults, report)
    if not skip_bad or not usable:
        raise DataError(faults)
    console.print(f"left out for {len(faults)} fault(s), see {report}; {len(usable)} pair(s) go on", style="yellow")
    return usable


def _predict(checkpoint: str, pairs: list[ImagePair], score: float | None, out: Path, console: Console) -> None:
    # What runs the model takes seconds to import: only now that the images are good.
    from results.prediction.predictions import predict, write_prediction, write_summary

    detector = _detector(checkpoint)
    kind, advice = "larger than the model takes", "export the model on pairs of that size"
    sizes = [(pair, why) for pair in pairs if (why := detector.misfit(pair.size))]
    if sizes:
        raise DataError([Fault(kind, str(pair.after), None, why, advice) for pair, why in sizes])
    threshold, source = _score_threshold(score, detector.score_threshold)
    drop_earlier(out)
    found = []
    predicted = predict(detector, pairs, threshold)
    try:
        for prediction in track(
            predicted, "predicting", len(pairs), console=console, transient=True, disable=not console.is_terminal
        ):
            found.append(prediction)
            write_prediction(prediction, detector.names, threshold, out, detector.alignment)
    finally:  # Also of a call that is interrupted: the next one goes by it.
        write_summary(found, detector.names, checkpoint, threshold, out)
    boxes = sum(len(prediction.detections.scores) for prediction in found)
    console.print(f"{len(found)} pair(s), {boxes} box(es) at score >= {threshold:.2f}, {source}")
    for path in ("predictions.json", "labels", "coco_results.json", "overlays"):
        console.print(f"{path.partition('.')[0]:<14}{out / path}")


def _detector(checkpoint: str) -> Detector:
    """The model, loaded by what runs it.

    Raises:
        DetectorError: it cannot be.
    """
    if checkpoint.endswith(SUFFIX):
        return onnx_detector(Path(checkpoint))
    from results.prediction.torch_detector import torch_detector

    return torch_detector(checkpoint)


def _score_threshold(asked: float | None, recommended: float | None) -> tuple[float, str]:
    """The score threshold, and where it comes from."""
    if asked is not None:
        return asked, "as asked"
    if recommended is not None:
        return float(recommended), "as the model's config recommends"
    return DEFAULT_SCORE, "since the model's config recommends none; --score sets another"


if __name__ == "__main__":
    app()
