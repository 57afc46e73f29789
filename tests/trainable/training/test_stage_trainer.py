import dataclasses
import itertools
import math

import psutil
import pytest
import torch
from transformers import Trainer, TrainerCallback

from trainable.data.dataset import MovedObjectDataset
from trainable.data.trial_data import TrialData
from trainable.detector.families.registry import FAMILIES
from trainable.detector.loading import load_model, load_processor
from trainable.detector.loss import criterion_of, forward, scaled_loss
from trainable.precision import torch_dtype
from trainable.recipe import PARTS, Recipe, Stage, cap_restart_cycles
from trainable.training.stage_trainer import StageTrainer, stage_seed

NAMES = ("person", "car")
PART_MODULES, part_of = FAMILIES["detr"].parts, FAMILIES["detr"].part_of


def one_stage(trainable=PARTS, epochs=1, learning_rate=1e-3, restart_cycles=1, **fields):
    return Recipe((Stage("only", trainable, epochs, learning_rate, restart_cycles),), **fields)


@pytest.fixture
def make_trainer(pair_data, make_checkpoint, tmp_path):
    """A trainer of the only stage of a recipe, on a fresh model."""

    made = []

    def make(recipe, callback=None, pairs=pair_data, kind=StageTrainer, workers=0, **config):
        checkpoint = make_checkpoint(**config)
        data = TrialData.of(pairs, load_processor(checkpoint))
        model = load_model(checkpoint, NAMES)
        trainer = kind(model, recipe, 0, data, tmp_path, workers, [callback] if callback else [])
        made.append(trainer)
        return trainer

    yield make
    for trainer in made:
        trainer.close()


def without_workers_left(timeout=5):
    """Whether all loader workers of this process end within so many seconds."""
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout)
    return not alive


class KeepsBatches:
    """Keeps the batches of the current optimizer step."""

    def get_batch_samples(self, *args):
        self.batches, number = super().get_batch_samples(*args)
        return self.batches, number


class SpiedStageTrainer(KeepsBatches, StageTrainer):
    """Keeps also how many images each forward pass had."""

    def __init__(self, *arguments):
        self.parts = []
        super().__init__(*arguments)

    def compute_loss(self, model, inputs, *arguments, **named):
        assert len(inputs["pixel_values"]) == len(inputs["pixel_mask"]) == len(inputs["labels"])
        self.parts.append(len(inputs["labels"]))
        return super().compute_loss(model, inputs, *arguments, **named)


class SpiedTrainer(KeepsBatches, Trainer):
    pass


class GradientErrors(TrainerCallback):
    """At each step: how far the accumulated gradient is from that of transformers' own loss of the one large batch."""

    def __init__(self):
        self.errors = []
        self.images = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        found = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        expected = torch.cat([gradient.flatten() for gradient in self.expected(model)])
        self.errors.append(((found - expected).norm() / expected.norm()).item())

    def expected(self, model):
        batches = self.trainer.batches
        labels = [label for batch in batches for label in batch["labels"]]
        self.images.append(len(labels))
        tensors = {name: torch.cat([batch[name] for batch in batches]) for name in ("pixel_values", "pixel_mask")}
        return torch.autograd.grad(model(**tensors, labels=labels).loss, list(model.parameters()))


@pytest.mark.parametrize("auxiliary_loss", [False, True], ids=["plain", "auxiliary"])
@pytest.mark.parametrize("micro_batch", [None, *range(1, 9)])
@pytest.mark.parametrize(
    ("images", "batch_size", "accumulation_steps", "steps"),
    [(8, 2, 4, [8]), (7, 2, 3, [6, 1]), (7, 2, 2, [4, 3]), (5, 4, 1, [4, 1])],
)
def test_the_gradient_of_a_step_is_that_of_one_batch_however_many_images_go_at_a_time(
    make_trainer, pair_data, images, batch_size, accumulation_steps, steps, micro_batch, auxiliary_loss
):
    """Sizes that divide the step and sizes that do not, and steps that the end of an epoch cuts off."""
    size = {"batch_size": batch_size, "accumulation_steps": accumulation_steps, "micro_batch": micro_batch}
    pairs = dataclasses.replace(pair_data, train=pair_data.train[:images])
    without_dropout, callback = {"dropout": 0.0, "auxiliary_loss": auxiliary_loss}, GradientErrors()
    recipe = one_stage(max_grad_norm=0.0, **size)
    callback.trainer = make_trainer(recipe, callback, pairs, SpiedStageTrainer, **without_dropout)
    callback.trainer.train()
    assert callback.images == steps
    assert max(callback.errors) < 2e-6
    most = micro_batch or batch_size
    assert callback.trainer.parts == [min(most, step - first) for step in steps for first in range(0, step, most)]


def test_a_recipe_that_says_nothing_gives_the_bits_of_its_own_batches(make_trainer):
    """As earlier versions trained, whose runs are gone on with; `test_results_version` holds it with dropout, too."""

    class Exactly(GradientErrors):
        def expected(self, model):
            (step,) = self.trainer.batches
            images, normalisers = [label["image_id"].item() for label in step["labels"]], self.trainer.step_normalisers
            model.zero_grad()
            for first in range(0, len(images), 3):
                items = [self.trainer.train_dataset[index] for index in images[first : first + 3]]
                batch = self.trainer.data_collator(items)
                scaled_loss(forward(model, batch).terms, normalisers, criterion_of(model.config)).backward()
            return [parameter.grad for parameter in model.parameters()]

    callback = Exactly()
    recipe = one_stage(batch_size=3, accumulation_steps=2, max_grad_norm=0.0)
    callback.trainer = make_trainer(recipe, callback, kind=SpiedStageTrainer, dropout=0.0, auxiliary_loss=True)
    callback.trainer.train()
    assert callback.errors == [0.0, 0.0] and callback.trainer.parts == [3, 3, 2]


def test_trainers_own_accumulation_would_be_off(make_trainer):
    """What `StageTrainer` is for: were this exact, the test above could not fail."""
    ours = make_trainer(one_stage(max_grad_norm=0.0), dropout=0.0)
    args = dataclasses.replace(ours.args, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    callback = GradientErrors()
    callback.trainer = SpiedTrainer(ours.model, args, ours.data_collator, ours.train_dataset, callbacks=[callback])
    callback.trainer.train()
    assert callback.images == [8]
    assert min(callback.errors) > 0.01


@pytest.mark.parametrize(
    "trainable",
    [
        *(("class_head",), ("box_head", "class_head"), ("decoder", "box_head", "class_head")),
        *(("encoder", "decoder", "box_head", "class_head"), PARTS, ("backbone",)),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("micro_batch", [None, 3])
def test_frozen_parts_keep_every_bit_and_trained_ones_change(make_trainer, trainable, micro_batch):
    recipe = one_stage(trainable, epochs=2, accumulation_steps=2, weight_decay=0.1, micro_batch=micro_batch)
    trainer = make_trainer(recipe)
    before = {name: value.clone() for name, value in values_of(trainer.model)}
    trainer.train()
    changed = {name for name, value in values_of(trainer.model) if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == set(trainable)
    weights = {name for name, parameter in trainer.model.named_parameters() if part_of(name) in trainable}
    for module in (module for part in trainable for module in PART_MODULES[part]):
        assert any(name.startswith(module) for name in changed) == any(name.startswith(module) for name in weights)


def values_of(model):
    return [*model.named_parameters(), *model.named_buffers()]


@pytest.mark.parametrize("trainable", [("class_head",), ("decoder", "class_head"), PARTS], ids="+".join)
def test_frozen_modules_run_in_eval_mode_and_trained_ones_do_not(make_trainer, trainable):
    trainer = make_trainer(one_stage(trainable, accumulation_steps=2))
    modes = {part: set() for part in PARTS}

    def remember(part):
        return lambda module, *_: modes[part].add(module.training)

    for part, modules in PART_MODULES.items():
        for module in (module for name in modules for module in trainer.model.get_submodule(name).modules()):
            module.register_forward_pre_hook(remember(part))
    trainer.train()
    assert modes == {part: {part in trainable} for part in PARTS}


class LearningRates(TrainerCallback):
    """The learning rates of each update, one a parameter group."""

    def __init__(self):
        self.learning_rates = []

    def on_pre_optimizer_step(self, args, state, control, optimizer, **kwargs):
        self.learning_rates.append([group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize(
    ("epochs", "cycles", "warmup_share", "effective"),
    [(3, 1, 0.0, 1), (3, 5, 0.0, 3), (2, 3, 0.0, 2), (1, 5, 0.0, 1), (3, 5, 0.25, 2), (2, 3, 0.25, 1)],
)
def test_learning_rates_are_a_cosine_with_restarts_that_never_rises_within_a_cycle(
    make_trainer, epochs, cycles, warmup_share, effective
):
    asked = one_stage(epochs=epochs, restart_cycles=cycles, accumulation_steps=1, warmup_share=warmup_share)
    recipe = cap_restart_cycles(asked, 8)
    callback = LearningRates()
    trainer = make_trainer(recipe, callback)
    trainer.train()
    updates, found = epochs * 4, [max(learning_rates) for learning_rates in callback.learning_rates]
    warmup = math.ceil(warmup_share * updates)
    assert recipe.stages[0].restart_cycles == effective
    expected = [update / warmup for update in range(warmup)] + [
        (1 + math.cos(math.pi * (effective * step / (updates - warmup) % 1))) / 2 for step in range(updates - warmup)
    ]
    assert found == pytest.approx([1e-3 * share for share in expected])
    after = found[warmup:]
    assert sum(later > earlier for earlier, later in itertools.pairwise(after)) == effective - 1


def test_the_backbone_learns_at_its_own_multiple_of_the_learning_rate(make_trainer):
    callback = LearningRates()
    trainer = make_trainer(one_stage(backbone_learning_rate_factor=0.1, weight_decay=0.01), callback)
    trainer.train()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    seen = set()
    for group in trainer.optimizer.param_groups:
        parts = {part_of(names[id(parameter)]) for parameter in group["params"]}
        assert parts == {"backbone"} or "backbone" not in parts
        assert group["initial_lr"] == pytest.approx(1e-4 if parts == {"backbone"} else 1e-3)
        decays = {parameter.ndim > 1 for parameter in group["params"]}
        assert decays == {group["weight_decay"] > 0}
        seen |= {id(parameter) for parameter in group["params"]}
    assert seen == set(names)


class Order(TrainerCallback):
    """The images of each update, by their index."""

    def __init__(self):
        self.images = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.images += [[label["image_id"].item() for label in batch["labels"]] for batch in self.trainer.batches]


def test_images_come_in_another_order_in_each_epoch_and_for_each_seed(make_trainer):
    orders = []
    for seed in (0, 1):
        callback = Order()
        recipe = one_stage(epochs=2, batch_size=8, accumulation_steps=1, seed=seed)
        callback.trainer = make_trainer(recipe, callback, kind=SpiedStageTrainer)
        callback.trainer.train()
        orders += callback.images
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_the_one_that_trainer_itself_would_take(make_trainer):
    """So that a trial of an earlier version goes on as it began."""
    ours, own = Order(), Order()
    ours.trainer = make_trainer(one_stage(epochs=2, accumulation_steps=1), ours, kind=SpiedStageTrainer)
    ours.trainer.train()
    given = ours.trainer
    own.trainer = SpiedTrainer(given.model, given.args, given.data_collator, given.train_dataset, callbacks=[own])
    own.trainer.train()
    assert ours.images == own.images and len(ours.images) == 8


class TestLoaderWorkers:
    RECIPE = one_stage(epochs=2, accumulation_steps=2, seed=5)

    class Watch(TrainerCallback):
        """Trains as a trial does, evaluating each epoch, and keeps all figures and the processes of each epoch."""

        def __init__(self):
            self.figures, self.processes = [], []

        def on_epoch_end(self, args, state, control, **kwargs):
            evaluation = self.trainer.evaluate_data_set()
            self.figures.append([*self.trainer.losses_of_epoch, evaluation.losses])
            self.processes.append({process.pid for process in psutil.Process().children(recursive=True)})

    def train(self, make_trainer, workers):
        watch = self.Watch()
        watch.trainer = make_trainer(self.RECIPE, watch, workers=workers)
        watch.trainer.train()
        return watch

    def test_two_epochs_are_the_same_to_the_last_bit_with_them_and_without(self, make_trainer):
        """The model has dropout: a draw from the global random state that only one of them makes would show."""
        without, beside = (self.train(make_trainer, workers) for workers in (0, 2))
        assert beside.figures == without.figures and list(map(len, without.figures)) == [5, 9]
        for (name, expected), (_, found) in zip(
            values_of(without.trainer.model), values_of(beside.trainer.model), strict=True
        ):
            assert torch.equal(found, expected), name

    def test_they_live_through_all_epochs_and_end_with_the_stage(self, make_trainer):
        watch = self.train(make_trainer, 2)
        first, second = watch.processes
        assert first == second and len(first) == 4, "two for each split"
        watch.trainer.close()
        assert without_workers_left(timeout=1)

    def test_they_end_also_while_an_exception_holds_the_stage(self, make_trainer):
        class Stop(TrainerCallback):
            def on_epoch_end(self, args, state, control, **kwargs):
                raise SystemExit  # as Ray ends a trial

        trainer = make_trainer(self.RECIPE, Stop(), workers=2)
        with pytest.raises(SystemExit) as stopped:
            trainer.train()
        trainer.close()
        assert without_workers_left(timeout=1), stopped

    @pytest.mark.parametrize("workers", [0, 2])
    def test_each_item_is_asked_for_with_its_epoch(self, make_trainer, monkeypatch, workers):
        original = MovedObjectDataset.__getitem__

        def with_epoch(dataset, key):
            item = original(dataset, key)
            if isinstance(key, tuple):
                item["labels"] |= {"epoch": torch.tensor(key[0])}
            return item

        class Epochs(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, **kwargs):
                epochs.append({label["epoch"].item() for batch in self.trainer.batches for label in batch["labels"]})

        monkeypatch.setattr(MovedObjectDataset, "__getitem__", with_epoch)
        epochs, callback = [], Epochs()
        callback.trainer = make_trainer(self.RECIPE, callback, kind=SpiedStageTrainer, workers=workers)
        callback.trainer.train()
        assert epochs == [{0}, {0}, {1}, {1}]


def test_the_seeds_of_stages_lie_far_apart():
    seeds = [stage_seed(seed, stage) for seed in range(5) for stage in range(3)]
    assert len(set(seeds)) == len(seeds)
    # Trainer adds the epoch to the seed: seeds that lie close together would repeat each other's orders.
    assert min(abs(a - b) for a in seeds for b in seeds if a != b) > 1000


def test_a_checkpoint_has_what_the_stage_trains_under_the_names_in_memory(make_trainer, tmp_path):
    from safetensors.torch import load_file

    trainer = make_trainer(one_stage(trainable=("decoder", "class_head")))
    trainer.save_model(str(tmp_path / "saved"))
    trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == trained
    assert {part_of(name) for name in trained} == {"decoder", "class_head"}


def test_weights_that_are_not_finite_stop_the_stage_by_name(make_trainer):
    trainer = make_trainer(one_stage(learning_rate=0.01, accumulation_steps=2))
    with torch.no_grad():
        trainer.model.class_labels_classifier.bias.fill_(torch.nan)
    with pytest.raises(
        FloatingPointError, match=r"stage 'only', update 1 of 2, learning rate 0\.01: the model's outputs are not fini"
    ):
        trainer.train()


class Break(TrainerCallback):
    """Makes the model's outputs infinite after the first update."""

    def on_optimizer_step(self, args, state, control, model, **kwargs):
        with torch.no_grad():
            model.class_labels_classifier.bias.fill_(torch.inf)


def test_weights_that_an_update_broke_stop_the_stage_at_the_next(make_trainer):
    trainer = make_trainer(one_stage(accumulation_steps=2), Break())
    with pytest.raises(FloatingPointError, match=r"stage 'only', update 2 of 2, learning rate 0\.0005: the model's"):
        trainer.train()


def test_weights_that_the_last_update_broke_are_met_by_the_evaluation(make_trainer):
    trainer = make_trainer(one_stage(accumulation_steps=4), Break())
    trainer.train()
    with pytest.raises(FloatingPointError, match=r"stage 'only', update 1 of 1, learning rate .*: the model's outputs"):
        trainer.evaluate_data_set()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_dtype_is_what_it_says(dtype):
    assert str(torch_dtype(dtype)) == f"torch.{dtype}"


def test_auto_is_float32_without_a_gpu():
    assert torch_dtype("auto") is torch.float32


def test_auto_is_bfloat16_on_a_gpu_that_has_it(monkeypatch):
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has_it=has_it: has_it)
        assert torch_dtype("auto", torch.device("cuda")) is expected
