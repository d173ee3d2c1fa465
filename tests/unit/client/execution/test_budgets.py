"""What failures may cost: the limit on one chat, and the share of chats that may escalate."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.client.execution.world import (
    ANSWER_COST,
    ESCALATION,
    World,
    alternate,
    escalation,
    fails,
    first,
    model,
    says,
)

from tierwise.budget import Budget
from tierwise.decisions import PlanStep, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, InvalidRequestError
from tierwise.execution.breaker import FAILURES_TO_OPEN, REST_S
from tierwise.execution.escalations import EscalationGuard
from tierwise.settings import ClientSettings
from tierwise.validators import custom

LATE = fails(ErrorClass.TIMEOUT, status_code=None)
"""A failure that may be billed, nobody knows how high."""


def world_with(**limits: object) -> World:
    return World(settings=ClientSettings(budget=Budget(**limits)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_cost_nano_usd", -1),
        ("escalation_share", -0.1),
        ("escalation_share", 1.1),
        ("escalation_share", math.nan),
        ("window_s", 0.0),
        ("window_s", math.nan),
        ("free_escalations", -1),
    ],
)
def test_limits_that_make_no_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^budget\.{field}: "):
        Budget(**{field: value})  # type: ignore[arg-type]


# The limit on one chat ---------------------------------------------------------------------------


def test_a_step_that_may_cost_more_than_what_is_left_is_not_taken() -> None:
    world = world_with(max_cost_nano_usd=ANSWER_COST + 999)
    world.plans(first(model("one")), escalation(model("two", "beta")))
    world.will("one", says("bad"))
    world.will("two", says("good"))
    never = custom("never", lambda answer: answer.text == "good")
    error = world.failed_chat(validators=[never])
    assert world.called == ["one"]
    assert "two: it would go beyond the budget of the chat" in str(error)
    world = world_with(max_cost_nano_usd=ANSWER_COST + 1000)
    world.plans(first(model("one")), escalation(model("two", "beta")))
    world.will("one", says("bad"))
    world.will("two", says("good"))
    assert world.chat(validators=[never]).text == "good"


def test_a_failure_that_may_be_billed_counts_as_estimated() -> None:
    world = world_with(max_cost_nano_usd=2999)
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", LATE)
    world.will("two", says("from two"))
    world.failed_chat()
    assert world.called == ["one", "one"]


def test_a_failure_that_is_certainly_free_counts_nothing() -> None:
    world = world_with(max_cost_nano_usd=1000)
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(ErrorClass.OVERLOADED))
    world.will("two", says("from two"))
    assert world.chat().text == "from two"
    assert world.called == ["one"] * 3 + ["two"]


def test_a_model_of_unknown_price_is_not_called_within_a_limit() -> None:
    world = world_with(max_cost_nano_usd=10**12)
    unpriced = model("one", price=None)
    world.plans(first(unpriced, estimated_cost_nano_usd=None), alternate(model("two", "beta")))
    world.will("two", says("from two"))
    assert world.chat().text == "from two"
    world.plans(first(unpriced, estimated_cost_nano_usd=None))
    assert "its price is unknown" in str(world.failed_chat())
    assert world.called == ["two"]


def test_a_limit_of_nothing_allows_what_costs_nothing() -> None:
    world = world_with(max_cost_nano_usd=0)
    world.plans(first(model("one")), alternate(model("free", "beta"), estimated_cost_nano_usd=0))
    world.will("free", says("from free"))
    assert world.chat().text == "from free"


replies = st.sampled_from(
    (LATE, fails(ErrorClass.OVERLOADED), fails(ErrorClass.MALFORMED_RESPONSE), says("bad"))
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(replies, min_size=1, max_size=3),
            st.sampled_from((StepKind.ALTERNATE, ESCALATION)),
            st.one_of(st.none(), st.integers(0, 40_000)),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 100_000),
)
def test_no_call_begins_whose_estimate_goes_beyond_what_is_left(
    steps: list[tuple[list[object], StepKind, int | None]], limit: int
) -> None:
    world = world_with(max_cost_nano_usd=limit)
    plan: list[PlanStep] = []
    for number, (does, kind, cost) in enumerate(steps):
        make = first if not plan else escalation if kind is ESCALATION else alternate
        plan.append(make(model(f"m{number}", f"{'alpha' if number % 2 else 'beta'}")))
        plan[-1] = replace(plan[-1], estimated_cost_nano_usd=cost)
        world.will(f"m{number}", *does)  # type: ignore[arg-type]
    world.plans(*plan)
    estimates = {step.model.model_id: step.estimated_cost_nano_usd for step in plan}
    error = world.failed_chat(validators=[custom("never", lambda _: False)])
    spent = 0
    for attempt in error.attempts:
        estimate = estimates[attempt.model_id]
        assert estimate is not None
        assert spent + estimate <= limit
        spent += estimate if attempt.cost_nano_usd is None else attempt.cost_nano_usd


# The share of chats that may escalate ------------------------------------------------------------


def always_failing(**limits: object) -> World:
    world = world_with(**limits)
    world.plans(first(model("low"), retry_limits={}), escalation(model("high", "beta")))
    world.will("low", fails(ErrorClass.SERVER_ERROR))
    world.will("high", says("from high"))
    return world


def escalates(world: World) -> bool:
    try:
        response = world.chat()
    except ChatError as error:
        assert "too many chats have escalated lately" in str(error)  # noqa: PT017 - either may be
        return False
    return response.model_id == "high"


def test_the_share_bounds_how_many_chats_go_up() -> None:
    world = always_failing(escalation_share=0.2, free_escalations=5)
    went_up = [escalates(world) for _ in range(50)]
    assert went_up[:6] == [True] * 5 + [False]
    assert sum(went_up) == 10


def test_without_a_share_all_may_go_up() -> None:
    world = always_failing(escalation_share=None, free_escalations=0)
    assert all(escalates(world) for _ in range(20))


def test_a_share_of_nothing_lets_none_go_up() -> None:
    world = always_failing(escalation_share=0.0, free_escalations=5)
    assert not any(escalates(world) for _ in range(20))


def test_a_chat_is_counted_once_however_many_escalations_it_tries() -> None:
    world = world_with(escalation_share=0.001, free_escalations=1)
    world.plans(
        first(model("low"), retry_limits={}),
        escalation(model("high", "beta"), retry_limits={}),
        escalation(model("higher", "gamma"), retry_limits={}),
    )
    world.will("low", fails(ErrorClass.SERVER_ERROR))
    world.will("high", fails(ErrorClass.SERVER_ERROR))
    world.will("higher", says("from higher"))
    assert world.chat().model_id == "higher"
    world.failed_chat()
    assert world.called[3:] == ["low"]


def test_an_alternate_is_no_escalation() -> None:
    world = world_with(escalation_share=0.0, free_escalations=0)
    world.plans(first(model("low")), alternate(model("beside", "beta")))
    world.will("low", fails(ErrorClass.SERVER_ERROR))
    world.will("beside", says("from beside"))
    assert world.chat().model_id == "beside"


def test_a_step_that_is_not_taken_uses_up_nothing() -> None:
    world = always_failing(escalation_share=0.001, free_escalations=3)
    world.will("high", fails(ErrorClass.SERVER_ERROR))
    for _ in range(FAILURES_TO_OPEN):
        world.failed_chat()
    # Now both rest: the way up is closed by the breaker, not taken.
    for _ in range(5):
        assert "high: it rests" in str(world.failed_chat())
    world.now += REST_S
    world.will("high", says("from high"))
    assert escalates(world)
    assert not escalates(world)


def test_a_probe_that_the_share_forbids_is_left_to_the_next_chat() -> None:
    world = always_failing(escalation_share=0.001, free_escalations=2, window_s=120.0)
    world.will("high", fails(ErrorClass.SERVER_ERROR))
    for _ in range(FAILURES_TO_OPEN):
        world.failed_chat()
    world.now += REST_S
    world.will("high", says("from high"))
    assert not escalates(world)
    assert world.session.breakers.resting("high") is None


def test_escalations_are_forgotten_with_their_window() -> None:
    world = always_failing(escalation_share=0.001, free_escalations=1, window_s=60.0)
    assert escalates(world)
    world.now += 58.0
    assert not escalates(world)
    world.now += 2.0
    assert escalates(world)


class Clock:
    """A clock that tests move."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


def test_nothing_is_left_of_a_window_however_long_ago_it_was() -> None:
    for passes in range(60, 200):
        clock = Clock(1000.0)
        guard = EscalationGuard(
            Budget(escalation_share=0.001, free_escalations=1, window_s=60.0), clock
        )
        assert guard.may_escalate()
        clock.now += passes
        assert guard.may_escalate()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.floats(0, 3), st.floats(0, 150)), st.booleans()), max_size=150),
    st.floats(0, 1),
    st.integers(0, 5),
    st.floats(0, 1e6),
)
def test_no_more_escalate_than_the_share_of_the_chats_in_the_window_or_the_free_ones(
    chats: list[tuple[float, bool]], share: float, free: int, start: float
) -> None:
    window = 60.0
    clock = Clock(start)
    budget = Budget(escalation_share=share, free_escalations=free, window_s=window)
    guard = EscalationGuard(budget, clock)
    begun: list[float] = []
    escalated: list[float] = []
    for passes, wants_up in chats:
        clock.now += passes
        guard.chat_begins()
        begun.append(clock.now)
        if not wants_up:
            continue
        # Counted in parts of a second each: the window is that long, or one part shorter.
        bucket = window / 60
        oldest = (int(clock.now / bucket) - 59) * bucket
        in_window = sum(1 for at in begun if int(at / bucket) * bucket >= oldest)
        went_up = sum(1 for at in escalated if int(at / bucket) * bucket >= oldest)
        allowed = share > 0 and went_up + 1 <= max(free, share * in_window)
        assert guard.may_escalate() is allowed
        if allowed:
            escalated.append(clock.now)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 5))
def test_a_provider_that_always_fails_sends_no_more_up_than_the_share(
    chats: int, share: float, free: int
) -> None:
    world = always_failing(escalation_share=share, free_escalations=free)
    went_up = 0
    for number in range(1, chats + 1):
        went_up += escalates(world)
        assert went_up <= max(free, share * number)
