import importlib.util
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MODEL_FOR_OBJECT_DETECTION_MAPPING, DetrConfig, DetrForObjectDetection, ResNetConfig

from tests.tiny_detectors import CONFIGS
from tests.trainable.detector.test_loading import NAMES, body_of, head_of
from trainable.detector.loading import ModelError, load_model

RESNET_18 = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}


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
            (
                {"backbone": "resnet34"},
                "its timm backbone is 'resnet34'; of timm's, only resnet18, resnet50",
            ),
            ({"dilation": True}, "its timm backbone is 'resnet50' with dilation"),
        ],
    )
    def test_backbones_that_were_never_checked_are_refused_by_name(self, folder, tmp_path, changes, message):
        plain = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(plain | changes))
        with pytest.raises(ModelError, match=rf"model {re.escape(str(tmp_path))}: {message}"):
            load_model(tmp_path, NAMES)


@pytest.mark.parametrize(
    ("kind", "name", "resnet"),
    [
        (
            "table-transformer",
            "resnet18",
            {"depths": [2] * 4, "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
        ),
        ("conditional_detr", "resnet50", {"depths": [3, 4, 6, 3]}),
        ("dab-detr", "resnet50", {"depths": [3, 4, 6, 3]}),
        ("deformable_detr", "resnet50", {"depths": [3, 4, 6, 3]}),
    ],
)
def test_other_families_are_loaded_without_timm_too(kind, name, resnet, tmp_path):
    """As `microsoft/table-transformer-detection` and `SenseTime/deformable-detr` on the hub."""
    config = CONFIGS[kind]()
    stages = config.backbone_config.out_features
    config.backbone_config = ResNetConfig(**resnet, out_features=stages)
    torch.manual_seed(0)
    original = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)](config).eval()
    original.save_pretrained(tmp_path)
    weights = {timm_name(name): value for name, value in load_file(tmp_path / "model.safetensors").items()}
    assert any(".layer3.1.bn2.running_var" in name for name in weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    write_hub_config(tmp_path, name)
    model = load_model(tmp_path, NAMES).eval()
    pixel_values = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = original(pixel_values=pixel_values), model(pixel_values=pixel_values)
    assert torch.equal(found.pred_boxes, expected.pred_boxes)


def timm_name(name):
    """timm's name of a weight that transformers' own ResNet has under `name`."""
    name = name.replace("embedder.embedder.convolution", "conv1").replace("embedder.embedder.normalization", "bn1")
    name = re.sub(r"encoder\.stages\.(\d)\.layers\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    for step in range(3):
        name = name.replace(f".layer.{step}.convolution", f".conv{step + 1}")
        name = name.replace(f".layer.{step}.normalization", f".bn{step + 1}")
    return name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")


def write_hub_config(folder, backbone="resnet50"):
    config = json.loads((folder / "config.json").read_text())
    names = [f"coco {index}" for index in range(91)]
    config |= {
        "backbone": backbone,
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
