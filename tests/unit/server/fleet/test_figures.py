"""Windows and steps: robust, bounded, and calm."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.fleet.figures import (
    LATENCY_STEP,
    OLDEST_S,
    MinuteRate,
    stepped_headroom,
    stepped_latency,
    stepped_usage,
    typical_latency,
)


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=99).filter(lambda one: len(one) % 2))
def test_the_typical_latency_of_equally_old_calls_is_their_median(seconds: list[float]) -> None:
    assert typical_latency([(5.0, one) for one in seconds], 10.0) == statistics.median(seconds)


def test_the_typical_latency_follows_what_is_new_and_no_outlier() -> None:
    old = [(0.0, 9.0)] * 10
    new = [(600.0, 1.0)] * 3
    assert typical_latency(old + new, 600.0) == 1.0
    assert typical_latency([*old, (0.0, 500.0), (0.0, 0.001)], 1.0) == 9.0
    assert typical_latency(old, OLDEST_S + 1) is None
    assert typical_latency(old[:2], 0.0) is None


@given(st.floats(0.01, 600), st.floats(0.96, 1.04))
def test_a_latency_that_hardly_moves_keeps_its_step(latency_s: float, factor: float) -> None:
    first = stepped_latency(latency_s, None)
    assert first is not None
    assert first == pytest.approx(latency_s, rel=LATENCY_STEP - 1)
    assert stepped_latency(latency_s * factor, first) == first
    assert stepped_latency(latency_s * 2, first) > first
    assert stepped_latency(None, first) is None


@given(st.floats(0, 1), st.floats(-0.02, 0.02))
def test_a_use_that_hardly_moves_keeps_its_level(share: float, change: float) -> None:
    level = stepped_usage(share, 8, 0)
    assert 0 <= level <= 8
    assert stepped_usage(share + change, 8, level) == level or abs(level + 0.5 - 8 * share) > 0.5


def test_the_use_of_limits_reaches_the_top_and_goes_back_to_nothing() -> None:
    assert stepped_usage(7.0, 8, 0) == 8
    assert stepped_usage(0.0, 8, 8) == 0


@pytest.mark.parametrize(
    ("count", "expected"), [(None, None), (0, 0), (1, 1), (3, 2), (1000, 512), (1024, 1024)]
)
def test_headroom_is_never_overstated(count: int | None, expected: int | None) -> None:
    assert stepped_headroom(count) == expected


def test_a_steady_flow_has_its_rate_and_a_flow_that_ends_fades() -> None:
    rate = MinuteRate()
    for second in range(600):
        rate.add(5, float(second))
    assert rate.per_minute(599.0) == pytest.approx(300, rel=0.02)
    assert rate.per_minute(599.0 + 300) < 3
    # A clock that goes back makes nothing of it.
    assert rate.per_minute(0.0) == pytest.approx(300, rel=0.02)
