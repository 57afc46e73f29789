"""A model that torch runs, in float32, on a GPU where there is one.

Every pair goes through it alone and without padding, as plain transformers does it: a pair's boxes do not depend on the
other pairs, and may be of any size. During training images of unequal size are padded to one, which moves DETR's
outputs a little (single logits by some hundredths); where all images are of one size the two are the same.
"""

import torch
import transformers
from PIL import Image

from results.prediction.detector import Detector, DetectorError
from trainable.compute import usable_device
from trainable.data.resizing import alignment_of, signal_of
from trainable.data.signal_images import signal_images
from trainable.detection import Detections
from trainable.detector.loading import ModelError, class_names, load_model, load_processor, read_config
from trainable.readout import readout_of


def torch_detector(checkpoint: str) -> Detector:
    """The model of a checkpoint, a folder or a name on the hub.

    Raises:
        DetectorError: it cannot be loaded.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        names, recommended = class_names(checkpoint), read_config(checkpoint).get("score_threshold")
        model, processor = load_model(checkpoint, names).to(usable_device()).eval(), load_processor(checkpoint)
    except ModelError as error:
        raise DetectorError(error) from None
    given, readout = (alignment_of(processor), signal_of(processor)), readout_of(model.config.model_type)

    def detect(before: Image.Image, after: Image.Image) -> Detections:
        images = signal_images(before, after, *given)
        pixel_values = processor(images=images, do_pad=False, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            outputs = model(pixel_values.flatten(0, 1)[None].to(model.device))
        (found,) = readout.detections(*(each.numpy(force=True) for each in (outputs.logits, outputs.pred_boxes)))
        return found

    return Detector(names, recommended, given[0], detect)
