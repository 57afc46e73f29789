"""The best of many is flattered by having been picked, and by about how much is told."""

from pathlib import Path

import numpy as np
import pytest

from results.journal.journal import TrialRecord
from results.selection import optimism_of, selection
from tests.made_up import made_up_row
from trainable.recipe import reference
from trainable.training.validation_terms import read_terms, terms_path, write_terms


def terms_of(losses: np.ndarray) -> np.ndarray:
    """Terms of models on pairs, [models, pairs], whose loss of a set is the mean of these."""
    return np.stack([losses, np.ones_like(losses), np.zeros_like(losses), np.ones_like(losses)], axis=-1)


def test_it_tells_by_how_much_equal_models_are_flattered() -> None:
    """Of models that are equally good, the lowest mean is low by luck alone: that is what is found."""
    rng, found, true = np.random.default_rng(1), [], []
    for _ in range(60):
        losses = 1 + rng.normal(size=(12, 40))
        found.append(optimism_of(terms_of(losses)))
        true.append(1 - losses.mean(1).min())
    assert np.mean(found) == pytest.approx(np.mean(true), rel=0.35)


def test_more_pairs_and_a_clear_winner_leave_little_of_it() -> None:
    rng = np.random.default_rng(2)
    few, many = (optimism_of(terms_of(1 + rng.normal(size=(12, pairs)))) for pairs in (20, 2000))
    assert few > 5 * many > 0
    apart = 1 + 0.1 * rng.normal(size=(12, 40)) + np.arange(12)[:, None]
    assert optimism_of(terms_of(apart)) < 0.01


def test_the_same_trials_give_the_same_figure() -> None:
    terms = terms_of(1 + np.random.default_rng(3).normal(size=(5, 30)))
    assert optimism_of(terms) == optimism_of(terms)


def record(number: int, val_loss: float, status: str = "COMPLETED") -> TrialRecord:
    history = [made_up_row(1, val_loss + 1), made_up_row(2, val_loss)]
    return TrialRecord(number, {}, reference(3), number == 0, asked=0.0, status=status, history=history)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose trials 0 to 3 have kept the terms of their best epochs, 2."""
    rng = np.random.default_rng(4)
    for number in range(4):
        (tmp_path / "trials" / f"{number:04d}").mkdir(parents=True)
        write_terms(tmp_path / "trials" / f"{number:04d}", 2, terms_of(1 + rng.normal(size=(1, 30)))[0])
    return tmp_path


def test_it_is_of_the_best_trial_among_all_that_did_not_fail(run: Path) -> None:
    records = [record(0, 1.0), record(1, 0.7), record(2, 0.1, "FAILED"), record(3, 0.9, "PRUNED")]
    found = selection(run, records)
    assert found is not None and (found.trial, found.trials, found.pairs, found.val_loss) == (1, 3, 30, 0.7)
    assert "val_loss 0.7000 is the lowest of 3 trials on 30 pairs" in str(found)
    found.write(run)
    assert (run / "selection.json").is_file()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"nonsense"])
def test_without_the_best_trials_own_terms_nothing_is_said(run: Path, damage: bytes) -> None:
    records = [record(0, 1.0), record(1, 0.7), record(3, 0.9)]
    terms_path(run / "trials" / "0001").write_bytes(damage)
    assert selection(run, records) is None
    terms_path(run / "trials" / "0001").unlink()
    assert selection(run, records) is None


def test_terms_of_another_epoch_are_none(run: Path) -> None:
    assert read_terms(run / "trials" / "0000", 2) is not None
    assert read_terms(run / "trials" / "0000", 3) is None


def test_one_trial_was_not_picked() -> None:
    assert selection(Path("nowhere"), [record(0, 1.0)]) is None
