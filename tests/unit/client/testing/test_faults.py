"""What goes wrong by script, as httpx sees it."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse, connect_sse
from tests.unit.client.testing.conftest import DIALECTS, Sample, Samples

from tierwise.error_class import ErrorClass
from tierwise.testing import CallEnding, ProviderServer, Reply

REPLY = Reply.text("One two three four.")


def read(client: httpx.Client, sample: Sample) -> tuple[list[ServerSentEvent], Exception | None]:
    """Returns the events of a stream, and what the client says went wrong."""
    found: list[ServerSentEvent] = []
    try:
        with connect_sse(client, "POST", **sample.arguments()) as source:
            found.extend(source.iter_sse())
    except httpx.TransportError as error:
        return found, error
    return found, None


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_cut_stream_is_an_incomplete_response(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, REPLY.cut(after_events=3))
    with connect_sse(client, "POST", **sample(provider, stream=True).arguments()) as source:
        found = source.iter_sse()
        for _ in range(3):
            assert json.loads(next(found).data)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            next(found)
    assert server.calls[0].wait() is CallEnding.BROKEN_OFF


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_clean_end_leaves_out_the_terminal_event(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, REPLY, REPLY.cut(after_events=-1, clean=True))
    whole, _ = read(client, sample(provider, stream=True))
    found, error = read(client, sample(provider, stream=True))
    assert error is None
    assert len(found) == len(whole) - 1
    assert server.calls[1].wait() is CallEnding.ANSWERED


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("count", [0, 1, 57, 400])
def test_a_stream_is_cut_after_exactly_so_many_bytes(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str, count: int
) -> None:
    server.script(provider, REPLY.cut(after_bytes=count))
    received: list[bytes] = []
    with (
        client.stream("POST", **sample(provider, stream=True).arguments()) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        received.extend(response.iter_bytes())
    assert len(b"".join(received)) == count


def test_a_whole_response_is_cut_in_its_middle(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", REPLY.cut(after_events=1), REPLY.cut(after_bytes=9, clean=True))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        sample("openai").send(client)
    assert len(sample("openai").send(client).content) == 9


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_stalled_stream_times_out(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, REPLY.stalled(after_events=2))
    asked = sample(provider, stream=True)
    found: list[str] = []
    with (
        connect_sse(client, "POST", **asked.arguments(), timeout=0.3) as source,
        pytest.raises(httpx.ReadTimeout),
    ):
        found.extend(event.data for event in source.iter_sse())
    assert len(found) == 2
    assert server.calls[0].wait() is CallEnding.LEFT_BY_CLIENT


def test_a_stall_ends_with_its_limit(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", REPLY.stalled(after_events=2, hold_s=0.2))
    start = time.monotonic()
    found, error = read(client, sample("openai", stream=True))
    assert isinstance(error, httpx.RemoteProtocolError)
    assert len(found) == 2
    assert time.monotonic() - start >= 0.2
    assert server.calls[0].wait() is CallEnding.BROKEN_OFF


def test_a_whole_response_can_stall(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", REPLY.stalled(after_events=0))
    with pytest.raises(httpx.ReadTimeout):
        client.post(**sample("openai").arguments(), timeout=0.3)
    assert server.calls[0].wait() is CallEnding.LEFT_BY_CLIENT


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_malformed_event_stands_between_the_others(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, REPLY, REPLY.malformed(after_events=2))
    whole, _ = read(client, sample(provider, stream=True))
    found, error = read(client, sample(provider, stream=True))
    assert error is None
    assert len(found) == len(whole) + 1
    with pytest.raises(ValueError, match="Unterminated string"):
        json.loads(found[2].data)


def test_a_malformed_whole_response_is_cut_json(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", REPLY.malformed(after_events=1))
    response = sample("openai").send(client)
    with pytest.raises(ValueError, match="line 1"):
        response.json()


@pytest.mark.parametrize(
    ("provider", "place"),
    [
        ("openai", ("error", "type")),
        ("mistral", ("type",)),
        ("anthropic", ("error", "type")),
        ("google", ("error", "status")),
    ],
)
def test_an_error_takes_the_place_of_the_rest_of_a_stream(
    client: httpx.Client,
    sample: Samples,
    server: ProviderServer,
    provider: str,
    place: tuple[str, ...],
) -> None:
    names = {
        "openai": "service_unavailable_error",
        "mistral": "service_tier_capacity_exceeded",
        "anthropic": "overloaded_error",
        "google": "UNAVAILABLE",
    }
    server.script(provider, REPLY.failing(ErrorClass.OVERLOADED, after_events=2))
    found, error = read(client, sample(provider, stream=True))
    assert error is None
    assert len(found) == 3
    value = json.loads(found[-1].data)
    for step in place:
        value = value[step]
    assert value == names[provider]
    assert found[-1].event == ("error" if provider == "anthropic" else "message")


def test_without_a_stream_the_error_is_the_response(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("anthropic", REPLY.failing(ErrorClass.OVERLOADED, after_events=2))
    assert sample("anthropic").send(client).status_code == 529


def test_openrouter_ends_a_failed_stream_with_a_choice(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openrouter", REPLY.failing(ErrorClass.SERVER_ERROR, after_events=1))
    found, _ = read(client, sample("openrouter", stream=True))
    chunk = json.loads(found[1].data)
    assert (chunk["error"]["code"], chunk["choices"][0]["finish_reason"]) == (502, "error")
    assert found[2].data == "[DONE]"


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_empty_stream_has_no_event(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.empty_stream())
    response = sample(provider, stream=True).send(client)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b""


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_stream_comes_in_chunks_of_so_many_bytes(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str, size: int
) -> None:
    reply = Reply.text("été 🙂 \u2028 x")
    server.script(provider, reply, reply.in_chunks(size))
    whole, _ = read(client, sample(provider, stream=True))
    with client.stream("POST", **sample(provider, stream=True).arguments()) as response:
        received = list(response.iter_raw())
    assert max(map(len, received)) == size
    assert b"".join(received).count(b"data: ") == len(whole)
    server.script(provider, reply.in_chunks(size))
    found, error = read(client, sample(provider, stream=True))
    assert error is None
    assert len(found) == len(whole)


def test_a_whole_response_can_be_dribbled(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", REPLY.in_chunks(1))
    message = sample("openai").send(client).json()["choices"][0]["message"]
    assert message["content"] == "One two three four."


def test_a_slow_reply_keeps_its_first_byte_and_its_pauses(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.text("A").slow(first_byte_s=0.3))
    with pytest.raises(httpx.ReadTimeout):
        client.post(**sample("openai").arguments(), timeout=0.1)
    assert server.calls[0].wait() is CallEnding.LEFT_BY_CLIENT
    assert server.calls[0].status is None

    server.script("google", Reply.text("A b c d").slow(pause_s=0.05))
    start = time.monotonic()
    found, _ = read(client, sample("google", stream=True))
    assert len(found) == 4
    assert time.monotonic() - start >= 3 * 0.05


def test_a_raw_response_is_sent_as_it_is(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    raw = Reply.raw(418, "<html>", headers={"Content-Type": "text/html", "Content-Length": "99"})
    server.script("openai", raw, raw)
    for _ in range(2):
        response = sample("openai", stream=True).send(client)
        assert (response.status_code, response.text) == (418, "<html>")
        assert response.headers["content-type"] == "text/html"


async def test_asynchronous_clients_see_the_same(sample: Samples, server: ProviderServer) -> None:
    server.script("anthropic", REPLY, REPLY.cut(after_events=4))
    asked = sample("anthropic", stream=True)
    async with httpx.AsyncClient() as client:
        async with aconnect_sse(client, "POST", **asked.arguments()) as source:
            whole = [event.event async for event in source.aiter_sse()]
        async with aconnect_sse(client, "POST", **asked.arguments()) as source:
            events = source.aiter_sse()
            found = [(await anext(events)).event for _ in range(4)]
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(events)
    assert whole[-1] == "message_stop"
    assert found == whole[:4]


@pytest.mark.parametrize(
    "misuse",
    [
        REPLY.cut,
        lambda: REPLY.cut(after_events=1, after_bytes=1),
        lambda: REPLY.in_chunks(0),
        lambda: REPLY.in_pieces(0),
        lambda: Reply.raw(200).in_pieces(1),
        lambda: Reply.raw(101),
    ],
)
def test_replies_that_make_no_sense_are_refused(misuse: object) -> None:
    assert callable(misuse)
    with pytest.raises(ValueError, match=r"\w"):
        misuse()
