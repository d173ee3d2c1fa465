"""One client for many callers: answers stay with their prompts, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import CALL_TIMEOUT_S
from tests.integration.client.conftest import MODEL_OF, World

from tierwise import (
    AsyncClient,
    ChatError,
    Client,
    ConfigurationError,
    ErrorClass,
    RoutingOptions,
    TextDelta,
)
from tierwise.testing import CallEnding, Reply

PROVIDERS = tuple(MODEL_OF)
KEPT_ALIVE = 100
"""Most connections to one provider that are kept for later calls."""


def pinned(number: int) -> RoutingOptions:
    """Returns options that spread calls over the providers."""
    return RoutingOptions(model=MODEL_OF[PROVIDERS[number % len(PROVIDERS)]])


def answer_to(number: int) -> str:
    """Returns what a provider that echoes answers to a prompt."""
    return f"You said: prompt {number}"


def streamed(client: Client, number: int) -> str:
    with client.chat_stream(f"prompt {number}", pinned(number)) as stream:
        return "".join(delta.text for delta in stream if isinstance(delta, TextDelta))


async def streamed_async(client: AsyncClient, number: int) -> str:
    async with client.chat_stream(f"prompt {number}", pinned(number)) as stream:
        return "".join([delta.text async for delta in stream if isinstance(delta, TextDelta)])


async def no_connections(world: World) -> None:
    await asyncio.to_thread(world.providers.wait_closed)


# Answers ------------------------------------------------------------------------------------------


def test_threads_that_share_a_client_get_their_own_answers(world: World) -> None:
    threads, calls = 32, 640

    def call(number: int) -> str:
        if number % 2:
            return streamed(client, number)
        return client.chat(f"prompt {number}", pinned(number)).text

    with world.client(report_outcomes=True) as client:
        with ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(call, range(calls)))
        assert world.providers.open_connections <= threads * len(PROVIDERS)
        assert client.flush()
        assert client.status.reporting.delivered == calls
        assert client.status.routerless_decisions == 0
    assert answers == [answer_to(number) for number in range(calls)]
    world.providers.wait_closed()


async def test_tasks_that_share_a_client_get_their_own_answers(world: World) -> None:
    calls = 500

    async def call(number: int) -> str:
        if number % 2:
            return await streamed_async(client, number)
        return (await client.chat(f"prompt {number}", pinned(number))).text

    before = asyncio.all_tasks()
    async with world.async_client(router_timeout_s=30.0, report_outcomes=True) as client:
        answers = await asyncio.gather(*(call(number) for number in range(calls)))
        assert world.providers.open_connections <= KEPT_ALIVE * len(PROVIDERS)
        assert await client.flush()
        assert client.status.reporting.delivered == calls
    assert answers == [answer_to(number) for number in range(calls)]
    await no_connections(world)
    assert asyncio.all_tasks() == before


def test_attempts_of_concurrent_chats_stay_apart(world: World) -> None:
    def failing(number: int) -> str:
        world.providers.script("openai", Reply.refusal())
        with pytest.raises(ChatError) as caught:
            client.chat(f"prompt {number}", RoutingOptions(model="gpt-small"))
        (attempt,) = caught.value.attempts
        return attempt.request_id

    with world.client() as client, ThreadPoolExecutor(16) as pool:
        request_ids = list(pool.map(failing, range(100)))
    assert sorted(request_ids) == sorted(call.request_id for call in world.providers.calls)


# Cancelling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_storm_of_cancellations_leaves_nothing_behind(world: World, stream: bool) -> None:
    chance = random.Random(7)  # noqa: S311 - a draw
    for provider in PROVIDERS:
        world.providers.always(
            provider, Reply.text("word " * 40).slow(first_byte_s=0.02, pause_s=0.005)
        )
    before = asyncio.all_tasks()

    async def call(number: int) -> object:
        if stream:
            return await streamed_async(client, number)
        return await client.chat(f"prompt {number}", pinned(number))

    async with world.async_client() as client:
        tasks = []
        for number in range(300):
            task = asyncio.create_task(call(number))
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.4), task.cancel)
            tasks.append(task)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(isinstance(one, asyncio.CancelledError) for one in results)
        assert cancelled >= 50
        assert all(isinstance(one, asyncio.CancelledError | str) or one for one in results)
        calls = world.providers.calls
        endings = [await asyncio.to_thread(one.wait) for one in calls]
        assert set(endings) <= {CallEnding.ANSWERED, CallEnding.LEFT_BY_CLIENT}
        # The client goes on as if nothing had happened.
        world.providers.always("openai", Reply.text("still here"))
        assert (await client.chat("Hello?", RoutingOptions(model="gpt-small"))).text == "still here"
    await no_connections(world)
    assert asyncio.all_tasks() == before


async def test_streams_that_are_left_close_their_connections(world: World) -> None:
    for provider in PROVIDERS:
        world.providers.always(provider, Reply.text("word " * 1000).slow(pause_s=0.01))

    async def leave(number: int) -> None:
        async with client.chat_stream("Hello?", pinned(number)) as stream:
            await anext(stream)

    async with world.async_client(chat_timeout_s=CALL_TIMEOUT_S * 4) as client:
        await asyncio.gather(*(leave(number) for number in range(100)))
        for call in world.providers.calls:
            assert await asyncio.to_thread(call.wait) is CallEnding.LEFT_BY_CLIENT
        await no_connections(world)


# Closing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.1, 0.3])
async def test_closing_ends_open_calls_of_tasks_with_a_typed_error(
    world: World, stream: bool, after_s: float
) -> None:
    for provider in PROVIDERS:
        world.providers.always(
            provider, Reply.text("word " * 1000).slow(first_byte_s=0.05, pause_s=0.01)
        )
    before = asyncio.all_tasks()
    client = world.async_client()

    async def call(number: int) -> object:
        if stream:
            return await streamed_async(client, number)
        return await client.chat(f"prompt {number}", pinned(number))

    tasks = [asyncio.create_task(call(number)) for number in range(60)]
    await asyncio.sleep(after_s)
    await client.close()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(one) for one in results if isinstance(one, BaseException)}
    assert kinds <= {ConfigurationError, ChatError}
    assert all(
        one.error_class is ErrorClass.CONNECTION for one in results if isinstance(one, ChatError)
    )
    await no_connections(world)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("after_calls", [0, 4, 16])
def test_closing_ends_open_calls_of_threads_with_a_typed_error(
    world: World, after_calls: int
) -> None:
    for provider in PROVIDERS:
        world.providers.always(provider, Reply.text("word " * 1000).slow(pause_s=0.01))
    client = world.client()
    started = threading.Barrier(17)

    def call(number: int) -> BaseException | None:
        started.wait()
        try:
            streamed(client, number)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            return error
        return None

    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(call, number) for number in range(16)]
        started.wait()
        world.providers.wait_for_calls(after_calls)
        client.close()
        results = [one.result(timeout=20) for one in calls]
    assert {type(one) for one in results} <= {ConfigurationError, ChatError}
    world.providers.wait_closed()


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
async def test_a_closed_client_says_so(world: World, kind: str) -> None:
    if kind == "blocking":
        client = world.client()
        client.close()
        client.close()
        with pytest.raises(ConfigurationError, match="the client is closed"):
            client.chat("Hello?")
    else:
        other = world.async_client()
        await other.close()
        await other.close()
        with pytest.raises(ConfigurationError, match="the client is closed"):
            await other.chat("Hello?")
    assert world.providers.calls == ()
