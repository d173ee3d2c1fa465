"""When a model rests, who probes it, and what brings it back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.fleet.breaker import (
    ANSWERED,
    ANSWERS_TO_CLOSE,
    CLOSED,
    LONGEST_REST_S,
    MODEL_FAULTS,
    PATIENCE_S,
    PROBE_STEP_S,
    REST_S,
    TOP_PROBE_LEVEL,
    Breaker,
    Phase,
    answered,
    failed,
    is_failing,
    probe_level,
    rested,
)
from tierwise_server.planning.error_classes import ErrorClass

RESTING = failed(CLOSED, 0.0, 10.0, failing=True)
PROBING = rested(RESTING, 10.0 + REST_S)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], False),
        ([True, True], False),
        ([True, True, True], True),
        ([False] * 3 + [True] * 3, True),
        ([False] * 4 + [True] * 3, False),
        ([False] * 50, False),
    ],
)
def test_a_model_fails_when_half_of_its_last_calls_did(results: list[bool], expected: bool) -> None:
    assert is_failing(results) is expected


def test_only_what_lies_in_the_model_counts_against_it() -> None:
    neither = set(ErrorClass) - MODEL_FAULTS - ANSWERED
    assert neither == {
        ErrorClass.CONTENT_POLICY,
        ErrorClass.INVALID_REQUEST,
        ErrorClass.CANCELLED,
        ErrorClass.CONTEXT_TOO_LONG,
    }
    assert not MODEL_FAULTS & ANSWERED


def test_a_failing_model_rests_and_is_probed_by_more_and_more_plans() -> None:
    assert RESTING.phase is Phase.RESTING
    assert rested(RESTING, 10.0 + REST_S - 0.01) is RESTING
    assert probe_level(RESTING, 20.0) is None
    assert PROBING.phase is Phase.PROBING
    start = PROBING.since_s
    levels = [probe_level(PROBING, start + PROBE_STEP_S * step) for step in range(8)]
    assert levels == [0, 1, 2, 3, 4, 4, 4, 4]
    assert max(levels) == TOP_PROBE_LEVEL


def test_answers_to_probes_close_and_a_failure_rests_for_twice_as_long() -> None:
    breaker = PROBING
    for _ in range(ANSWERS_TO_CLOSE):
        assert breaker.phase is Phase.PROBING
        breaker = answered(breaker, PROBING.since_s + 1)
    assert breaker is CLOSED
    again = failed(PROBING, PROBING.since_s + 1, PROBING.since_s + 2, failing=False)
    assert (again.phase, again.rest_s) == (Phase.RESTING, 2 * REST_S)


def test_calls_that_were_planned_before_the_phase_change_nothing() -> None:
    before = PROBING.since_s - 0.001
    assert answered(PROBING, before) is PROBING
    assert failed(PROBING, before, PROBING.since_s + 5, failing=True) is PROBING
    assert failed(RESTING, 11.0, 12.0, failing=True) is RESTING


def test_a_model_that_nobody_calls_comes_back_by_itself() -> None:
    assert rested(PROBING, PROBING.since_s + PATIENCE_S) is CLOSED


@given(
    st.lists(
        st.tuples(st.floats(-50, 200), st.floats(0, 400), st.sampled_from(["answer", "fail"])),
        max_size=60,
    )
)
def test_no_model_is_out_for_longer_than_the_longest_rest_and_patience(
    events: list[tuple[float, float, str]],
) -> None:
    breaker, now = CLOSED, 0.0
    for step, age, kind in events:
        now += step  # a clock that goes back is no reason to stay away
        breaker = rested(breaker, now)
        if kind == "answer":
            breaker = answered(breaker, now - age)
        else:
            breaker = failed(breaker, now - age, now, failing=True)
        assert isinstance(breaker, Breaker)
        assert REST_S <= breaker.rest_s <= LONGEST_REST_S
    latest = max(now, breaker.since_s) + LONGEST_REST_S
    assert rested(rested(breaker, latest), latest + PATIENCE_S) is CLOSED
