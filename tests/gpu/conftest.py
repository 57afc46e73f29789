"""Tests of what a GPU does: `pytest -n 0 -m gpu`, meant to take under eight minutes; skipped where there is none.

They need Ray only where a search is meant. `GPU_TESTS_ON_CPU=1` runs the same bodies on a CPU, without what a GPU alone
has, so that they do not rot where nobody has one.
"""

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainable.data.pairs import PairData
from trainable.history import EpochRow

if TYPE_CHECKING:
    import torch

    from trainable.compute import Compute

ON_CPU = bool(os.environ.get("GPU_TESTS_ON_CPU"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> "torch.device":
    """The one GPU that these tests see."""
    # Trainer would spread a batch over all that it sees. cuBLAS reads the other when it is first used.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ |= {"CUDA_VISIBLE_DEVICES": visible, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    import torch

    from trainable.compute import CPU, usable_device

    if ON_CPU:
        return CPU
    if usable_device().type != "cuda":
        pytest.skip("no GPU that torch can use")
    # Where something has asked torch for GPUs before, it is too late to hide the others.
    assert torch.cuda.device_count() == 1, "run `CUDA_VISIBLE_DEVICES=0 pytest -n 0 -m gpu tests/gpu`"
    return usable_device()


@pytest.fixture(autouse=True)
def memory(device: "torch.device") -> Iterator[None]:
    """Gives back what a test has held, so that the next one measures its own."""
    yield
    import torch

    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def on_gpu(device: "torch.device") -> None:
    """Skips what a CPU has not."""
    if device.type != "cuda":
        pytest.skip("a CPU has none of this")


@pytest.fixture
def repeating(device: "torch.device") -> Iterator[None]:
    """Has torch take algorithms that give the same bits each time, where it has them."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def compute(device: "torch.device") -> "Compute":
    """The device, without loader workers."""
    from trainable.compute import Compute

    return Compute(device)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> PairData:
    """24 training and 16 validation pairs of the sample data set."""
    from trainable.data.pairs import read_pairs
    from trainable.sample.data_set import sample_data_set

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("sample")))
        pairs = read_pairs(sample_data_set())
    return replace(pairs, train=pairs.train[:24], val=pairs.val[:16])


@pytest.fixture
def train(pair_data: PairData, checkpoint: Path, tmp_path: Path, compute: "Compute") -> Callable[..., Any]:
    """Trains a recipe on the GPU in a folder of this name; on the tiny data set unless told otherwise."""
    from trainable.reuse.config import ReuseConfig
    from trainable.training.staged_trainer import train_recipe

    def train(recipe: Any, name: str = "trial", report: Any = lambda row: None, **other: Any) -> Any:
        given = {"pairs": pair_data, "checkpoint": checkpoint, "compute": compute, "reuse": ReuseConfig()} | other
        return train_recipe(recipe, folder=tmp_path / name, report=report, **given)

    return train


def without_seconds(history: list[EpochRow]) -> list[EpochRow]:
    """A history of one evaluation an epoch, without the one figure that always differs."""
    return [replace(row, seconds=0.0) for row in history]
