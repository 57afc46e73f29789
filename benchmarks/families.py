"""How long an epoch of each family of detectors takes, on a tiny untrained one of each.

    python benchmarks/families.py [--rounds 5]

All are of some ten thousand weights (`tests/tiny_detectors.py`) and train on one core, on the training pairs of the
sample at the size that their image processor asks for; those that squash images are given 64 x 64. They train whole,
then all but the backbone, as a stage with a frozen one does: with what it gives computed anew, and kept. Rounds go over
all families in turn, so that what else the machine does meets all alike; the table has the medians.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # For the tiny detectors of the tests.

from tests.tiny_detectors import CONFIGS, save_tiny_detector
from trainable.data.pairs import read_pairs
from trainable.detector.loading import load_model
from trainable.recipe import PARTS, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample.data_set import sample_data_set
from trainable.training.staged_trainer import train_recipe

WAYS = {"whole": (PARTS, False), "anew": (PARTS[1:], False), "kept": (PARTS[1:], True)}
"""What trains, and whether what is frozen is kept. Differences are made once in all of them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    pairs = read_pairs(sample_data_set())
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = {kind: save_tiny_detector(kind, Path(scratch) / kind, pairs.names) for kind in CONFIGS}
        seconds: dict[tuple[str, str], list[float]] = {(kind, way): [] for kind in CONFIGS for way in WAYS}
        for index in range(rounds):
            for (kind, way), taken in seconds.items():
                trainable, kept = WAYS[way]
                first, last = train_recipe(
                    Recipe((Stage(way, trainable, 2, 1e-4),), batch_size=8),
                    *(pairs, str(checkpoints[kind]), Path(scratch) / f"{kind} {way} {index}", lambda row: None),
                    reuse=ReuseConfig(10**9, frozen_layers=kept),
                ).history
                # The first one also warms up.
                taken.append(last.seconds - first.seconds)
        median = {key: statistics.median(taken) for key, taken in seconds.items()}
        print("| model type | weights | batch norms | an epoch of 96 pairs | of DETR's | backbone frozen | and kept |")
        print("|---|---|---|---|---|---|---|")
        for kind, checkpoint in checkpoints.items():
            model = load_model(checkpoint, pairs.names)
            weights = sum(parameter.numel() for parameter in model.parameters())
            norms = sum(type(module).__name__ == "BatchNorm2d" for module in model.modules())
            whole, anew, cached = (median[kind, way] for way in WAYS)
            of_detr = whole / median["detr", "whole"]
            print(
                f"| `{kind}` | {weights:,} | {norms} | {whole:.2f} s | {of_detr:.1f}x | {anew:.2f} s | {cached:.2f} s |"
            )


if __name__ == "__main__":
    main()
