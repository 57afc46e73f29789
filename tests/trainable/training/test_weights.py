import pytest
import torch
from safetensors.torch import load_file

from trainable.detector.families.registry import FAMILIES
from trainable.detector.loading import ModelError
from trainable.recipe import PARTS, Recipe, Stage
from trainable.storage.durable_file import checksum
from trainable.training.weights import save_weights, trained_parts, trial_model

NAMES = ("person", "car")
part_of = FAMILIES["detr"].part_of


def changed(model, value):
    """The model with every parameter set to one value."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_what_a_recipe_has_trained_grows_with_its_stages():
    recipe = Recipe((Stage("a", ("class_head",), 1, 1e-3), Stage("b", ("decoder",), 1, 1e-3), Stage("c", PARTS, 1, 1)))
    assert [trained_parts(recipe, stage) for stage in range(3)] == [{"class_head"}, {"class_head", "decoder"}, {*PARTS}]


def test_only_what_was_trained_is_written_and_the_rest_is_the_checkpoints(checkpoint, tmp_path):
    path = tmp_path / "weights" / "epoch-0001.safetensors"
    save_weights(changed(trial_model(checkpoint, NAMES, 0), 7.0), frozenset({"decoder", "class_head"}), path)
    assert {part_of(name) for name in load_file(path)} == {"decoder", "class_head"}
    untrained = dict(trial_model(checkpoint, NAMES, 0).named_parameters())
    for name, value in trial_model(checkpoint, NAMES, 0, path).named_parameters():
        expected = torch.full_like(value, 7.0) if part_of(name) in ("decoder", "class_head") else untrained[name]
        assert torch.equal(value, expected), name


def test_each_model_is_a_trials_own(checkpoint):
    first = trial_model(checkpoint, NAMES, 0)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    changed(first, 7.0)
    second = trial_model(checkpoint, NAMES, 0)
    assert all(torch.equal(value, before[name]) for name, value in second.state_dict().items())
    assert not torch.equal(
        trial_model(checkpoint, NAMES, 1).class_labels_classifier.weight, before["class_labels_classifier.weight"]
    )


def test_the_checksum_is_that_of_the_file(checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    written = save_weights(trial_model(checkpoint, NAMES, 0), frozenset(PARTS), path)
    assert checksum(path) == written
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert checksum(path) != written


def test_weights_of_another_model_are_refused(checkpoint, make_checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(trial_model(checkpoint, NAMES, 0), frozenset({"class_head"}), path)
    with pytest.raises(RuntimeError, match="size mismatch for class_labels_classifier"):
        trial_model(checkpoint, ("person", "car", "cat"), 0, path)


def test_damaged_weights_are_named(checkpoint, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelError, match=r"weights\.safetensors is damaged: "):
        trial_model(checkpoint, NAMES, 0, tmp_path / "weights.safetensors")
