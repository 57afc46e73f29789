"""The tests that wait for a GPU, on a CPU: nobody without one would notice otherwise that they have come apart."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_of_gpu_tests(**environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "tests/gpu"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_without_a_gpu_they_are_skipped() -> None:
    done = run_of_gpu_tests(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ skipped", done.stdout.splitlines()[-1]), done.stdout
    assert "no GPU that torch can use" in done.stdout


@pytest.mark.soak
def test_on_a_cpu_their_bodies_pass() -> None:
    done = run_of_gpu_tests(GPU_TESTS_ON_CPU="1", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 25
