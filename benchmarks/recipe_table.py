"""Trains a table of recipes for `search_quality.py` to replay searches over, with the product itself.

    python benchmarks/recipe_table.py sample --recipes 200 --guided 80 --repeated 20 --seeds 3
    python benchmarks/recipe_table.py real_pairs --data my_pairs/ --recipes 150
    python benchmarks/recipe_table.py crowded --recipes 60

A table is made by searches of `atlas` (`atlas.py`) whose grace period is their budget, so that no recipe is pruned: one
with random draws and seed 0, for each further seed one that trains the first `--repeated` of these again, to tell noise
from difference, and one whose `--guided` recipes TPE draws, so that the table is dense where searches end. Nothing is
shared between trials, so that an epoch's seconds are its own. Every search can be killed at any time: the same command
goes on with it. `--collect` writes the table of what is finished, with nothing trained. It takes half a minute to a
minute of a core a recipe.

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
LOSSES = ("train_loss", "val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou")
MEASURED = ("epoch", "stage", *LOSSES, "precision", "recall", "f1", "learning_rate")


def main() -> None:
    arguments = _arguments()
    # The reference is trial 0.
    searches = {("random", 0): 1 + arguments.recipes}
    searches |= {("again", seed): 1 + arguments.repeated for seed in range(1, arguments.seeds)}
    searches |= {("tpe", 0): 1 + arguments.guided} if arguments.guided else {}
    for (drawn, seed), trials in searches.items():
        if not arguments.collect:
            search(arguments, drawn, seed, trials)
    collect(arguments, list(searches))


def search(arguments: argparse.Namespace, drawn: str, seed: int, trials: int) -> None:
    """Trains the recipes of a search, or those that are not trained yet.

    Raises:
        SystemExit: the search did not end well.
    """
    run = _run(arguments, drawn, seed)
    command = [sys.executable, str(PROJECT / "search" / "run.py"), "--trials", str(trials)]
    if (run / "search.yaml").exists():
        command += ["--resume", str(run)]
    else:
        space = f"{Path(__file__).with_name('atlas.py')}:{'again' if drawn == 'again' else 'atlas'}"
        command += ["--space", space, "--sampler", "tpe" if drawn == "tpe" else "random", "--seed", str(seed)]
        command += ["--data", str(_data(arguments)), "--storage", str(run.parent), "--name", run.name]
        command += f"--max-epochs {MAX_EPOCHS} --grace {MAX_EPOCHS} --no-share --keep 1 --overlays 0".split()
        command += f"--max-concurrent {arguments.concurrent} --cpus-per-trial 1".split()
    if code := subprocess.run(command).returncode:
        raise SystemExit(f"{run}: the search ended with exit code {code}; the same command goes on with it")


def collect(arguments: argparse.Namespace, searches: list[tuple[str, int]]) -> None:
    """Writes the table of the trials that were trained to their end."""
    pairs = read_pairs(_data(arguments))
    rows: list[dict[str, Any]] = []
    made_by = []
    for drawn, seed in searches:
        run = _run(arguments, drawn, seed)
        if (run / "journal.jsonl").exists():
            records = trial_records(read_journal(run / "journal.jsonl"))
            # The reference of the guided search has been trained by the first, to the same bits.
            sound = [record for record in records if record.status == "COMPLETED" and (drawn != "tpe" or record.number)]
            rows += [row for record in sound for row in rows_of(record, drawn, seed)]
            made_by.append({"drawn": drawn, "seed": seed, "recipes": len(sound), **_code_of(run)})
    if not rows:
        raise SystemExit(f"{arguments.runs}: no recipe of {arguments.name} has been trained to its end")
    about = {
        "data": {"name": arguments.name, "training_pairs": len(pairs.train), "validation_pairs": len(pairs.val)},
        "max_epochs": MAX_EPOCHS,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES if name != "moved-object-search"},
        "searches": made_by,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.name}.parquet"
    table = pa.Table.from_pylist(rows).replace_schema_metadata({MADE_BY: json.dumps(about)})
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len({row['recipe'] for row in rows})} recipes, {len(rows)} epochs, {path.stat().st_size} bytes")


def rows_of(record: TrialRecord, drawn: str, seed: int) -> Iterator[dict[str, Any]]:
    """A trial's rows of the table, one an epoch; what is left of its recipe without the seed says which one it is."""
    assert record.recipe is not None
    recipe = json.dumps({name: value for name, value in record.recipe.to_dict().items() if name != "seed"})
    before = 0.0
    for row in record.history:
        drawn_as = {"recipe": recipe, "drawn": drawn, "seed": seed, "number": record.number}
        yield drawn_as | {name: getattr(row, name) for name in MEASURED} | {"seconds": row.seconds - before}
        before = row.seconds


def recipe_of(row_recipe: str) -> Recipe:
    """The recipe that a row of a table names; its seed is 0."""
    return Recipe.from_dict(json.loads(row_recipe))


def _run(arguments: argparse.Namespace, drawn: str, seed: int) -> Path:
    return Path(arguments.runs, f"{arguments.name}-{'guided' if drawn == 'tpe' else f'seed{seed}'}")


def _data(arguments: argparse.Namespace) -> Path:
    """The folder of the data set.

    Raises:
        SystemExit: it is not one of those that code makes, and none was given or it is missing.
    """
    if arguments.data and not arguments.data.exists():
        raise SystemExit(f"{arguments.data}: missing, so there is no table of {arguments.name}")
    if arguments.data:
        return Path(arguments.data).resolve()
    if arguments.name not in MADE_BY_CODE:
        raise SystemExit(f"{arguments.name}: give its folder with --data, or one of {', '.join(MADE_BY_CODE)}")
    return MADE_BY_CODE[arguments.name]()


def _code_of(run: Path) -> dict[str, Any]:
    """Which code trained, as the run folder has it."""
    if not (run / "environment.json").exists():
        return {}
    environment = json.loads((run / "environment.json").read_text())
    return {name: environment[name] for name in ("git_commit", "code")}


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
    parser.add_argument("--collect", action="store_true", help="write the table of what is finished, and train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
