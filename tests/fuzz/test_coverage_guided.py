"""The same checks guided by coverage, where atheris is installed: it finds branches that chance does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import SOAK_INPUTS, SOAK_SECONDS

PROGRAM = Path(__file__).with_name("coverage_guided.py")


@pytest.mark.soak
@pytest.mark.parametrize("target", ["labels", "data_yaml", "recipe_yaml", "journal"])
def test_nothing_is_raised_on_any_branch_that_is_found(target, tmp_path):
    pytest.importorskip("atheris")
    limits = [f"-runs={SOAK_INPUTS}", f"-max_total_time={SOAK_SECONDS:.0f}"]
    command = [sys.executable, str(PROGRAM), target, *limits]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
