"""What alignment, augmentation and signals are worth where cameras stand still and where they move.

    python benchmarks/scenes.py --log FILE [--data my_pairs/] [--seeds 3 --recipe best/recipe.yaml]
        [--signals difference] [--augmentations off on "4 variants"]

One recipe is trained at equal epochs on two data sets, whose cameras stand still and move: the sample and
`sample:moved-camera`, or, with `--data`, that data set and a copy of it whose before images are warped by known motions
(`registration.py`). Each time with alignment off and `auto`, without and with augmentation, and with each signal. A
model that was trained on still cameras is also measured on the moved ones, as a user meets it.

The table gives F1 at the operating point and mAP, means over the seeds with 95 % intervals (Student's t); `--log` keeps
every training, so that the same command goes on. `--data` is read and never written to.
"""

import argparse
import contextlib
import dataclasses
import importlib
import io
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Trainings run side by side, each on one core.

from measured import Log, interval

import results.evaluate
import trainable.train
from spaces.staged import staged
from trainable.model_signal import SIGNALS
from trainable.recipe import Augmentation, Input, Recipe

STILL, MOVED = "still", "moved"
AUGMENTATIONS = {
    "off": Augmentation(),
    "on": Augmentation(probability=0.3, strength=0.5),
    "4 variants": Augmentation(probability=0.3, strength=0.5, variants=4),
}
IMPORTED_ONCE = ("trainable.training.staged_trainer", "results.measures.metrics")
"""Before each training gets a process of its own."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A way to train and the data that it is trained on."""

    trained_on: str
    signal: str
    alignment: str
    augmentation: str
    """One of `AUGMENTATIONS`."""
    seed: int

    def recipe(self, of: Recipe) -> Recipe:
        """A recipe changed to it."""
        given, augmentation = Input(self.alignment, self.signal), AUGMENTATIONS[self.augmentation]
        return dataclasses.replace(of, seed=self.seed, input=given, augmentation=augmentation)


def main() -> None:
    arguments = _arguments()
    recipe = Recipe.from_yaml(arguments.recipe) if arguments.recipe else default_recipe(arguments.epochs)
    # Seed by seed, so that a run that is broken off has whole ones.
    ways = (STILL, MOVED), arguments.signals, ("off", "auto"), arguments.augmentations
    cells = [Cell(*each, seed) for seed, *each in itertools.product(range(arguments.seeds), *ways)]
    log = Log(arguments.log)
    with tempfile.TemporaryDirectory() as scratch:
        data = _data_sets(arguments.data, Path(scratch))
        left = [cell for cell in cells if json.dumps(dataclasses.astuple(cell)) not in log]
        tasks = [(cell, recipe, data, scratch) for cell in left]
        for module in IMPORTED_ONCE:
            importlib.import_module(module)
        with multiprocessing.get_context("fork").Pool(arguments.processes, maxtasksperchild=1) as pool:
            for cell, measured in pool.imap_unordered(_measured, tasks):
                key = json.dumps(dataclasses.astuple(cell))
                log[key] = measured
                print(key, json.dumps(measured), flush=True)
    print("\n".join(table(cells, log)))


def default_recipe(epochs: int) -> Recipe:
    """The first recipe that a search of `staged` tries beside the reference."""
    from optuna.trial import FixedTrial

    from search.study import Budget, fit_recipe
    from spaces.budget import default_grace
    from spaces.staged import portfolio

    drawn = staged(FixedTrial(portfolio(epochs)[0]), epochs)  # type: ignore[arg-type]
    return fit_recipe(drawn, Budget(epochs, default_grace(epochs), images=96, seed=0, micro_batch="16"))


def table(cells: Sequence[Cell], log: Log) -> list[str]:
    """A line for each way to train: F1 and mAP where it was trained, and of a still one where cameras move."""
    lines = [
        "| cameras | signal | alignment | augmentation | F1 | mAP | F1 where cameras move | mAP there | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in (cell for cell in cells if cell.seed == 0):
        seeds = [log[json.dumps(dataclasses.astuple(each))] for each in cells if each == _seeded(cell, each.seed)]
        own = [interval([seed[cell.trained_on][name] for seed in seeds]) for name in ("f1", "mAP")]
        there = [interval([seed[MOVED][name] for seed in seeds]) for name in ("f1", "mAP")]
        cells_there = there if cell.trained_on == STILL else ["", ""]
        how = [cell.trained_on, cell.signal, cell.alignment, cell.augmentation]
        seconds = f"{median(seed['seconds'] for seed in seeds):.0f}"
        lines.append(f"| {' | '.join([*how, *own, *cells_there, seconds])} |")
    return lines


def _seeded(cell: Cell, seed: int) -> Cell:
    return dataclasses.replace(cell, seed=seed)


def _measured(task: tuple[Cell, Recipe, dict[str, str], str]) -> tuple[Cell, dict[str, Any]]:
    """Trains a cell and measures the model on its own data, and on moved cameras.

    Returns:
        The cell, and of each data set that it was measured on F1 at its operating point and mAP; and the `seconds` that
        training took.
    """
    cell, recipe, data, scratch = task
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder, "recipe.yaml")
        path.write_text(cell.recipe(recipe).to_yaml())
        with contextlib.redirect_stdout(io.StringIO()):
            started = time.monotonic()
            trainable.train.main(path, data[cell.trained_on], out=Path(folder, "trained"))
            found["seconds"] = time.monotonic() - started
            threshold = None
            for side in dict.fromkeys((cell.trained_on, MOVED)):
                out = Path(folder, side)
                model = str(Path(folder, "trained", "model"))
                # What it is run at is chosen where it was trained.
                results.evaluate.main(model, data[side], out, score_threshold=threshold)
                metrics = json.loads((out / "metrics.json").read_text())
                point = metrics["recommended"]
                threshold = point["score_threshold"] if threshold is None and point else threshold
                found[side] = {"f1": point["f1"] if point else 0.0, "mAP": metrics["mAP"]}
    return cell, found


def _data_sets(data: Path | None, scratch: Path) -> dict[str, str]:
    """Where the still and the moved pairs lie."""
    if data is None:
        return {STILL: "sample", MOVED: "sample:moved-camera"}
    from registration import warped_copy

    return {STILL: str(data.resolve()), MOVED: str(warped_copy(data, scratch / "moved"))}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or data.yaml of still cameras; the sample by default")
    parser.add_argument("--recipe", type=Path, help="what is trained; the first of the portfolio of staged")
    parser.add_argument("--epochs", type=int, default=24, help="of that one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=SIGNALS)
    parser.add_argument("--augmentations", nargs="+", choices=AUGMENTATIONS, default=["off", "on"])
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, each on one core")
    parser.add_argument("--log", type=Path, help="file that keeps what was trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
