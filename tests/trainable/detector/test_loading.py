import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrForObjectDetection, DetrImageProcessorPil

from trainable.detector.families.registry import FAMILIES
from trainable.detector.loading import ModelError, load_model, load_processor
from trainable.recipe import PARTS

NAMES = ("person", "car")
part_of = FAMILIES["detr"].part_of


@pytest.fixture
def copy_of(make_checkpoint, tmp_path):
    """A checkpoint that a test may spoil: its folder, and functions that edit its config and its weights."""
    folder = shutil.copytree(make_checkpoint(), tmp_path / "spoilt")

    def edit_config(**changes):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    def edit_weights(change):
        weights = load_file(folder / "model.safetensors")
        save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})

    return folder, edit_config, edit_weights


def head_of(model):
    return model.class_labels_classifier.weight.detach(), model.class_labels_classifier.bias.detach()


def body_of(model):
    return {name: value for name, value in model.state_dict().items() if part_of(name) != "class_head"}


def test_the_class_head_is_drawn_anew_for_other_names_and_the_rest_is_kept(make_checkpoint):
    original = DetrForObjectDetection.from_pretrained(make_checkpoint(names=("a", "b", "c")))
    model = load_model(make_checkpoint(names=("a", "b", "c")), NAMES)
    assert model.config.id2label == {0: "person", 1: "car"}
    assert model.config.label2id == {"person": 0, "car": 1}
    assert head_of(model)[0].shape == (3, 16)
    expected = body_of(original)
    assert all(torch.equal(value, expected[name]) for name, value in body_of(model).items())


def test_a_class_head_for_as_many_other_names_is_drawn_anew_too(make_checkpoint):
    weight, bias = head_of(load_model(make_checkpoint(), NAMES))
    old_weight, _ = head_of(load_model(make_checkpoint(), ("square", "circle")))
    assert not torch.equal(weight, old_weight)
    assert not bias.any()


def test_the_class_head_is_kept_where_the_names_agree(make_checkpoint):
    checkpoint = make_checkpoint(names=NAMES)
    weight, bias = head_of(DetrForObjectDetection.from_pretrained(checkpoint))
    kept_weight, kept_bias = head_of(load_model(checkpoint, NAMES))
    assert torch.equal(kept_weight, weight) and torch.equal(kept_bias, bias)
    reordered_weight, _ = head_of(load_model(checkpoint, NAMES[::-1]))
    assert not torch.equal(reordered_weight, weight)


def test_the_seed_alone_decides_the_new_class_head(make_checkpoint):
    torch.manual_seed(1)
    first, _ = head_of(load_model(make_checkpoint(), NAMES, seed=5))
    torch.manual_seed(2)
    again, _ = head_of(load_model(make_checkpoint(), NAMES, seed=5))
    other, _ = head_of(load_model(make_checkpoint(), NAMES, seed=6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_models_of_another_kind_are_refused_by_name(copy_of):
    folder, edit_config, _ = copy_of
    edit_config(model_type="lw_detr")
    said = (
        rf"{re.escape(str(folder))}: only models of type conditional_detr, .* can be trained, .* 'lw_detr'; its queries"
    )
    with pytest.raises(ModelError, match=said):
        load_model(folder, NAMES)
    edit_config(model_type="bert")
    with pytest.raises(ModelError, match=r"this one is 'bert'$"):
        load_model(folder, NAMES)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "class_head"])
def test_missing_weights_are_named(copy_of, part):
    folder, _, edit_weights = copy_of
    edit_weights(lambda weights: {name: value for name, value in weights.items() if part_of(name) != part})
    with pytest.raises(ModelError, match=r"only the class head may be new, but \d+ weights are: \S+") as caught:
        load_model(folder, NAMES)
    assert part_of(str(caught.value).split("weights are: ")[1].split(",")[0]) == part


def test_weights_of_another_shape_are_named(copy_of):
    folder, edit_config, _ = copy_of
    edit_config(num_queries=7)
    with pytest.raises(ModelError, match=r"but 1 weights are: model\.query_position_embeddings\.weight"):
        load_model(folder, NAMES)


def test_a_class_head_that_is_missing_is_drawn_anew_even_where_the_names_agree(copy_of):
    folder, _, edit_weights = copy_of
    edit_weights(lambda weights: {name: value for name, value in weights.items() if "classifier" not in name})
    first, _ = head_of(load_model(folder, ("square", "circle")))
    again, _ = head_of(load_model(folder, ("square", "circle")))
    assert torch.equal(first, again)


def test_a_runs_folder_is_told_which_model_to_give(tmp_path, make_checkpoint):
    run = tmp_path / "run"
    shutil.copytree(make_checkpoint(), run / "best" / "model")
    for folder in (run, run / "best"):
        with pytest.raises(ModelError, match=rf"{folder}: it is the folder of a run; give its .*, {run}/best/model$"):
            load_model(folder, NAMES)
    shutil.rmtree(run / "best")
    (run / "search.yaml").write_text("")
    with pytest.raises(ModelError, match="it is the folder of a run that has no best/model yet"):
        load_processor(run)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_checkpoint_cloned_without_git_lfs_is_told_so(copy_of, name):
    folder, _, _ = copy_of
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 166618694\n")
    with pytest.raises(ModelError, match=rf"spoilt: {name} is a Git LFS pointer; .*git lfs pull"):
        load_model(folder, NAMES)


def test_what_is_no_checkpoint_is_named(tmp_path, copy_of):
    with pytest.raises(ModelError, match=r"empty: neither a folder with a config\.json nor a checkpoint of the Hugg"):
        load_model(tmp_path / "empty", NAMES)
    with pytest.raises(ModelError, match="empty: neither a folder"):
        load_processor(tmp_path / "empty")
    folder, _, _ = copy_of
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="spoilt: its image processor cannot be read"):
        load_processor(folder)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="spoilt: its weights cannot be read"):
        load_model(folder, NAMES)


def test_the_processor_is_the_checkpoints_own_on_pillow(make_checkpoint):
    processor = load_processor(make_checkpoint())
    assert isinstance(processor, DetrImageProcessorPil)
    assert (processor.size.shortest_edge, processor.size.longest_edge) == (48, 64)
