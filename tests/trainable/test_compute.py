"""What a process computes with is decided in one place, within what it was given."""

import itertools
import re
from pathlib import Path

import pytest
import torch

from trainable.compute import CPU, Compute, compute_with, computed_with, usable_device

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=[True, False], ids=["a GPU", "no GPU"])
def has_gpu(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


@pytest.mark.parametrize("gpus", [0, 0.5, 1])
def test_a_gpu_is_used_where_there_is_one_and_it_was_given(has_gpu, gpus):
    assert usable_device(gpus) == torch.device("cuda" if has_gpu and gpus else "cpu")


@pytest.mark.parametrize("cpus", [1, 2, 4, 16])
@pytest.mark.parametrize("gpus", [0, 0.5, 1])
def test_threads_and_loader_workers_together_take_the_cores_that_were_given(has_gpu, cpus, gpus):
    compute = compute_with(cpus, gpus)
    assert compute.threads + compute.workers == cpus
    assert compute.threads == (1 if has_gpu and gpus else cpus)


def test_without_a_word_it_is_one_thread_of_the_cpu():
    assert Compute() == Compute(CPU, 1, 0)


def test_nothing_else_asks_whether_there_is_a_gpu():
    """But the check of a cluster's nodes, which asks whether the GPU that Ray gave can be used at all."""
    files = (
        path for package in ("trainable", "spaces", "search", "results") for path in (ROOT / package).rglob("*.py")
    )
    asking = {path.relative_to(ROOT).as_posix() for path in files if re.search(r"cuda\.is_available", path.read_text())}
    assert asking - {"search/cluster/inspection.py"} == {"trainable/compute.py"}


def test_other_libraries_of_a_gpu_and_tf32_may_give_other_bits_there_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")
    precisions = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        gpu, cpu = [computed_with(torch.device("cuda"))], [computed_with(torch.device("cpu"))]
        for change in (
            lambda: monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002),
            lambda: monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not precisions[0]),
            lambda: torch.set_float32_matmul_precision("high"),
            lambda: monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0"),
        ):
            change()
            gpu.append(computed_with(torch.device("cuda")))
            cpu.append(computed_with(torch.device("cpu")))
    finally:
        torch.set_float32_matmul_precision(precisions[1])
    assert all(later != earlier for earlier, later in itertools.combinations(gpu, 2))
    assert cpu[2] == cpu[1] == cpu[0]
