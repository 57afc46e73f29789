"""Trains one recipe, without a search.

python trainable/train.py --recipe best/recipe.yaml --data my_pairs/ --out trained/
"""

import json
import math
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer
from rich.console import Console

from trainable.data.difference import ImageError
from trainable.data.faults import DataError
from trainable.data.model_input import read_model_input
from trainable.data.notices import print_notices
from trainable.data.pairs import PairData
from trainable.data.source import read_source
from trainable.history import EpochRow, best_row
from trainable.metric import METRICS, VAL_LOSS, fault_of
from trainable.micro_batch import AUTO, OF_RECIPE, WORDS, is_micro_batch, with_micro_batch
from trainable.recipe import LARGEST_IMAGE, SMALLEST_IMAGE, Recipe, RecipeError
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import located
from trainable.text.command_line import Command, Data, SkipBad, Subset, Threads, stop
from trainable.text.console import plain_console
from trainable.text.shown import shown

app = Command()


@app.command(help=__doc__)
def main(
    recipe: Annotated[Path, typer.Option(help="Recipe file, such as a run's best/recipe.yaml")],
    data: Data = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint folder or hub name to start from",
            show_default="what the recipe says, else the embedded checkpoint",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The trial's folder; one that holds progress is gone on with")] = Path(
        "trained"
    ),
    cpus: Threads = 1,
    skip_bad: SkipBad = False,
    subset: Subset = None,
    group_by: Annotated[str | None, typer.Option(help="Keep scenes on one side of the split")] = None,
    micro_batch: Annotated[
        str,
        typer.Option(
            help="Images of an optimizer step that go through the model at a time: so many, what the memory has room "
            "for (auto), or what the recipe says, else its batch size (recipe)"
        ),
    ] = OF_RECIPE,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=SMALLEST_IMAGE,
            max=LARGEST_IMAGE,
            help="Pixels of an image's shorter edge",
            show_default="what the recipe says, else the model's image processor",
        ),
    ] = None,
    cache_size: Annotated[
        float, typer.Option(min=0, max=1e9, help="GB of the user's cache folder for images made ready once; 0 is off")
    ] = 10,
) -> None:
    console = plain_console(soft_wrap=True)
    if not is_micro_batch(micro_batch):
        stop(f"--micro-batch: {WORDS}, got {shown(micro_batch)}")
    try:
        asked = Recipe.from_yaml(recipe)
        asked = replace(asked, image_size=image_size or asked.image_size)
        location = located(data)
        checkpoint = checkpoint_of(model or asked.model or EMBEDDED)
        takes = read_model_input(checkpoint, asked.image_size)
        pairs = read_source(location, print, skip_bad=skip_bad, subset=subset, group_by=group_by, model=takes)
    except (RecipeError, DataError, OSError) as error:
        stop(error)
    if fault := fault_of(asked.metric, sum(len(pair.labels.class_ids) for pair in pairs.val)):
        stop(f"{recipe}: {fault}")
    print_notices(pairs.notices, console)
    # A batch system's polite end is to us what Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # One process trains on one GPU; Trainer would spread a batch over all that it sees.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    _train(asked, pairs, checkpoint, out.resolve(), cpus, micro_batch, int(cache_size * 1e9), console)


def _train(
    recipe: Recipe,
    pairs: PairData,
    checkpoint: str,
    out: Path,
    cpus: int,
    micro_batch: str,
    cache_bytes: int,
    console: Console,
) -> None:
    import torch
    import transformers

    from trainable.compute import compute_with, memory_share
    from trainable.data.dataset import padded_size
    from trainable.detector.loading import ModelError, load_processor, model_config
    from trainable.detector.memory import micro_batch_within, training_memory
    from trainable.reuse.config import ReuseConfig
    from trainable.training.staged_trainer import train_recipe
    from trainable.training.trial_process import only_process
    from trainable.training.weights import trial_model

    compute = compute_with(cpus)
    torch.set_num_threads(compute.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    beside = "" if recipe.metric == VAL_LOSS else f"{METRICS[recipe.metric].title:>10}"
    console.print(f"{'epoch':>5}  {'stage':<24}{'train_loss':>10}{'val_loss':>10}{'f1':>8}{beside}", style="dim")

    def report(row: EpochRow) -> None:
        stage = f"{row.stage + 1}/{len(recipe.stages)} {recipe.stages[row.stage].name}"
        train_loss = math.nan if row.train_loss is None else row.train_loss
        value = f"{row.compared:>10.4f}" if beside else ""
        console.print(f"{row.epoch:>5}  {stage:<24}{train_loss:>10.4f}{row.val_loss:>10.4f}{row.f1:>8.3f}{value}")

    try:
        processor = load_processor(checkpoint, recipe.image_size, recipe.input)
        _check_same_inputs(out, pairs, checkpoint)
        if micro_batch == AUTO:
            padded, device = padded_size((*pairs.train, *pairs.val), processor), compute.device.type
            of_recipe = {"device": device, "signal": recipe.input.signal}
            takes = training_memory(model_config(checkpoint), padded, **of_recipe)
            micro_batch = str(micro_batch_within(memory_share(gpus=1, trials=1), takes, device))
        recipe = with_micro_batch(recipe, micro_batch)
        with only_process(out, partial(console.print, soft_wrap=True, highlight=False)):
            trial = train_recipe(recipe, pairs, checkpoint, out, report, compute, ReuseConfig(cache_bytes))
            model = trial_model(checkpoint, pairs.names, recipe.seed, trial.best_weights, recipe.input.signal)
            model.save_pretrained(out / "model")
            processor.save_pretrained(out / "model")
    except (ModelError, RecipeError) as error:
        stop(error)
    except (FloatingPointError, ImageError) as error:
        stop(error, code=3)
    except OSError as error:
        stop(f"{error}; once that is mended, the same command goes on with what is in {out}", code=4)
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on from the last epoch in {out}")
        raise typer.Exit(130) from None
    best = best_row(trial.history)
    title, value = best.metric.title, f"{best.compared:.4f}"
    console.print(f"best {title} {value}, F1 {best.f1:.3f}, after epoch {best.epoch}", highlight=False)
    console.print(f"model  {out / 'model'}")


def _check_same_inputs(out: Path, pairs: PairData, checkpoint: str) -> None:
    """Refuses to go on with a folder's progress on other data or from another model.

    Raises:
        RecipeError: `out` was begun with others, or does not say with which.
    """
    from trainable.storage.durable_file import write_atomically

    inputs, kept = {"data": pairs.fingerprint, "model": checkpoint}, out / "inputs.json"
    try:
        before = json.loads(kept.read_bytes()) if kept.exists() else inputs
        changed = [name for name in inputs if inputs[name] != before[name]]
    except (ValueError, LookupError, TypeError, RecursionError):
        fault = f"{kept.name} is damaged; delete it if it was of this --data and --model, or choose another --out"
        raise RecipeError([fault], str(out)) from None
    if changed:
        faults = [f"its progress is that of another --{name}; choose another --out" for name in changed]
        raise RecipeError(faults, str(out))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(inputs))


if __name__ == "__main__":
    app()
