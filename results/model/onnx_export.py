"""A saved model as an ONNX file, held against torch on the spot."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from results.prediction.detector import DetectorError
from results.prediction.onnx_detector import INPUTS, OUTPUTS, onnx_detector
from trainable.data.pair import Pair
from trainable.data.signal_images import open_pair
from trainable.detection import IOU_THRESHOLD, Detections, match, scores_at
from trainable.detector.loading import class_names, load_model
from trainable.detector.signal_models import signal_of_config
from trainable.model_signal import CHANNELS
from trainable.readout import readout_of
from trainable.storage.durable_file import write_atomically
from trainable.text.command_line import documented
from trainable.training.evaluation import Evaluation

FILE = "model.onnx"
BOXES_WITHIN, SCORES_WITHIN, F1_WITHIN = 1e-3, 1e-3, 0.01
"""By so much of the image's side may a box differ from torch's; its score, and F1 at the operating point."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was written, and what came of holding it against torch."""

    path: Path
    opset: int
    pairs: int
    """On so many pairs."""
    boxes_within: float
    """Most that a side of a box is off, as a share of the image's."""
    f1: float
    """At the operating point, by onnxruntime."""
    f1_of_torch: float


def check_packages() -> None:
    """Holds all packages to be there that an export takes.

    Raises:
        DetectorError: one is missing.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise DetectorError(f"{FILE}: {', '.join(missing)} is missing: pip install 'moved-object-search[onnx]'")


def export_onnx(
    model: Path, padded: tuple[int, int], pairs: Sequence[Pair], evaluation: Evaluation, score_threshold: float
) -> OnnxFile:
    """Writes `model.onnx` beside a saved model; the file takes any number of images at a time, all of one size.

    Args:
        model: folder of the model and its image processor.
        padded: height and width of every image.
        pairs: those of the evaluation.
        evaluation: of the model by torch, on images padded to this size.
        score_threshold: of the operating point.

    Raises:
        DetectorError: the model has operations that ONNX has not, or torch gives other boxes.
        ImageError: an image can no longer be read.
    """
    path = model / FILE
    loaded = load_model(model, class_names(model))
    channels = CHANNELS[signal_of_config(loaded.config)]
    with _quiet():
        opset = _write(loaded, (channels, *padded), path)
    detector = onnx_detector(path)
    detections = [detector.detect(*open_pair(pair)) for pair in evaluation.read(pairs)]
    cut_off = readout_of(loaded.config.model_type).by_sigmoid
    off = max((_distance(*each, cut_off) for each in zip(detections, evaluation.detections, strict=True)), default=0.0)
    f1, f1_of_torch = (_f1(found, evaluation, score_threshold) for found in (detections, evaluation.detections))
    if off > BOXES_WITHIN or abs(f1 - f1_of_torch) > F1_WITHIN:
        raise DetectorError(
            f"{path.name} gives other boxes than torch: off by {off:.2g} of the image, "
            f"F1 {f1:.3f} and {f1_of_torch:.3f}"
        )
    file = OnnxFile(path, opset, len(detections), off, f1, f1_of_torch)
    if (card := model / "README.md").exists():
        _describe(file, padded, channels, card)
    return file


def _describe(file: OnnxFile, padded: tuple[int, int], channels: int, card: Path) -> None:
    """Adds to a model card what the file takes and gives."""
    height, width = padded
    text = f"""## {FILE}

The same model for onnxruntime (opset {file.opset}), which needs neither torch nor transformers; take `config.json` and
`preprocessor_config.json` along with it.

```
{documented("predict")} --model path/to/this/folder/{FILE} before/ after/ --out predictions/
```

It takes any number of images at a time: `pixel_values`, float32 [images, {channels}, {height}, {width}], as the image
processor makes them, padded with zeros at the bottom and on the right; and `pixel_mask`, int64 [images, {height},
{width}], 1 on real pixels. It gives `logits`, float32 [images, queries, classes + 1], the last one "no object", and
`pred_boxes`, float32 [images, queries, 4]: centre, width and height as shares of the image.

On {file.pairs} validation pairs its boxes are within {file.boxes_within:.1e} of torch's; F1 at the operating point is
{file.f1:.3f} (torch {file.f1_of_torch:.3f}).
"""
    write_atomically(card, card.read_text(encoding="utf-8") + "\n" + text)


class _Named(nn.Module):
    """Gives a model's two outputs alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.model(pixel_values=pixel_values, pixel_mask=pixel_mask)
        return outputs.logits, outputs.pred_boxes


def _write(model: PreTrainedModel, image: tuple[int, int, int], path: Path) -> int:
    """Writes the file, for images of so many channels, height and width; returns the version of ONNX's operators."""
    # Two images: of a dimension of one, the exporter takes for granted that it stays so.
    given = torch.zeros(2, *image), torch.ones(2, *image[1:], dtype=torch.int64)
    images = torch.export.Dim("images", min=1)
    try:
        program = torch.onnx.export(
            _Named(model).eval(),
            given,
            dynamo=True,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes={name: {0: images} for name in INPUTS},
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        kind = model.config.model_type
        raise DetectorError(
            f"{FILE}: this model, of type {kind!r}, cannot be exported: {_first_line(error)}"
        ) from error
    assert program is not None
    program.save(path)
    return int(program.model.opset_imports[""])


def _first_line(error: Exception) -> str:
    """Of what an error says, without the colours of a terminal."""
    return re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()[0].strip()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of operators that nobody asked for."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _distance(found: Detections, expected: Detections, cut_off: bool) -> float:
    """Most that a side of a box is off from the nearest one of the same class and score; infinite where there is none.

    Those at one place of the list are not the same where scores are nearly equal.

    Args:
        found, expected: in one image.
        cut_off: whether they are but the best of all that there are, so that the last ones may be others.
    """
    last = expected.scores.min(initial=1.0) + SCORES_WITHIN if cut_off else -1.0
    boxes, scores, class_ids = (
        each[expected.scores > last] for each in (expected.boxes_xyxy_normalised, expected.scores, expected.class_ids)
    )
    off = np.abs(boxes[:, None] - found.boxes_xyxy_normalised).max(-1)  # [expected, found]
    other = (class_ids[:, None] != found.class_ids) | (np.abs(scores[:, None] - found.scores) > SCORES_WITHIN)
    return float(np.where(other, np.inf, off).min(1, initial=np.inf).max(initial=0.0))


def _f1(detections: Sequence[Detections], evaluation: Evaluation, score_threshold: float) -> float:
    matches = match(detections, evaluation.ground_truth, [IOU_THRESHOLD])
    return scores_at(matches, IOU_THRESHOLD, score_threshold).f1
