"""What is made of Anthropic's responses and streams."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.answers import (
    Answer,
    FinishReason,
    RateHeadroom,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers.anthropic import ANTHROPIC
from tierwise.providers.base import HttpReply, StreamEvent, StreamReader

PROVIDER = ANTHROPIC.provider
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8-20260101",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "look.", "citations": None},
        USE,
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 5},
    },
}


def reply(body: object, status: int = 200, **headers: str) -> HttpReply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        content=content,
    )


def answer(**changes: object) -> Answer:
    return PROVIDER.answer(reply({**MESSAGE, **changes}))


def failure(body: object, status: int = 200, **headers: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        PROVIDER.answer(reply(body, status, **headers))
    return caught.value


def test_message_with_everything() -> None:
    made = PROVIDER.answer(reply(MESSAGE, request_id="req_1"))
    assert made.text == "Let me look."
    assert made.reasoning == "Hm."
    assert [(one.id, one.name, one.arguments) for one in made.tool_calls] == [
        ("toolu_1", "weather", {"city": "Köln"})
    ]
    assert made.finish_reason is FinishReason.TOOL_CALLS
    assert made.usage == Usage(
        input_tokens=60,
        cached_input_tokens=30,
        cache_write_tokens=20,
        output_tokens=40,
        reasoning_tokens=5,
    )
    assert made.served_model == "claude-opus-4-8-20260101"
    assert made.request_id == "req_1"


def test_messages_own_id_serves_where_no_header_names_the_request() -> None:
    assert answer().request_id == "msg_1"


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.OTHER),
        ("something_new", FinishReason.OTHER),
    ],
)
def test_why_a_message_ended(stop_reason: str, finish_reason: FinishReason) -> None:
    made = answer(content=[{"type": "text", "text": "So"}], stop_reason=stop_reason)
    assert made.finish_reason is finish_reason


@pytest.mark.parametrize("stop_reason", ["max_tokens", "stop_sequence"])
def test_nothing_can_be_a_whole_answer(stop_reason: str) -> None:
    assert answer(content=[], stop_reason=stop_reason).text == ""


def test_refusal_is_a_failure_that_was_paid_for() -> None:
    error = failure(
        {
            **MESSAGE,
            "content": [{"type": "text", "text": "I can't"}],
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "category": "cyber"},
        },
        request_id="req_1",
    )
    assert error.error_class is ErrorClass.CONTENT_POLICY
    assert error.request_id == "req_1"
    assert error.partial is not None
    assert error.partial.text == "I can't"
    assert error.partial.usage == Usage(
        input_tokens=60,
        cached_input_tokens=30,
        cache_write_tokens=20,
        output_tokens=40,
        reasoning_tokens=5,
    )
    assert "cyber" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"content": []},
        {"content": None},
        {"content": [1]},
        {"content": [{"text": "no type"}]},
        {"content": [{"type": "text", "text": 1}]},
        {"content": [{"type": "tool_use", "id": "", "name": "weather", "input": {}}]},
        {"content": [{"type": "tool_use", "id": "a", "name": "weather", "input": "{}"}]},
        {"content": [{"type": "text", "text": "So"}], "stop_reason": "tool_use"},
        {"content": [{"type": "text", "text": "So"}], "stop_reason": None},
    ],
)
def test_message_that_makes_no_sense(changes: dict[str, Any]) -> None:
    error = failure({"stop_reason": "end_turn", **MESSAGE, **changes}, request_id="req_1")
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE
    assert error.request_id == "req_1"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_success_that_is_no_message(content: bytes) -> None:
    assert failure(content).error_class is ErrorClass.MALFORMED_RESPONSE


def test_deeply_nested_arguments_are_refused() -> None:
    text = json.dumps(MESSAGE).replace('"K\\u00f6ln"', '{"a":' * 990 + "1" + "}" * 990)
    assert failure(text.encode()).error_class is ErrorClass.MALFORMED_RESPONSE


def test_failure_of_a_proxy_is_told_by_its_status() -> None:
    error = failure(b"<html>bad gateway</html>", status=502)
    assert error.error_class is ErrorClass.SERVER_ERROR
    assert error.status_code == 502


def test_failure_tells_the_request_that_its_body_names() -> None:
    error = failure(
        {"type": "error", "error": {"type": "api_error"}, "request_id": "req_011CUB2XUHWkFnQzx"},
        status=500,
    )
    assert error.request_id == "req_011CUB2XUHWkFnQzx"


def test_response_without_a_stream_is_no_clean_end() -> None:
    error = PROVIDER.failure(reply(MESSAGE))
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    use = {**USE, "input": {"degrees": value}}
    error = failure({**MESSAGE, "content": [use]})
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


def test_half_a_surrogate_pair_can_be_sent_on() -> None:
    broken = "\ud83d"
    thought = {"type": "thinking", "thinking": broken}
    made = answer(content=[thought, {**USE, "input": {"city": broken}}])
    assert made.tool_calls[0].arguments == {"city": "\ufffd"}
    assert json.dumps(made.tool_calls[0].provider_state, ensure_ascii=False).encode()


def test_waiting_time_of_a_success_is_none_of_a_failure() -> None:
    error = failure({**MESSAGE, "content": []}, retry_after="55")
    assert error.retry_after_s is None
    reader = PROVIDER.reader({"retry-after": "55"})
    with pytest.raises(ProviderError) as caught:
        feed(reader, [{"type": "error", "error": {"type": "overloaded_error"}}])
    assert caught.value.retry_after_s is None


def test_headroom() -> None:
    made = PROVIDER.answer(
        reply(
            MESSAGE,
            date="Sat, 02 Aug 2025 12:00:00 GMT",
            anthropic_ratelimit_requests_remaining="3999",
            anthropic_ratelimit_requests_reset="2025-08-02T12:00:45Z",
            anthropic_ratelimit_tokens_remaining="480000",
            anthropic_ratelimit_tokens_reset="2025-08-02T12:00:30Z",
        )
    )
    assert made.headroom == RateHeadroom(
        remaining_requests=3999, remaining_tokens=480_000, reset_s=45.0
    )


@pytest.mark.parametrize("value", ["", "-1", "many", "1" * 40])
def test_headroom_that_makes_no_sense_is_none(value: str) -> None:
    made = PROVIDER.answer(
        reply(
            MESSAGE,
            anthropic_ratelimit_requests_remaining=value,
            anthropic_ratelimit_requests_reset=value,
        )
    )
    assert made.headroom is None


# --- streams

START = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
STOP = {"type": "message_stop"}


def opened(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, field: str, value: str) -> dict[str, Any]:
    delta = {"type": kind, field: value}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(stop_reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}


STREAM = [
    START,
    {"type": "ping"},
    opened(0, {"type": "thinking", "thinking": "", "signature": ""}),
    piece(0, "thinking_delta", "thinking", "Hm."),
    piece(0, "signature_delta", "signature", "c2ln"),
    closed(0),
    opened(1, {"type": "text", "text": ""}),
    piece(1, "text_delta", "text", "Let me "),
    piece(1, "text_delta", "text", "look."),
    closed(1),
    opened(2, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}),
    piece(2, "input_json_delta", "partial_json", ""),
    piece(2, "input_json_delta", "partial_json", '{"city": '),
    piece(2, "input_json_delta", "partial_json", '"Ulm"}'),
    closed(2),
    opened(3, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}),
    closed(3),
    {"type": "something_new"},
    ended("tool_use", output_tokens=99),
    STOP,
]


def feed(reader: StreamReader, events: list[dict[str, Any]]) -> list[object]:
    return [
        delta
        for one in events
        for delta in reader.feed(StreamEvent(json.dumps(one), one.get("type", "")))
    ]


def stream_failure(events: list[dict[str, Any]]) -> tuple[ProviderError, Answer]:
    reader = PROVIDER.reader({"request-id": "req_1"})
    with pytest.raises(ProviderError) as caught:  # noqa: PT012 - either may raise
        feed(reader, events)
        reader.end()
    return caught.value, reader.partial()


def test_stream_with_everything() -> None:
    reader = PROVIDER.reader({"request-id": "req_1"})
    assert feed(reader, STREAM) == [
        ReasoningDelta("Hm."),
        TextDelta("Let me "),
        TextDelta("look."),
        ToolCallDelta(index=0, id="toolu_1", name="weather"),
        ToolCallDelta(index=0, arguments_json='{"city": '),
        ToolCallDelta(index=0, arguments_json='"Ulm"}'),
        ToolCallDelta(index=1, id="toolu_2", name="now"),
    ]
    made = reader.end()
    assert made.text == "Let me look."
    assert made.reasoning == "Hm."
    assert [(one.name, one.arguments) for one in made.tool_calls] == [
        ("weather", {"city": "Ulm"}),
        ("now", {}),
    ]
    assert made.finish_reason is FinishReason.TOOL_CALLS
    assert made.request_id == "req_1"
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (60, 99)


def test_streamed_turn_is_kept_as_it_would_be_when_whole() -> None:
    reader = PROVIDER.reader({})
    feed(reader, STREAM)
    assert reader.end().tool_calls[0].provider_state == {
        "anthropic": {
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ]
        }
    }


def test_turn_without_reasoning_keeps_nothing() -> None:
    reader = PROVIDER.reader({})
    feed(reader, [START, opened(0, USE), closed(0), ended("tool_use"), STOP])
    made = reader.end()
    assert made.tool_calls[0].arguments == {"city": "Köln"}
    assert made.tool_calls[0].provider_state == {}


def test_stream_without_an_event_is_malformed() -> None:
    error, _ = stream_failure([])
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


@pytest.mark.parametrize("length", range(1, len(STREAM) - 1))
def test_stream_that_is_cut_anywhere_never_ends_clean(length: int) -> None:
    error, partial = stream_failure(STREAM[:length])
    assert error.error_class is ErrorClass.CONNECTION
    assert error.request_id == "req_1"
    assert partial.finish_reason is None


def test_what_came_before_a_cut_is_kept() -> None:
    _, partial = stream_failure(STREAM[:13])
    assert partial.text == "Let me look."
    assert partial.reasoning == "Hm."
    assert partial.tool_calls[0].arguments_json == '{"city": '
    assert partial.usage is not None


def test_failure_within_a_stream() -> None:
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    error, partial = stream_failure([*STREAM[:8], event])
    assert error.error_class is ErrorClass.OVERLOADED
    assert error.partial is None
    assert partial.text == "Let me "


@pytest.mark.parametrize(
    "events",
    [
        [STOP],
        [START, START],
        [opened(0, {"type": "text", "text": ""})],
        [START, opened(1, {"type": "text", "text": ""})],
        [START, piece(0, "text_delta", "text", "So")],
        [START, opened(0, {"type": "text", "text": ""}), piece(0, "thinking_delta", "a", "So")],
        [START, opened(0, {"type": "text", "text": ""}), piece(True, "text_delta", "text", "So")],
        [START, {"no": "type"}],
        [START, ended("end_turn"), STOP],
        [
            START,
            opened(0, {**USE, "input": {}}),
            piece(0, "input_json_delta", "partial_json", '{"city'),
            closed(0),
            ended("tool_use"),
            STOP,
        ],
    ],
)
def test_stream_that_makes_no_sense(events: list[dict[str, Any]]) -> None:
    error, _ = stream_failure(events)
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


def test_event_that_is_no_json() -> None:
    with pytest.raises(ProviderError) as caught:
        PROVIDER.reader({}).feed(StreamEvent("{"))
    assert caught.value.error_class is ErrorClass.MALFORMED_RESPONSE


def test_arguments_may_be_cut_where_the_answer_was() -> None:
    reader = PROVIDER.reader({})
    cut = piece(0, "input_json_delta", "partial_json", '{"city')
    feed(reader, [START, opened(0, {**USE, "input": {}}), cut, ended("max_tokens"), STOP])
    made = reader.end()
    assert made.finish_reason is FinishReason.LENGTH
    assert made.tool_calls[0].arguments_json == '{"city'


# --- whatever comes

UNTIMED = settings(deadline=None)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "index", "text", "error", "usage"]), inner)
    ),
    max_leaves=6,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: object) -> object:
    """Draws a copy of a JSON value in which one value is another."""
    if not isinstance(whole, dict | list) or not whole or draw(st.integers(0, 4)) == 0:
        return draw(JSON)
    places = sorted(whole) if isinstance(whole, dict) else range(len(whole))
    place = draw(st.sampled_from(places))
    copy = whole.copy()
    copy[place] = draw(spoilt(whole[place]))
    return copy


@UNTIMED
@given(
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 400])
)
def test_any_response_is_an_answer_or_a_failure(content: bytes, status: int) -> None:
    with pytest.raises(ProviderError):
        PROVIDER.answer(reply(content, status))


@UNTIMED
@given(spoilt(MESSAGE))
def test_any_spoilt_message_is_an_answer_or_a_failure(message: object) -> None:
    try:
        made = PROVIDER.answer(reply(message))
    except ProviderError:
        return
    assert made.finish_reason is not None


@UNTIMED
@given(st.lists(st.sampled_from(range(len(STREAM))), max_size=30), st.data())
def test_any_events_are_an_answer_or_a_failure(order: list[int], data: st.DataObject) -> None:
    reader = PROVIDER.reader({})
    try:
        for index in order:
            event = data.draw(st.just(STREAM[index]) | spoilt(STREAM[index]))
            reader.feed(StreamEvent(json.dumps(event)))
        made = reader.end()
    except ProviderError:
        assert reader.partial().finish_reason is None
        return
    assert made.finish_reason is not None
