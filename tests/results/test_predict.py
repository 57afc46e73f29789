"""`results/predict.py` as a user runs it: what it writes, what it refuses, and that plain transformers agrees."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline
from typer.testing import CliRunner, Result

from results.measures.metrics import evaluate_checkpoint
from results.predict import app
from trainable.compute import usable_device
from trainable.data.annotations import read_labels
from trainable.data.dataset import padded_size
from trainable.data.difference import difference, open_image
from trainable.data.pairs import PairData
from trainable.detector.loading import load_processor


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, with a wild box for each query and, as `best/model`, a score threshold in its config."""
    folder = tmp_path_factory.mktemp("best") / "model"
    shutil.copytree(checkpoint, folder)
    detr = AutoModelForObjectDetection.from_pretrained(checkpoint)
    torch.manual_seed(0)
    for layer in (detr.model.query_position_embeddings, *detr.bbox_predictor.layers, detr.class_labels_classifier):
        torch.nn.init.normal_(layer.weight, std=0.7)
    detr.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"score_threshold": 0.01}))
    return folder


def run(model: Path, out: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["--model", str(model), "--out", str(out), *map(str, arguments)])


def written(out: Path) -> dict[str, dict[str, Any]]:
    """The pairs of predictions.json by id."""
    return {pair["id"]: pair for pair in json.loads((out / "predictions.json").read_text())["pairs"]}


@pytest.fixture
def images(data_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A before and an after folder of three pairs, in a folder of their own and with other suffixes."""
    for side, suffix in (("before", "png"), ("after", "bmp")):
        (tmp_path / side / "yard").mkdir(parents=True)
        for id_ in ("v0", "v1", "v2"):
            Image.open(data_folder / side / f"{id_}.png").save(tmp_path / side / "yard" / f"{id_}.{suffix}")
    return tmp_path / "before", tmp_path / "after"


def test_two_images_give_boxes_labels_and_an_overlay(model, data_folder, tmp_path):
    result = run(model, tmp_path, data_folder / "before" / "v0.png", data_folder / "after" / "v0.png")
    assert result.exit_code == 0, result.output
    (pair,) = written(tmp_path).values()
    assert (pair["id"], pair["width"], pair["height"]) == ("v0", 64, 48)
    assert len(pair["boxes"]) == 6
    scores = [box["score"] for box in pair["boxes"]]
    assert scores == sorted(scores, reverse=True)
    for box in pair["boxes"]:
        left, top, right, bottom = box["xyxy_pixels"]
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 48
        assert box["cxcywh_normalised"][0] == pytest.approx((left + right) / 2 / 64)
        assert box["class"] == ("square", "circle")[box["class_id"]]
    labels, faults = read_labels(tmp_path / "labels" / "v0.txt", number_of_classes=2)
    assert not faults
    assert list(labels.class_ids) == [box["class_id"] for box in pair["boxes"]]
    assert Image.open(tmp_path / "overlays" / "v0.png").width > 900


def test_folders_are_matched_by_path_and_stem(model, images, tmp_path):
    out = tmp_path / "out"
    assert run(model, out, *images).exit_code == 0
    assert list(written(out)) == ["yard/v0", "yard/v1", "yard/v2"]
    assert sorted(path.name for path in (out / "labels" / "yard").iterdir()) == ["v0.txt", "v1.txt", "v2.txt"]
    assert (out / "overlays" / "yard" / "v2.png").exists()


def test_a_csv_lists_pairs_relative_to_itself(model, images, tmp_path):
    listed = tmp_path / "pairs.csv"
    listed.write_text(
        "note,before,after\nx,before/yard/v0.png,after/yard/v0.bmp\ny,before/yard/v0.png,after/yard/v1.bmp\n"
    )
    out = tmp_path / "out"
    result = run(model, out, "--pairs", listed)
    assert result.exit_code == 0, result.output
    assert list(written(out)) == ["v0", "v1"]


def test_equal_names_in_a_csv_do_not_overwrite_each_other(model, images, tmp_path):
    listed = tmp_path / "pairs.csv"
    listed.write_text("before,after\nbefore/yard/v1.png,after/yard/v0.bmp\nbefore/yard/v0.png,after/yard/v0.bmp\n")
    out = tmp_path / "out"
    assert run(model, out, "--pairs", listed).exit_code == 0
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["0002_v0.txt", "0003_v0.txt"]


def test_the_score_threshold_is_the_configs_unless_one_is_given(model, checkpoint, data_folder, tmp_path):
    paths = data_folder / "before" / "v0.png", data_folder / "after" / "v0.png"
    assert "score >= 0.01, as the model's config recommends" in run(model, tmp_path, *paths).stdout
    assert "score >= 1.00, as asked" in run(model, tmp_path, *paths, "--score", 1).stdout
    assert written(tmp_path)["v0"]["boxes"] == []
    assert (tmp_path / "labels" / "v0.txt").read_text() == ""
    assert "score >= 0.50, since the model's config recommends none" in run(checkpoint, tmp_path, *paths).stdout


def test_a_data_set_is_no_folder_to_write_to(model, images, tmp_path):
    label = tmp_path / "labels" / "yard" / "v0.txt"
    label.parent.mkdir(parents=True)
    label.write_text("1 0.5 0.5 0.1 0.1\n")
    for summary in (None, "no json", "[]", '{"pairs": [1]}'):
        if summary is not None:
            (tmp_path / "predictions.json").write_text(summary)
        result = run(model, tmp_path, *images)
        assert result.exit_code == 2
        assert f"--out {tmp_path}: {tmp_path}" in result.stderr
        assert "choose another folder" in result.stderr
        assert label.read_text() == "1 0.5 0.5 0.1 0.1\n"
        assert not (tmp_path / "overlays").exists()


def test_what_an_earlier_call_wrote_is_replaced_and_nothing_else(model, images, tmp_path):
    before, after = images
    out = tmp_path / "out"
    assert run(model, out, before, after).exit_code == 0
    (out / "labels" / "mine.txt").write_text("")
    (out / "notes.txt").write_text("mine")
    result = run(model, out, before / "yard" / "v0.png", after / "yard" / "v0.bmp")
    assert result.exit_code == 0, result.output
    assert list(written(out)) == ["v0"]
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {
        *("predictions.json", "coco_results.json", "coco_images.json"),
        *("labels/v0.txt", "overlays/v0.png", "labels/mine.txt", "notes.txt"),
    }


def test_a_summary_that_names_other_files_deletes_none(model, images, tmp_path):
    before, after = images
    out = tmp_path / "out"
    (out / "labels").mkdir(parents=True)
    (tmp_path / "mine.txt").write_text("mine")
    (out / "predictions.json").write_text(json.dumps({"pairs": [{"id": "../../mine"}, {"id": str(tmp_path / "mine")}]}))
    assert run(model, out, before / "yard" / "v0.png", after / "yard" / "v0.bmp").exit_code == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_call_after_an_interrupted_one_replaces_what_that_had_written(model, images, tmp_path, monkeypatch):
    before, after = images
    out = tmp_path / "out"

    def interrupted(path):
        if path.stem == "v1":
            raise KeyboardInterrupt
        return open_image(path)

    monkeypatch.setattr("results.prediction.predictions.open_image", interrupted)
    assert run(model, out, before, after).exit_code == 130
    assert list(written(out)) == ["yard/v0"]
    assert run(model, out, before / "yard" / "v2.png", after / "yard" / "v2.bmp").exit_code == 0
    assert sorted(path.name for path in (out / "labels").rglob("*.txt")) == ["v2.txt"]


def test_coco_results_name_their_images_and_classes(model, images, tmp_path):
    out = tmp_path / "out"
    run(model, out, *images)
    results = json.loads((out / "coco_results.json").read_text())
    key = json.loads((out / "coco_images.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in key["images"]}
    assert sizes == {1: (64, 48), 2: (64, 48), 3: (48, 64)}
    assert {category["id"]: category["name"] for category in key["categories"]} == {0: "square", 1: "circle"}
    assert len(results) == sum(len(pair["boxes"]) for pair in written(out).values())
    left, top, width, height = results[0]["bbox"]
    expected = written(out)["yard/v0"]["boxes"][0]["xyxy_pixels"]
    assert [left, top, left + width, top + height] == pytest.approx(expected)


def test_an_image_that_is_there_but_does_not_count_is_not_said_to_be_missing(images, tmp_path):
    before, after = images
    (after / "yard" / "v0.bmp").rename(after / "yard" / "v0.heic")
    (after / "yard" / "v1.bmp").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "link.png").symlink_to("/nowhere.png")
    result = run(tmp_path / "no model", tmp_path / "out", before, after)
    assert "after image has a suffix that is not read (met: after/yard/v0.heic)" in result.output
    assert "v1.bmp: image is a Git LFS pointer" in result.output and "git lfs pull" in result.output
    result = run(tmp_path / "no model", tmp_path / "out", tmp_path / "link.png", after / "yard" / "v2.bmp")
    assert result.exit_code == 2 and "image is a link to nowhere (met: -> /nowhere.png)" in result.output


def test_all_faults_are_named_before_the_model_is_loaded(images, tmp_path):
    before, after = images
    (before / "yard" / "v0.png").write_bytes(b"no image")
    (after / "yard" / "v1.bmp").unlink()
    Image.new("RGB", (10, 10)).save(after / "yard" / "v2.bmp")
    Image.new("RGB", (10, 10)).save(after / "alone.png")
    out = tmp_path / "out"
    result = run(tmp_path / "no-such-model", out, before, after)
    assert result.exit_code == 2
    for fault in ("unreadable or truncated image", "missing after", "missing before", "sizes differ"):
        assert f"1 x {fault}" in result.stderr
    assert "no-such-model" not in result.stderr
    assert (out / "data_report.csv").read_text().count("\n") == 5
    assert not (out / "predictions.json").exists()


def test_faulty_pairs_can_be_left_out(model, images, tmp_path):
    before, after = images
    (after / "yard" / "v1.bmp").unlink()
    out = tmp_path / "out"
    result = run(model, out, before, after, "--skip-bad")
    assert result.exit_code == 0
    assert "left out for 1 fault(s)" in result.stdout
    assert list(written(out)) == ["yard/v0", "yard/v2"]


def test_a_pair_too_thin_for_the_model_is_a_fault_like_the_others(model, images, tmp_path):
    before, after = images
    for folder, suffix in ((before, "png"), (after, "bmp")):
        Image.new("RGB", (4, 4000)).save(folder / "yard" / f"v1.{suffix}")
    result = run(model, tmp_path / "out", before, after)
    assert result.exit_code == 2
    assert "image too thin for the model (met: 4x4000 pixels become 0x64 at the model's size)" in result.stderr
    assert run(model, tmp_path / "out", before, after, "--skip-bad").exit_code == 0
    assert list(written(tmp_path / "out")) == ["yard/v0", "yard/v2"]


def test_pairs_without_a_difference_are_said_and_predicted_all_the_same(model, images, tmp_path):
    before, after = images
    Image.open(before / "yard" / "v2.png").save(after / "yard" / "v2.bmp")
    result = run(model, tmp_path / "out", before, after)
    assert result.exit_code == 0
    # In v1 nothing has moved.
    assert "2 of 3 pairs are (almost) black where before is subtracted from after" in result.stdout
    assert "yard/v1, yard/v2; nothing can be found in them" in result.stdout
    assert len(written(tmp_path / "out")) == 3


def test_nothing_is_predicted_when_every_pair_is_faulty(model, images, tmp_path):
    before, after = images
    result = run(model, tmp_path / "out", before / "yard" / "v0.png", after / "yard" / "v2.bmp", "--skip-bad")
    assert result.exit_code == 2
    assert "64x48 and 48x64" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give two images or two folders (BEFORE AFTER), or --pairs"),
        (["before"], "give two images or two folders"),
        (["before", "after", "--pairs", "pairs.csv"], "give two images or two folders"),
        (["before", "nowhere"], "no such file or folder"),
        (["before", "after/yard/v0.bmp"], "a folder and a file"),
        (["empty", "empty"], "no pairs at all"),
        (["--pairs", "nowhere.csv"], "unreadable list"),
        (["--pairs", "columns.csv"], "missing column"),
        (["--pairs", "rows.csv"], "no pairs at all"),
        (["--pairs", "cell.csv"], "cell.csv:2: empty cell (met: after)"),
    ],
)
def test_wrong_input_is_refused_with_the_rule(model, images, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "columns.csv").write_text("old,new\na,b\n")
    (tmp_path / "rows.csv").write_text("before,after\n")
    (tmp_path / "cell.csv").write_text("before,after\nbefore/yard/v0.png,\n")
    result = run(model, tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_without_a_model_is_refused(data_folder, tmp_path):
    nowhere = tmp_path / "nowhere"
    result = run(nowhere, tmp_path / "out", data_folder / "before" / "v0.png", data_folder / "after" / "v0.png")
    assert result.exit_code == 2
    assert "neither a folder with a config.json nor" in result.stderr


def test_plain_transformers_finds_the_same_boxes(model, data_folder, tmp_path):
    before, after = data_folder / "before" / "v2.png", data_folder / "after" / "v2.png"
    run(model, tmp_path, before, after)
    expected = written(tmp_path)["v2"]["boxes"]
    changed = difference(open_image(before), open_image(after))
    processor = AutoImageProcessor.from_pretrained(model, backend="pil")
    plain = AutoModelForObjectDetection.from_pretrained(model)
    assert plain.config.score_threshold == 0.01
    for detector in (
        pipeline("object-detection", model=str(model), image_processor=processor),
        pipeline("object-detection", model=plain, image_processor=processor),
    ):
        found = sorted(detector(changed, threshold=0.01), key=lambda box: -box["score"])
        assert [box["label"] for box in found] == [box["class"] for box in expected]
        assert [box["score"] for box in found] == pytest.approx([box["score"] for box in expected], abs=1e-5)
        assert any(box["box"]["xmin"] < 0 or box["box"]["ymax"] > 64 for box in found), "none to be cut"
        for box, ours in zip(found, expected, strict=True):
            within = [min(max(corner, 0), side) for corner, side in zip(box["box"].values(), (48, 64) * 2, strict=True)]
            assert within == pytest.approx(ours["xyxy_pixels"], abs=1)


def test_images_of_one_size_are_predicted_as_they_were_evaluated(model, pair_data: PairData, tmp_path):
    same_size = [pair for pair in pair_data.val if pair.size == (64, 48)]
    padded = padded_size(same_size, load_processor(model))
    evaluation = evaluate_checkpoint(model, same_size, ("square", "circle"), padded, cpus=1, device=usable_device())
    for pair, detections in zip(same_size, evaluation.detections, strict=True):
        run(model, tmp_path, pair.before, pair.after, "--score", 0)
        boxes = written(tmp_path)[pair.id]["boxes"]
        assert [box["score"] for box in boxes] == pytest.approx(sorted(detections.scores, reverse=True), abs=1e-5)
