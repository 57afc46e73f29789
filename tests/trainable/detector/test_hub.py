"""A model of the hub is one of its commits: resolved once, from the hub's own cache here, and loaded by it."""

import shutil
from pathlib import Path

import pytest
import torch

from trainable.detector import hub
from trainable.detector.hub import name_and_revision, pinned
from trainable.detector.loading import ModelError, load_model, load_processor

NAMES = ("red", "green")
NAME, OLD, NEW = "somebody/detr", "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, checkpoint, monkeypatch):
    """The hub's cache as `huggingface_hub` lays it out, with two commits of one model; `main` is the newer one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    home = tmp_path / "models--somebody--detr"
    for commit in (OLD, NEW):
        shutil.copytree(checkpoint, home / "snapshots" / commit)
    model = load_model(checkpoint, NAMES, seed=5)
    with torch.no_grad():
        model.bbox_predictor.layers[-1].bias += 1
    model.save_pretrained(home / "snapshots" / NEW)
    point(tmp_path, "main", NEW)
    point(tmp_path, "v1", OLD)
    return tmp_path


def point(cache: Path, branch: str, commit: str) -> None:
    """Has a branch or tag stand for a commit."""
    ref = cache / "models--somebody--detr" / "refs" / branch
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(commit)


def test_a_name_is_pinned_to_the_commit_that_it_stands_for(cache):
    assert pinned(NAME) == f"{NAME}@{NEW}"
    assert pinned(f"{NAME}@v1") == f"{NAME}@{OLD}"


def test_a_pinned_name_stays_when_the_hub_moves_on(cache):
    before = pinned(NAME)
    point(cache, "main", OLD)
    assert pinned(before) == before and pinned(NAME) == f"{NAME}@{OLD}"


def test_each_commit_is_loaded_as_it_is(cache, checkpoint):
    biases = [
        load_model(f"{NAME}@{commit}", NAMES).bbox_predictor.layers[-1].bias.detach().clone() for commit in (OLD, NEW)
    ]
    torch.testing.assert_close(biases[1] - biases[0], torch.ones(4))
    assert load_processor(f"{NAME}@{OLD}").to_dict()["size"] == load_processor(checkpoint).to_dict()["size"]


def test_a_name_that_nobody_knows_stays_and_is_refused_where_it_is_loaded(cache):
    assert pinned("somebody/else@v2") == "somebody/else@v2"
    with pytest.raises(ModelError, match=r"model somebody/else@v2: neither a folder with a config.json nor"):
        load_model("somebody/else@v2", NAMES)


def test_a_folder_with_the_sign_in_its_name_is_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "me@home"
    folder.mkdir()
    monkeypatch.setattr(hub, "_COMMIT", None)
    assert pinned(str(folder)) == str(folder) and name_and_revision(folder) == (str(folder), None)
