"""Whatever bytes a server answers, reading them gives an answer or a `ProviderError`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, SSEError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierwise.answers import Answer
from tierwise.errors import ProviderError
from tierwise.providers.base import HttpReply, Provider, StreamEvent
from tierwise.providers.registry import KNOWN

RUNS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PROVIDERS = pytest.mark.parametrize(
    "provider", [one.provider for one in KNOWN.values()], ids=list(KNOWN)
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["stop", "error", "{}", "tool_calls", "content_filter", "\ud800", "429"]),
)
KEYS = st.sampled_from(
    [
        *("error", "message", "code", "type", "param", "metadata", "raw", "innererror", "detail"),
        *("choices", "delta", "index", "finish_reason", "content", "tool_calls", "function"),
        *("name", "arguments", "id", "usage", "prompt_tokens", "completion_tokens", "cost"),
        *("prompt_tokens_details", "logprobs", "logprob", "refusal", "reasoning", "thinking"),
        *("status", "object", "model", "x_groq", "headers", "X-RateLimit-Reset", "text"),
        *("candidates", "parts", "functionCall", "content_block", "stop_reason", "usageMetadata"),
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": SCALARS,
                    "message": JSON,
                    "delta": JSON,
                    "finish_reason": SCALARS,
                    "logprobs": JSON,
                    "error": JSON,
                },
            ),
            max_size=2,
        ),
        "usage": JSON,
        "error": JSON,
        "model": SCALARS,
        "id": SCALARS,
    },
)
BODIES = st.one_of(JSON, CHOICES).map(lambda value: json.dumps(value).encode())
BYTES = st.one_of(BODIES, st.binary(max_size=200), BODIES.map(lambda body: body[:-1]))
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "date", "x-request-id", "x-ratelimit-remaining-requests", "content-type"]
    ),
    st.text(max_size=30),
)


def is_sane(outcome: Answer | ProviderError) -> bool:
    """Says whether an outcome can be printed, stored and sent on."""
    text = outcome.text if isinstance(outcome, Answer) else str(outcome)
    return isinstance(text.encode(), bytes)


@PROVIDERS
@RUNS
@given(status=st.sampled_from([200, 204, 301, 400, 429, 500, 529]), headers=HEADERS, body=BYTES)
def test_any_response_is_an_answer_or_a_failure(
    provider: Provider, status: int, headers: dict[str, str], body: bytes
) -> None:
    reply = HttpReply(status=status, headers=headers, content=body)
    outcome: Answer | ProviderError
    try:
        outcome = provider.answer(reply)
    except ProviderError as error:
        outcome = error
    assert is_sane(outcome)
    assert is_sane(provider.failure(reply))


@PROVIDERS
@RUNS
@given(events=st.lists(st.tuples(BODIES, st.sampled_from(["", "error", "message"])), max_size=5))
def test_any_stream_is_an_answer_or_a_failure(
    provider: Provider, events: list[tuple[bytes, str]]
) -> None:
    reader = provider.reader({})
    outcome: Answer | ProviderError
    try:
        for body, name in events:
            reader.feed(StreamEvent(body.decode(), name))
        reader.feed(StreamEvent("[DONE]"))
        outcome = reader.end()
    except ProviderError as error:
        outcome = error
    assert is_sane(outcome)
    assert is_sane(reader.partial())


@PROVIDERS
@RUNS
@given(body=st.binary(max_size=300))
def test_any_bytes_in_place_of_a_stream_are_a_failure(provider: Provider, body: bytes) -> None:
    reader = provider.reader({})
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    with pytest.raises((ProviderError, SSEError)):
        read_all(reader, response)


def read_all(reader: Any, response: httpx.Response) -> None:  # noqa: ANN401 - any adapter's reader
    for event in EventSource(response).iter_sse():
        reader.feed(StreamEvent(event.data, event.event))
    reader.end()
