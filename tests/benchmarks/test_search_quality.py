"""The figures that a comparison of searches comes to, and its charts."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from search_quality import Comparison, bootstrap, budgets_behind, draw, figures, shares_of_peer
from simulated_searches import OURS, PEER, RANDOM, Course


def course(*losses: float) -> Course:
    """An epoch takes two seconds."""
    return Course(2.0 * np.arange(1, len(losses) + 1), np.minimum.accumulate(losses), 1.0)


def comparison(ours: list[Course], peer: list[Course], longer: list[Course]) -> Comparison:
    return Comparison("made_up", 1, 4, {OURS: ours, PEER: peer, RANDOM: peer}, longer)


def test_the_share_is_of_the_peers_epochs_and_of_a_longer_search_where_ours_ends_above_it():
    peer = course(3, 2, 2, 2)
    ours = [course(2, 1, 1), course(3, 3, 3), course(3, 3, 3)]
    longer = [course(9, 9, 9), course(3, 3, 3, 3, 3, 2), course(3, 3, 3, 3, 3, 3)]
    epochs, seconds = shares_of_peer(comparison(ours, [peer] * 3, longer), OURS)
    assert list(epochs) == [0.25, 1.5, float("inf")]
    assert list(seconds) == [0.25, 1.5, float("inf")]
    # A search that has no longer one is never there.
    assert list(shares_of_peer(comparison(ours, [peer] * 3, longer), PEER)[0]) == [0.5] * 3


def test_the_interval_holds_the_median_and_shrinks_with_more_seeds():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(values[:20])
    assert low < np.median(values[:20]) < high
    narrow = bootstrap(values)
    assert narrow[1] - narrow[0] < (high - low) / 2
    assert bootstrap(np.array([1.0, np.inf, np.inf])) == (1.0, np.inf)


def test_ours_is_behind_only_where_it_is_so_for_nearly_all_seeds():
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.01, size=(2, 20))
    worse = [course(*[2.0 + noise[0, seed]] * 4, 0.5) for seed in range(20)]
    other = [course(*[1.0 + noise[1, seed]] * 5) for seed in range(20)]
    assert budgets_behind(comparison(worse, other, worse)) == [1]
    assert budgets_behind(comparison(other, worse, worse)) == [5]
    assert budgets_behind(comparison(other, other, other)) == []


def test_the_chart_and_the_figures_are_of_every_search(tmp_path: Path):
    one = comparison([course(3, 2), course(3, 1)], [course(4, 3), course(4, 2)], [course(3, 2), course(3, 1)])
    rows = figures(one)
    assert [row["search"] for row in rows] == [OURS, PEER, RANDOM]
    assert (rows[0]["val_loss"], rows[0]["epochs"], rows[0]["seconds"], rows[0]["reached"]) == (1.5, 2, 4.0, 1.0)
    draw(tmp_path / "chart.png", [one])
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
