"""What is promised of every family of detectors, on a tiny untrained one of each."""

import pkgutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForObjectDetection

import trainable.detector.families
from tests.tiny_detectors import (
    CONFIGS,
    QUERIES,
    SQUARE,
    SQUARE_KINDS,
    kept_for_backward,
    labels_of,
    save_tiny_detector,
)
from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
from trainable.data.trial_data import TrialData
from trainable.detector.families.registry import FAMILIES, family_of
from trainable.detector.loading import ModelError, load_model, load_processor, model_config
from trainable.detector.loss import LossAccumulator, criterion_of, forward, loss_normalisers, scaled_loss
from trainable.detector.memory import IN_USE, training_memory
from trainable.detector.parts import freeze_all_but, part_of, set_modes
from trainable.model_signal import SIGNALS
from trainable.recipe import PARTS, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.reuse.frozen_features import use_frozen_features
from trainable.training.evaluation import evaluate
from trainable.training.staged_trainer import train_recipe
from trainable.training.weights import trial_model

NAMES = ("person", "car")
HEADS = ("box_head", "class_head")
RECIPE = Recipe(
    (Stage("heads", HEADS, 1, 1e-2), Stage("late", ("decoder", *HEADS), 1, 1e-2), Stage("all", PARTS, 1, 1e-3)),
    batch_size=2,
    accumulation_steps=2,
    seed=5,
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The checkpoint of a kind, written once."""
    made = {}

    def tiny(kind, **how):
        key = kind, *sorted(how.items())
        if key not in made:
            made[key] = save_tiny_detector(kind, tmp_path_factory.mktemp("tiny") / "checkpoint", **how)
        return made[key]

    return tiny


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


@pytest.fixture
def model(tiny, kind):
    """In the modes of training, all of it, without dropout."""
    model = load_model(tiny(kind), NAMES)
    freeze_all_but(model, PARTS)
    set_modes(model, PARTS)
    return model


def batch_of(counts):
    labels, generator = labels_of(counts), torch.Generator().manual_seed(7)
    pixel_values = torch.randn(len(counts), 3, SQUARE, SQUARE, generator=generator)
    pixel_mask = torch.ones(len(counts), SQUARE, SQUARE, dtype=torch.int64)
    return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": labels}


def parts_of(batch, sizes):
    start = 0
    for size in sizes:
        yield {name: value[start : start + size] for name, value in batch.items()}
        start += size


def gradients(model):
    """Of all parameters, which are then without any."""
    found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    return found


def assert_gradients_close(found, expected, within=2e-5):
    assert found.keys() == expected.keys()
    most = max(value.abs().max().item() for value in expected.values())
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=within, atol=within * most, msg=name)


def test_every_file_of_the_folder_is_a_family_and_every_family_is_tried_here():
    modules = {name for _, name, _ in pkgutil.iter_modules(trainable.detector.families.__path__)}
    files = {type(family).__module__.rpartition(".")[2] for family in FAMILIES.values()}
    assert modules == files | {"family", "registry"}
    assert {kind.split(" in ")[0] for kind in CONFIGS} == set(FAMILIES)


def test_every_weight_belongs_to_one_of_the_five_parts(model):
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    assert {part_of(model, name) for name in names} == set(PARTS)


@pytest.mark.parametrize("counts", [(2, 0, 1), (0, QUERIES + 2, 0), (0, 0)], ids=str)
def test_the_last_layers_loss_is_transformers_own(model, counts):
    batch, criterion = batch_of(counts), criterion_of(model.config)
    with torch.no_grad():
        theirs, ours = model(**batch), forward(model, batch, auxiliary=False)
    sums = LossAccumulator(criterion)
    sums.add(ours.terms, batch["labels"])
    losses, expected = sums.losses(), theirs.loss_dict
    of_classes = "loss_vfl" if "loss_vfl" in expected else "loss_ce"
    # Of some families transformers gives terms with their weights.
    weights = (criterion.class_weight, criterion.bbox_weight, criterion.giou_weight)
    weighted = weights if of_classes == "loss_vfl" else (1, 1, 1)
    for name, their_name, weight in zip(
        ("val_loss_ce", "val_loss_bbox", "val_loss_giou"), (of_classes, "loss_bbox", "loss_giou"), weighted, strict=True
    ):
        assert weight * losses[name] == pytest.approx(expected[their_name].item(), rel=1e-5), name
    parts = zip(weights, (losses[name] for name in ("val_loss_ce", "val_loss_bbox", "val_loss_giou")), strict=True)
    assert losses["val_loss"] == pytest.approx(sum(weight * part for weight, part in parts))
    assert torch.equal(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.boxes_cxcywh_normalised, theirs.pred_boxes.clamp(0, 1))


@pytest.mark.parametrize("counts", [(2, 0, 1), (0, QUERIES + 2, 0), (0, 0)], ids=str)
def test_the_training_loss_and_its_gradients_are_transformers_own(model, kind, counts):
    if kind == "d_fine":
        pytest.skip("transformers pairs the logits of each of its layers with the corners of the next")
    batch, criterion = batch_of(counts), criterion_of(model.config)
    theirs = model(**batch).loss
    theirs.backward()
    expected = gradients(model)
    ours = scaled_loss(forward(model, batch).terms, loss_normalisers(batch["labels"], criterion), criterion)
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_gradients_close(gradients(model), expected)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 1)], ids=str)
def test_accumulated_gradients_are_those_of_one_batch(model, sizes):
    batch, criterion = batch_of((2, 0, 1, 3)), criterion_of(model.config)
    whole = loss_normalisers(batch["labels"], criterion)
    scaled_loss(forward(model, batch).terms, whole, criterion).backward()
    expected = gradients(model)
    for part in parts_of(batch, sizes):
        scaled_loss(forward(model, part).terms, whole, criterion).backward()
    assert_gradients_close(gradients(model), expected)


def test_an_images_loss_does_not_depend_on_what_it_is_batched_with(tiny, kind, pair_data):
    model, processor = load_model(tiny(kind), NAMES), load_processor(tiny(kind))
    dataset = MovedObjectDataset(pair_data.val, processor)
    collator = PairCollator(*padded_size(pair_data.val, processor))
    together = evaluate(model, dataset, collator)
    for index, alone in enumerate(together.image_losses):
        one = MovedObjectDataset([pair_data.val[index]], processor)
        assert evaluate(model, one, collator).losses["val_loss"] == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("trainable", [HEADS, ("encoder", "decoder", *HEADS), PARTS], ids=len)
def test_what_is_frozen_stays_and_what_learns_learns(model, trainable):
    freeze_all_but(model, trainable)
    set_modes(model, trainable)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    constants = family_of(model.config).constants
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, criterion = torch.optim.SGD(learning, lr=0.1), criterion_of(model.config)
    batch = batch_of((2, 0, 1, 3))
    scaled_loss(forward(model, batch).terms, loss_normalisers(batch["labels"], criterion), criterion).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {part_of(model, name) for name in changed} == set(trainable)
    assert not changed.intersection(constants)
    assert not any("running_" in name or "num_batches" in name for name in changed)
    norms = [name for name, value in model.named_parameters() if "norm" in name and value.requires_grad]
    assert not norms or changed.intersection(norms)


def test_a_new_class_head_is_drawn_from_the_seed_and_nothing_else_is_new(tiny, kind):
    original = AutoModelForObjectDetection.from_pretrained(tiny(kind)).state_dict()
    first, again, other = (load_model(tiny(kind), NAMES, seed).state_dict() for seed in (5, 5, 6))
    family = FAMILIES[kind.split(" in ")[0]]
    heads = {name for name in first if family.part_of(name) == "class_head"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {name for name in first if not torch.equal(first[name], other[name])} == {
        name for name in heads if name.endswith("weight")
    }
    assert all(torch.equal(first[name], original[name]) for name in first.keys() - heads)
    kept = load_model(tiny(kind), ("square", "circle")).state_dict()
    assert all(torch.equal(kept[name], original[name]) for name in kept)


def test_a_checkpoint_that_lacks_more_than_its_class_head_is_refused(tiny, kind, tmp_path):
    folder = save_tiny_detector(kind, tmp_path / "spoilt")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "encoder.layers" in name or "encoder.encoder" in name or "aifi" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="only the class head may be new, but 1 weights are"):
        load_model(folder, NAMES)


@pytest.fixture(scope="module")
def trained(tiny, pair_data, tmp_path_factory):
    """A recipe of three stages, trained at once, by kind."""
    made = {}

    def trained(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("trained") / "trial"
            made[kind] = train_recipe(RECIPE, pair_data, tiny(kind, dropout=0.1), folder, lambda row: None)
        return made[kind]

    return trained


def test_a_trial_that_is_cut_off_goes_on_to_the_same_bits(trained, tiny, kind, pair_data, tmp_path):
    class CutOffError(Exception):
        pass

    def report(row):
        if row.epoch == 2:
            raise CutOffError

    unbroken = trained(kind)
    with pytest.raises(CutOffError):
        train_recipe(RECIPE, pair_data, tiny(kind, dropout=0.1), tmp_path, report)
    again = train_recipe(RECIPE, pair_data, tiny(kind, dropout=0.1), tmp_path, lambda row: None)
    losses = [[(row.train_loss, row.val_loss) for row in trial.history] for trial in (again, unbroken)]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    assert again.best_weights.read_bytes() == unbroken.best_weights.read_bytes()


def test_a_saved_model_loads_in_plain_transformers_and_reproduces_its_figures(trained, tiny, kind, pair_data, tmp_path):
    trial = trained(kind)
    model = trial_model(tiny(kind, dropout=0.1), NAMES, RECIPE.seed, trial.best_weights)
    processor = load_processor(tiny(kind))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    plain, loading = AutoModelForObjectDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"] and not loading["unexpected_keys"]
    image = torch.rand(1, 3, SQUARE, SQUARE)
    with torch.no_grad():
        ours, theirs = model.eval()(image), plain.eval()(image)
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.pred_boxes, theirs.pred_boxes)
    assert AutoImageProcessor.from_pretrained(tmp_path, backend="pil").size == processor.size
    both = (*pair_data.train, *pair_data.val)
    dataset, collator = MovedObjectDataset(pair_data.val, processor), PairCollator(*padded_size(both, processor))
    found = evaluate(load_model(tmp_path, NAMES), dataset, collator).losses["val_loss"]
    best = min(row.val_loss for row in trial.history)
    assert found == pytest.approx(best, rel=1e-5)


def test_behind_its_frozen_backbone_a_model_gives_what_the_whole_one_gives(model, tiny, kind, pair_data, tmp_path):
    data, trainable = TrialData.of(pair_data, load_processor(tiny(kind))), ("encoder", "decoder", *HEADS)
    behind, inputs = use_frozen_features(model.eval(), trainable, data, torch.float32, 10**9, tmp_path)
    assert {part_of(model, name) for name, _ in behind.named_parameters()} == set(trainable)
    for indices in ([1], [2], range(4)):
        whole, kept = (
            forward(view, source.collator([source.train[index] for index in indices]))
            for view, source in ((model, data), (behind, inputs))
        )
        exact = {"rtol": 0, "atol": 0} if len(indices) == 1 else {"rtol": 1e-4, "atol": 1e-5}
        assert torch.allclose(kept.logits, whole.logits, **exact)
        assert torch.allclose(kept.boxes_cxcywh_normalised, whole.boxes_cxcywh_normalised, **exact)


def test_what_frozen_parts_give_is_kept_to_the_same_bits(tiny, kind, pair_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    histories = []
    for name, reuse in (("anew", ReuseConfig(0)), ("kept", ReuseConfig(10**9))):
        trial = train_recipe(RECIPE, pair_data, tiny(kind), tmp_path / name, lambda row: None, reuse=reuse)
        histories.append([(row.train_loss, row.val_loss) for row in trial.history])
        assert bool(list((tmp_path / "cache").rglob("activations/*"))) == (name == "kept")
    assert histories[0] == histories[1]


def test_images_of_families_that_pad_nothing_are_of_one_size(tiny, kind):
    if kind not in SQUARE_KINDS:
        assert load_processor(tiny(kind), 96).size.shortest_edge == 96
        return
    assert (load_processor(tiny(kind), 96).size.height, load_processor(tiny(kind), 96).size.width) == (96, 96)
    with pytest.raises(ModelError, match=r"one size alone, .* divisible by 32, but its size is .*100"):
        load_processor(tiny(kind), 100)


def test_signals_that_a_family_does_not_take_are_refused_by_name(tiny, kind):
    for signal in set(SIGNALS) - {*FAMILIES[kind.split(" in ")[0]].signals}:
        with pytest.raises(ModelError, match=f"cannot be given '{signal}'"):
            load_model(tiny(kind), NAMES, signal=signal)


def test_the_memory_that_training_takes_is_foretold(model, tiny, kind):
    """Never less than it really takes of an image, and not much more: a trial that is told to fit, fits."""
    side = 256
    foretold = training_memory(model_config(tiny(kind)), (side, side)).image
    image = {"pixel_values": torch.rand(1, 3, side, side), "pixel_mask": torch.ones(1, side, side, dtype=torch.int64)}
    predictions = family_of(model.config).predictions
    really = IN_USE * kept_for_backward(model, lambda: predictions(model, image, auxiliary=True))
    assert really <= foretold * 1.05 and foretold < 2.5 * really, f"{foretold / really:.2f}"
