"""What is made of Gemini's responses and streams."""

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
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers.base import HttpReply, StreamEvent
from tierwise.providers.gemini import GOOGLE

PROVIDER = GOOGLE.provider
CALL = {"functionCall": {"name": "weather", "args": {"city": "Köln"}}}
USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 60,
    "toolUsePromptTokenCount": 5,
    "candidatesTokenCount": 10,
    "thoughtsTokenCount": 7,
    "totalTokenCount": 122,
}
CONTENT = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "Let me "},
                    {"text": "look."},
                    {**CALL, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "own", "name": "now"}},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": USAGE,
    "modelVersion": "gemini-3-flash-preview",
    "responseId": "QUVVadTSNJ6",
}


def reply(body: object, status: int = 200) -> HttpReply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status=status, headers={}, content=content)


def piece(*parts: dict[str, Any], **candidate: object) -> dict[str, Any]:
    content = {"content": {"role": "model", "parts": list(parts)}}
    return {"candidates": [{**content, **candidate}], "responseId": "QUVVadTSNJ6"}


def failure(body: object, status: int = 200) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        PROVIDER.answer(reply(body, status))
    return caught.value


def test_content_with_everything() -> None:
    made = PROVIDER.answer(reply(CONTENT))
    assert made.text == "Let me look."
    assert made.reasoning == "Hm."
    assert [(one.name, one.arguments) for one in made.tool_calls] == [
        ("weather", {"city": "Köln"}),
        ("now", {}),
    ]
    assert made.finish_reason is FinishReason.TOOL_CALLS
    assert made.usage == Usage(
        input_tokens=105, cached_input_tokens=60, output_tokens=17, reasoning_tokens=7
    )
    assert made.served_model == "gemini-3-flash-preview"
    assert made.request_id == "QUVVadTSNJ6"
    assert made.mean_logprob is None


def test_calls_without_ids_get_one_that_is_theirs_alone() -> None:
    made = PROVIDER.answer(reply(CONTENT))
    assert [one.id for one in made.tool_calls] == ["call_QUVVadTSNJ6_0", "own"]
    assert made.tool_calls == PROVIDER.answer(reply(CONTENT)).tool_calls


def test_signature_is_kept_with_its_call() -> None:
    first, second = PROVIDER.answer(reply(CONTENT)).tool_calls
    assert first.provider_state == {"google": {"thoughtSignature": "c2ln"}}
    assert second.provider_state == {}


@pytest.mark.parametrize(
    ("told", "finish_reason"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("LANGUAGE", FinishReason.OTHER),
        ("SOMETHING_NEW", FinishReason.OTHER),
    ],
)
def test_why_an_answer_ended(told: str, finish_reason: FinishReason) -> None:
    made = PROVIDER.answer(reply(piece({"text": "So"}, finishReason=told)))
    assert made.finish_reason is finish_reason


def test_answer_that_was_cut_in_its_thoughts_is_whole() -> None:
    made = PROVIDER.answer(
        reply({"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": USAGE})
    )
    assert made.text == ""
    assert made.finish_reason is FinishReason.LENGTH


def test_what_was_withheld_was_paid_for() -> None:
    error = failure({**piece({"text": "It"}, finishReason="SAFETY"), "usageMetadata": USAGE})
    assert error.error_class is ErrorClass.CONTENT_POLICY
    assert error.request_id == "QUVVadTSNJ6"
    assert error.partial is not None
    assert error.partial.text == "It"
    assert error.partial.usage is not None
    assert error.partial.usage.input_tokens == 105
    assert "SAFETY" in str(error)


def test_first_candidate_counts() -> None:
    body = piece({"text": "one"}, finishReason="STOP", index=0)
    other = piece({"text": "two"}, finishReason="STOP", index=1)
    body["candidates"] = other["candidates"] + body["candidates"]
    assert PROVIDER.answer(reply(body)).text == "one"


def test_log_probabilities() -> None:
    tokens = [{"token": "a", "logProbability": -1.0}, {"token": "b", "logProbability": -2.0}]
    told = {"logprobsResult": {"chosenCandidates": tokens}, "avgLogprobs": -9.0}
    made = PROVIDER.answer(reply(piece({"text": "ab"}, finishReason="STOP", **told)))
    assert made.mean_logprob is not None
    assert math.isclose(made.mean_logprob, -1.5)


@pytest.mark.parametrize(
    "body",
    [
        {"candidates": {}},
        {"candidates": [{"content": {"parts": {}}}]},
        piece(1, finishReason="STOP"),
        piece({"functionCall": {"args": {}}}, finishReason="STOP"),
        piece({"functionCall": {"name": "weather", "args": "{}"}}, finishReason="STOP"),
        piece({"functionCall": "weather"}, finishReason="STOP"),
        piece({"text": 1}, finishReason="STOP"),
        piece({"text": "So"}),
        {"usageMetadata": USAGE},
    ],
)
def test_content_that_makes_no_sense(body: dict[str, Any]) -> None:
    assert failure(body).error_class is ErrorClass.MALFORMED_RESPONSE


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_success_that_is_no_content(content: bytes) -> None:
    assert failure(content).error_class is ErrorClass.MALFORMED_RESPONSE


def test_deeply_nested_arguments_are_refused() -> None:
    text = json.dumps(CONTENT).replace('"K\\u00f6ln"', '{"a":' * 990 + "1" + "}" * 990)
    assert failure(text.encode()).error_class is ErrorClass.MALFORMED_RESPONSE


def test_numbers_that_json_does_not_have_are_refused() -> None:
    call = {"functionCall": {"name": "weather", "args": {"degrees": math.nan}}}
    error = failure(piece(call, finishReason="STOP"))
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


def test_half_a_surrogate_pair_can_be_sent_on() -> None:
    call = {"functionCall": {"name": "weather", "args": {"city": "\ud83d"}}}
    made = PROVIDER.answer(reply(piece(call, finishReason="STOP")))
    assert made.tool_calls[0].arguments == {"city": "\ufffd"}


def test_failure_of_a_proxy_is_told_by_its_status() -> None:
    error = failure(b"<html>bad gateway</html>", status=502)
    assert error.error_class is ErrorClass.SERVER_ERROR
    assert error.status_code == 502


def test_response_without_a_stream_is_no_clean_end() -> None:
    assert PROVIDER.failure(reply(CONTENT)).error_class is ErrorClass.MALFORMED_RESPONSE


# --- streams

STREAM = [
    {**piece({"text": "Hm.", "thought": True}), "usageMetadata": {"promptTokenCount": 100}},
    piece({"text": "Let me "}),
    piece({"text": "look."}),
    piece({**CALL, "thoughtSignature": "c2ln"}),
    piece({"functionCall": {"name": "now", "args": {}}}),
    {**piece({"text": ""}, finishReason="STOP"), "usageMetadata": USAGE},
]


def stream_failure(events: list[object]) -> tuple[ProviderError, Answer]:
    reader = PROVIDER.reader({})
    with pytest.raises(ProviderError) as caught:  # noqa: PT012 - either may raise
        for event in events:
            reader.feed(StreamEvent(json.dumps(event)))
        reader.end()
    return caught.value, reader.partial()


def test_stream_with_everything() -> None:
    reader = PROVIDER.reader({})
    deltas = [one for event in STREAM for one in reader.feed(StreamEvent(json.dumps(event)))]
    assert deltas == [
        ReasoningDelta("Hm."),
        TextDelta("Let me "),
        TextDelta("look."),
        ToolCallDelta(
            index=0, id="call_QUVVadTSNJ6_0", name="weather", arguments_json='{"city": "Köln"}'
        ),
        ToolCallDelta(index=1, id="call_QUVVadTSNJ6_1", name="now", arguments_json="{}"),
    ]
    made = reader.end()
    assert made.text == "Let me look."
    assert made.reasoning == "Hm."
    assert made.finish_reason is FinishReason.TOOL_CALLS
    assert made.usage == Usage(
        input_tokens=105, cached_input_tokens=60, output_tokens=17, reasoning_tokens=7
    )


def test_stream_without_an_event_is_malformed() -> None:
    error, _ = stream_failure([])
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


@pytest.mark.parametrize("length", range(1, len(STREAM)))
def test_stream_that_is_cut_anywhere_never_ends_clean(length: int) -> None:
    error, partial = stream_failure(STREAM[:length])
    assert error.error_class is ErrorClass.CONNECTION
    assert error.partial is None
    assert partial.finish_reason is None


def test_what_came_before_a_failure_is_kept() -> None:
    event = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    error, partial = stream_failure([*STREAM[:4], event])
    assert error.error_class is ErrorClass.OVERLOADED
    assert partial.text == "Let me look."
    assert partial.reasoning == "Hm."
    assert partial.tool_calls[0].name == "weather"
    assert partial.usage == Usage(input_tokens=100)


@pytest.mark.parametrize("events", [[[]], [None], [{"candidates": 1}], [STREAM[0], "x"]])
def test_stream_that_makes_no_sense(events: list[object]) -> None:
    error, _ = stream_failure(events)
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE


def test_event_that_is_no_json() -> None:
    with pytest.raises(ProviderError) as caught:
        PROVIDER.reader({}).feed(StreamEvent("{"))
    assert caught.value.error_class is ErrorClass.MALFORMED_RESPONSE


# --- whatever comes

UNTIMED = settings(deadline=None)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "status", "details", "parts", "text", "functionCall"]
            ),
            inner,
        )
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
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 429])
)
def test_any_response_is_an_answer_or_a_failure(content: bytes, status: int) -> None:
    with pytest.raises(ProviderError):
        PROVIDER.answer(reply(content, status))


@UNTIMED
@given(spoilt(CONTENT))
def test_any_spoilt_content_is_an_answer_or_a_failure(body: object) -> None:
    try:
        made = PROVIDER.answer(reply(body))
    except ProviderError:
        return
    assert made.finish_reason is not None


FAILED = {
    "error": {
        "code": 429,
        "message": "Please retry in 3s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDay"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "X"},
        ],
    }
}


@UNTIMED
@given(spoilt(FAILED), st.sampled_from([200, 400, 429, 503]))
def test_any_spoilt_failure_is_a_failure(body: object, status: int) -> None:
    assert failure(body, status).error_class in ErrorClass


@UNTIMED
@given(st.lists(st.sampled_from(range(len(STREAM))), max_size=20), st.data())
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
