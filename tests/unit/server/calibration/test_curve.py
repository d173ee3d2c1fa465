"""The confidence curve: it never falls, and finds the curve that made the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.calibration.curve import fit_curve
from tierwise_server.calibration.reliability import (
    Flags,
    Floats,
    calibration_error,
    coverage_at,
    risk_coverage,
)
from tierwise_server.catalog.calibration import ConfidenceCurve

TRUE = ConfidenceCurve(intercept=-2.0, score=6.0, margin=3.0, similarity=1.0)


def drawn(seed: int, count: int) -> tuple[Floats, Flags]:
    """Returns matches and whether each is right, by the true curve."""
    chance = np.random.default_rng(seed)
    matches = chance.uniform(0.0, 1.0, (count, 3))
    truth = np.array([TRUE.at(*row) for row in matches.tolist()])
    return matches, chance.random(count) < truth


def test_the_curve_that_made_the_data_is_found() -> None:
    curve = fit_curve(*drawn(1, 20_000))
    assert curve.intercept == pytest.approx(TRUE.intercept, abs=0.3)
    assert curve.score == pytest.approx(TRUE.score, abs=0.5)
    assert curve.margin == pytest.approx(TRUE.margin, abs=0.4)
    assert curve.similarity == pytest.approx(TRUE.similarity, abs=0.4)
    fresh, right = drawn(2, 20_000)
    confidences = np.array([curve.at(*row) for row in fresh.tolist()])
    error = calibration_error(confidences, right)
    assert error is not None
    assert error < 0.015


@given(seed=st.integers(0, 1000), count=st.integers(30, 200), sign=st.sampled_from([-1.0, 1.0]))
def test_a_better_match_never_has_less_confidence(seed: int, count: int, sign: float) -> None:
    matches, right = drawn(seed, count)
    # With the sign turned, the data says the opposite; the curve must not follow it.
    right = right if sign > 0 else ~right
    right[:2] = (True, False)
    curve = fit_curve(matches, right)
    assert min(curve.score, curve.margin, curve.similarity) >= 0.0
    low, high = curve.at(0.1, 0.1, 0.1), curve.at(0.9, 0.9, 0.9)
    assert 0.0 <= low <= high <= 1.0


def test_few_errors_leave_one_weight_only() -> None:
    matches, right = drawn(3, 200)
    right[:] = True
    right[:12] = False
    matches[:12, 0] = 0.0
    curve = fit_curve(matches, right)
    assert curve.score > 0.0
    assert (curve.margin, curve.similarity) == (0.0, 0.0)


@pytest.mark.parametrize("same", [True, False])
def test_one_class_is_refused(same: bool) -> None:
    matches, right = drawn(4, 50)
    right[:] = same
    with pytest.raises(ValueError, match="right and matches that are wrong"):
        fit_curve(matches, right)


def test_extreme_matches_have_a_confidence() -> None:
    steep = ConfidenceCurve(intercept=-1e5, score=1e5, margin=0.0, similarity=0.0)
    assert steep.at(-10.0, 0.0, 0.0) == pytest.approx(0.0, abs=1e-300)
    assert steep.at(10.0, 0.0, 0.0) == 1.0


def test_figures_of_a_table_counted_by_hand() -> None:
    confidences = np.array([0.95, 0.95, 0.85, 0.6, 0.6, 0.1])
    right = np.array([True, True, True, False, True, False])
    # Bins of 1/15: |0.1 + 0.15 ...| by hand: 2*0.05 + 0.15 + |1.2 - 1| + 0.1.
    assert calibration_error(confidences, right) == pytest.approx((0.1 + 0.15 + 0.2 + 0.1) / 6)
    assert coverage_at(confidences, right, 1.0) == pytest.approx(3 / 6)
    # The two at 0.6 are decided together.
    assert coverage_at(confidences, right, 0.8) == pytest.approx(5 / 6)
    assert coverage_at(confidences, right, 0.8, total=10) == pytest.approx(5 / 10)
    points = risk_coverage(confidences, right, (0.5, 1.0))
    assert [(one.coverage, one.confidence, one.risk) for one in points] == [
        (0.5, 0.85, 0.0),
        (1.0, 0.1, pytest.approx(1 / 3)),
    ]
    assert all(one.risk_bound > one.risk for one in points)


def test_nothing_has_no_figures() -> None:
    nothing, none_right = np.zeros(0), np.zeros(0, dtype=np.bool_)
    assert calibration_error(nothing, none_right) is None
    assert risk_coverage(nothing, none_right) == []
    assert coverage_at(nothing, none_right, 0.9) == 0.0
