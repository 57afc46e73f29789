"""A model that onnxruntime runs: an ONNX file as `results/model/onnx_export.py` writes it. Neither torch is needed nor
transformers.

Images are padded to the one size that the file was made for, as in training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from results.prediction.detector import Detector, DetectorError
from trainable.alignment import OFF
from trainable.data.model_input import Size, SizeRule, read_config_file, read_processor_file
from trainable.data.signal_images import signal_images
from trainable.detection import Detections
from trainable.model_signal import DIFFERENCE
from trainable.readout import readout_of

SUFFIX = ".onnx"
INPUTS, OUTPUTS = ("pixel_values", "pixel_mask"), ("logits", "pred_boxes")
"""The names of what goes into the file's graph, and of what comes out."""


def onnx_detector(path: Path) -> Detector:
    """The model of an ONNX file; `config.json` and `preprocessor_config.json` lie beside it.

    Raises:
        DetectorError: it cannot be run.
    """
    try:
        import onnxruntime
    except ImportError:
        raise DetectorError(f"model {path}: onnxruntime runs it, which is not there: pip install onnxruntime") from None
    try:
        config, settings = read_config_file(path.parent), read_processor_file(path.parent)
        names = tuple(config["id2label"][name] for name in sorted(config["id2label"], key=int))
        prepare, readout = _Preparation(settings), readout_of(str(config.get("model_type")))
    except (OSError, ValueError, LookupError, AttributeError) as error:
        raise DetectorError(
            f"model {path}: the config.json and preprocessor_config.json beside it cannot be read: {error}"
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's own errors have no common class.
        raise DetectorError(f"model {path}: cannot be run: {str(error).splitlines()[0]}") from None
    shapes = {each.name: each.shape for each in session.get_inputs()}
    if set(shapes) != set(INPUTS):
        raise DetectorError(f"model {path}: takes {', '.join(shapes)}, and not {', '.join(INPUTS)}")
    images, _, height, width = shapes["pixel_values"]
    if isinstance(images, int):
        raise DetectorError(f"model {path}: takes {images} images at a time, no more and no fewer")

    def misfit(size: Size) -> str | None:
        at_model = prepare.rule.resized(size)
        if at_model[0] <= width and at_model[1] <= height:
            return None
        return f"{at_model[0]} x {at_model[1]} pixels at the model's size, of at most {width} x {height}"

    def detect(before: Image.Image, after: Image.Image) -> Detections:
        image = prepare(before, after)
        pixel_values = np.zeros((1, len(image), height, width), np.float32)
        pixel_mask = np.zeros((1, height, width), np.int64)
        pixel_values[0, :, : image.shape[1], : image.shape[2]] = image
        pixel_mask[0, : image.shape[1], : image.shape[2]] = 1
        given = dict(zip(INPUTS, (pixel_values, pixel_mask), strict=True))
        (found,) = readout.detections(*session.run(list(OUTPUTS), given))
        return found

    return Detector(names, config.get("score_threshold"), prepare.alignment, detect, misfit)


class _Preparation:
    """What an image processor does, without transformers.

    Args:
        settings: of the processor.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.rule = SizeRule.of(settings)
        self.alignment, self._signal = settings.get("alignment", OFF), settings.get("signal", DIFFERENCE)
        self._resample = Image.Resampling(settings.get("resample", Image.Resampling.BILINEAR))
        values = np.arange(256, dtype=np.float64)[None].repeat(3, axis=0)
        if settings.get("do_rescale", True):
            values = values * settings.get("rescale_factor", 1 / 255)
        if settings.get("do_normalize", True):
            mean, std = (np.array(settings[name])[:, None] for name in ("image_mean", "image_std"))
            values = (values - mean) / std
        self._values = values.astype(np.float32)
        """[3, 256], what becomes of each value of each channel."""

    def __call__(self, before: Image.Image, after: Image.Image) -> NDArray[np.float32]:
        """[channels, height, width], as the model takes it."""
        images = signal_images(before, after, self.alignment, self._signal)
        return np.concatenate([self._normalised(self._resized(image)) for image in images])

    def _resized(self, image: Image.Image) -> Image.Image:
        size = self.rule.resized(image.size)
        return image if size == image.size else image.resize(size, self._resample)

    def _normalised(self, image: Image.Image) -> NDArray[np.float32]:
        channels = np.asarray(image).transpose(2, 0, 1)
        return np.stack([values.take(channel) for values, channel in zip(self._values, channels, strict=True)])
