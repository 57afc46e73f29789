"""What TensorBoard reads back of the best model: its curves and its images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.pr_curve import metadata
from tensorboard.util import tensor_util

from results.measures.sweep import IOU_THRESHOLDS, SCORE_THRESHOLDS, sweep
from results.tensorboard_log.best_model import write_best_events
from trainable.detection import Detections, GroundTruth, match

BOX = np.array([[0.1, 0.1, 0.5, 0.5]])


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """One label of class `1`, found once at 0.8, and a false positive of class `NA` at 0.3."""
    folder = tmp_path / "best"
    (folder / "overlays").mkdir(parents=True)
    for name in ("worst-1_a", "best-1_b"):
        Image.new("RGB", (30, 20), "red").save(folder / "overlays" / f"{name}.png")
    found = Detections(np.vstack([BOX, BOX]), np.array([0.8, 0.3]), np.array([0, 1]))
    matches = match([found], [GroundTruth(BOX, np.array([0]))], IOU_THRESHOLDS)
    sweep(matches, ("1", "NA")).to_csv(folder / "sweep.csv", index=False)
    return folder


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_curves_of_every_class_are_those_of_the_sweep(best, tmp_path):
    write_best_events(tmp_path / "events", best, epoch=9)
    events = read(tmp_path / "events")
    curves = events.PluginTagToContent(metadata.PLUGIN_NAME)
    assert set(curves) == {"precision_recall/1", "precision_recall/NA", "precision_recall/all"}
    (event,) = events.Tensors("precision_recall/all")
    tp, fp, _, fn, precision, recall = tensor_util.make_ndarray(event.tensor_proto)
    assert event.step == 9
    assert (
        len(tp) == len(SCORE_THRESHOLDS) == metadata.parse_plugin_metadata(curves["precision_recall/1"]).num_thresholds
    )
    at = {score: SCORE_THRESHOLDS.index(score) for score in (0.2, 0.5, 0.9)}
    assert [(tp[i], fp[i], fn[i]) for i in at.values()] == [(1, 1, 0), (1, 0, 0), (0, 0, 1)]
    assert [(precision[i], recall[i]) for i in at.values()] == [(0.5, 1), (1, 1), (0, 0)]


def test_overlays_are_images(best, tmp_path):
    write_best_events(tmp_path / "events", best, epoch=9)
    events = read(tmp_path / "events")
    assert set(events.Tags()["images"]) == {"overlays/worst-1_a", "overlays/best-1_b"}
    (image,) = events.Images("overlays/best-1_b")
    assert (image.width, image.height, image.step) == (30, 20, 9)


def test_writing_again_replaces_what_was_there(best, tmp_path):
    for epoch in (3, 9):
        write_best_events(tmp_path / "events", best, epoch)
    assert [event.step for event in read(tmp_path / "events").Tensors("precision_recall/1")] == [9]


def test_a_model_without_overlays_has_its_curves(best, tmp_path):
    for path in (best / "overlays").iterdir():
        path.unlink()
    (best / "overlays").rmdir()
    write_best_events(tmp_path / "events", best, epoch=1)
    assert read(tmp_path / "events").Tags()["images"] == []
