"""Exact bounds: against known values, and against what they promise."""

from __future__ import annotations

import math

import pytest

from tierwise_server.calibration.bounds import (
    chance_of_at_most,
    is_at_most,
    labels_needed,
    lower_bound,
    upper_bound,
)


@pytest.mark.parametrize(
    ("hits", "trials", "level", "bound"),
    [
        # Without hits the bound has a closed form: 1 - (1 - level)^(1 / n).
        (0, 149, 0.95, 1 - 0.05 ** (1 / 149)),
        (0, 10, 0.9, 1 - 0.1**0.1),
        # Upper ends of two-sided 95 % intervals from statistical tables.
        (1, 10, 0.975, 0.44502),
        (5, 50, 0.975, 0.21814),
        (10, 10, 0.95, 1.0),
        (0, 0, 0.95, 1.0),
    ],
)
def test_upper_bounds_are_those_of_the_tables(
    hits: int, trials: int, level: float, bound: float
) -> None:
    assert upper_bound(hits, trials, level) == pytest.approx(bound, abs=1e-5)
    assert lower_bound(trials - hits, trials, level) == pytest.approx(1 - bound, abs=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.02, 0.2, 0.5, 0.93])
@pytest.mark.parametrize("trials", [1, 7, 60, 300])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_true_share_lies_beyond_the_bound_as_seldom_as_promised(
    share: float, trials: int, level: float
) -> None:
    chances = [
        math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)
        for hits in range(trials + 1)
    ]
    missed = sum(
        chance for hits, chance in enumerate(chances) if upper_bound(hits, trials, level) < share
    )
    assert missed <= 1 - level + 1e-9


def test_chances_add_up_like_those_of_single_counts() -> None:
    for hits in range(-1, 13):
        exact = sum(math.comb(12, k) * 0.3**k * 0.7 ** (12 - k) for k in range(hits + 1))
        assert chance_of_at_most(hits, 12, 0.3) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    ("limit", "level", "rate", "needed"),
    [(0.02, 0.95, 0.0, 149), (0.05, 0.95, 0.0, 59), (0.5, 0.9, 0.0, 4), (0.02, 0.95, 0.02, None)],
)
def test_the_labels_needed_are_the_fewest_that_do(
    limit: float, level: float, rate: float, needed: int | None
) -> None:
    assert labels_needed(limit, level, rate) == needed
    if needed is not None:
        assert is_at_most(0, needed, limit, level)
        assert not is_at_most(0, needed - 1, limit, level)
