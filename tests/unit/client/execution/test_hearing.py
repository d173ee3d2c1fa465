"""The caller's hooks hear of each attempt and each outcome, once."""

from __future__ import annotations

import pytest
from tests.unit.client.execution.world import (
    ANSWER_COST,
    World,
    fails,
    first,
    ladder,
    model,
    says,
)

from tierwise.error_class import ErrorClass
from tierwise.hooks import AttemptEvent, Hooks, OutcomeEvent
from tierwise.settings import ClientSettings

RATE, QUOTA = ErrorClass.RATE_LIMITED, ErrorClass.QUOTA_EXHAUSTED


def test_hooks_hear_of_each_attempt_once_with_the_model_that_is_called_next() -> None:
    world = ladder()
    world.will("one", fails(RATE), fails(QUOTA))
    world.will("two", fails(ErrorClass.AUTHENTICATION))
    world.failed_chat()
    assert [(event.attempt.model_id, event.next_model_id) for event in world.attempts] == [
        ("one", "one"),
        ("one", "two"),
        ("two", ""),
    ]
    world.attempts.clear()
    world.will("one", says("hello"))
    world.chat()
    assert [(event.attempt.model_id, event.next_model_id) for event in world.attempts] == [
        ("one", "")
    ]


def test_hooks_hear_of_the_outcome_once() -> None:
    world = ladder()
    world.will("one", fails(QUOTA, took_s=1.0))
    world.will("two", says("hello", took_s=2.0))
    world.chat()
    (end,) = world.ends
    assert (end.first_model_id, end.last_model_id, end.error_class) == ("one", "two", None)
    assert (end.cost_nano_usd, end.duration_s) == (ANSWER_COST, 3.0)
    assert end.attempts == world.outcomes[0].attempts


def test_hooks_that_raise_fail_no_chat(caplog: pytest.LogCaptureFixture) -> None:
    def attempt(_: AttemptEvent) -> None:
        raise ValueError("of the hook")

    def outcome(_: OutcomeEvent) -> None:
        raise ValueError("of the hook")

    world = World(settings=ClientSettings(hooks=Hooks(on_attempt=attempt, on_outcome=outcome)))
    world.plans(first(model("one")))
    world.will("one", says("hello"))
    assert world.chat().text == "hello"
    assert len(caplog.records) == 2
