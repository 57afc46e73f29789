"""How well the search searches: this project's against its peers, replayed over tables of trained recipes in minutes.

    python benchmarks/search_quality.py
    python benchmarks/search_quality.py --full

All sides draw from the same space, begin with the reference, and have the same budget, grace period and reduction:
`OptunaSearch` + `ASHAScheduler` as Ray ships them (and once more with the rungs that Ray has where nothing is said),
the same with draws at random, and Optuna alone with its TPE and Hyperband pruner. What a trial comes to, and how long
its epochs take, is said by `surrogate.py`; the product's searcher, scheduler and spaces are its own
(`simulated_searches.py`). Ours tries first a portfolio that was chosen on the other tables (`portfolio.py`).

Printed for each table: how much an epoch's loss says of the final best, how well left-out recipes are predicted, how
much of it all is noise between seeds; then every search's figures, with 95 % bootstrap intervals over the seeds. The
last lines are `epochs TABLE: 0.48x`: the share of the epochs that the peer spends in all which ours takes to the peer's
final loss. Where a search of so many trials does not get there, one of `MORE` times as many says when it does.

`--out` gets `search_quality.csv` and `search_quality.png`. The first command replays 20 seeds of 16 trials on the
sample and one worker; `--full` all tables, 50 seeds, and 1, 8 and 64 workers, with at least four trials a worker.
"""

import argparse
import csv
import dataclasses
import logging
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Each process replays searches of its own.

import matplotlib
import numpy as np
import optuna
from portfolio import choose
from scipy.stats import spearmanr
from simulated_searches import OURS, PEER, RANDOM, SEARCHES, Course, Setting, simulate
from surrogate import Surrogate, Table, read_table, validate

TABLES = Path(__file__).with_name("tables")
LONGER = "ours, longer"
MORE = 4
"""So many times more trials has the search that says when the peer's final loss is reached after all."""
TRIALS_A_WORKER = 4
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""At which it is shown how well the order of recipes is known."""
RESAMPLES = 2000
COLOURS = ("#c0392b", "#e08e79", "#2c5f8a", "#8db3d0", "#7f8c8d", "#3a8f5a")


@dataclass(frozen=True)
class Comparison:
    """All searches on one table with so many workers."""

    table: str
    workers: int
    trials: int
    courses: dict[str, list[Course]]
    """Of each search, one a seed."""
    longer: list[Course]
    """Of ours, one a seed, with `MORE` times more trials where it ends above the peer's loss without."""

    @property
    def seeds(self) -> int:
        """Searches of each."""
        return len(self.longer)


def main() -> None:
    arguments = _arguments()
    _quiet()
    known = [read_table(path) for path in sorted(TABLES.glob("*.parquet"))]
    tables = [table for table in known if not arguments.tables or table.name in arguments.tables]
    if not tables:
        raise SystemExit(f"{TABLES}: no table {arguments.tables}; make it with benchmarks/recipe_table.py")
    for table in tables:
        print("\n".join(summary(known, table)), flush=True)
    surrogate = Surrogate(known)
    comparisons = []
    for table in tables:
        for workers in arguments.workers:
            comparisons.append(compare(surrogate, table, workers, arguments))
            print("\n".join(report(comparisons[-1])), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "search_quality.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [row for comparison in comparisons for row in figures(comparison)]
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    draw(arguments.out / "search_quality.png", comparisons)
    for each in comparisons:
        if each.workers == arguments.workers[0]:
            print(f"epochs {each.table}: {np.median(shares_of_peer(each, OURS)[0]):.2f}x")


def summary(known: Sequence[Table], table: Table) -> list[str]:
    """What a table says of itself, and how far the surrogate is to be believed."""
    losses = table.losses[table.random]
    final = losses.min(axis=1)
    lines = [
        f"table {table.name}: {len(final)} random recipes of {table.epochs} epochs on {table.images} pairs, and "
        f"{len(table.recipes) - len(final)} that TPE drew; best val_loss {np.exp(table.losses.min()):.3f}; of the "
        f"random ones best {np.exp(final.min()):.3f}, a tenth below {np.exp(np.quantile(final, 0.1)):.3f}, median "
        f"{np.exp(np.median(final)):.3f}, reference {np.exp(final[0]):.3f}"
    ]

    def ranks(what: str, first: np.ndarray, second: np.ndarray, more: str = "") -> None:
        epochs = [epoch for epoch in EPOCHS if epoch < table.epochs]
        at = [spearmanr(first[:, epoch - 1], second[:, epoch - 1]).statistic for epoch in epochs]
        lines.append(f"    {what:46}" + "".join(f"{rank:7.2f}" for rank in at) + more)

    def with_final(what: str, curves: np.ndarray) -> None:
        last = np.broadcast_to(curves.min(axis=1, keepdims=True), curves.shape)
        ranks(f"{what}: current with final best", curves, last)
        ranks(f"{what}: best so far with final best", np.minimum.accumulate(curves, axis=1), last)

    lines.append("  rank correlation (Spearman), after epoch          " + "".join(f"{epoch:>7}" for epoch in EPOCHS))
    with_final("measured", losses)
    for way, curves in validate(known, table).items():
        predicted = curves[table.random]
        best = predicted.min(axis=1)
        error = np.expm1(np.sqrt(np.mean((final - best) ** 2)))
        ranks(
            f"{way} with measured, left out",
            predicted,
            losses,
            f"; of the best {spearmanr(final, best).statistic:.2f}, off by {error:.0%}",
        )
        if way == "surrogate":
            with_final(way, predicted)
    if len(table.noise):
        lines.append(
            f"  another seed moves val_loss by {np.expm1(np.std(table.noise)):.1%} (standard deviation over "
            f"{len(table.noise)} trainings), another recipe by {np.expm1(np.std(final)):.0%}"
        )
    return lines


_state: dict[str, Any] = {}
"""What processes that replay searches share: set before they are forked."""


def compare(surrogate: Surrogate, table: Table, workers: int, arguments: argparse.Namespace) -> Comparison:
    """Replays all searches with every seed, several at a time."""
    trials = max(arguments.trials, TRIALS_A_WORKER * workers if workers > 1 else 0)
    others = [each for each in surrogate.tables.values() if each.name != table.name]
    portfolio = tuple(choose(others)) if others else ()
    rungs = arguments.grace, arguments.reduction
    setting = Setting(table.images, trials, 0, table.epochs, "staged", *rungs, portfolio)
    if arguments.alone:
        surrogate = Surrogate([table])
    _state.update(surrogate=surrogate, table=table.name, workers=workers, setting=setting, space=arguments.space)
    names = [name for name in SEARCHES if name in arguments.searches]
    tasks = [(name, seed) for name in names for seed in range(arguments.seeds)]
    with multiprocessing.get_context("fork").Pool(arguments.processes) as pool:
        courses = pool.starmap(_replay, tasks, chunksize=1)
        by_name = {name: courses[index * arguments.seeds :][: arguments.seeds] for index, name in enumerate(names)}
        pairs = enumerate(zip(by_name[OURS], by_name[PEER], strict=True))
        above = [seed for seed, (ours, peer) in pairs if ours.best[-1] > peer.best[-1]]
        more = dict(zip(above, pool.starmap(_replay, [(LONGER, seed) for seed in above], chunksize=1), strict=True))
    longer = [more.get(seed, course) for seed, course in enumerate(by_name[OURS])]
    return Comparison(table.name, workers, trials, by_name, longer)


def _replay(name: str, seed: int) -> Course:
    _quiet()
    surrogate, table, setting = _state["surrogate"], _state["table"], dataclasses.replace(_state["setting"], seed=seed)
    if name.startswith(OURS):
        setting = dataclasses.replace(setting, space=_state["space"])
    if name == LONGER:
        name, setting = OURS, dataclasses.replace(setting, trials=MORE * setting.trials)
    return simulate(SEARCHES[name](setting), lambda recipe: surrogate.curve(table, recipe, seed), _state["workers"])


def report(comparison: Comparison) -> list[str]:
    """Every search's figures, a line each."""
    lines = [
        f"{comparison.table}, {comparison.workers} workers, {comparison.trials} trials, "
        f"{comparison.seeds} seeds: medians, [quartiles], (95 % intervals)"
    ]
    for row in figures(comparison):
        epochs, seconds = (
            f"{row[name]:.2f} ({row[name + '_low']:.2f}, {row[name + '_high']:.2f})"
            for name in ("epochs_share", "seconds_share")
        )
        lines.append(
            f"  {row['search']:34} val_loss {row['val_loss']:.3f} [{row['lower_quartile']:.3f}, "
            f"{row['upper_quartile']:.3f}] in {row['epochs']:.0f} epochs, {row['seconds']:.0f} s, workers busy "
            f"{row['busy']:.0%}; to the peer's loss {epochs} of its epochs, {seconds} of its time, "
            f"reached in {row['reached']:.0%}"
        )
    if RANDOM in comparison.courses:
        behind = ", ".join(map(str, budgets_behind(comparison)))
        lines.append(f"  ours is behind {RANDOM} at {f'{behind} epochs' if behind else 'no budget'} (95 % interval)")
    return lines


def figures(comparison: Comparison) -> list[dict[str, Any]]:
    """Every search's figures, as columns."""
    found = []
    for name, courses in comparison.courses.items():
        lower, middle, upper = np.quantile([course.best[-1] for course in courses], (0.25, 0.5, 0.75))
        row = {
            "table": comparison.table,
            "workers": comparison.workers,
            "trials": comparison.trials,
            "seeds": len(courses),
            "search": name,
            "val_loss": middle,
            "lower_quartile": lower,
            "upper_quartile": upper,
            "epochs": np.median([len(course.best) for course in courses]),
            "seconds": np.median([course.seconds[-1] for course in courses]),
            "busy": np.median([course.busy for course in courses]),
        }
        for figure, shares in zip(("epochs", "seconds"), shares_of_peer(comparison, name), strict=True):
            low, high = bootstrap(shares)
            row |= {f"{figure}_share": np.median(shares), f"{figure}_share_low": low, f"{figure}_share_high": high}
            row["reached"] = np.isfinite(shares).mean()
        found.append(row)
    return found


def shares_of_peer(comparison: Comparison, name: str) -> tuple[np.ndarray, np.ndarray]:
    """[seeds] shares of the peer's epochs, and of its time, that a search takes to the peer's final loss."""
    epochs, seconds = [], []
    more = comparison.longer if name == OURS else comparison.courses[name]
    for course, extended, peer in zip(comparison.courses[name], more, comparison.courses[PEER], strict=True):
        loss = float(peer.best[-1])
        reaching = course if course.best[-1] <= loss else extended
        epochs.append(reaching.epochs_to(loss) / len(peer.best))
        seconds.append(reaching.seconds_to(loss) / peer.seconds[-1])
    return np.array(epochs), np.array(seconds)


def budgets_behind(comparison: Comparison) -> list[int]:
    """Epochs spent at which the median of ours is above that of the random search, by more than the interval."""
    ours, other = comparison.courses[OURS], comparison.courses[RANDOM]
    last = int(np.median([len(course.best) for course in ours]))
    behind = []
    for epochs in range(comparison.workers, last + 1, 4):
        pairs = np.array([best_after(ours, epochs), best_after(other, epochs)])[:, _resampled(len(ours))]
        if np.quantile(np.subtract(*np.median(pairs, axis=2)), 0.025) > 0:
            behind.append(epochs)
    return behind


def best_after(courses: Sequence[Course], epochs: int) -> np.ndarray:
    """[seeds] the lowest loss after so many epochs; a search that was over by then keeps its last."""
    return np.array([course.best[min(epochs, len(course.best)) - 1] for course in courses])


def best_by(courses: Sequence[Course], seconds: float) -> np.ndarray:
    """[seeds] the lowest loss after so many seconds; infinite before the first epoch."""
    ended = [(course, int(np.searchsorted(course.seconds, seconds, side="right"))) for course in courses]
    return np.array([course.best[count - 1] if count else np.inf for course, count in ended])


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the median."""
    # Sorted, since no quantile lies between infinite figures.
    medians = np.sort(np.median(values[_resampled(len(values))], axis=1))
    return float(medians[int(0.025 * RESAMPLES)]), float(medians[int(0.975 * RESAMPLES)])


def _resampled(seeds: int) -> np.ndarray:
    """[resamples, seeds] indices."""
    return np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))


def draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Medians of the lowest loss against epochs and time, quartiles of ours and the peer's; a row a comparison."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (11, 3.4 * len(comparisons))
    figure, grid = pyplot.subplots(len(comparisons), 2, figsize=size, squeeze=False, layout="constrained")
    for (by_epochs, by_seconds), each in zip(grid, comparisons, strict=True):
        for (name, courses), colour in zip(each.courses.items(), COLOURS, strict=False):
            epochs = np.arange(1, int(np.median([len(course.best) for course in courses])) + 1)
            _band(by_epochs, epochs, [best_after(courses, int(epoch)) for epoch in epochs], name, colour)
            seconds = np.linspace(0, float(np.median([course.seconds[-1] for course in courses])), 120)[1:]
            _band(by_seconds, seconds, [best_by(courses, float(moment)) for moment in seconds], name, colour)
        workers = f"{each.workers} worker{'s' * (each.workers > 1)}"
        by_epochs.set(title=f"{each.table}, {workers}", xlabel="epochs spent", ylabel="lowest val_loss")
        by_seconds.set(title=f"{each.seeds} seeds of {each.trials} trials", xlabel="seconds")
        by_epochs.legend(frameon=False, fontsize=8)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _band(axes: Any, at: np.ndarray, losses: Sequence[np.ndarray], name: str, colour: str) -> None:
    with np.errstate(invalid="ignore"):
        lower, middle, upper = np.quantile(np.array(losses), (0.25, 0.5, 0.75), axis=1, method="nearest")
    axes.plot(at, middle, label=name, color=colour, linewidth=1.8)
    if name in (OURS, PEER):
        axes.fill_between(at, lower, upper, color=colour, alpha=0.15, linewidth=0)


def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all tables, 50 seeds, 1, 8 and 64 workers")
    parser.add_argument("--tables", nargs="+", help="names in benchmarks/tables/; the sample")
    parser.add_argument("--seeds", type=int, help="searches of each kind; 20")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", help="1")
    parser.add_argument("--grace", type=int, help="epochs of the lowest rung; the product's default")
    parser.add_argument("--reduction", type=float, default=Setting.reduction)
    parser.add_argument("--alone", action="store_true", help="replay each table by what it alone has taught")
    parser.add_argument("--space", default="staged", help="of ours; the peers draw from staged")
    parser.add_argument("--searches", nargs="+", default=[*SEARCHES], choices=[*SEARCHES])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("runs/search_quality"))
    arguments = parser.parse_args()
    arguments.tables = arguments.tables or (None if arguments.full else ["sample"])
    arguments.seeds = arguments.seeds or (50 if arguments.full else 20)
    arguments.workers = arguments.workers or ([1, 8, 64] if arguments.full else [1])
    if not {OURS, PEER} <= set(arguments.searches):
        parser.error(f"--searches: {OURS} and {PEER} are always among them")
    return arguments


if __name__ == "__main__":
    main()
