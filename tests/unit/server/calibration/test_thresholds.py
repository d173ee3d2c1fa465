"""Thresholds: against trying all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.calibration.thresholds import best_threshold, fit_threshold

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.2, 0.3, 0.5]), st.sampled_from([-1.0, 0.0, 1.0])),
    min_size=1,
    max_size=12,
)


@given(ROWS)
def test_no_threshold_does_better_than_the_best(rows: list[tuple[float, float]]) -> None:
    scores, worths = np.array(rows).T

    def gained(threshold: float) -> float:
        return float(worths[scores < threshold].sum())

    found = best_threshold(scores, worths)
    assert gained(found) == max(gained(one) for one in (-1.0, 0.05, 0.15, 0.25, 0.4, 1.0))


@pytest.mark.parametrize(
    ("scores", "worths", "threshold"),
    [
        # Between the prompts that are to be rejected and those that are not.
        ([0.1, 0.2, 0.6, 0.8], [1, 1, -1, -1], 0.4),
        # In the middle of where all are as good.
        ([0.1, 0.2, 0.4, 0.6, 0.8], [1, 1, 0, -1, -1], 0.4),
        # Beyond all scores.
        ([0.1, 0.2], [-1, -1], 0.099),
        ([0.1, 0.2], [1, 1], 0.201),
    ],
)
def test_thresholds_by_table(scores: list[float], worths: list[float], threshold: float) -> None:
    assert best_threshold(np.array(scores), np.array(worths, dtype=float)) == pytest.approx(
        threshold
    )


def test_a_fit_repeats_itself_and_says_how_sure_it_is() -> None:
    chance = np.random.default_rng(5)
    inside, outside = chance.normal(0.6, 0.1, 300), chance.normal(0.3, 0.1, 100)
    scores = np.concatenate([inside, outside])
    worths = np.concatenate([-np.ones(300), np.ones(100)])
    first, second = fit_threshold(scores, worths), fit_threshold(scores, worths)
    assert first == second
    assert first.low < first.value < first.high
    # Where the two densities, weighted by their counts, cross.
    assert first.value == pytest.approx(0.413, abs=0.04)
