"""Measures what a search of the real model takes: memory, disk, caches and the time of an epoch.

    python benchmarks/real_model.py [--data my_pairs/] [--image-size 480]

The model is `facebook/detr-resnet-50` in shape, 41.5 million parameters at 800x1066, with random weights, so that
nothing is downloaded and nothing is found. It trains on the first 8 training and 4 validation pairs of the data set, by
default the sample's, which its processor enlarges. The search is started as a user starts it, one trial at a time, and
watched from outside: memory is the resident set of its processes; pages that several share count several times in it.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import psutil
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig

from results.formatting import duration
from results.journal.journal import read_journal, trial_records
from trainable.sample.data_set import sample_data_set

RUN = Path(__file__).parents[1] / "search" / "run.py"
SPLITS = {"train.txt": 8, "val.txt": 4}
SECONDS_BETWEEN_LOOKS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with before/, after/, labels/, train.txt and val.txt")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--max-epochs", type=int, default=3, help="of a trial, at least 3")
    parser.add_argument("--image-size", type=int, default=800, help="pixels of the shorter edge")
    parser.add_argument("--space", default="staged")
    parser.add_argument("--cpus", type=int, default=2, help="of a trial")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_checkpoint(folder / "model")
        link_pairs(arguments.data or sample_data_set(), folder / "pairs")
        flags = {
            "space": arguments.space,
            "data": folder / "pairs",
            "model": folder / "model",
            "trials": arguments.trials,
            "max-epochs": arguments.max_epochs,
            "image-size": arguments.image_size,
            "cpus-per-trial": arguments.cpus,
            "max-concurrent": 1,
            "storage": folder,
            "name": "run",
        }
        words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
        started = time.monotonic()
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(RUN.parents[1])}
        search = subprocess.Popen([sys.executable, str(RUN), *words], env=environment)
        memory, disk = watch(search, folder)
        print(f"\nexit code {search.returncode} after {duration(time.monotonic() - started)}")
        print_table("peak memory", memory, memory)
        print_table("disk", disk, sizes(folder))
        print_epochs(folder / "run")


def make_checkpoint(folder: Path) -> None:
    """Writes a DETR of the size of `facebook/detr-resnet-50`, whose values stay as small as those of a trained one."""
    backbone = ResNetConfig(depths=[3, 4, 6, 3], out_features=["stage4"])
    model = DetrForObjectDetection(DetrConfig(backbone_config=backbone, use_timm_backbone=False))
    for name, buffer in model.named_buffers():
        if name.endswith("layer.2.normalization.weight"):
            buffer.fill_(0.2)  # Of each residual block; at 1, random ones would double the values sixteen times.
    model.save_pretrained(folder)
    DetrImageProcessorPil().save_pretrained(folder)
    print(f"{sum(value.numel() for value in model.parameters()) / 1e6:.1f} million parameters")


def link_pairs(data: Path, folder: Path) -> None:
    """Makes a data set of the first pairs of another one's splits."""
    folder.mkdir()
    for name in ("before", "after", "labels", "classes.txt"):
        (folder / name).symlink_to((data / name).resolve())
    for name, count in SPLITS.items():
        ids = (data / name).read_text().splitlines()[:count]
        (folder / name).write_text("\n".join(ids) + "\n")


def watch(search: subprocess.Popen[bytes], folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Until it ends: the most bytes of memory of each kind of process, and of each kind of file."""
    memory: dict[str, int] = defaultdict(int)
    disk: dict[str, int] = defaultdict(int)
    while search.poll() is None:
        for most, now in ((memory, resident(search.pid)), (disk, sizes(folder))):
            for kind, size in now.items():
                most[kind] = max(most[kind], size)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return memory, disk


def resident(root: int) -> dict[str, int]:
    """Bytes in memory of a search's processes."""
    sizes: dict[str, int] = defaultdict(int)
    for process in processes(root):
        try:
            words, size = process.cmdline(), process.memory_info().rss
        except psutil.Error:  # It has ended.
            continue
        kind = "the search" if str(RUN) in words else "trial" if words[:1] == ["ray::ImplicitFunc.train"] else "Ray"
        sizes[kind] += size
        sizes["in all"] += size
    return sizes


def processes(root: int) -> Iterator[psutil.Process]:
    """A process and all that descend from it, as far as they live."""
    try:
        process = psutil.Process(root)
        yield from (process, *process.children(recursive=True))
    except psutil.Error:
        return


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of a search's files by their kinds."""
    found: dict[str, int] = defaultdict(int)
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path) / name
            with contextlib.suppress(OSError):  # It is gone meanwhile.
                found[kind_of(file.relative_to(folder).parts)] += file.lstat().st_size
    found.pop("", None)
    return found


def kind_of(parts: Sequence[str]) -> str:
    """What a file is for; empty for what the benchmark has made."""
    if parts[0] == "cache":
        return f"cache: {parts[2]}" if len(parts) > 3 else "cache: others"
    if parts[0] != "run":
        return ""
    if parts[1] == "trials" and len(parts) > 4:
        return "trials: checkpoints" if parts[3].startswith("stage-") else "trials: weights"
    return f"{parts[1]}/" if parts[1] in ("best", "tune") else "others of the run"


def print_table(title: str, most: dict[str, int], at_last: dict[str, int]) -> None:
    """Bytes by kind, at their most and in the end."""
    print(f"\n{title:<24}{'at most':>12}{'' if most is at_last else '     in the end'}")
    for kind, size in sorted(most.items()):
        end = "" if most is at_last else f"{at_last.get(kind, 0) / 1e6:12.0f} MB"
        print(f"{kind:<24}{size / 1e6:9.0f} MB{end}")


def print_epochs(run: Path) -> None:
    """Mean seconds of an epoch by what it trained."""
    records = trial_records(read_journal(run / "journal.jsonl"))
    seconds: dict[str, list[float]] = defaultdict(list)
    for record in records:
        before = 0.0
        for row in record.history:
            seconds["+".join(record.stages[row.stage].trainable)].append(row.seconds - before)
            before = row.seconds
    print(f"\n{'seconds an epoch':<56}{'epochs':>8}{'mean':>8}{'least':>8}{'most':>8}")
    for trained, values in seconds.items():
        print(f"{trained:<56}{len(values):>8}{mean(values):>8.1f}{min(values):>8.1f}{max(values):>8.1f}")
    for record in records:
        if record.ended is not None:
            print(f"trial {record.number}: {record.status} {record.error or ''}")


if __name__ == "__main__":
    main()
