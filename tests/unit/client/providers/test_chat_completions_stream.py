"""Streams of chat completions: put together whole, and never taken for whole when they are not."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource

from tierwise.answers import (
    Answer,
    Delta,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import ToolCall
from tierwise.providers.base import StreamEvent
from tierwise.providers.chat_completions import ChatCompletionsReader
from tierwise.providers.compatible import VLLM
from tierwise.providers.openai import OPENAI

DONE = StreamEvent("[DONE]")


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> StreamEvent:  # noqa: ANN401 - JSON
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return StreamEvent(json.dumps({"id": "c1", "model": "up", "choices": [choice], **fields}))


def piece(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {"tool_calls": [{**fields, "function": function}]}


def fed(*events: StreamEvent) -> tuple[ChatCompletionsReader, list[Delta]]:
    reader = VLLM.provider.reader({"x-request-id": "req_1"})
    assert isinstance(reader, ChatCompletionsReader)
    return reader, [delta for event in events for delta in reader.feed(event)]


def broken(*events: StreamEvent) -> tuple[ProviderError, ChatCompletionsReader]:
    """Returns the failure at the end of a stream."""
    reader, _ = fed(*events)
    with pytest.raises(ProviderError) as caught:
        reader.end()
    assert caught.value.request_id == "req_1"
    assert caught.value.partial is None
    return caught.value, reader


def test_text_and_usage_are_put_together() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    reader, deltas = fed(
        StreamEvent(""),
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "hm"}),
        chunk({"content": "On"}, usage=None),
        chunk({"content": "ce"}),
        chunk({}, "stop"),
        StreamEvent(json.dumps({"choices": [], "usage": usage})),
        DONE,
        StreamEvent("after the end"),
    )
    assert deltas == [ReasoningDelta("hm"), TextDelta("On"), TextDelta("ce")]
    answer = reader.end()
    assert (answer.text, answer.reasoning, answer.served_model) == ("Once", "hm", "up")
    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage == Usage(input_tokens=3, output_tokens=2)
    assert answer.request_id == "req_1"


def test_calls_in_pieces_are_put_together() -> None:
    reader, deltas = fed(
        chunk(piece(index=0, id="c1", name="t", arguments="")),
        chunk(piece(index=0, arguments='{"a"')),
        chunk(piece(index=1, id="c2", name="u", arguments="{}")),
        chunk(piece(index=0, arguments=": 1}")),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert deltas == [
        ToolCallDelta(index=0, id="c1", name="t"),
        ToolCallDelta(index=0, arguments_json='{"a"'),
        ToolCallDelta(index=1, id="c2", name="u", arguments_json="{}"),
        ToolCallDelta(index=0, arguments_json=": 1}"),
    ]
    assert reader.end().tool_calls == (
        ToolCall(id="c1", name="t", arguments_json='{"a": 1}'),
        ToolCall(id="c2", name="u", arguments_json="{}"),
    )


@pytest.mark.parametrize("number", [{"index": 0}, {}], ids=["all numbered 0", "not numbered"])
def test_calls_that_are_numbered_badly_are_told_apart(number: dict[str, int]) -> None:
    reader, _ = fed(
        chunk(piece(**number, id="c1", name="t", arguments='{"a":')),
        chunk(piece(**number, arguments="1}")),
        chunk(piece(**number, id="c2", name="t", arguments='{"a":')),
        chunk(piece(**number, arguments="2}")),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert [(call.id, call.arguments_json) for call in reader.end().tool_calls] == [
        ("c1", '{"a":1}'),
        ("c2", '{"a":2}'),
    ]


def test_call_is_told_once_it_has_a_name_and_gets_an_id() -> None:
    reader, deltas = fed(
        chunk(piece(index=0, arguments="{")),
        chunk(piece(index=0, name="t", arguments="}")),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert len(deltas) == 1
    (call,) = reader.end().tool_calls
    assert deltas == [ToolCallDelta(index=0, id=call.id, name="t", arguments_json="{}")]
    assert call.id


def test_other_choices_are_left_out() -> None:
    other = {"index": 1, "delta": {"content": "x"}, "finish_reason": "length"}
    reader, deltas = fed(
        StreamEvent(json.dumps({"choices": [other]})), chunk({"content": "a"}, "stop"), DONE
    )
    assert deltas == [TextDelta("a")]
    assert reader.end().finish_reason is FinishReason.STOP


def test_mean_log_probability_is_over_all_chunks() -> None:
    events = []
    for logprob in (-1.0, -2.0, -6.0):
        choice = {
            "index": 0,
            "delta": {"content": "a"},
            "logprobs": {"content": [{"logprob": logprob}]},
        }
        events.append(StreamEvent(json.dumps({"choices": [choice]})))
    reader, _ = fed(*events, chunk({}, "stop"), DONE)
    assert reader.end().mean_logprob == pytest.approx(-3.0)


def test_usage_of_groqs_own_field_is_read() -> None:
    usage = {"prompt_tokens": 18, "completion_tokens": 73}
    reader, _ = fed(chunk({"content": "a"}), chunk({}, "stop", x_groq={"usage": usage}), DONE)
    assert reader.end().usage == Usage(input_tokens=18, output_tokens=73)


@pytest.mark.parametrize(
    ("events", "error_class"),
    [
        ((), ErrorClass.MALFORMED_RESPONSE),
        ((chunk({"content": "On"}),), ErrorClass.CONNECTION),
        ((chunk({"content": "On"}), chunk({}, "stop")), ErrorClass.CONNECTION),
        ((chunk({"content": "On"}), DONE), ErrorClass.MALFORMED_RESPONSE),
        ((DONE,), ErrorClass.MALFORMED_RESPONSE),
        ((chunk({}, "stop"), DONE), ErrorClass.MALFORMED_RESPONSE),
        ((chunk({"reasoning": "hm"}, "stop"), DONE), ErrorClass.MALFORMED_RESPONSE),
        (
            (chunk(piece(index=0, id="c", name="t", arguments="{")), chunk({}, "stop"), DONE),
            ErrorClass.MALFORMED_RESPONSE,
        ),
        (
            (chunk(piece(index=0, id="c", arguments="{}")), chunk({}, "tool_calls"), DONE),
            ErrorClass.MALFORMED_RESPONSE,
        ),
        ((chunk({"content": "On"}, "content_filter"), DONE), ErrorClass.CONTENT_POLICY),
        # Broken off as well, but what it says of the content must not be lost.
        ((chunk({"content": "On"}, "content_filter"),), ErrorClass.CONTENT_POLICY),
        ((chunk({"refusal": "I'm sor"}),), ErrorClass.CONTENT_POLICY),
        ((chunk({"content": "On"}, "error"), DONE), ErrorClass.SERVER_ERROR),
    ],
)
def test_stream_that_is_not_whole_never_ends_clean(
    events: tuple[StreamEvent, ...], error_class: ErrorClass
) -> None:
    error, _ = broken(*events)
    assert error.error_class is error_class


def test_stream_that_breaks_off_leaves_what_came() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    _, reader = broken(
        chunk({"content": "On"}, usage=usage),
        chunk(piece(index=0, id="c1", name="t", arguments='{"a')),
    )
    partial = reader.partial()
    assert (partial.text, partial.finish_reason) == ("On", None)
    assert partial.tool_calls == (ToolCall(id="c1", name="t", arguments_json='{"a'),)
    assert partial.usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    "event",
    [
        StreamEvent("{"),
        StreamEvent("null"),
        StreamEvent("[]"),
        StreamEvent("<html>"),
        StreamEvent('{"choices": 3}'),
        StreamEvent('{"choices": [3]}'),
        chunk("text"),
        chunk({"content": 3}),
        chunk({"tool_calls": "t"}),
        chunk({"tool_calls": [{}]}),
        chunk(piece(index=0, name="t", arguments=3)),
    ],
)
def test_event_that_makes_no_sense_is_malformed(event: StreamEvent) -> None:
    reader, _ = fed(chunk({"content": "On"}))
    with pytest.raises(ProviderError) as caught:
        reader.feed(event)
    assert caught.value.error_class is ErrorClass.MALFORMED_RESPONSE
    assert reader.partial().text == "On"


@pytest.mark.parametrize(
    "event",
    [
        StreamEvent('{"error": {"message": "x", "type": "server_error"}}'),
        StreamEvent('{"error": "x"}'),
        StreamEvent('{"message": "x"}', event="error"),
        StreamEvent('{"object": "error", "message": "x"}'),
        StreamEvent('{"choices": [{"index": 0, "delta": {}, "error": {"code": 502}}]}'),
    ],
)
def test_event_that_reports_a_failure_is_one(event: StreamEvent) -> None:
    reader, _ = fed(chunk({"content": "On"}))
    with pytest.raises(ProviderError) as caught:
        reader.feed(event)
    assert caught.value.error_class is ErrorClass.SERVER_ERROR


def test_failure_waits_as_long_as_its_words_say() -> None:
    reader = OPENAI.provider.reader({})
    error = {"message": "Rate limit reached. Please try again in 1.5s.", "type": "tokens"}
    with pytest.raises(ProviderError) as caught:
        reader.feed(StreamEvent(json.dumps({"error": error})))
    assert caught.value.error_class is ErrorClass.RATE_LIMITED
    assert caught.value.retry_after_s == 1.5


SENT = "".join(
    f"{line}\n\n"
    for line in (
        ": keep-alive",
        f"data: {chunk({'content': 'Grüße 😀'}).data}",
        'data: {"choices": [{"index": 0, "delta": {"content": "\u2028é"}}]}',
        f"data: {chunk(piece(index=0, id='c1', name='t', arguments='{}')).data}",
        f"data: {chunk({}, 'tool_calls').data}",
        "data: [DONE]",
    )
).encode()


def received(*parts: bytes) -> Answer:
    """Reads a stream that arrives in these parts."""
    headers = {"content-type": "text/event-stream"}
    reader = VLLM.provider.reader({})
    for event in EventSource(httpx.Response(200, headers=headers, content=iter(parts))).iter_sse():
        reader.feed(StreamEvent(event.data, event.event))
    return reader.end()


def test_stream_is_the_same_wherever_it_is_cut() -> None:
    whole = received(SENT)
    assert whole.text == "Grüße 😀\u2028é"
    assert received(*(SENT[place : place + 1] for place in range(len(SENT)))) == whole
    for place in range(len(SENT)):
        assert received(SENT[:place], SENT[place:]) == whole


def test_stream_that_breaks_off_anywhere_fails() -> None:
    # The blank line that ends the last event may be missing in part.
    for place in range(len(SENT) - 1):
        with pytest.raises(ProviderError):
            received(SENT[:place])
