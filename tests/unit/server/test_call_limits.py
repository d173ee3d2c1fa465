from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.call_limits import MAX_CALLERS, CallControl, CallLimitReachedError
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.limits import EACH_CALLER, CallLimit

HERE = Location(file="limits.yaml", line=2)


class Clock:
    """Seconds, as a test sets them."""

    now_s = 100.0

    def __call__(self) -> float:
        """Returns them."""
        return self.now_s


def limit(
    caller: str = "", *, per_second: float | None = None, concurrent: int | None = None
) -> CallLimit:
    return CallLimit(caller=caller, per_second=per_second, concurrent=concurrent, location=HERE)


def control(*limits: CallLimit) -> tuple[CallControl, Clock]:
    clock = Clock()
    made = CallControl(clock=clock)
    made.use("default", limits)
    return made, clock


def passes(calls: CallControl, caller: str, prompts: int = 1) -> bool:
    try:
        with calls.entered("default", caller, prompts):
            return True
    except CallLimitReachedError:
        return False


def test_without_limits_everybody_passes() -> None:
    calls, _ = control()

    assert all(passes(calls, caller, 1000) for caller in ("", "a", EACH_CALLER))


def test_a_rate_lets_a_seconds_worth_pass_and_then_its_share_of_time() -> None:
    calls, clock = control(limit("a", per_second=5))

    assert [passes(calls, "a") for _ in range(6)] == [True] * 5 + [False]
    clock.now_s += 0.2
    assert [passes(calls, "a") for _ in range(2)] == [True, False]
    clock.now_s += 60
    assert [passes(calls, "a") for _ in range(6)] == [True] * 5 + [False]
    assert passes(calls, "b")


def test_a_refusal_says_when_to_come_back() -> None:
    calls, clock = control(limit("a", per_second=0.5))
    assert passes(calls, "a")

    with pytest.raises(CallLimitReachedError) as caught:
        calls.entered("default", "a")

    assert caught.value.retry_after_s == pytest.approx(2.0)
    assert "limits.yaml:2" in str(caught.value)
    clock.now_s += caught.value.retry_after_s
    assert passes(calls, "a")


def test_a_batch_beyond_a_seconds_worth_passes_and_is_waited_for() -> None:
    calls, clock = control(limit("a", per_second=10))

    assert passes(calls, "a", 100)
    clock.now_s += 8.9
    assert not passes(calls, "a")
    clock.now_s += 0.3
    assert passes(calls, "a")


def test_calls_at_a_time_end_with_the_call_however_it_ends() -> None:
    calls, _ = control(limit("a", concurrent=2))
    with calls.entered("default", "a"), contextlib.suppress(ArithmeticError):
        with calls.entered("default", "a"):
            assert not passes(calls, "a")
            raise ArithmeticError
        raise AssertionError
    assert passes(calls, "a")


def test_each_caller_has_a_limit_by_itself_and_all_have_one_together() -> None:
    calls, _ = control(
        limit(EACH_CALLER, per_second=2), limit("big", per_second=4), limit(per_second=9)
    )

    assert [passes(calls, "a") for _ in range(3)] == [True, True, False]
    assert [passes(calls, "b") for _ in range(3)] == [True, True, False]
    assert [passes(calls, "big") for _ in range(5)] == [True] * 4 + [False]
    # Eight have passed, so one is left to all of them.
    assert [passes(calls, "c") for _ in range(2)] == [True, False]


def test_what_is_refused_by_one_limit_uses_up_none_of_another() -> None:
    calls, clock = control(limit("a", per_second=1), limit(per_second=3))
    assert [passes(calls, "a") for _ in range(10)] == [True] + [False] * 9
    assert [passes(calls, "b") for _ in range(3)] == [True, True, False]
    clock.now_s += 1
    assert passes(calls, "a")


def test_a_reload_keeps_what_is_in_use() -> None:
    calls, _ = control(limit("a", concurrent=1))
    with calls.entered("default", "a"):
        calls.use("default", [limit("a", concurrent=2)])
        assert passes(calls, "a")
        calls.use("default", [limit("a", concurrent=1)])
        assert not passes(calls, "a")
        calls.use("default", [])
        assert passes(calls, "a")
    calls.use("default", [limit("a", concurrent=1)])
    assert passes(calls, "a")


def test_catalogs_have_limits_of_their_own() -> None:
    calls, _ = control(limit("a", per_second=1))
    assert passes(calls, "a")
    assert not passes(calls, "a")
    with calls.entered("other", "a"):
        pass


def test_any_number_of_names_takes_bounded_memory() -> None:
    calls, _ = control(limit(EACH_CALLER, per_second=1))
    for number in range(MAX_CALLERS + 500):
        assert passes(calls, f"caller-{number}")

    assert len(calls._each) == MAX_CALLERS


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=60))
def test_the_average_holds_whatever_is_sent(steps: list[tuple[float, int]]) -> None:
    calls, clock = control(limit("a", per_second=10))
    passed = 0
    for wait_s, prompts in steps:
        clock.now_s += wait_s
        passed += prompts * passes(calls, "a", prompts)
    # A second's worth at once, and the debt of the last batch.
    assert passed <= 10 * (clock.now_s - 100.0) + 10 + 4.001
