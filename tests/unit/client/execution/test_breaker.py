"""Which models rest, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.error_class import ErrorClass
from tierwise.execution.breaker import FAILURES_TO_OPEN, LONGEST_REST_S, REST_S, Breakers

BUSY = ErrorClass.OVERLOADED
IN_THE_REQUEST = {
    ErrorClass.CONTENT_POLICY,
    ErrorClass.INVALID_REQUEST,
    ErrorClass.CONTEXT_TOO_LONG,
    ErrorClass.REJECTED_BY_VALIDATOR,
    ErrorClass.CANCELLED,
}


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock)


def opened(breakers: Breakers) -> None:
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed("m", BUSY)


def test_two_failures_in_a_row_rest_a_model_for_a_minute(breakers: Breakers, clock: Clock) -> None:
    assert (FAILURES_TO_OPEN, REST_S) == (2, 60.0)
    breakers.failed("m", BUSY)
    assert breakers.resting("m") is None
    assert breakers.rest_left_s("m") == 0
    breakers.failed("m", BUSY)
    assert breakers.resting("m") is BUSY
    assert breakers.resting("another") is None
    clock.now += 59.9
    assert breakers.resting("m") is BUSY
    assert breakers.rest_left_s("m") == pytest.approx(0.1)
    clock.now += 0.1
    assert breakers.resting("m") is None


def test_a_success_between_failures_starts_the_count_anew(breakers: Breakers) -> None:
    breakers.failed("m", BUSY)
    breakers.succeeded("m")
    breakers.failed("m", BUSY)
    assert breakers.resting("m") is None


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_only_failures_that_the_next_call_would_meet_too_are_counted(
    breakers: Breakers, error_class: ErrorClass
) -> None:
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed("m", error_class, 10.0)
    rests = error_class not in IN_THE_REQUEST
    assert breakers.resting("m") is (error_class if rests else None)


def test_one_probe_is_let_through_and_its_success_closes(breakers: Breakers, clock: Clock) -> None:
    opened(breakers)
    clock.now += REST_S
    assert breakers.resting("m") is None
    assert breakers.resting("m") is BUSY
    breakers.succeeded("m")
    assert breakers.resting("m") is None
    assert breakers.resting("m") is None


def test_a_probe_that_fails_opens_again_at_once(breakers: Breakers, clock: Clock) -> None:
    opened(breakers)
    clock.now += REST_S
    assert breakers.resting("m") is None
    breakers.failed("m", ErrorClass.TIMEOUT)
    assert breakers.resting("m") is ErrorClass.TIMEOUT
    assert breakers.rest_left_s("m") == REST_S


def test_a_probe_that_is_never_heard_of_again_does_not_rest_a_model_for_ever(
    breakers: Breakers, clock: Clock
) -> None:
    opened(breakers)
    clock.now += REST_S
    assert breakers.resting("m") is None
    clock.now += REST_S
    assert breakers.resting("m") is None


def test_a_probe_that_showed_nothing_makes_room_for_the_next(
    breakers: Breakers, clock: Clock
) -> None:
    opened(breakers)
    clock.now += REST_S
    assert breakers.resting("m") is None
    breakers.undecided("m")
    assert breakers.resting("m") is None
    assert breakers.resting("m") is BUSY
    breakers.failed("m", ErrorClass.INVALID_REQUEST)
    assert breakers.resting("m") is None
    breakers.undecided("another")
    assert breakers.resting("another") is None


def test_an_answer_that_was_rejected_is_an_answer(breakers: Breakers, clock: Clock) -> None:
    opened(breakers)
    clock.now += REST_S
    assert breakers.resting("m") is None
    breakers.failed("m", ErrorClass.REJECTED_BY_VALIDATOR)
    assert breakers.resting("m") is None
    assert breakers.resting("m") is None


def test_what_the_provider_asks_rests_at_once_and_as_long(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("m", ErrorClass.RATE_LIMITED, 5.0)
    assert breakers.resting("m") is ErrorClass.RATE_LIMITED
    clock.now += 5.0
    assert breakers.resting("m") is None
    breakers.failed("m", ErrorClass.RATE_LIMITED, 300.0)
    assert breakers.rest_left_s("m") == 300.0


@pytest.mark.parametrize("asked", [LONGEST_REST_S + 1, 1e300, float("inf")])
def test_no_model_rests_for_longer_than_the_longest_rest(breakers: Breakers, asked: float) -> None:
    breakers.failed("m", ErrorClass.RATE_LIMITED, asked)
    assert breakers.rest_left_s("m") == LONGEST_REST_S


def test_a_failure_of_another_chat_never_shortens_what_the_provider_asked(
    breakers: Breakers,
) -> None:
    breakers.failed("m", ErrorClass.RATE_LIMITED, 300.0)
    breakers.failed("m", BUSY)
    assert breakers.rest_left_s("m") == 300.0


def test_a_wait_of_nothing_rests_nothing(breakers: Breakers) -> None:
    breakers.failed("m", BUSY, 0.0)
    assert breakers.resting("m") is None


events = st.lists(
    st.one_of(
        st.tuples(st.just("failed"), st.sampled_from(sorted(set(ErrorClass) - IN_THE_REQUEST))),
        st.tuples(st.just("wrong"), st.sampled_from(sorted(IN_THE_REQUEST))),
        st.tuples(st.just("succeeded"), st.none()),
        st.tuples(st.just("passes"), st.integers(0, 100)),
    ),
    max_size=30,
)


@given(events)
def test_a_model_rests_only_after_failures_in_a_row_and_never_for_more_than_a_minute(
    events: list[tuple[str, object]],
) -> None:
    clock = Clock()
    breakers = Breakers(clock)
    in_a_row = 0
    last_failure = -1000.0
    for kind, value in events:
        if kind == "passes":
            assert isinstance(value, int)
            clock.now += value
        elif kind == "succeeded":
            breakers.succeeded("m")
            in_a_row = 0
        else:
            assert isinstance(value, ErrorClass)
            breakers.failed("m", value)
            if kind == "failed":
                in_a_row += 1
                last_failure = clock.now
            elif value is ErrorClass.REJECTED_BY_VALIDATOR:
                in_a_row = 0
        resting = breakers.resting("m")
        due = in_a_row >= FAILURES_TO_OPEN and clock.now < last_failure + REST_S
        if due or in_a_row < FAILURES_TO_OPEN:
            assert (resting is not None) is due
        breakers.undecided("m")
        assert breakers.rest_left_s("m") <= REST_S
