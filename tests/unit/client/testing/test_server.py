"""Scripts, rate limits, and the server's life: many clients, other processes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from httpx_sse import aconnect_sse
from tests.unit.client.testing.conftest import DIALECTS, KEY, PROMPT, Samples

from tierwise.error_class import ErrorClass
from tierwise.testing import CallEnding, ProviderServer, ReceivedCall, Reply

STREAM_COUNT = 1000
STREAMS_PER_CLIENT = 50
STOP_LIMIT_S = 5.0


def said(response: httpx.Response) -> str:
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_scripted_replies_come_once_and_in_order(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.text("1"), Reply.error(ErrorClass.RATE_LIMITED))
    server.script("openai", Reply.text("2"))
    server.script("groq", Reply.text("other"))
    responses = [sample("openai").send(client) for _ in range(4)]
    assert [one.status_code for one in responses] == [200, 429, 200, 200]
    assert [said(responses[index]) for index in (0, 2, 3)] == ["1", "2", f"You said: {PROMPT}"]


def test_replies_of_a_model_go_before_those_of_the_provider(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.text("any"))
    server.script("openai", Reply.text("mine"), model="model-2")
    server.always("openai", Reply.text("always"))
    server.always("openai", Reply.text("always mine"), model="model-2")
    second = [said(sample("openai", model="model-2").send(client)) for _ in range(3)]
    assert second == ["mine", "any", "always mine"]
    assert said(sample("openai").send(client)) == "always"


def test_a_function_chooses_by_the_call(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    chance = random.Random(7)  # noqa: S311 - a behaviour to test against, no secret

    def flaky(call: ReceivedCall) -> Reply:
        if chance.random() < 0.5:
            return Reply.error(ErrorClass.OVERLOADED)
        return Reply.text(call.model)

    server.always("openai", flaky)
    statuses = [sample("openai").send(client).status_code for _ in range(20)]
    again = random.Random(7)  # noqa: S311 - as above
    assert statuses == [503 if again.random() < 0.5 else 200 for _ in range(20)]


def test_what_a_function_raises_is_raised_when_the_server_stops(client: httpx.Client) -> None:
    def broken(call: ReceivedCall) -> Reply:
        raise KeyError(call.model)

    server = ProviderServer()
    server.start()
    server.always("openai", broken)
    assert Samples(server)("openai").send(client).status_code == 500
    with pytest.raises(KeyError, match="model-1"):
        server.stop()


def test_calls_are_recorded_with_all_that_was_sent(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    sample("google", stream=True).send(client)
    sample("mistral").send(client)
    gemini, mistral = server.calls
    assert (gemini.provider, gemini.model, gemini.streamed) == ("google", "model-1", True)
    assert gemini.path == "/google/v1beta/models/model-1:streamGenerateContent"
    assert gemini.query == {"alt": "sse"}
    assert gemini.headers["x-goog-api-key"] == KEY
    assert mistral.body["messages"] == [{"role": "user", "content": PROMPT}]
    assert json.loads(mistral.content) == mistral.body
    assert (mistral.streamed, mistral.status) == (False, 200)
    assert mistral.wait() is CallEnding.ANSWERED
    assert gemini.start_time <= mistral.start_time


@pytest.mark.parametrize("provider", DIALECTS)
def test_calls_beyond_the_rate_are_told_when_to_come_again(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.rate_limit(provider, requests=2, per_s=30)
    responses = [sample(provider).send(client) for _ in range(3)]
    assert [one.status_code for one in responses] == [200, 200, 429]
    if provider == "google":
        details = responses[2].json()["error"]["details"]
        wait = int(details[-1]["retryDelay"].removesuffix("s"))
    else:
        wait = int(responses[2].headers["retry-after"])
    assert 0 < wait <= 30
    names = {
        "openai": "x-ratelimit-remaining-requests",
        "mistral": "x-ratelimit-remaining-req-minute",
        "anthropic": "anthropic-ratelimit-requests-remaining",
    }
    if provider in names:
        assert [one.headers[names[provider]] for one in responses] == ["1", "0", "0"]


def test_after_the_wait_calls_are_taken_again(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.rate_limit("openai", requests=1, per_s=0.2)
    assert sample("openai").send(client).status_code == 200
    refused = sample("openai").send(client)
    assert refused.status_code == 429
    time.sleep(float(refused.headers["retry-after"]))
    assert sample("openai").send(client).status_code == 200


@pytest.mark.parametrize("numbers", [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_a_rate_that_makes_no_sense_is_refused(
    server: ProviderServer, numbers: tuple[int, float]
) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        server.rate_limit("openai", requests=numbers[0], per_s=numbers[1])


def test_unknown_providers_are_named(server: ProviderServer) -> None:
    for misuse in (
        lambda: server.base_url("opnai"),
        lambda: server.script("opnai", Reply.text("")),
        lambda: server.always("opnai", Reply.text("")),
        lambda: server.rate_limit("opnai", requests=1, per_s=1),
    ):
        with pytest.raises(ValueError, match="no provider 'opnai'; there are anthropic, azure"):
            misuse()


def test_a_connection_serves_call_after_call(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.error(ErrorClass.INVALID_REQUEST))
    for stream in (False, True, False, True):
        sample("openai", stream=stream).send(client)
    assert server.open_connections == 1
    client.close()
    server.wait_closed()
    assert server.open_connections == 0


def test_a_client_that_leaves_is_noticed(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.text("A b c d e f").slow(pause_s=10))
    with client.stream("POST", **sample("openai", stream=True).arguments()) as response:
        content = response.iter_bytes()  # kept, because dropping it would close the response
        assert next(content)
        assert server.calls[0].ending is None
        with pytest.raises(TimeoutError):
            server.calls[0].wait(0.01)
    assert server.calls[0].wait() is CallEnding.LEFT_BY_CLIENT
    server.wait_closed()


async def test_a_thousand_streams_run_at_once() -> None:
    async with ProviderServer() as server:
        server.always("openai", Reply.text("One two three.").slow(pause_s=0.2))
        arguments = Samples(server)("openai", stream=True).arguments()
        all_under_way = asyncio.Barrier(STREAM_COUNT)
        open_connections: set[int] = set()

        async def one(client: httpx.AsyncClient) -> int:
            async with aconnect_sse(client, "POST", **arguments) as source:
                events = source.aiter_sse()
                await anext(events)
                async with all_under_way:
                    open_connections.add(server.open_connections)
                return 1 + len([event async for event in events])

        async with contextlib.AsyncExitStack() as stack:
            # Several clients, because the time that one takes grows with the square of its streams.
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(timeout=60, verify=False))  # noqa: S501 - no TLS here
                for _ in range(STREAM_COUNT // STREAMS_PER_CLIENT)
            ]
            counts = await asyncio.gather(
                *(one(client) for client in clients for _ in range(STREAMS_PER_CLIENT))
            )
        await asyncio.to_thread(server.wait_closed)
    assert set(counts) == {7}
    assert open_connections == {STREAM_COUNT}
    assert [call.ending for call in server.calls] == [CallEnding.ANSWERED] * STREAM_COUNT


def test_stopping_ends_open_calls_and_everything_else(client: httpx.Client) -> None:
    threads, files = threading.active_count(), open_files()
    with ProviderServer() as server:
        server.always("openai", Reply.text("A b c d").slow(pause_s=60))
        server.always("mistral", Reply.text("A").stalled(after_events=1))
        sample = Samples(server)
        with (
            client.stream("POST", **sample("openai", stream=True).arguments()) as paused,
            client.stream("POST", **sample("mistral", stream=True).arguments()) as stalled,
        ):
            server.wait_for_calls(2)
            start = time.monotonic()
            server.stop()
            assert time.monotonic() - start < STOP_LIMIT_S
            for response in (paused, stalled):
                with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                    response.read()
        assert [call.wait(0) for call in server.calls] == [CallEnding.BROKEN_OFF] * 2
        assert server.open_connections == 0
        with pytest.raises(httpx.ConnectError):
            sample("openai").send(client)
    client.close()
    assert (threading.active_count(), open_files()) == (threads, files)


def test_stopping_ends_calls_whose_clients_read_nothing() -> None:
    with ProviderServer() as server:
        server.always("openai", Reply.raw(200, b"x" * 50_000_000))
        asked = Samples(server)("openai")
        content = json.dumps(asked.body).encode()
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as raw:
            head = (
                f"POST {httpx.URL(asked.url).path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k"
            )
            raw.sendall(f"{head}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
            server.wait_for_calls(1)
            start = time.monotonic()
            server.stop()
            assert time.monotonic() - start < STOP_LIMIT_S
        assert server.calls[0].wait(0) is CallEnding.BROKEN_OFF


def test_what_is_no_http_is_refused(server: ProviderServer) -> None:
    address = ("127.0.0.1", httpx.URL(server.url).port or 0)
    for sent, received in (
        (b"\x16\x03\x01 what is this\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 200_000, b"HTTP/1.1 431 "),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{", b"HTTP/1.1 400 "),
    ):
        with socket.create_connection(address, timeout=10) as raw:
            raw.sendall(sent)
            # The server may have answered and left by now.
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
            assert raw.recv(1000).startswith(received)
    server.wait_closed()


def test_a_client_that_waits_for_leave_to_send_gets_it(server: ProviderServer) -> None:
    address = ("127.0.0.1", httpx.URL(server.url).port or 0)
    with socket.create_connection(address, timeout=10) as raw:
        raw.sendall(
            b"POST /vllm/v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
            b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert raw.recv(1000).startswith(b"HTTP/1.1 100 ")
        raw.sendall(b"{}")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_another_process_can_call_it(sample: Samples, server: ProviderServer) -> None:
    asked = sample("anthropic")
    program = (
        "import json, sys, httpx\n"
        "print(httpx.post(**json.loads(sys.stdin.read())).json()['content'][0]['text'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(asked.arguments()),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == f"You said: {PROMPT}"


async def test_it_can_be_used_with_async_with() -> None:
    async with ProviderServer() as server, httpx.AsyncClient() as client:
        response = await client.post(**Samples(server)("mistral").arguments())
        assert said(response) == f"You said: {PROMPT}"
    with pytest.raises(RuntimeError, match="starts once"):
        server.start()


def test_a_server_that_was_not_started_has_no_address() -> None:
    server = ProviderServer()
    with pytest.raises(RuntimeError, match="before it is started"):
        server.base_url("openai")
    server.stop()


def test_waiting_for_calls_that_do_not_come_fails(server: ProviderServer) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 calls"):
        server.wait_for_calls(1, timeout_s=0.01)


def test_importing_the_client_does_not_import_it() -> None:
    program = "import sys, tierwise; print([m for m in sys.modules if 'tierwise.testing' in m])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
