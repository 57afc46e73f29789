"""The search that a user of Hugging Face's `Trainer.hyperparameter_search(backend="ray")` would write.

    python benchmarks/hf_search.py TASK.json

One side of `vs_hf_ray.py`, which writes the task: `model`, a checkpoint; `names`, of the classes; `train` and `val`,
lists of `[before, after, labels]`, each label `[class_id, x_center, y_center, width, height]`, normalised; `data`, the
folder of these pairs or None for the sample; `recipes`, dicts as of `trainable.recipe.Recipe`; `grace`, `max_epochs`,
`reduction` and `save_strategy`; `reuse_actors`, None for Ray's default; `whole_steps`, whether a batch is as large as
an optimizer step. Beside the task it writes `events.jsonl`, when each trial was asked for, reported and ended.

What a careful user does is done: the worker loads its own images, nothing is logged that nobody reads, evaluation
asks for the loss alone, all layers are in one optimizer whose learning rate follows the stages, and a frozen layer
takes no part in the backward pass. All else is as the libraries have it.

After each epoch the model is judged once more, by the evaluation of `search/run.py`, so that both sides' losses mean
the same. The search knows nothing of that loss; the seconds that it took stand beside it and are no part of the search.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import ray
import torch
import transformers
from PIL import Image, ImageChops
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from torch.nn.functional import pad
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from trainable.detector.parts import part_of


def main() -> None:
    task_file = Path(sys.argv[1]).resolve()
    task, folder = json.loads(task_file.read_text()), task_file.parent
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # A Ray of its own: without an address it would join whatever cluster it finds.
    ray.init(address="local", include_dashboard=False, log_to_driver=False)

    def load_model() -> Any:
        return AutoModelForObjectDetection.from_pretrained(
            task["model"],
            id2label=dict(enumerate(task["names"])),
            label2id={name: index for index, name in enumerate(task["names"])},
            ignore_mismatched_sizes=True,
        )

    processor = AutoImageProcessor.from_pretrained(task["model"], backend="pil")
    trainer = StagedTrainer(
        model_init=load_model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"),
            eval_strategy="epoch",
            save_strategy=task["save_strategy"],
            save_total_limit=1,
            per_device_eval_batch_size=16 if task["whole_steps"] else 8,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            log_level="error",
            remove_unused_columns=False,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            use_cpu=True,
        ),
        train_dataset=Differences(task["train"], processor),
        eval_dataset=Differences(task["val"], processor),
        data_collator=collate,
    )
    trainer.task = task
    reuse = {} if task["reuse_actors"] is None else {"reuse_actors": task["reuse_actors"]}
    best = trainer.hyperparameter_search(
        hp_space=lambda _: {},
        compute_objective=lambda metrics: metrics["eval_loss"],
        backend="ray",
        direction="minimize",
        n_trials=len(task["recipes"]),
        search_alg=ListSearcher([config_of(recipe, task) for recipe in task["recipes"]], folder / "events.jsonl"),
        # One epoch more than any trial has, so that the rungs are those of `search.rungs.Stopping`.
        scheduler=ASHAScheduler(
            metric="objective",
            mode="min",
            max_t=task["max_epochs"] + 1,
            grace_period=task["grace"],
            reduction_factor=task["reduction"],
        ),
        resources_per_trial={"cpu": 1},
        max_concurrent_trials=1,
        storage_path=str(folder / "tune"),
        verbose=0,
        **reuse,
    )
    print(f"best: {best.objective:.4f} of run {best.run_id}")


def config_of(recipe: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """A trial's config: the recipe, and what Trainer itself sets from it, under the names of `TrainingArguments`."""
    batch, steps = recipe["batch_size"], recipe["accumulation_steps"]
    if task["whole_steps"]:
        batch, steps = batch * steps, 1
    return {
        "recipe": recipe,
        "num_train_epochs": sum(stage["epochs"] for stage in recipe["stages"]),
        "learning_rate": recipe["stages"][0]["learning_rate"],
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": steps,
        "weight_decay": recipe["weight_decay"],
        "max_grad_norm": recipe["max_grad_norm"],
        "seed": recipe["seed"],
    }


class Differences(Dataset[dict[str, Any]]):
    """What changed between two images, and the boxes of what moved.

    Args:
        pairs: `[before, after, labels]` of each pair.
        processor: resizes and normalises.
    """

    def __init__(self, pairs: Sequence[Sequence[Any]], processor: Any):
        self.pairs = pairs
        self.processor = processor

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`pixel_values`, float32 [3, height, width], and `labels`, as DETR takes them."""
        before, after, labels = self.pairs[index]
        with Image.open(before) as first, Image.open(after) as second:
            image = ImageChops.difference(first.convert("RGB"), second.convert("RGB"))
        boxes = [coco_annotation(label, image.size) for label in labels]
        # Padded here, the boxes would be rewritten to fit the padding.
        inputs = self.processor(
            images=image, annotations={"image_id": index, "annotations": boxes}, do_pad=False, return_tensors="pt"
        )
        return {"pixel_values": inputs["pixel_values"][0], "labels": inputs["labels"][0]}


def coco_annotation(label: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    """A label as COCO has it.

    Args:
        label: class id and centre, width and height, normalised.
        size: width and height of the image in pixels.
    """
    class_id, x_center, y_center, width, height = label
    box_width, box_height = width * size[0], height * size[1]
    left, top = x_center * size[0] - box_width / 2, y_center * size[1] - box_height / 2
    box_xywh_pixels = [left, top, box_width, box_height]
    return {"bbox": box_xywh_pixels, "category_id": int(class_id), "area": box_width * box_height, "iscrowd": 0}


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch, padded to its largest image; `pixel_mask` is 1 on real pixels."""
    images = [item["pixel_values"] for item in items]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    margins = [(0, width - image.shape[2], 0, height - image.shape[1]) for image in images]
    masks = [torch.ones(image.shape[1:], dtype=torch.int64) for image in images]
    return {
        "pixel_values": torch.stack([pad(image, margin) for image, margin in zip(images, margins, strict=True)]),
        "pixel_mask": torch.stack([pad(mask, margin) for mask, margin in zip(masks, margins, strict=True)]),
        "labels": [item["labels"] for item in items],
    }


class StagedTrainer(Trainer):
    """A Trainer whose layers and learning rate follow the stages of the trial's recipe."""

    task: dict[str, Any]
    recipe: dict[str, Any]
    judge: "Judge | None" = None

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Trains the recipe of the trial's config."""
        self.recipe = trial["recipe"]
        self.add_callback(StageCallback(self.recipe["stages"]))
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """The loss that the search goes by, and the judge's with the seconds that it took."""
        metrics: dict[str, float] = super().evaluate(*arguments, **named)
        started = time.perf_counter()
        self.judge = self.judge or Judge(self.task)
        val_loss = self.judge.val_loss(self.model)
        return metrics | {"val_loss": val_loss, "judging_seconds": time.perf_counter() - started}

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over all layers, the backbone at its own multiple of the learning rate; what is frozen has no
        gradient.
        """
        decaying = set(self.get_decay_parameter_names(self.model))
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            groups.setdefault((part_of(name) == "backbone", name in decaying), []).append(parameter)
        learning_rate, factor = self.args.learning_rate, self.recipe["backbone_learning_rate_factor"]
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": learning_rate * factor if is_backbone else learning_rate,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                }
                for (is_backbone, decays), parameters in groups.items()
            ],
            lr=learning_rate,
            fused=True,
        )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """One schedule over all stages, see `learning_rate_factor`."""
        updates_per_epoch = num_training_steps // round(self.args.num_train_epochs)
        self.lr_scheduler: Any = LambdaLR(
            optimizer or self.optimizer, lambda update: learning_rate_factor(self.recipe, updates_per_epoch, update)
        )
        return self.lr_scheduler


def learning_rate_factor(recipe: dict[str, Any], updates_per_epoch: int, update: int) -> float:
    """The learning rate at an update as a multiple of the first stage's: in each stage warm-up, then a cosine with
    restarts.
    """
    for stage in recipe["stages"]:
        updates = stage["epochs"] * updates_per_epoch
        if update < updates:
            peak = stage["learning_rate"] / recipe["stages"][0]["learning_rate"]
            warmup = math.ceil(updates * recipe["warmup_share"])
            if update < warmup:
                return float(peak * update / warmup)
            cycles = stage["restart_cycles"] * (update - warmup) / (updates - warmup)
            return float(peak * 0.5 * (1 + math.cos(math.pi * (cycles % 1))))
        update -= updates
    return 0.0


class Judge:
    """The validation set as `search/run.py` evaluates it, and its code.

    Args:
        task: names the data set and the model.
    """

    def __init__(self, task: dict[str, Any]):
        # Imported here, where the seconds are counted: the search itself does without.
        from trainable.data.pairs import read_pairs
        from trainable.data.trial_data import TrialData
        from trainable.detector.loading import load_processor
        from trainable.sample.data_set import sample_data_set
        from trainable.training.evaluation import evaluate_batches, evaluation_batches

        pairs = read_pairs(Path(task["data"]) if task["data"] else sample_data_set())
        data = TrialData.of(pairs, load_processor(task["model"]))
        self.batches = list(evaluation_batches(data.val, data.collator, torch.device("cpu")))
        self.evaluate = evaluate_batches

    def val_loss(self, model: Any) -> float:
        """The loss of the set taken as one batch."""
        return self.evaluate(model, self.batches).losses["val_loss"]


class StageCallback(TrainerCallback):
    """Freezes all that a stage does not train when the stage begins."""

    def __init__(self, stages: Sequence[dict[str, Any]]):
        first_epochs = accumulate((stage["epochs"] for stage in stages[:-1]), initial=0)
        self.trainable = {
            epoch: frozenset(stage["trainable"]) for epoch, stage in zip(first_epochs, stages, strict=True)
        }

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        trainable = self.trainable.get(round(state.epoch or 0))
        if trainable is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(part_of(name) in trainable)


class ListSearcher(Searcher):
    """Hands out configs in order and writes down what becomes of them.

    Args:
        configs: one a trial.
        events: file to write, one JSON object a line.
    """

    def __init__(self, configs: Sequence[dict[str, Any]], events: Path):
        super().__init__(metric="objective", mode="min")
        self.configs = configs
        self.events = events
        self.epochs: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.epochs[trial_id] = 0
        self._write("asked", trial_id)
        return self.configs[len(self.epochs) - 1]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if result["training_iteration"] > self.epochs[trial_id]:
            self.epochs[trial_id] = result["training_iteration"]
            told = {name: result[name] for name in ("val_loss", "judging_seconds")}
            self._write("reported", trial_id, epoch=result["training_iteration"], **told)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Of a trial that the scheduler stops, the last result comes here alone.
        if result:
            self.on_trial_result(trial_id, result)
        self._write("ended", trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the search is not resumed."""
        Path(checkpoint_path).touch()

    def _write(self, event: str, trial_id: str, **told: float) -> None:
        line = {"event": event, "trial": list(self.epochs).index(trial_id), "time": time.time(), **told}
        with self.events.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
