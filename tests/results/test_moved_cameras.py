"""A model registers pairs wherever it is used as it did when it was trained, and how cameras moved is told."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from results import evaluate, predict
from results.formatting import cameras
from tests.moved_camera import write_pairs
from trainable import train
from trainable.data.resizing import alignment_of
from trainable.detector.loading import ModelError, load_processor
from trainable.recipe import PARTS, Input, Recipe, Stage

RECIPE = Recipe((Stage("heads", PARTS[3:], 1, 1e-3), Stage("all", PARTS, 2, 1e-3)), accumulation_steps=1)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Folder of pairs whose camera moves in all validation pairs but the first."""
    return write_pairs(tmp_path_factory.mktemp("moved") / "pairs")


@pytest.fixture(scope="module")
def trained(moved, checkpoint, tmp_path_factory):
    """What `train.py` makes of a recipe with and without alignment: the folder, by the alignment."""
    folders = {}
    for alignment in ("off", "auto"):
        folder = tmp_path_factory.mktemp(alignment)
        (folder / "recipe.yaml").write_text(dataclasses.replace(RECIPE, input=Input(alignment)).to_yaml())
        arguments = (
            "--recipe",
            folder / "recipe.yaml",
            "--data",
            moved,
            "--model",
            checkpoint,
            "--out",
            folder / "out",
        )
        result = CliRunner().invoke(train.app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        folders[alignment] = folder / "out"
    return folders


def losses(folder: Path) -> list[float]:
    return [row["val_loss"] for row in json.loads((folder / "progress.json").read_text())["history"]]


def evaluated(model: Path, moved: Path, out: Path) -> dict:
    result = CliRunner().invoke(evaluate.app, list(map(str, ("--model", model, "--data", moved, "--out", out))))
    assert result.exit_code == 0, result.output
    return {"said": result.output} | json.loads((out / "metrics.json").read_text())


def test_alignment_changes_what_is_trained_and_goes_with_the_model(trained):
    assert losses(trained["auto"]) != losses(trained["off"])
    assert alignment_of(load_processor(trained["auto"] / "model")) == "auto"
    assert "alignment" not in (trained["off"] / "model" / "preprocessor_config.json").read_text()


def test_a_search_from_that_model_aligns_as_its_own_recipes_say(trained):
    assert alignment_of(load_processor(trained["auto"] / "model", pair_input=Input("off"))) == "off"
    assert alignment_of(load_processor(trained["auto"] / "model", 64, Input("affine"))) == "affine"


@pytest.mark.parametrize("alignment", ["off", "auto"])
def test_evaluation_gives_the_loss_of_the_training(trained, moved, tmp_path, alignment):
    found = evaluated(trained[alignment] / "model", moved, tmp_path / "out")
    assert found["val_loss"] == pytest.approx(min(losses(trained[alignment])), rel=1e-5)


def test_evaluation_tells_how_each_camera_moved(trained, moved, tmp_path):
    found = evaluated(trained["auto"] / "model", moved, tmp_path / "out")
    assert "the camera moved in 2 of 3 pairs, which were registered" in found["said"]
    with (tmp_path / "out" / "registration.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert [rows[id_]["model"] for id_ in ("v0", "v1", "v2")] == ["none", "translation", "translation"]
    assert float(rows["v1"]["shift"]) > 2.5 and float(rows["v0"]["shift"]) == 0
    assert {row["id"] for row in found["cameras"]["pairs"]} == {"v1", "v2"}
    assert "cameras" not in evaluated(trained["off"] / "model", moved, tmp_path / "off")
    assert not (tmp_path / "off" / "registration.csv").exists()


def test_predict_registers_a_pair_as_the_model_was_trained(trained, moved, tmp_path):
    """The same boxes as on a pair that a user has registered: the pair moves, its boxes do not."""
    found = {}
    for alignment in ("off", "auto"):
        model, out = trained[alignment] / "model", tmp_path / alignment
        arguments = (
            "--model",
            model,
            "--score",
            0,
            "--out",
            out,
            moved / "before" / "v1.png",
            moved / "after" / "v1.png",
        )
        result = CliRunner().invoke(predict.app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        found[alignment] = Image.open(out / "overlays" / "v1.png").convert("L")
    width, height = found["off"].size
    brightness = {
        name: sum(index * n for index, n in enumerate(sheet.crop((width // 2, 60, width, height - 60)).histogram()))
        for name, sheet in found.items()
    }
    assert brightness["auto"] < 0.8 * brightness["off"], "the registered difference is dark but for what moved"


def test_an_alignment_that_nobody_knows_is_refused(trained, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in (trained["auto"] / "model").iterdir():
        text = file.read_bytes().replace(b'"alignment": "auto"', b'"alignment": "sideways"')
        (model / file.name).write_bytes(text)
    with pytest.raises(ModelError, match=r"its alignment must be one of off, .*, auto, got 'sideways'"):
        load_processor(model)


def test_cameras_that_stood_still_are_told_as_that():
    said = cameras({"pairs": 32, "cameras": {"moved": 0, "not_registered": 1}})
    assert said == "the camera moved in none of 32 pairs; used as they are, since they cannot be registered: 1 pair"
    assert cameras({"pairs": 32}) == ""
