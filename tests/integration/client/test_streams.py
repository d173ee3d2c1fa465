"""Streams over real connections: how long they may take, and what becomes of abandoned ones."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from tests.conftest import LIKE
from tests.integration.client.conftest import World

from tierwise import (
    AsyncClient,
    ChatError,
    Client,
    Delta,
    ErrorClass,
    Hooks,
    OutcomeEvent,
    RoutingOptions,
    TextDelta,
)
from tierwise.testing import CallEnding, Reply
from tierwise.validators import custom

KINDS = ["blocking", "asynchronous"]


async def text_of(world: World, kind: str, model: str, **limits: float) -> str:
    """Returns the text of a stream that is read to its end, by either client."""
    options = RoutingOptions(model=model)
    if kind == "blocking":
        with world.client(**limits) as client, client.chat_stream("hello", options) as stream:
            return "".join(delta.text for delta in stream if isinstance(delta, TextDelta))
    async with world.async_client(**limits) as other, other.chat_stream("hello", options) as pieces:
        return "".join([delta.text async for delta in pieces if isinstance(delta, TextDelta)])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_began_in_time_may_pause_for_longer_than_the_chat_has_left(
    world: World, kind: str
) -> None:
    reply = Reply.text("one two").in_pieces(4).slow(pause_s=2.5)
    world.providers.script("google", reply)
    text = await text_of(world, kind, "gemini-mid", chat_timeout_s=2.0, call_timeout_s=30.0)
    assert text == "one two"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_does_not_begin_within_the_deadline_is_ended(
    world: World, kind: str
) -> None:
    world.providers.script("openai", Reply.text("late").stalled(after_events=0, hold_s=600))
    with pytest.raises(ChatError) as caught:
        await text_of(world, kind, "gpt-small", chat_timeout_s=3.0, call_timeout_s=30.0)
    assert caught.value.error_class is ErrorClass.TIMEOUT
    assert caught.value.attempts[0].duration_s < 15.0, "it waited for the call's own limit"
    (call,) = world.providers.calls
    assert await asyncio.to_thread(call.wait, 20.0) is CallEnding.LEFT_BY_CLIENT


@pytest.mark.parametrize("kind", KINDS)
async def test_a_streamed_answer_that_is_rejected_is_an_error_and_goes_to_no_other_model(
    world: World, kind: str
) -> None:
    world.providers.script("openai", Reply.text("too long"))
    checks = [custom("short", lambda answer: len(answer.text) < 5)]
    pieces: list[Delta] = []
    if kind == "blocking":
        with (
            world.client() as client,
            client.chat_stream(LIKE["budget"], validators=checks) as stream,
            pytest.raises(ChatError) as caught,
        ):
            pieces.extend(stream)
    else:
        async with (
            world.async_client() as other,
            other.chat_stream(LIKE["budget"], validators=checks) as pieces_of,
        ):
            with pytest.raises(ChatError) as caught:
                await _extend(pieces, pieces_of)
    assert "".join(one.text for one in pieces if isinstance(one, TextDelta)) == "too long"
    assert caught.value.error_class is ErrorClass.REJECTED_BY_VALIDATOR
    assert caught.value.partial is not None
    assert caught.value.partial.text == "too long"
    assert caught.value.attempts[0].validator == "short"
    assert len(world.providers.calls) == 1


async def _extend(pieces: list[Delta], stream: AsyncIterator[Delta]) -> None:
    async for one in stream:
        pieces.append(one)


def abandoned(world: World, client: Client) -> None:
    """Begins a stream and lets go of it without closing it."""
    stream = client.chat_stream("hello", RoutingOptions(model="gpt-small"))
    next(stream)
    assert world.providers.open_connections


async def abandoned_async(world: World, client: AsyncClient) -> None:
    stream = client.chat_stream("hello", RoutingOptions(model="gpt-small"))
    await anext(stream)
    assert world.providers.open_connections


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_nobody_holds_any_more_is_closed_and_reported(
    world: World, kind: str
) -> None:
    world.providers.script("openai", Reply.text("word " * 5000).slow(pause_s=0.01))
    outcomes: list[OutcomeEvent] = []
    hooks = Hooks(on_outcome=outcomes.append)
    with world.client(hooks=hooks) as client:
        async with world.async_client(hooks=hooks) as other:
            if kind == "blocking":
                abandoned(world, client)
            else:
                await abandoned_async(world, other)
            gc.collect()
            (call,) = world.providers.calls
            assert await asyncio.to_thread(call.wait, 20.0) is CallEnding.LEFT_BY_CLIENT
    assert [one.error_class for one in outcomes] == [ErrorClass.CANCELLED]
