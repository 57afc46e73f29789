"""Stages that start behind their frozen parts: the same numbers as the whole model, from outputs made once."""

import copy
import dataclasses
import logging

import pytest
import torch

from trainable.data.dataset import MovedObjectDataset
from trainable.data.difference import ImageError
from trainable.data.trial_data import TrialData
from trainable.detector.families.registry import FAMILIES
from trainable.detector.loading import load_model, load_processor
from trainable.detector.loss import criterion_of, forward, loss_normalisers, scaled_loss
from trainable.detector.parts import freeze_all_but, set_modes
from trainable.precision import autocast
from trainable.recipe import Recipe, Stage
from trainable.reuse.frozen_features import frozen_prefix, use_frozen_features
from trainable.training.evaluation import evaluate
from trainable.training.stage_trainer import StageTrainer

NAMES = ("person", "car")
PLENTY = 10**9
LEVELS = {
    ("backbone",): ("encoder", "decoder", "box_head", "class_head"),
    ("backbone", "encoder"): ("decoder", "class_head"),
    ("backbone", "encoder", "decoder"): ("box_head", "class_head"),
}
every_level = pytest.mark.parametrize("trainable", LEVELS.values(), ids="+".join)
DETR = FAMILIES["detr"]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def make_model(make_checkpoint):
    """A model whose layer norms and class head are not what they were made as, so that each matters."""

    def make(**config):
        model = load_model(make_checkpoint(**config), NAMES)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture(scope="module")
def data(pair_data, checkpoint):
    pairs = dataclasses.replace(pair_data, train=pair_data.train[:4], val=pair_data.val[:3])
    assert {pair.size for pair in pairs.train} == {pair.size for pair in pairs.val} == {(64, 48), (48, 64)}
    return TrialData.of(pairs, load_processor(checkpoint))


@pytest.fixture(scope="module")
def common_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def batches(common_cache, data):
    """One batch of items for the whole model, and the same for the view of it."""

    def make(model, trainable, indices, dtype=torch.float32):
        behind, inputs = use_frozen_features(model, trainable, data, dtype, PLENTY, common_cache)
        assert behind is not model
        whole = data.collator([data.train[index] for index in indices])
        return behind, whole, inputs.collator([inputs.train[index] for index in indices])

    return make


def outputs_and_loss(model, batch, dtype=torch.float32):
    with autocast(torch.device("cpu"), dtype):
        result = forward(model, batch)
    totals = loss_normalisers(batch["labels"], criterion_of(model.config))
    loss = scaled_loss(result.terms, totals, criterion_of(model.config))
    return result.logits, result.boxes_cxcywh_normalised, loss


def states(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def activations(cache):
    return sorted((cache / "activations").glob("*.records"))


@pytest.fixture
def images_read(monkeypatch):
    """The ids of the pairs whose images are read, as they are."""
    read = []
    get = MovedObjectDataset.item

    def noted(self, index):
        read.append(self.pairs[index].id)
        return get(self, index)

    monkeypatch.setattr(MovedObjectDataset, "item", noted)
    return read


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [(("backbone", "class_head"), ()), (("class_head",), ("backbone", "encoder", "decoder"))]
    + [(parts, prefix) for prefix, parts in LEVELS.items()],
)
def test_the_prefix_is_what_lies_in_front_of_the_first_part_that_trains(trainable, expected):
    assert frozen_prefix(trainable, DETR.cacheable) == expected
    assert frozen_prefix(trainable[::-1], DETR.cacheable) == expected


@every_level
@pytest.mark.parametrize(
    "config", [{}, {"auxiliary_loss": True, "position_embedding_type": "learned"}], ids=["plain", "auxiliary, learned"]
)
class TestNumbers:
    def test_of_one_image_are_bit_identical(self, make_model, batches, trainable, config):
        model = make_model(**config).train()  # with dropout, unless the prefix is put into eval mode
        for index in (1, 2):  # landscape and portrait: with and without padding in either direction
            behind, whole, kept = batches(model, trainable, [index])
            model.eval()
            for expected, found in zip(outputs_and_loss(model, whole), outputs_and_loss(behind, kept), strict=True):
                assert torch.equal(found, expected)

    def test_of_images_of_unequal_size_are_the_whole_models(self, make_model, batches, trainable, config):
        model = make_model(**config).eval()
        behind, whole, kept = batches(model, trainable, range(4))
        for expected, found in zip(outputs_and_loss(model, whole), outputs_and_loss(behind, kept), strict=True):
            assert torch.allclose(found, expected, rtol=0, atol=1e-5)

    def test_gradients_of_the_other_parts_are_the_whole_models(self, make_model, batches, trainable, config):
        model = make_model(dropout=0.0, **config)
        behind, whole, kept = batches(model, trainable, range(4))
        gradients = []
        for view, batch in ((model, whole), (behind, kept)):
            freeze_all_but(view, trainable)
            set_modes(view, trainable)
            outputs_and_loss(view, batch)[2].backward()
            gradients.append({name: p.grad.clone() for name, p in view.named_parameters() if p.grad is not None})
            view.zero_grad()
        expected, found = gradients
        assert {DETR.part_of(name) for name in found} == set(trainable) and found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name

    def test_in_bfloat16_are_the_whole_models(self, make_model, batches, trainable, config):
        model, dtype = make_model(**config).eval(), torch.bfloat16
        behind, whole, kept = batches(model, trainable, [2], dtype)
        alone = zip(outputs_and_loss(model, whole, dtype), outputs_and_loss(behind, kept, dtype), strict=True)
        assert all(torch.equal(found, expected) for expected, found in alone)
        behind, whole, kept = batches(model, trainable, range(4), dtype)
        logits, boxes, _ = outputs_and_loss(model, whole, dtype)
        found_logits, found_boxes, _ = outputs_and_loss(behind, kept, dtype)
        assert torch.allclose(found_logits, logits, rtol=0.02, atol=0.02)
        assert torch.allclose(found_boxes, boxes, rtol=0.02, atol=0.02)


def test_in_bfloat16_the_decoder_gets_what_it_gets_in_the_whole_model(make_model, batches):
    model = make_model().eval()
    behind, whole, kept = batches(model, ("decoder",), [2], torch.bfloat16)
    given = []
    model.model.decoder.register_forward_pre_hook(lambda *inputs: given.append(inputs[2]), with_kwargs=True)
    for view, batch in ((model, whole), (behind, kept)):
        outputs_and_loss(view, batch, torch.bfloat16)
    expected, found = given
    assert found["encoder_hidden_states"].dtype is torch.bfloat16
    for name in ("encoder_hidden_states", "encoder_attention_mask", "spatial_position_embeddings"):
        assert found[name].dtype is expected[name].dtype and torch.equal(found[name], expected[name])


@every_level
class TestTheView:
    def test_trains_the_whole_models_other_parts_and_leaves_the_prefix(
        self, make_model, data, cache, tmp_path, trainable
    ):
        model = make_model(auxiliary_loss=True)
        before = states(model)
        behind, inputs = use_frozen_features(model, trainable, data, torch.float32, PLENTY, cache)
        names = {name for name, _ in model.named_parameters()}
        assert {name for name, _ in behind.named_parameters()} <= names
        recipe = Recipe((Stage("stage", trainable, 1, 1e-3),), batch_size=2, accumulation_steps=2)
        trainer = StageTrainer(behind, recipe, 0, inputs, tmp_path / "out", 0, [])
        trainer.train()
        assert trainer.evaluate_data_set().losses == evaluate(behind, inputs.val, inputs.collator).losses
        after = states(model)
        changed = {DETR.part_of(name) for name in after if not torch.equal(after[name], before[name])}
        assert changed == set(trainable)
        assert evaluate(behind, inputs.val, inputs.collator).losses == pytest.approx(
            evaluate(model, data.val, data.collator).losses, rel=1e-5
        )

    def test_leaves_the_whole_model_and_the_random_state_as_they_were(self, make_model, data, cache, trainable):
        model = make_model(auxiliary_loss=True).eval()
        batch = data.collator([data.train[0], data.train[2]])
        before, modules = outputs_and_loss(model, batch), [id(module) for module in model.modules()]
        random = torch.get_rng_state()
        use_frozen_features(model, trainable, data, torch.float32, PLENTY, cache)
        assert torch.equal(torch.get_rng_state(), random)
        assert [id(module) for module in model.modules()] == modules
        assert all(map(torch.equal, outputs_and_loss(model, batch), before))

    def test_needs_no_image_and_has_the_same_labels(self, make_model, data, cache, images_read, trainable):
        _, inputs = use_frozen_features(make_model(), trainable, data, torch.float32, PLENTY, cache)
        assert sorted(images_read) == sorted(pair.id for pair in (*data.train.pairs, *data.val.pairs))
        items = [inputs.val[index] for index in range(len(inputs.val))]
        assert len(images_read) == len(data.train) + len(data.val)
        for item, image in zip(items, (data.val[index] for index in range(len(data.val))), strict=True):
            assert item["labels"].keys() == image["labels"].keys()
            assert all(torch.equal(value, image["labels"][name]) for name, value in item["labels"].items())


class TestTheStore:
    TRAINABLE = ("decoder", "box_head", "class_head")

    def start(self, model, data, cache, trainable=TRAINABLE, dtype=torch.float32):
        return use_frozen_features(model, trainable, data, dtype, PLENTY, cache)

    def test_is_shared_by_trials_whose_frozen_parts_are_equal(
        self, make_model, make_checkpoint, data, cache, images_read, tmp_path
    ):
        first = make_model()
        self.start(first, data, cache)
        images_read.clear()
        first.save_pretrained(tmp_path / "elsewhere")
        other = load_model(tmp_path / "elsewhere", NAMES)
        with torch.no_grad():
            other.class_labels_classifier.weight.zero_()
            other.model.decoder.layernorm.weight.zero_()
        self.start(other, data, cache, ("decoder",))
        assert len(activations(cache)) == 1 and not images_read

    def test_of_other_weights_or_levels_or_precision_is_another(self, make_model, data, cache):
        model = make_model()
        self.start(model, data, cache)
        self.start(model, data, cache, dtype=torch.bfloat16)
        self.start(model, data, cache, ("class_head",))
        with torch.no_grad():
            next(model.model.backbone.buffers()).add_(1e-3)
        self.start(model, data, cache)
        with torch.no_grad():
            model.model.encoder.layers[0].final_layer_norm.bias[0] += 1e-6
        self.start(model, data, cache)
        assert len(activations(cache)) == 5

    def test_of_other_padding_or_images_is_another(self, make_model, data, cache):
        model = make_model()
        self.start(model, data, cache)
        self.start(model, dataclasses.replace(data, collator=dataclasses.replace(data.collator, height=80)), cache)
        self.start(model, dataclasses.replace(data, val=data.train), cache)
        assert len(activations(cache)) == 3

    def test_mends_a_damaged_record_in_the_middle_of_training(self, make_model, data, cache, caplog):
        model = make_model()
        behind, inputs = self.start(model, data, cache)
        (path,) = activations(cache)
        whole = path.read_bytes()
        set_modes(behind, self.TRAINABLE)
        with torch.no_grad():
            model.model.decoder.layernorm.weight.add_(1)
        path.write_bytes(bytes(100) + whole[100:])
        random = torch.get_rng_state()
        for index in range(len(data.train)):
            inputs.train[index]
        for index in range(len(data.val)):
            inputs.val[index]
        assert "is damaged at" in caplog.text and path.read_bytes() == whole
        assert torch.equal(torch.get_rng_state(), random)
        assert behind.model.decoder.training

    def test_does_not_keep_an_image_that_changed_since_the_check(self, make_model, data, cache):
        train = copy.copy(data.train)
        train.pairs = (dataclasses.replace(train.pairs[0], images_digest="another"), *train.pairs[1:])
        with pytest.raises(ImageError, match="has changed since it was checked"):
            self.start(make_model(), dataclasses.replace(data, train=train), cache)
        assert not activations(cache)


class TestCudnn:
    """Whether the flags do to a GPU what they are set for, a GPU alone can show: `tests/gpu`."""

    @pytest.fixture(autouse=True)
    def flags(self, monkeypatch):
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)

    def now(self):
        return torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark

    @pytest.mark.parametrize("cache_bytes", [PLENTY, 0], ids=["kept", "computed each time"])
    def test_repeats_itself_in_the_prefix_and_is_left_as_it_was(self, make_model, data, cache, cache_bytes):
        model, seen = make_model(), []
        model.model.backbone.register_forward_hook(lambda *_: seen.append(self.now()))
        model.model.encoder.register_forward_hook(lambda *_: seen.append(self.now()))
        behind, inputs = use_frozen_features(model, ("encoder", "class_head"), data, torch.float32, cache_bytes, cache)
        assert set(seen) == {(True, False)} and self.now() == (False, True)
        seen.clear()
        outputs_and_loss(behind, inputs.collator([inputs.train[0]]))
        assert seen[-1] == (False, True), "what trains is as fast as it may be"

    def test_is_left_as_it_was_also_where_the_prefix_fails(self, make_model, data, cache):
        model = make_model()
        model.model.backbone.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            use_frozen_features(model, ("class_head",), data, torch.float32, PLENTY, cache)
        assert self.now() == (False, True)


class TestWithoutAStore:
    def test_no_room_is_said_once_and_the_images_are_taken(self, make_model, data, cache, caplog):
        _, inputs = use_frozen_features(make_model(), ("class_head",), data, torch.float32, 1000, cache)
        assert inputs is data
        (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert line.message.startswith("activations are not cached, every trial makes its own: they take")

    def test_where_the_backbone_trains_nothing_changes(self, make_model, data, cache, caplog):
        model = make_model()
        found = use_frozen_features(model, ("backbone", "class_head"), data, torch.float32, PLENTY, cache)
        assert found[0] is model and found[1] is data
        assert not caplog.text and not cache.exists()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @every_level
    def test_what_is_computed_each_time_is_what_would_be_kept(self, make_model, data, cache, trainable, dtype):
        model = make_model(auxiliary_loss=True).eval()
        fed, images = use_frozen_features(model, trainable, data, dtype, 0, cache)
        kept, inputs = use_frozen_features(model, trainable, data, dtype, PLENTY, cache)
        expected, found = (
            outputs_and_loss(view, source.collator([source.train[index] for index in range(4)]), dtype)
            for view, source in ((kept, inputs), (fed, images))
        )
        assert all(map(torch.equal, found, expected))
        assert dict(fed.named_parameters()).keys() == dict(kept.named_parameters()).keys()
