"""Trains a table of recipes for `search_quality.py` to replay searches over, with the product itself.

    python benchmarks/recipe_table.py sample --recipes 200 --guided 80 --repeated 20 --seeds 3
    python benchmarks/recipe_table.py real_pairs --data my_pairs/ --recipes 150
    python benchmarks/recipe_table.py crowded --recipes 60

A table is made by searches of `atlas` (`atlas.py`) whose grace period is their budget, so that no recipe is pruned: one
with random draws and seed 0, for each further seed one that trains the first `--repeated` of these again, to tell noise
from difference, and one whose `--guided` recipes TPE draws, so that the table is dense where searches end. Nothing is
shared between trials, so that an epoch's seconds are its own. Every search can be
killed at any time: the same command goes on with it. `--collect` writes the table of what is finished, with nothing
trained; `--start` trains alone. It takes half a minute to a minute of a core a recipe.

`benchmarks/tables/NAME.parquet` has one row an epoch: which recipe, how it was drawn, its seed, every loss, the epoch's
seconds; its metadata says how it was made (`recipe_table.made_by`).
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from crowded_pairs import crowded_data_set

from results.environment import PACKAGES
from results.journal.journal import TrialRecord, read_journal, trial_records
from trainable.data.pairs import read_pairs
from trainable.recipe import Recipe
from trainable.sample.data_set import sample_data_set

PROJECT = Path(__file__).resolve().parent.parent
TABLES = PROJECT / "benchmarks" / "tables"
MADE_BY_CODE = {"sample": sample_data_set, "crowded": crowded_data_set}
"""Data sets that need no `--data`."""
MAX_EPOCHS = 24
MADE_BY = b"made_by"
MEASURED = (
    *("train_loss", "val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "precision", "recall", "f1"),
    "learning_rate",
)


def main() -> None:
    arguments = _arguments()
    if arguments.start or not arguments.collect:
        for drawn, seed, trials in searches(arguments):
            search(arguments, drawn, seed, trials)
    if arguments.collect or not arguments.start:
        collect(arguments)


def searches(arguments: argparse.Namespace) -> list[tuple[str, int, int]]:
    """How the recipes of each search are drawn, its seed, and its trials."""
    repeats = [("again", seed, arguments.repeated) for seed in range(1, arguments.seeds)]
    guided = [("tpe", 0, arguments.guided)] if arguments.guided else []
    # The reference is trial 0.
    return [(drawn, seed, 1 + count) for drawn, seed, count in (("random", 0, arguments.recipes), *repeats, *guided)]


def search(arguments: argparse.Namespace, drawn: str, seed: int, trials: int) -> None:
    """Trains the recipes of a search, or those that are not trained yet.

    Raises:
        SystemExit: the search did not end well.
    """
    run = _run(arguments, drawn, seed)
    begun = (run / "search.yaml").exists()
    done = subprocess.run(_resume(run, trials) if begun else _begin(arguments, drawn, seed, trials))
    if done.returncode:
        raise SystemExit(f"{run}: the search ended with exit code {done.returncode}; the same command goes on with it")


def collect(arguments: argparse.Namespace) -> None:
    """Writes the table of the trials that were trained to their end."""
    pairs = read_pairs(_data(arguments))
    rows: list[dict[str, Any]] = []
    made_by = []
    for drawn, seed, _ in searches(arguments):
        run = _run(arguments, drawn, seed)
        if (run / "journal.jsonl").exists():
            records = trial_records(read_journal(run / "journal.jsonl"))
            # The reference of the guided search has been trained by the first, to the same bits.
            sound = [record for record in records if record.status == "COMPLETED" and (drawn != "tpe" or record.number)]
            rows += [row for record in sound for row in rows_of(record, drawn, seed)]
            made_by.append(_made_by(run, drawn, seed, records))
    if not rows:
        raise SystemExit(f"{arguments.runs}: no recipe of {arguments.name} has been trained to its end")
    about = {
        "data": {"name": arguments.name, "training_pairs": len(pairs.train), "validation_pairs": len(pairs.val)},
        "max_epochs": MAX_EPOCHS,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES if name != "moved-object-search"},
        "searches": made_by,
    }
    table = pa.Table.from_pylist(rows).replace_schema_metadata({MADE_BY: json.dumps(about)})
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.name}.parquet"
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len({row['recipe'] for row in rows})} recipes, {len(rows)} epochs, {path.stat().st_size} bytes")


def rows_of(record: TrialRecord, drawn: str, seed: int) -> Iterator[dict[str, Any]]:
    """A trial's rows of the table, one an epoch; what is left of its recipe without the seed says which one it is."""
    assert record.recipe is not None
    recipe = json.dumps({name: value for name, value in record.recipe.to_dict().items() if name != "seed"})
    before = 0.0
    for row in record.history:
        yield {
            "recipe": recipe,
            "drawn": drawn,
            "seed": seed,
            "number": record.number,
            "epoch": row.epoch,
            "stage": row.stage,
            **{name: getattr(row, name) for name in MEASURED},
            "seconds": row.seconds - before,
        }
        before = row.seconds


def recipe_of(row_recipe: str) -> Recipe:
    """The recipe that a row of a table names; its seed is 0."""
    return Recipe.from_dict(json.loads(row_recipe))


def _begin(arguments: argparse.Namespace, drawn: str, seed: int, trials: int) -> list[str]:
    atlas = Path(__file__).with_name("atlas.py")
    flags = {
        "space": f"{atlas}:{'again' if drawn == 'again' else 'atlas'}",
        "sampler": "tpe" if drawn == "tpe" else "random",
        "max-epochs": MAX_EPOCHS,
        "grace": MAX_EPOCHS,
        "trials": trials,
        "seed": seed,
        "data": _data(arguments),
        "max-concurrent": arguments.concurrent,
        "cpus-per-trial": 1,
        "keep": 1,
        "overlays": 0,
        "storage": arguments.runs,
        "name": _run(arguments, drawn, seed).name,
    }
    return [*_SEARCH, "--no-share", *(text for flag, value in flags.items() for text in (f"--{flag}", str(value)))]


def _resume(run: Path, trials: int) -> list[str]:
    return [*_SEARCH, "--resume", str(run), "--trials", str(trials)]


_SEARCH = (sys.executable, str(PROJECT / "search" / "run.py"))


def _run(arguments: argparse.Namespace, drawn: str, seed: int) -> Path:
    return Path(arguments.runs, f"{arguments.name}-{'guided' if drawn == 'tpe' else f'seed{seed}'}")


def _data(arguments: argparse.Namespace) -> Path:
    """The folder of the data set.

    Raises:
        SystemExit: it is not one of those that code makes, and none was given or it is missing.
    """
    if arguments.data:
        if not arguments.data.exists():
            raise SystemExit(f"{arguments.data}: missing, so there is no table of {arguments.name}")
        return Path(arguments.data).resolve()
    if arguments.name not in MADE_BY_CODE:
        raise SystemExit(f"{arguments.name}: give its folder with --data, or one of {', '.join(MADE_BY_CODE)}")
    return MADE_BY_CODE[arguments.name]()


def _made_by(run: Path, drawn: str, seed: int, records: list[TrialRecord]) -> dict[str, Any]:
    """How a search was made: its draws, the code's commit as the run folder has it, and how its trials ended."""
    made: dict[str, Any] = {"drawn": drawn, "seed": seed}
    if (run / "environment.json").exists():
        environment = json.loads((run / "environment.json").read_text())
        made |= {name: environment[name] for name in ("git_commit", "code")}
    states = [record.status for record in records]
    return made | {"trials": {state: states.count(state) for state in sorted(set(states))}}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the table: sample, crowded, or any other with --data")
    parser.add_argument("--data", type=Path, help="folder or data.yaml")
    parser.add_argument("--recipes", type=int, default=200)
    parser.add_argument("--repeated", type=int, default=20, help="recipes that each further seed trains again")
    parser.add_argument("--guided", type=int, default=0, help="recipes that TPE draws")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--concurrent", type=int, default=1, help="trials at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe_tables"))
    parser.add_argument("--out", type=Path, default=TABLES)
    parser.add_argument("--start", action="store_true", help="train, and write no table")
    parser.add_argument("--collect", action="store_true", help="write the table of what is finished, and train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
