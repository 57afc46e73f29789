"""What a process computes with is decided in one place, within what it was given."""

import itertools
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainable.compute import CPU, Compute, compute_with, computed_with, machine_memory, memory_share, usable_device

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


class TestMemory:
    @pytest.mark.parametrize(
        ("groups", "files", "expected"),
        [
            ("0::/\n", {"sys/fs/cgroup/memory.max": "1000000"}, 1_000_000),
            ("0::/\n", {"sys/fs/cgroup/memory.max": "max"}, None),
            (
                "0::/slurm/job/step\n",
                {"sys/fs/cgroup/slurm/job/step/memory.max": "max", "sys/fs/cgroup/slurm/job/memory.max": "2000000\n"},
                2_000_000,
            ),
            (
                "11:cpuset:/x\n4:memory:/docker/abc\n0::/\n",
                {"sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000\n"},
                3_000_000,
            ),
            ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
            (None, {}, None),
        ],
        ids=["version 2", "no limit", "of the job", "version 1", "no limit in version 1", "no groups"],
    )
    def test_it_is_what_the_control_groups_leave_of_the_machines(self, tmp_path, groups, files, expected):
        for name, text in (files | ({"proc/self/cgroup": groups} if groups else {})).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert machine_memory(tmp_path) == (expected or physical)

    def test_trials_share_the_machines_or_a_gpus(self, has_gpu, monkeypatch):
        monkeypatch.setattr("trainable.compute.machine_memory", lambda: 12_000)
        properties = SimpleNamespace(total_memory=8000)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        assert memory_share(gpus=0, trials=3) == 4000
        assert memory_share(gpus=0.25, trials=3) == (2000 if has_gpu else 4000)


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
