import importlib.util
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig

from trainable.detector.loading import ModelError, load_model, load_processor
from trainable.detector.parts import freeze_all_but, part_of, set_modes
from trainable.recipe import PARTS

NAMES = ("person", "car")


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
    edit_config(model_type="conditional_detr")
    with pytest.raises(ModelError, match=rf"{re.escape(str(folder))}: only models of type 'detr'.*'conditional_detr'"):
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


def test_every_parameter_and_buffer_belongs_to_one_part(make_checkpoint):
    with torch.device("meta"):
        resnet_50 = DetrForObjectDetection(DetrConfig(backbone_config=ResNetConfig(out_features=["stage4"])))
    for model in (load_model(make_checkpoint(), NAMES), resnet_50):
        names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
        assert {part_of(name) for name in names} == set(PARTS)
    with pytest.raises(KeyError, match="neck belongs to no part"):
        part_of("model.neck")


@pytest.mark.parametrize("trainable", [("class_head",), ("box_head", "decoder"), PARTS], ids="+".join)
def test_only_trainable_parts_require_gradients_and_are_in_train_mode(make_checkpoint, trainable):
    model = load_model(make_checkpoint(), NAMES)
    freeze_all_but(model, trainable)
    set_modes(model, trainable)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (part_of(name) in trainable), name
        owner = model.get_submodule(name.rpartition(".")[0])
        assert owner.training == (part_of(name) in trainable), name


class TestACheckpointWithATimmBackbone:
    """As `facebook/detr-resnet-50` on the hub: timm's weight names, a config that names timm's backbone."""

    @pytest.fixture(scope="class")
    def original(self):
        torch.manual_seed(0)
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
        backbone = ResNetConfig(out_features=["stage4"])
        config = DetrConfig(backbone_config=backbone, d_model=16, num_queries=6, num_labels=91, **heads, **layers)
        model = DetrForObjectDetection(config).eval()
        for name, buffer in model.named_buffers():
            # Statistics as of a trained backbone, so that one in the wrong place shows.
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        return model

    @pytest.fixture(scope="class")
    def folder(self, original, tmp_path_factory):
        folder = tmp_path_factory.mktemp("hub") / "detr-resnet-50"
        original.save_pretrained(folder)
        weights = {timm_name(name): value for name, value in load_file(folder / "model.safetensors").items()}
        assert "model.backbone.conv_encoder.model.layer3.5.bn2.running_var" in weights
        assert "model.backbone.conv_encoder.model.layer1.0.downsample.0.weight" in weights
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        write_hub_config(folder)
        return folder

    def test_is_loaded_without_timm_and_gives_the_same_boxes(self, original, folder):
        assert importlib.util.find_spec("timm") is None, "install no timm where the tests run"
        model = load_model(folder, NAMES).eval()
        pixel_values = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected, found = original(pixel_values=pixel_values), model(pixel_values=pixel_values)
        assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
        assert torch.equal(found.pred_boxes, expected.pred_boxes)
        assert found.logits.shape == (1, 6, 3)
        expected_body = body_of(original)
        assert all(torch.equal(value, expected_body[name]) for name, value in body_of(model).items())

    def test_keeps_its_class_head_where_the_names_agree(self, original, folder):
        names = [f"coco {index}" for index in range(91)]
        assert torch.equal(head_of(load_model(folder, names))[0], head_of(original)[0])

    def test_is_loaded_as_well_with_the_config_that_transformers_writes_today(self, original, folder, tmp_path):
        new = shutil.copytree(folder, tmp_path / "new")
        config = json.loads((new / "config.json").read_text())
        for name in ("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs"):
            del config[name]
        config["backbone_config"] = {"model_type": "timm_backbone", "backbone": "resnet50", "out_indices": [1, 2, 3, 4]}
        (new / "config.json").write_text(json.dumps(config))
        expected = body_of(original)
        assert all(torch.equal(value, expected[name]) for name, value in body_of(load_model(new, NAMES)).items())

    def test_saved_again_it_loads_like_any_other(self, folder, tmp_path):
        model = load_model(folder, NAMES)
        model.save_pretrained(tmp_path / "saved")
        again = load_model(tmp_path / "saved", NAMES)
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"backbone": "resnet18"}, "its timm backbone is 'resnet18'; of timm's, only resnet50 and resnet101"),
            ({"dilation": True}, "its timm backbone is 'resnet50' with dilation"),
        ],
    )
    def test_backbones_that_were_never_checked_are_refused_by_name(self, folder, tmp_path, changes, message):
        plain = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(plain | changes))
        with pytest.raises(ModelError, match=rf"model {re.escape(str(tmp_path))}: {message}"):
            load_model(tmp_path, NAMES)


def timm_name(name):
    """timm's name of a weight that transformers' own ResNet has under `name`."""
    name = name.replace("embedder.embedder.convolution", "conv1").replace("embedder.embedder.normalization", "bn1")
    name = re.sub(r"encoder\.stages\.(\d)\.layers\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    for step in range(3):
        name = name.replace(f".layer.{step}.convolution", f".conv{step + 1}")
        name = name.replace(f".layer.{step}.normalization", f".bn{step + 1}")
    return name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")


def write_hub_config(folder):
    config = json.loads((folder / "config.json").read_text())
    names = [f"coco {index}" for index in range(91)]
    config |= {
        "backbone": "resnet50",
        "backbone_config": None,
        "backbone_kwargs": {"in_chans": 3, "out_indices": [1, 2, 3, 4]},
        "dilation": False,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "num_channels": 3,
        "use_pretrained_backbone": True,
        "use_timm_backbone": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
