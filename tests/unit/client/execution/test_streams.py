"""Streamed answers: other models only before the first piece, and never a clean end when cut."""

from __future__ import annotations

import pytest
from tests.unit.client.execution.world import (
    ANSWER_COST,
    END,
    PING,
    World,
    alternate,
    escalation,
    fails,
    first,
    model,
    says,
    streams,
)

from tierwise.answers import FinishReason, TextDelta
from tierwise.error_class import ErrorClass
from tierwise.execution.breaker import FAILURES_TO_OPEN
from tierwise.settings import ClientSettings

BROKEN = ErrorClass.CONNECTION


def ladder(**fields: object) -> World:
    world = World(**fields)  # type: ignore[arg-type]
    world.plans(
        first(model("one", "alpha"), retry_limits={}),
        alternate(model("two", "beta")),
        escalation(model("three", "gamma")),
    )
    world.will("two", streams("from ", "two", END))
    return world


def test_a_stream_is_handed_over_piece_by_piece_and_ends_with_the_whole() -> None:
    world = ladder()
    world.will("one", streams("Hel", 2.0, "lo", END, took_s=0.5))
    response = world.chat(stream=True)
    assert world.emitted == [TextDelta("Hel"), TextDelta("lo")]
    assert (response.text, response.finish_reason) == ("Hello", FinishReason.STOP)
    assert response.cost_nano_usd == ANSWER_COST
    assert response.attempts[0].first_token_s == 0.5
    assert not response.attempts[0].partial
    assert world.log == [
        "ask", "call one", "read", "emit", "read", "emit", "read", "read", "read", "close"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "pieces", [(), (PING,), (PING, BROKEN), (END,), (BROKEN,)], ids=["none", "ping", "b", "e", "f"]
)
def test_before_the_first_piece_another_model_may_answer(pieces: tuple[object, ...]) -> None:
    world = ladder()
    world.will("one", streams(*pieces))
    response = world.chat(stream=True)
    assert response.text == "from two"
    assert world.emitted == [TextDelta("from "), TextDelta("two")]
    assert [one.partial for one in response.attempts] == [False, False]
    assert response.attempts[0].first_token_s is None


def test_the_broken_stream_is_closed_before_the_next_call() -> None:
    world = ladder()
    world.will("one", streams(PING, BROKEN))
    world.chat(stream=True)
    assert world.log[:6] == ["ask", "call one", "read", "read", "close", "call two"]


@pytest.mark.parametrize(
    ("rest", "error_class"),
    [
        ((), ErrorClass.CONNECTION),
        ((BROKEN,), ErrorClass.CONNECTION),
        ((ErrorClass.OVERLOADED,), ErrorClass.OVERLOADED),
        ((ErrorClass.RATE_LIMITED,), ErrorClass.RATE_LIMITED),
        ((31.0, PING), ErrorClass.TIMEOUT),
    ],
    ids=["cut", "broken", "overloaded", "rate", "stalled"],
)
def test_after_the_first_piece_no_model_is_called_any_more(
    rest: tuple[object, ...], error_class: ErrorClass
) -> None:
    world = ladder()
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", streams("Hel", "lo", *rest))
    error = world.failed_chat(stream=True)
    assert world.called == ["one"]
    assert world.slept == []
    assert error.error_class is error_class
    assert error.partial is not None
    assert (error.partial.text, error.partial.finish_reason) == ("Hello", None)
    assert error.attempts[0].partial
    assert world.outcomes[0].attempts[0].partial
    assert world.log[-1] == "close"
    assert [event.next_model_id for event in world.attempts] == [""]


def test_an_empty_stream_before_the_first_piece_is_retried_as_malformed() -> None:
    world = World()
    world.plans(first(model("one")))
    world.will("one", streams(PING, END), streams("at last", END))
    assert world.chat(stream=True).text == "at last"
    assert world.called == ["one", "one"]


def test_signs_of_life_alone_time_out() -> None:
    world = World()
    world.plans(first(model("one"), call_timeout_s=10.0, retry_limits={}))
    pings = [thing for _ in range(20) for thing in (PING, 1.0)]
    world.will("one", streams("Hel", *pings, "lo", END))
    error = world.failed_chat(stream=True)
    assert error.error_class is ErrorClass.TIMEOUT
    assert world.now == 1010.0


@pytest.mark.parametrize("pause", [(20.0,), (PING, 2.0) * 10], ids=["silence", "pings"])
def test_the_first_piece_must_come_within_the_chats_deadline(pause: tuple[object, ...]) -> None:
    world = World(settings=ClientSettings(chat_timeout_s=12.0))
    world.plans(first(model("one"), call_timeout_s=30.0))
    world.will("one", streams(*pause, "late", END, took_s=4.0))
    error = world.failed_chat(stream=True)
    assert (error.error_class, error.partial) == (ErrorClass.TIMEOUT, None)
    assert world.now == 1012.0
    assert world.called == ["one"]


def test_pieces_that_keep_coming_are_read_beyond_the_time_limit_of_a_call() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=20.0))
    world.plans(first(model("one"), call_timeout_s=10.0))
    world.will("one", streams(*(thing for _ in range(30) for thing in ("x", 9.0)), END))
    assert world.chat(stream=True).text == "x" * 30


def test_a_slow_reader_is_no_stall() -> None:
    world = World()
    world.plans(first(model("one"), call_timeout_s=10.0))
    world.will("one", streams("Hel", "lo", END))
    script_events = world.emitted

    class Slow(list):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            world.now += 100.0
            super().append(item)

    world.emitted = Slow(script_events)
    assert world.chat(stream=True).text == "Hello"


def test_a_refusal_in_the_stream_is_final_even_before_the_first_piece() -> None:
    world = ladder()
    world.will("one", streams(ErrorClass.CONTENT_POLICY))
    error = world.failed_chat(stream=True)
    assert (error.error_class, world.called) == (ErrorClass.CONTENT_POLICY, ["one"])


def test_a_reply_that_is_no_stream_is_a_failure() -> None:
    world = ladder()
    world.will("one", says("whole"))
    response = world.chat(stream=True)
    assert response.text == "from two"
    assert response.attempts[0].error_class is ErrorClass.MALFORMED_RESPONSE


def test_a_stream_that_can_not_be_opened_leads_on() -> None:
    world = ladder()
    world.will("one", fails(ErrorClass.OVERLOADED))
    assert world.chat(stream=True).text == "from two"


def test_broken_streams_open_the_breaker() -> None:
    world = ladder()
    world.will("one", streams("Hel", BROKEN))
    for _ in range(FAILURES_TO_OPEN):
        world.failed_chat(stream=True)
    assert world.chat(stream=True).text == "from two"


def test_usage_that_came_before_the_break_is_paid_for() -> None:
    world = ladder()
    world.will("one", streams("Hel", END, BROKEN))
    error = world.failed_chat(stream=True)
    assert error.attempts[0].cost_nano_usd == ANSWER_COST
    world.will("one", streams("Hel", BROKEN))
    assert world.failed_chat(stream=True).attempts[0].cost_nano_usd is None
