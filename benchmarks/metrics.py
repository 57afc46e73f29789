"""By which metric a search had better compare its trials, told by what its best model finds on pairs it has not seen.

    python benchmarks/metrics.py --log FILE [--seeds 5 --trials 16 --epochs 24]

Whole searches of the sample data set, the default command but for `--metric`, one trial at a time, the metrics by turns
in every seed. A third of the training pairs is kept back as a test set; the score threshold is the one that the search
recommends. The table has means over the seeds with 95 % intervals (Student's t), and those of each seed's difference to
`val_loss`. `--log` keeps every search, so that the same command goes on.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measured import Log, interval

from trainable.metric import METRICS, VAL_LOSS
from trainable.sample.data_set import located

ROOT = Path(__file__).parents[1]
FIGURES = ("mAP", "F1", "val_loss")
TEST_SHARE = 3
"""One training pair in so many is tested on."""

Measured = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="file that keeps what was searched")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=24, help="of a trial at most")
    arguments = parser.parse_args()
    log = Log(arguments.log)
    with tempfile.TemporaryDirectory() as scratch:
        searched, test = _split(Path(scratch))
        for seed in range(arguments.seeds):
            order = list(METRICS)[seed % len(METRICS) :] + list(METRICS)[: seed % len(METRICS)]
            for metric in order:
                key = f"{metric} {seed} {arguments.trials} {arguments.epochs}"
                if key not in log:
                    asked = ("--trials", arguments.trials, "--max-epochs", arguments.epochs)
                    log[key] = _search(metric, seed, searched, test, Path(scratch), *asked)
    print("\n".join(_table(log, arguments.seeds, f"{arguments.trials} {arguments.epochs}")))


def _split(scratch: Path) -> tuple[Path, Path]:
    """The sample without its test pairs, and these."""
    sample = Path(located(None))
    train, val = ((sample / f"{side}.txt").read_text().split() for side in ("train", "val"))
    tested = train[::TEST_SHARE]
    train = [name for name in train if name not in tested]
    searched, test = _copy(sample, [*train, *val], scratch / "searched"), _copy(sample, tested, scratch / "test")
    for side, names in {"train": train, "val": val}.items():
        (searched / f"{side}.txt").write_text("\n".join(names))
    return searched, test


def _copy(sample: Path, names: Sequence[str], folder: Path) -> Path:
    for inside in ("before", "after", "labels"):
        (folder / inside).mkdir(parents=True)
        for name in names:
            (file,) = (sample / inside).glob(f"{name}.*")
            shutil.copy(file, folder / inside)
    shutil.copy(sample / "classes.txt", folder)
    return folder


def _search(metric: str, seed: int, data: Path, test: Path, scratch: Path, *asked: object) -> Measured:
    name = f"{metric}-{seed}"
    given = ("--data", data, "--test", test, "--storage", scratch, "--name", name, "--metric", metric, "--seed", seed)
    command = [sys.executable, "search/run.py", *map(str, (*given, "--max-concurrent", 1, "--overlays", 0, *asked))]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = json.loads((scratch / name / "best" / "test" / "metrics.json").read_text())
    point = found["recommended"]
    measured = {"mAP": found["mAP"], "F1": point["f1"] if point else 0.0, "val_loss": found["val_loss"]}
    print(name, measured, flush=True)
    return measured


def _table(log: Log, seeds: int, size: str) -> list[str]:
    titles = [f"{title} of the test pairs" for title in FIGURES] + [
        f"{title}, less that by val_loss" for title in FIGURES
    ]
    lines = [f"| compared by | {' | '.join(titles)} |", "|---" * (1 + 2 * len(FIGURES)) + "|"]
    for metric in METRICS:
        own, base = ([log[f"{each} {seed} {size}"] for seed in range(seeds)] for each in (metric, VAL_LOSS))
        cells = [interval([found[figure] for found in own]) for figure in FIGURES]
        if metric != VAL_LOSS:
            pairs = list(zip(own, base, strict=True))
            cells += [interval([ours[figure] - theirs[figure] for ours, theirs in pairs]) for figure in FIGURES]
        lines.append(f"| {' | '.join([metric, *cells])} |")
    return lines


if __name__ == "__main__":
    main()
