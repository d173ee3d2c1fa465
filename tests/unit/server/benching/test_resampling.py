from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from tierwise_server.benching.resampling import (
    MOST_WEIGHTS,
    interval,
    means,
    resamples_for,
    samples_needed,
    share_at_least,
    weights,
)


@pytest.mark.parametrize(("good", "count"), [(8, 8), (3, 8), (0, 5), (45, 50)])
def test_of_zeros_and_ones_it_is_jeffreys_interval(good: int, count: int) -> None:
    scores = np.array([1.0] * good + [0.0] * (count - good))
    resampled = means(weights(count, "task", 0), scores)
    true = beta(good + 0.5, count - good + 0.5)
    found = interval(good / count, resampled)
    if good < count:
        assert found.high == pytest.approx(true.ppf(0.975), abs=0.015)
    if good:
        assert found.low == pytest.approx(true.ppf(0.025), abs=0.015)
    assert share_at_least(resampled, 0.85) == pytest.approx(true.sf(0.85), abs=0.02)
    assert found.low <= found.mean <= found.high


def test_the_same_seed_gives_the_same_weights_whatever_else_is_measured() -> None:
    assert (weights(7, "a", 1) == weights(7, "a", 1)).all()
    assert (weights(7, "a", 1) != weights(7, "a", 2)).any()
    assert (weights(7, "a", 1) != weights(7, "b", 1)).any()


def test_scores_that_are_missing_do_not_count() -> None:
    weighting = weights(4, "task", 0)
    known = means(weighting[:, [0, 2, 4, 5]], np.array([0.2, 0.9]))
    assert means(weighting, np.array([0.2, np.nan, 0.9, np.nan])) == pytest.approx(known)


def test_models_are_weighed_alike_so_that_equal_ones_differ_by_nothing() -> None:
    weighting = weights(6, "task", 0)
    scores = np.array([0.1, 1, 1, 0.5, 0, 1])
    assert not (means(weighting, scores) - means(weighting, scores.copy())).any()


def test_it_says_how_many_samples_would_do() -> None:
    perfect = np.ones(6)
    needed = samples_needed(perfect, 0.85, 0.9, 0)
    assert needed == 12
    true = beta(needed + 0.5, 0.5)
    assert true.sf(0.85) >= 0.89
    assert samples_needed(np.array([1.0, 0.6, 1.0, 0.7]), 0.85, 0.9, 0) is None
    assert samples_needed(np.array([1.0, np.nan, 1.0, 0.9]), 0.85, 0.9, 0) is not None


def test_many_samples_need_no_more_memory() -> None:
    assert resamples_for([20]) == 4000
    assert resamples_for([20_000] * 5) * 100_000 <= MOST_WEIGHTS
