"""Every kind of detector is read as its own image processor reads it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    ConditionalDetrImageProcessorPil,
    DeformableDetrImageProcessorPil,
    DetrImageProcessorPil,
    RTDetrImageProcessorPil,
)

from trainable.readout import readout_of


@pytest.mark.parametrize(
    ("model_type", "processor"),
    [
        ("detr", DetrImageProcessorPil),
        ("table-transformer", DetrImageProcessorPil),
        ("conditional_detr", ConditionalDetrImageProcessorPil),
        ("deformable_detr", DeformableDetrImageProcessorPil),
        ("dab-detr", ConditionalDetrImageProcessorPil),
        ("rt_detr", RTDetrImageProcessorPil),
        ("rt_detr_v2", RTDetrImageProcessorPil),
        ("d_fine", RTDetrImageProcessorPil),
    ],
)
@pytest.mark.parametrize(("queries", "classes"), [(7, 4), (120, 3)])
def test_detections_are_those_of_the_image_processor(model_type, processor, queries, classes):
    torch.manual_seed(0)
    outputs = SimpleNamespace(logits=torch.randn(3, queries, classes), pred_boxes=torch.rand(3, queries, 4))
    expected = processor().post_process_object_detection(outputs, threshold=-1.0)
    found = readout_of(model_type).detections(outputs.logits.numpy(), outputs.pred_boxes.numpy())
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes_xyxy_normalised, theirs["boxes"].numpy(), rtol=0, atol=1e-7)
        np.testing.assert_allclose(ours.scores, theirs["scores"].numpy(), rtol=1e-6)
        np.testing.assert_array_equal(ours.class_ids, theirs["labels"].numpy())
