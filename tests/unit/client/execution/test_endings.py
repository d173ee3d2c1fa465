"""However a chat ends, its outcome is reported once, with all that was paid for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.client.execution.world import (
    ANSWER_COST,
    END,
    PING,
    Interrupted,
    Reply,
    World,
    alternate,
    escalation,
    fails,
    first,
    model,
    says,
    streams,
)

from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError
from tierwise.execution.breaker import REST_S
from tierwise.validators import custom, matches

MODELS = ("one", "two", "three")

whole_replies = st.lists(
    st.one_of(
        st.sampled_from((says("good"), says("bad"))), st.builds(fails, st.sampled_from(ErrorClass))
    ),
    min_size=1,
    max_size=3,
)
stream_replies = st.lists(
    st.one_of(
        st.sampled_from(
            (
                streams("go", "od", END),
                streams(PING, ErrorClass.CONNECTION),
                streams(PING),
                streams("ba", ErrorClass.TIMEOUT),
                streams("ba"),
            )
        ),
        st.builds(fails, st.sampled_from(ErrorClass)),
    ),
    min_size=1,
    max_size=3,
)


def world_of(replies: list[list[Reply]]) -> World:
    world = World()
    world.plans(
        first(model("one", "alpha")),
        alternate(model("two", "beta")),
        escalation(model("three", "gamma")),
    )
    for name, does in zip(MODELS, replies, strict=True):
        world.will(name, *does)
    return world


def chat_of(world: World, *, stream: bool, place: int | None, error: BaseException | None) -> str:
    """Has a chat end, of itself or where the caller gives up; returns which of the two."""
    checks = [] if stream else [matches("good"), custom("fine", lambda _: True)]
    try:
        world.chat(stream=stream, validators=checks, interrupt_at=place, interrupt_with=error)
    except ChatError:
        return "itself"
    except (Interrupted, KeyboardInterrupt):
        return "the caller"
    return "itself"


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_a_chat_that_called_a_model_is_reported_once_wherever_it_ends(
    data: st.DataObject, stream: bool, closed: bool
) -> None:
    """The caller gives up at each place in turn, by closing the script or by an interrupt."""
    replies = data.draw(
        st.lists(stream_replies if stream else whole_replies, min_size=3, max_size=3)
    )
    whole = world_of(replies)
    assert chat_of(whole, stream=stream, place=None, error=None) == "itself"
    assert len(whole.outcomes) == len(whole.ends) == 1
    for place in range(1, whole.effects + 1):
        world = world_of(replies)
        error = None if closed else KeyboardInterrupt()
        assert chat_of(world, stream=stream, place=place, error=error) == "the caller"
        called = len(world.called)
        # The call at which the caller gives up is not logged; it may have been sent all the same.
        assert len(world.outcomes) == len(world.ends) <= 1
        assert called == 0 or len(world.outcomes) == 1
        attempts = world.outcomes[0].attempts if world.outcomes else ()
        assert called <= len(attempts) <= called + 1
        assert [event.attempt for event in world.attempts] == list(attempts)
        before = whole.outcomes[0].attempts
        for now, then in zip(attempts[:-1], before, strict=False):
            assert (now.model_id, now.error_class) == (then.model_id, then.error_class)
        assert all(one.error_class is not None for one in attempts)


def test_a_caller_who_gives_up_before_any_call_leaves_nothing_to_report() -> None:
    world = world_of([[says("good")]] * 3)
    with pytest.raises(Interrupted):
        world.chat(interrupt_at=1)
    assert (world.outcomes, world.ends) == ([], [])


def test_a_call_given_up_is_reported_as_cancelled_and_leads_nowhere() -> None:
    world = world_of([[says("good")]] * 3)
    with pytest.raises(Interrupted):
        world.chat(interrupt_at=2)
    (attempt,) = world.outcomes[0].attempts
    assert attempt.error_class is ErrorClass.CANCELLED
    assert attempt.cost_nano_usd is None, "it may be billed"
    assert world.attempts[0].next_model_id == ""


def test_a_stream_left_early_is_reported_with_what_was_received() -> None:
    world = world_of([[streams("Hel", "lo", END)]] * 3)
    with pytest.raises(Interrupted):
        world.chat(stream=True, interrupt_at=6)
    (attempt,) = world.outcomes[0].attempts
    assert (attempt.error_class, attempt.partial) == (ErrorClass.CANCELLED, True)


@pytest.mark.parametrize("place", range(5, 9))
def test_a_stream_left_when_its_usage_was_read_is_paid_for(place: int) -> None:
    """At the reads around it, and when the connection is closed after the end or a failure."""
    for last in ((), (ErrorClass.CONNECTION,)):
        world = world_of([[streams("Hello", END, *last)]] * 3)
        with pytest.raises(Interrupted):
            world.chat(stream=True, interrupt_at=place)
        (attempt,) = world.outcomes[0].attempts
        assert attempt.cost_nano_usd == (ANSWER_COST if place > 5 else None)


def test_an_answer_whose_checks_were_given_up_is_paid_for_and_the_one_before_once() -> None:
    world = world_of([[says("bad")], [says("never")], [says("good")]])
    checks = [matches("good")]
    # ask, call, check, call, check
    with pytest.raises(Interrupted):
        world.chat(validators=checks, interrupt_at=5)
    assert [one.cost_nano_usd for one in world.outcomes[0].attempts] == [ANSWER_COST] * 2
    world = world_of([[says("bad")], [says("never")], [says("good")]])
    with pytest.raises(Interrupted):
        world.chat(validators=checks, interrupt_at=4)
    rejected, cancelled = world.outcomes[0].attempts
    assert (rejected.cost_nano_usd, cancelled.cost_nano_usd) == (ANSWER_COST, None)


@settings(max_examples=40, deadline=None)
@given(st.lists(whole_replies, min_size=3, max_size=3), st.integers(1, 12))
def test_a_caller_who_gives_up_closes_no_way_for_later_chats(
    replies: list[list[Reply]], place: int
) -> None:
    world = world_of(replies)
    chat_of(world, stream=False, place=place, error=None)
    for name in MODELS:
        world.will(name, says("good"))
    world.now += REST_S
    assert world.chat().model_id == "one"
    assert world.chat().model_id == "one"
