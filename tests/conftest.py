"""What all tests share: no network, one thread, a tiny checkpoint and a tiny data set."""

import os
import sys

# Before anything imports what reads them.
os.environ |= {
    # So that printed commands say `python`, as where an environment is activated.
    "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),  # noqa: PTH120
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from trainable.data.pairs import PairData, read_pairs

if TYPE_CHECKING:
    from tests.s3 import S3Server
    from tests.whole_search import Search, Start

NAMES = ("person", "car")
TRAIN, VAL = 8, 4

MakeCheckpoint = Callable[..., Path]

COMPARED = {"complete", "unbroken", "finished"}
"""Fixtures of whole searches that tests of several files look at or compare with."""
SHARED = {"start", "cluster", "terminal", "installed", "exported"}
"""Fixtures that start processes of Ray's, or take as long, and that tests of a file share."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Has one of the two test processes run all tests that share a whole search, so that it is made once.

    Of the others that share something costly, those of a file stay together.
    """
    fixtures = getattr(item, "fixturenames", ())
    if SHARED.intersection(fixtures):
        group = "compared" if COMPARED.intersection(fixtures) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="module", autouse=True)
def nothing_old_to_walk() -> None:
    """Trainer collects garbage several times a run: what the modules before have left is not walked each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Saves an untrained DETR of 15,000 weights and its image processor; the same arguments give the same folder."""
    import torch
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig

    import trainable.training.staged_trainer  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # What these imports have made.
    made: dict[str, Path] = {}

    def make(names: tuple[str, ...] = ("square", "circle"), dropout: float = 0.1, **config: Any) -> Path:
        key = repr((names, dropout, config))
        if key in made:
            return made[key]
        backbone = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16], depths=[1, 1, 1], layer_type="basic", out_features=["stage3"]
        )
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
        torch.manual_seed(0)
        model = DetrForObjectDetection(
            DetrConfig(
                backbone_config=backbone,
                d_model=16,
                num_queries=6,
                dropout=dropout,
                attention_dropout=dropout,
                id2label=dict(enumerate(names)),
                label2id={name: index for index, name in enumerate(names)},
                **heads,
                **layers,
                **config,
            )
        )
        folder = made[key] = tmp_path_factory.mktemp("checkpoint")
        model.save_pretrained(folder)
        DetrImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 64}).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: MakeCheckpoint) -> Path:
    """A tiny DETR with dropout, whose classes are not those of the data set."""
    return make_checkpoint()


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four validation pairs, landscape and portrait, so that padding matters.

    Bright rectangles moved on noise; in the second pair of each side nothing moved.
    """
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    sides = {"train": [f"t{index}" for index in range(TRAIN)], "val": [f"v{index}" for index in range(VAL)]}
    for side, ids in sides.items():
        (folder / f"{side}.txt").write_text("\n".join(ids))
        for index, id_ in enumerate(ids):
            size = (48, 64) if index % 3 == 2 else (64, 48)
            _write_pair(folder, id_, size, 0 if index == 1 else 1 + index % 2, random)
    (folder / "classes.txt").write_text("\n".join(NAMES))
    return folder


@pytest.fixture(scope="session")
def other_data_folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many pairs with the same labels and darker images."""
    folder = Path(shutil.copytree(data_folder, tmp_path_factory.mktemp("other") / "pairs"))
    for path in (*folder.glob("before/*"), *folder.glob("after/*")):
        Image.open(path).point(lambda value: value * 3 // 4).save(
            path
        )  # Inverted, they would make the same differences.
    return folder


@pytest.fixture(scope="session")
def pair_data(data_folder: Path) -> PairData:
    """The pairs of `data_folder`, checked and split."""
    return read_pairs(data_folder)


@pytest.fixture(scope="session")
def s3_server() -> "Iterator[S3Server]":
    """An S3 server on loopback with the bucket `bucket`, and the credentials for it; see `tests.s3`."""
    from tests.s3 import ENVIRONMENT, S3Server

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server = S3Server()
        server.make_bucket("bucket")
        yield server
        server.stop()


@pytest.fixture
def s3(s3_server: "S3Server") -> "Iterator[S3Server]":
    """`s3_server`, in order again after the test."""
    s3_server.requests.clear()
    yield s3_server
    s3_server.failure, s3_server.spared = None, ()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Start]":
    """Starts a whole search by its command; whatever is left of it in the end is ended."""
    from tests.whole_search import Search

    cache, started = tmp_path_factory.mktemp("cache"), []

    def start(*arguments: Any, cache: Path = cache, **more: Any) -> "Search":
        started.append(Search(*arguments, cache=cache, **more))
        return started[-1]

    yield start
    for search in started:
        search.clean_up()


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the whole searches of all tests are written, each under a name of its own."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def flags(storage: Path, data_folder: Path, checkpoint: Path) -> tuple[Any, ...]:
    """The flags of the search of the fixture `complete`, but its name."""
    from tests.whole_search import MAX_EPOCHS, TRIALS

    return (
        *("--data", data_folder, "--model", checkpoint, "--storage", storage, "--trials", TRIALS),
        *("--max-epochs", MAX_EPOCHS, "--max-concurrent", 1, "--seed", 3),
    )


@pytest.fixture(scope="session")
def complete(start: "Start", storage: Path, flags: tuple[Any, ...]) -> tuple[Path, str]:
    """The run folder and the output of a whole search that nothing disturbed; tests leave it as it is."""
    search = start(*flags, "--name", "complete")
    code, output = search.wait()
    assert code == 0, output
    search.assert_all_gone()
    return storage / "complete", output


def _write_pair(folder: Path, id_: str, size: tuple[int, int], objects: int, random: np.random.Generator) -> None:
    width, height = size
    before = random.integers(60, 90, (height, width, 3)).astype(np.uint8)
    after = before.copy()
    lines = []
    for _ in range(objects):
        w, h = (int(n) for n in random.integers(10, 20, 2))
        left, top = int(random.integers(0, width - w)), int(random.integers(0, height - h))
        class_id = int(random.integers(0, len(NAMES)))
        after[top : top + h, left : left + w, class_id] = 250
        lines.append(f"{class_id} {(left + w / 2) / width} {(top + h / 2) / height} {w / width} {h / height}")
    for side, pixels in (("before", before), ("after", after)):
        (folder / side).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / side / f"{id_}.png")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / f"{id_}.txt").write_text("\n".join(lines))
