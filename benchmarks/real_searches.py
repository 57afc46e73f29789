"""Real searches, not replayed ones: ours, and Ray's `OptunaSearch` + `ASHAScheduler` as Ray ships them, over seeds.

    python benchmarks/real_searches.py sample --seeds 5 [--against ../other-checkout --log FILE]
    python benchmarks/real_searches.py real_pairs --data my_pairs/

Sides, each a process of its own with one trial at a time on one core, with warm workers and the same cache folder:

    ours     `search/run.py --space staged`, its portfolio chosen without the table of this data set (`portfolio.py`)
    peer     `OptunaSearch` and `ASHAScheduler` over the same space, the reference first, with our grace period and
             reduction; it trains by our own `train_recipe`, so that its epochs cost and mean the same
    default  `search/run.py` as it ships
    before   `search/run.py` of the checkout of `--against` as it ships

For each seed all sides are run, in turns; with `--log` a file keeps those that were timed, so that they are not run
again: the same command goes on. The last lines give the medians over the seeds, and the shares of the peer's epochs and
seconds that ours takes to the peer's final loss. A search that ends above it never gets there.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from recipe_table import MADE_BY_CODE
from search_quality import TABLES
from timed_search import ASKED, REPORTED, Moment, TimedSearch
from vs_hf_ray import Log, moment_of

from results.journal.journal import read_journal

PROJECT = Path(__file__).resolve().parent.parent
TASK = "BENCHMARK_TASK"
"""Environment variable: the file that tells a process of the peer what to do."""
OURS, PEER, DEFAULT, BEFORE = "ours", "peer", "default", "before"


def main() -> None:
    if task := os.environ.get(TASK):
        run_peer(json.loads(Path(task).read_text()), Path(task).parent)
        return
    arguments = _arguments()
    sides = [side for side in arguments.sides if side != BEFORE or arguments.against]
    log = Log(arguments.log)
    taken: dict[str, list[TimedSearch]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(arguments.seeds):
            for side in sides[:: 1 if seed % 2 == 0 else -1]:
                key = [arguments.name, side, seed, arguments.trials, arguments.max_epochs]
                search = log.get(key)
                if search is None:
                    search = timed(arguments, side, seed, Path(scratch, f"{side}-{seed}"))
                    log.add(key, search)
                taken[side].append(search)
                at = f"val_loss {search.final_loss:.4f} after {search.epochs} epochs and {search.seconds:.0f} s"
                print(f"seed {seed}: {side} {at}", flush=True)
    print("\n".join(summary(taken)))


def summary(taken: Mapping[str, Sequence[TimedSearch]]) -> list[str]:
    """A line a side: medians over the seeds; then the shares of the peer's cost that each takes to the peer's loss."""
    lines = [
        f"{side}: val_loss {median(s.final_loss for s in searches):.4f}, {median(s.epochs for s in searches):.0f} "
        f"epochs, {median(s.seconds for s in searches):.0f} s"
        for side, searches in taken.items()
    ]
    for side, searches in taken.items():
        pairs = list(zip(searches, taken.get(PEER, ()), strict=False))
        if side == PEER or not pairs:
            continue
        epochs = [search.epochs_to(peer.final_loss) / peer.epochs for search, peer in pairs]
        seconds = [search.seconds_to(peer.final_loss) / peer.seconds for search, peer in pairs]
        lines.append(
            f"{side}, to the peer's final loss: {median(epochs):.2f}x of its epochs ({_listed(epochs)}), "
            f"{median(seconds):.2f}x of its seconds ({_listed(seconds)})"
        )
    return lines


def _listed(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.2f}" if math.isfinite(share) else "never" for share in shares)


def timed(arguments: argparse.Namespace, side: str, seed: int, scratch: Path) -> TimedSearch:
    """Runs a search in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    scratch.mkdir()
    data = str(arguments.data.resolve()) if arguments.data else str(MADE_BY_CODE[arguments.name]())
    budget = {"data": data, "trials": arguments.trials, "max_epochs": arguments.max_epochs, "seed": seed}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if side == PEER:
        command = [str(PROJECT / "benchmarks/real_searches.py")]
        (scratch / "task.json").write_text(json.dumps(budget))
        environment |= {TASK: str(scratch / "task.json")}
    else:
        checkout = arguments.against.resolve() if side == BEFORE else PROJECT
        space = f"{_left_out(arguments.name, scratch)}:staged" if side == OURS else "staged"
        flags = {name.replace("_", "-"): value for name, value in budget.items()}
        flags |= {"space": space, "max-concurrent": 1, "cpus-per-trial": 1, "storage": scratch, "name": "run"}
        command = [str(checkout / "search/run.py"), *(str(w) for name, v in flags.items() for w in (f"--{name}", v))]
    started = time.time()
    output = scratch / "output.txt"
    with output.open("w") as file:
        code = subprocess.run([sys.executable, *command], cwd=scratch, env=environment, stdout=file, stderr=file)
    seconds = time.time() - started
    if code.returncode:
        raise SystemExit(f"{side} ended with exit code {code.returncode}:\n{output.read_text()[-4000:]}")
    if side == PEER:
        lines = map(json.loads, (scratch / "events.jsonl").read_text().splitlines())
        return TimedSearch(started, seconds, [Moment(**line) for line in lines])
    return TimedSearch(started, seconds, [moment_of(event) for event in read_journal(scratch / "run/journal.jsonl")])


def _left_out(table: str, folder: Path) -> Path:
    """A file with the space `staged` and a portfolio that was chosen on all tables but this data set's."""
    from portfolio import choose
    from surrogate import read_table

    chosen = choose([read_table(path) for path in sorted(TABLES.glob("*.parquet")) if path.stem != table])
    lines = [
        "from spaces.staged import reference_parameters, staged",
        f"PORTFOLIO = {chosen!r}",
        "def portfolio(max_epochs):",
        "    return PORTFOLIO",
    ]
    path = folder / "left_out.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_peer(task: Mapping[str, Any], folder: Path) -> None:
    """The peer's search; `events.jsonl` in `folder` tells when each trial was asked for and what it reported.

    Args:
        task: `data`, `trials`, `max_epochs` and `seed`.
        folder: for all that it writes.
    """
    import ray
    from ray import tune
    from simulated_searches import Setting, optuna_asha

    from trainable.data.pairs import read_pairs

    pairs = read_pairs(Path(task["data"]))
    setting = Setting(len(pairs.train), task["trials"], task["seed"], task["max_epochs"])
    peer = optuna_asha(setting)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=1)
    trainable = tune.with_parameters(_train, pairs=pairs, folder=folder)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=peer.searcher,
            scheduler=peer.scheduler,
            num_samples=setting.trials,
            max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0, callbacks=[_written(folder)]),
    ).fit()


def _train(config: Mapping[str, Any], pairs: Any, folder: Path) -> None:
    """A trial of the peer: our own training of a recipe, with all that it keeps between trials."""
    import torch
    import transformers
    from ray import tune

    from trainable.reuse.config import ReuseConfig
    from trainable.sample import EMBEDDED, checkpoint_of
    from trainable.training.staged_trainer import train_recipe

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    out = folder / "trials" / tune.get_context().get_trial_id()
    train_recipe(
        config["recipe"],
        pairs,
        checkpoint_of(EMBEDDED),
        out,
        lambda row: tune.report({"val_loss": row.val_loss}),
        reuse=ReuseConfig(10_000_000_000),
    )


def _written(folder: Path) -> Any:
    """A callback that writes the peer's events."""
    from ray import tune

    numbers: dict[str, int] = {}

    class Written(tune.Callback):
        def _write(self, trial: Any, **told: Any) -> None:
            number = numbers.setdefault(trial.trial_id, len(numbers))
            with (folder / "events.jsonl").open("a") as file:
                file.write(json.dumps({"trial": number, "time": time.time()} | told) + "\n")

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self._write(trial, kind=ASKED)

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            if "val_loss" in result:
                told = {"epoch": result["training_iteration"], "val_loss": result["val_loss"]}
                self._write(trial, kind=REPORTED, **told)

    return Written()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of the data set's table: sample, crowded, or any other with --data")
    parser.add_argument("--data", type=Path, help="folder or data.yaml")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--max-epochs", type=int, default=24)
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--sides", nargs="+", choices=(OURS, PEER, DEFAULT, BEFORE), default=[OURS, PEER, DEFAULT])
    parser.add_argument("--log", type=Path, help="file that keeps the searches that were timed; they are not run again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
