"""`--test`, `--min-precision` and `--min-recall` of the search: refused before anything starts, kept for a resume."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import search.cluster.cluster
import search.driver
from search.command_line import app
from search.inputs import Inputs


def searched(storage: Path, *arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in ("--storage", storage, "--name", "run", *arguments)])


@pytest.fixture
def other_folder(other_data_folder: Path, tmp_path: Path) -> Path:
    """A test set that may be spoilt."""
    return Path(shutil.copytree(other_data_folder, tmp_path / "other"))


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search ends well before it starts Ray."""
    monkeypatch.setattr(search.driver, "_search", lambda *arguments: 0)
    monkeypatch.setattr(
        search.cluster.cluster, "connect", lambda options, say: search.cluster.cluster.Resources(1, 0, 1)
    )


def test_a_test_set_of_other_classes_is_refused(data_folder: Path, other_folder: Path, tmp_path: Path) -> None:
    (other_folder / "classes.txt").write_text("car\nperson")
    result = searched(tmp_path / "runs", "--data", data_folder, "--test", other_folder)
    assert result.exit_code == 2
    assert "its classes must be those of the data, person, car, in this order, got car, person" in result.output
    assert not (tmp_path / "runs" / "run" / "search.yaml").exists()


def test_a_test_set_that_the_search_sees_is_refused_also_as_a_copy(data_folder: Path, tmp_path: Path) -> None:
    for folder in (data_folder, shutil.copytree(data_folder, tmp_path / "copy")):
        result = searched(tmp_path / "runs", "--data", data_folder, "--test", folder)
        assert result.exit_code == 2
        assert "12 of its pairs have images of the data, the first is t0" in " ".join(result.output.split())


def test_a_test_set_that_the_search_sees_is_refused_with_its_sides_swapped_and_as_another_format(
    data_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(data_folder, tmp_path / "copy"))
    (copy / "before").rename(copy / "between")
    (copy / "after").rename(copy / "before")
    (copy / "between").rename(copy / "after")
    for path in copy.glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    result = searched(tmp_path / "runs", "--data", data_folder, "--test", copy)
    assert result.exit_code == 2
    assert "12 of its pairs have images of the data, the first is t0, which is t0 there" in result.output


def test_training_pairs_among_the_validation_pairs_are_said(data_folder: Path, tmp_path: Path, no_search: None) -> None:
    folder = Path(shutil.copytree(data_folder, tmp_path / "leaking"))
    assert "have the images" not in searched(tmp_path / "runs", "--data", folder).output
    for kind in ("before", "after"):
        shutil.copy(folder / kind / "t3.png", folder / kind / "v1.png")
    shutil.rmtree(tmp_path / "runs")
    result = searched(tmp_path / "runs", "--data", folder)
    assert result.exit_code == 0
    (kept,) = json.loads((tmp_path / "runs" / "run" / "notices.json").read_text())
    assert (kept["about"], kept["names"]) == ("--data", ["v1 = t3"])
    assert (
        "--data: 1 of 4 validation pairs have the images of a training pair: v1 = t3; losses and scores"
        in result.output
    )


def test_a_faulty_test_set_is_refused_with_its_faults(data_folder: Path, other_folder: Path, tmp_path: Path) -> None:
    (other_folder / "labels" / "v0.txt").write_text("0 2 0.5 0.1 0.1")
    result = searched(tmp_path / "runs", "--data", data_folder, "--test", other_folder)
    assert result.exit_code == 2
    assert "v0.txt:1" in result.output


@pytest.mark.parametrize("flag", ["--min-precision", "--min-recall"])
def test_a_share_beyond_one_is_refused(tmp_path: Path, flag: str) -> None:
    result = searched(tmp_path, flag, "1.5")
    assert result.exit_code == 2
    assert f"{flag}: a number from 0 to 1, got 1.5" in result.output


def test_what_is_asked_is_kept_for_a_resume_and_can_be_changed_by_it(
    monkeypatch: pytest.MonkeyPatch, data_folder: Path, other_folder: Path, tmp_path: Path, no_search: None
) -> None:
    seen = []

    def search_nothing(options: Any, inputs: Inputs, *rest: Any) -> int:
        assert inputs.test is not None
        pairs = len(inputs.test.train) + len(inputs.test.val)
        seen.append((options.min_precision, options.min_recall, options.test, pairs))
        return 0

    monkeypatch.setattr(search.driver, "_search", search_nothing)
    asked = ("--data", data_folder, "--test", other_folder, "--min-precision", 0.8, "--min-recall", 0.1)
    assert searched(tmp_path, *asked).exit_code == 0
    assert yaml.safe_load((tmp_path / "run" / "search.yaml").read_text())["min_precision"] == 0.8
    resumed = CliRunner().invoke(app, ["--resume", str(tmp_path / "run"), "--min-precision", "0.7"])
    assert resumed.exit_code == 0, resumed.output
    assert seen == [(0.8, 0.1, str(other_folder), 12), (0.7, 0.1, str(other_folder), 12)]


def test_a_test_set_is_not_given_beside_a_resume(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--resume", str(tmp_path), "--test", str(tmp_path)])
    assert result.exit_code == 2
    assert "--test: cannot be given beside --resume" in result.output


def test_pairs_of_the_test_set_that_are_left_out_are_said(
    data_folder: Path, other_folder: Path, tmp_path: Path, no_search: None
) -> None:
    (other_folder / "labels" / "v0.txt").write_text("0 2 0.5 0.1 0.1")
    result = searched(tmp_path, "--data", data_folder, "--test", other_folder, "--skip-bad")
    assert result.exit_code == 0
    assert "--test: 1 faulty file(s) left out" in result.output
    assert "v0.txt" in (tmp_path / "run" / "test_report.csv").read_text()
