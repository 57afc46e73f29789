"""Times what a user of a short search waits for beside the training: its first epoch, and its report in the end.

    python benchmarks/start_end.py [--against ../other-checkout --rounds 5]

Each round starts `search/run.py` of this checkout, and of the other one, as a user does; they take turns in going
first. A first search of each, which no figure counts, warms the disk and fills a cache folder of its own. Figures are
medians of the rounds, in seconds from the start of the process, and for the end from the last trial's on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    arguments = _arguments()
    sides = [PROJECT, *([arguments.against.resolve()] if arguments.against else [])]
    taken: dict[Path, list[Mapping[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(arguments.rounds + 1):
            for number, side in list(enumerate(sides))[:: 1 if index % 2 else -1]:
                row = search(side, Path(scratch, f"{number}"), f"run{index}", arguments.flags)
                print(f"round {index}: {side.name} " + ", ".join(f"{name} {at:.1f}" for name, at in row.items()))
                if index:
                    taken[side].append(row)
    rows = {side: {name: median(row[name] for row in taken[side]) for name in taken[side][0]} for side in sides}
    print(f"\n{'medians, seconds':<34}" + "".join(f"{side.name:>20}" for side in sides))
    for name in rows[PROJECT]:
        print(f"{name:<34}" + "".join(f"{rows[side][name]:>20.2f}" for side in sides))
    if arguments.against:
        first, other = (rows[side]["first epoch"] for side in sides)
        print(f"first epoch, of the other's time: {first / other:.0%}")


def search(checkout: Path, scratch: Path, name: str, flags: Sequence[str]) -> dict[str, float]:
    """Runs a search to its end.

    Args:
        checkout: whose code runs.
        scratch: folder for its runs and its cache.
        name: of the run.
        flags: of `search/run.py`.

    Returns:
        When what a user waits for was there, in seconds, by its name.

    Raises:
        SystemExit: it failed.
    """
    scratch.mkdir(exist_ok=True)
    # The checkout finds its own packages.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"XDG_CACHE_HOME": str(scratch / "cache")}
    command = [sys.executable, str(checkout / "search/run.py"), *flags, "--storage", str(scratch), "--name", name]
    started = time.time()
    finished = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True)
    ended = time.time()
    if finished.returncode:
        raise SystemExit(f"{checkout} ended with exit code {finished.returncode}:\n{finished.stderr[-4000:]}")
    events = [json.loads(line) for line in (scratch / name / "journal.jsonl").read_text().splitlines()]
    times = {
        kind: [event["time"] for event in events if event["event"] == kind] for kind in ("asked", "reported", "ended")
    }
    last_trial = max(times["ended"])
    return {
        "first trial": min(times["asked"]) - started,
        "first epoch": min(times["reported"]) - started,
        "report after the last trial": (scratch / name / "report.html").stat().st_mtime - last_trial,
        "exit after the last trial": ended - last_trial,
        "in all": ended - started,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("flags", nargs="*", default=["--trials", "2", "--max-epochs", "3"], help="after --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
