import pytest
import torch
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from trainable.detector.loading import load_model
from trainable.detector.parts import freeze_all_but, part_of, set_modes
from trainable.recipe import PARTS

NAMES = ("person", "car")


def test_every_parameter_and_buffer_belongs_to_one_part(make_checkpoint):
    with torch.device("meta"):
        resnet_50 = DetrForObjectDetection(DetrConfig(backbone_config=ResNetConfig(out_features=["stage4"])))
    for model in (load_model(make_checkpoint(), NAMES), resnet_50):
        names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
        assert {part_of(model, name) for name in names} == set(PARTS)
    with pytest.raises(KeyError, match="neck belongs to no part of a detr"):
        part_of(resnet_50, "model.neck")


@pytest.mark.parametrize("trainable", [("class_head",), ("box_head", "decoder"), PARTS], ids="+".join)
def test_only_trainable_parts_require_gradients_and_are_in_train_mode(make_checkpoint, trainable):
    model = load_model(make_checkpoint(), NAMES)
    freeze_all_but(model, trainable)
    set_modes(model, trainable)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (part_of(model, name) in trainable), name
        owner = model.get_submodule(name.rpartition(".")[0])
        assert owner.training == (part_of(model, name) in trainable), name
