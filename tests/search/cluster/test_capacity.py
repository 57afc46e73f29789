"""A search that cannot fit into memory is refused with the sizes and the numbers of trials that would."""

import dataclasses
import re

import pytest
from transformers import AutoConfig

from search.cluster import capacity
from search.cluster.capacity import TrialSize, memory_fault, trial_size
from trainable.data.model_input import SizeRule
from trainable.sample import CHECKPOINT

GIB = 2**30


@pytest.fixture
def has(monkeypatch):
    """Gives the machine, or its GPU, so many GiB."""

    def give(gibibytes):
        monkeypatch.setattr(capacity, "memory_share", lambda gpus, trials: int(gibibytes * GIB * (gpus or 1 / trials)))

    return give


@pytest.fixture(scope="module")
def trial() -> TrialSize:
    rule = SizeRule(("shortest_edge", "longest_edge"), (800, 1333))
    return TrialSize(AutoConfig.from_pretrained(CHECKPOINT), rule, frozenset({(640, 480), (480, 640)}), gpus=0.0)


def test_what_fits_has_no_fault_and_the_last_byte_counts(trial, has):
    needed = trial.needed(trial.rule)
    has(needed / GIB)
    assert memory_fault(trial, 1) is None
    has((needed - 1) / GIB)
    assert memory_fault(trial, 1) is not None


def test_the_largest_size_that_fits_is_named_and_the_next_one_does_not_fit(trial, has):
    has(0.75 * trial.needed(trial.rule) / GIB)
    fault = memory_fault(trial, 1)
    assert "at 1066x1066 one takes about" in fault and "--max-concurrent" not in fault
    edge = int(re.search(r"what fits: --image-size (\d+) or less$", fault)[1])
    smaller, larger = (
        dataclasses.replace(trial, rule=trial.rule.with_shorter_edge(pixels)) for pixels in (edge, edge + 32)
    )
    assert memory_fault(smaller, 1) is None
    assert memory_fault(larger, 1) is not None


def test_so_is_how_many_at_a_time_do(trial, has):
    has(2.5 * trial.needed(trial.rule) / GIB)
    assert memory_fault(trial, 2) is None
    fault = memory_fault(trial, 4)
    assert "for 4 at a time" in fault and fault.endswith("or less, or --max-concurrent 2")


def test_of_a_gpu_it_is_the_trials_share_that_counts(trial, has):
    on_gpu = dataclasses.replace(trial, gpus=0.25)
    has(3 * on_gpu.needed(trial.rule) / GIB)
    fault = memory_fault(on_gpu, 8)
    assert "of GPU memory for a trial" in fault and "--max-concurrent" not in fault
    assert memory_fault(dataclasses.replace(trial, gpus=0.5), 8) is None


def test_where_nothing_fits_no_size_is_promised(trial, has):
    has(0.1)
    assert memory_fault(trial, 1).endswith("no size of images fits")


def test_a_trial_has_the_size_that_was_asked_for_or_its_processors(pair_data):
    assert trial_size(str(CHECKPOINT), None, pair_data, 0).rule.values == (96, 128)
    asked = trial_size(str(CHECKPOINT), 480, pair_data, 0)
    assert asked.rule.values == (480, 640)
    assert asked.images == {pair.size for pair in (*pair_data.train, *pair_data.val)}
