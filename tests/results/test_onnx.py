"""A model as an ONNX file gives what torch gives, where there is no torch, or says why it cannot."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageChops
from transformers import DetrImageProcessorPil
from typer.testing import CliRunner

import results.model.onnx_export
from results import predict
from results.measures.metrics import evaluate_checkpoint
from results.model.onnx_export import _distance, export_onnx
from results.prediction.detector import DetectorError
from results.prediction.onnx_detector import _Preparation, onnx_detector
from results.prediction.torch_detector import torch_detector
from tests.tiny_detectors import CONFIGS, save_tiny_detector
from trainable.data.dataset import padded_size
from trainable.data.difference import open_image
from trainable.data.signal_images import open_pair
from trainable.detection import Detections
from trainable.detector.loading import load_model, load_processor
from trainable.model_signal import SIGNALS
from trainable.recipe import Input

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=SIGNALS)
def model(request, finding_checkpoint, pair_data, tmp_path_factory) -> Path:
    """Folder of a model that registers pairs and is given one of the signals."""
    folder = tmp_path_factory.mktemp(request.param)
    detr = load_model(finding_checkpoint, pair_data.names, signal=request.param)
    torch.manual_seed(0)  # Boxes all over the image, that depend on what is in it.
    for layer in (detr.model.query_position_embeddings, *detr.bbox_predictor.layers, detr.class_labels_classifier):
        torch.nn.init.normal_(layer.weight, std=0.7)
    detr.save_pretrained(folder)
    load_processor(finding_checkpoint, pair_input=Input("auto", request.param)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def of_torch(model, pair_data):
    """How large images are padded, and what torch gives on them."""
    padded = padded_size((*pair_data.train, *pair_data.val), load_processor(model))
    return padded, evaluate_checkpoint(model, pair_data.val, pair_data.names, padded, cpus=1)


@pytest.fixture(scope="module")
def exported(model, of_torch, pair_data):
    return export_onnx(model, of_torch[0], pair_data.val, of_torch[1], 0.5)


@pytest.fixture(scope="module")
def alone(exported, tmp_path_factory) -> Path:
    """The file and what belongs beside it, as one takes them to a camera."""
    folder = tmp_path_factory.mktemp("camera")
    for name in ("model.onnx", "config.json", "preprocessor_config.json"):
        shutil.copy(exported.path.parent / name, folder)
    return folder / "model.onnx"


def test_it_gives_what_torch_gives_on_the_validation_pairs(exported, pair_data):
    assert exported.pairs == len(pair_data.val)
    assert 0 < exported.boxes_within < 1e-4
    assert exported.f1 == exported.f1_of_torch


def detections(*rows):
    """Of boxes that begin so far from the left, with a score and a class each."""
    boxes = np.array([[left, 0.1, left + 0.2, 0.3] for left, _, _ in rows])
    return Detections(boxes, np.array([score for _, score, _ in rows]), np.array([class_id for *_, class_id in rows]))


def test_detections_of_nearly_one_score_may_change_places_and_the_last_of_many_may_be_others():
    expected = detections((0.1, 0.9, 0), (0.5, 0.5, 0), (0.7, 0.5, 1), (0.2, 0.1, 0))
    changed = detections((0.1, 0.9, 0), (0.7, 0.5, 1), (0.5, 0.5, 0), (0.6, 0.1, 1))
    assert _distance(changed, expected, cut_off=True) == 0.0
    assert _distance(changed, expected, cut_off=False) == math.inf
    moved = detections((0.1, 0.9, 0), (0.51, 0.5, 0), (0.7, 0.5, 1), (0.2, 0.1, 0))
    assert _distance(moved, expected, cut_off=False) == pytest.approx(0.01)
    for other in ((0.5, 0.4, 0), (0.5, 0.5, 1)):
        assert _distance(detections((0.1, 0.9, 0), other, (0.7, 0.5, 1)), expected, cut_off=True) == math.inf


@pytest.mark.soak
@pytest.mark.parametrize("kind", CONFIGS)
def test_families_are_exported_or_say_that_they_cannot_be(kind, pair_data, tmp_path):
    """Half a minute each."""
    folder = save_tiny_detector(kind, tmp_path / "model", names=pair_data.names)
    padded = padded_size((*pair_data.train, *pair_data.val), load_processor(folder))
    of_torch = evaluate_checkpoint(folder, pair_data.val, pair_data.names, padded, cpus=1)
    if kind in ("deformable_detr in two stages", "rt_detr", "rt_detr_v2", "d_fine"):
        with pytest.raises(DetectorError, match=r"model\.onnx: (this model, of type|cannot be run|takes 2 images)"):
            export_onnx(folder, padded, pair_data.val, of_torch, 0.5)
        return
    assert export_onnx(folder, padded, pair_data.val, of_torch, 0.5).boxes_within < 1e-4


def test_a_pair_that_needs_no_padding_gives_what_predict_gives_by_torch(alone, model, pair_data):
    (height, width), onnx, by_torch = (48, 64), onnx_detector(alone), torch_detector(str(model))
    assert (onnx.names, onnx.alignment) == (by_torch.names, by_torch.alignment) == (pair_data.names, "auto")
    pair = next(pair for pair in pair_data.val if pair.size == (width, height))
    found, expected = (each.detect(*open_pair(pair)) for each in (onnx, by_torch))
    # The file pads it to the largest images, which moves DETR's outputs a little.
    assert np.abs(found.boxes_xyxy_normalised - expected.boxes_xyxy_normalised).max() < 0.1
    assert np.abs(found.scores - expected.scores).max() < 0.1


def test_images_come_in_any_number_at_a_time(alone, pair_data):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(alone))
    (_, channels, height, width), mask_shape = (each.shape for each in session.get_inputs())
    assert [height, width] == mask_shape[1:]
    images = np.random.default_rng(0).random((3, channels, height, width), dtype=np.float32)
    mask = np.ones((3, height, width), np.int64)
    together, _ = session.run(None, {"pixel_values": images, "pixel_mask": mask})
    for index, logits in enumerate(together):
        alone_, _ = session.run(None, {"pixel_values": images[[index]], "pixel_mask": mask[[index]]})
        assert np.abs(alone_[0] - logits).max() < 1e-4


def test_predict_runs_it_without_torch_and_transformers(alone, data_folder, tmp_path):
    program = (
        "import runpy, sys\n"
        "for name in ('torch', 'transformers', 'ray', 'optuna'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = ['predict.py', *sys.argv[1:]]\n"
        "runpy.run_path('results/predict.py', run_name='__main__')\n"
    )
    words = ["--model", alone, "--score", "0", "--out", tmp_path / "out", data_folder / "before", data_folder / "after"]
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found["model"] == str(alone) and len(found["pairs"]) == 12 and found["pairs"][0]["boxes"]


@pytest.fixture
def camera(alone, tmp_path) -> Path:
    """As `alone`, to be spoilt."""
    return Path(shutil.copytree(alone.parent, tmp_path / "camera")) / alone.name


def refusal(model, *images, out) -> str:
    result = CliRunner().invoke(predict.app, list(map(str, ["--model", model, "--out", out, *images])))
    assert result.exit_code == 2, result.output
    return result.stderr


def test_images_larger_than_it_was_made_for_are_named_before_any_is_predicted(camera, data_folder, tmp_path):
    settings = json.loads((camera.parent / "preprocessor_config.json").read_text())
    larger = settings | {"size": {"shortest_edge": 60, "longest_edge": 80}}
    (camera.parent / "preprocessor_config.json").write_text(json.dumps(larger))
    images = [data_folder / side / "v0.png" for side in ("before", "after")]
    said = refusal(camera, *images, out=tmp_path / "out")
    assert (
        f"{images[1]}: larger than the model takes (met: 80 x 60 pixels at the model's size, of at most 64 x 64)"
        in said
    )
    assert "export the model on pairs of that size" in said and not (tmp_path / "out" / "predictions.json").exists()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_without_what_belongs_beside_it_it_is_refused(camera, data_folder, tmp_path, name):
    (camera.parent / name).unlink()
    images = [data_folder / side / "v0.png" for side in ("before", "after")]
    said = refusal(camera, *images, out=tmp_path / "out")
    assert f"model {camera}: the config.json and preprocessor_config.json beside it cannot be read" in said


def test_a_file_that_is_none_is_refused(camera):
    camera.write_bytes(b"nothing of the kind")
    with pytest.raises(DetectorError, match=rf"model {camera}: cannot be run: "):
        onnx_detector(camera)


def test_where_there_is_no_onnxruntime_it_is_named(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DetectorError, match="onnxruntime runs it, which is not there: pip install onnxruntime"):
        onnx_detector(alone)


def test_a_file_that_gives_other_boxes_is_refused(model, of_torch, pair_data, exported, monkeypatch):
    monkeypatch.setattr(results.model.onnx_export, "_write", lambda *_: exported.opset)
    padded, evaluation = of_torch
    found = evaluation.detections[0]
    off = replace(found, boxes_xyxy_normalised=found.boxes_xyxy_normalised + 0.01)
    other = replace(evaluation, detections=[off, *evaluation.detections[1:]])
    with pytest.raises(DetectorError, match=r"gives other boxes than torch: off by 0\.01 of the image"):
        export_onnx(model, padded, pair_data.val, other, 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"shortest_edge": 30, "longest_edge": 100}},
        {"size": {"height": 41, "width": 30}, "resample": 3, "image_mean": [0.05] * 3},
        {"size": {"max_height": 40, "max_width": 70}, "do_normalize": False},
        {"do_resize": False, "do_rescale": False, "do_normalize": False},
    ],
)
def test_images_are_prepared_as_the_image_processor_does(settings, pair_data, tmp_path):
    processor = DetrImageProcessorPil(**settings)
    processor.save_pretrained(tmp_path)
    prepare = _Preparation(json.loads((tmp_path / "preprocessor_config.json").read_text()))
    before, after = (open_image(path) for path in (pair_data.val[0].before, pair_data.val[0].after))
    expected = processor(images=ImageChops.difference(before, after), do_pad=False, return_tensors="pt")
    assert torch.allclose(torch.from_numpy(prepare(before, after)), expected["pixel_values"][0].float(), atol=1e-5)
