"""What decides a trial's result is known again wherever it lies, and known to be another where it has changed."""

import shutil

import pytest

import spaces
import trainable
from search.run_folder.identity import code_version, provenance


def test_the_identity_follows_data_model_space_and_its_file(tmp_path):
    checkpoint, space = tmp_path / "checkpoint", tmp_path / "mine.py"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    space.write_text("def narrow(trial, max_epochs): ...")
    asked = ("fingerprint of the data", [str(checkpoint)], f"{space}:narrow")
    first = provenance(*asked)
    assert provenance(*asked) == first

    def changed() -> set[str]:
        return {name for name, value in provenance(*asked).items() if value != first[name]}

    space.write_text("def narrow(trial, max_epochs): return None")
    assert changed() == {"space"}
    (checkpoint / "model.safetensors").write_bytes(b"other weights")
    assert changed() == {"space", "model"}
    assert provenance("other data", *asked[1:])["data"] != first["data"]
    others = provenance(asked[0], [str(checkpoint), "somebody/detr@1"], asked[2])["model"]
    assert others == f"{provenance(*asked)['model']} somebody/detr@1"


def test_the_identity_does_not_follow_where_model_and_space_lie(tmp_path):
    identities = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "mine.py").write_text("def narrow(trial, max_epochs): ...")
        identities.append(provenance("data", [str(tmp_path / place)], f"{tmp_path / place / 'mine.py'}:narrow"))
    assert identities[0] == identities[1]


@pytest.mark.parametrize("folders", [("a", "b"), ("b", "a")])
def test_the_code_version_does_not_depend_on_where_the_packages_lie(folders, tmp_path, monkeypatch):
    here = code_version()
    for package, folder in zip((spaces, trainable), folders, strict=True):
        copy = shutil.copytree(package.__path__[0], tmp_path / folder / package.__name__)
        monkeypatch.setattr(package, "__path__", [str(copy)])
    assert code_version() == here
    (tmp_path / folders[1] / "trainable" / "loss.py").write_text("changed")
    assert code_version() != here
