"""Anthropic's messages.

Sources: Anthropic, "Messages", "Streaming Messages", "Errors", "Handling stop reasons" and "Rate
limits"; messages of refused requests as users quote them in public bug reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tierwise.answers import FinishReason
from tierwise.messages import ToolCall
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.anthropic_errors import check, error_body, error_form, rejected
from tierwise.testing.dialects.base import (
    ARGUMENTS_PIECE_LENGTH,
    UNKNOWN_FINISH_REASON,
    Asked,
    ErrorForm,
    Event,
    Prompt,
    RateState,
    Rendering,
    compact,
    objects,
    pieces,
    server_sent,
    text_of,
)
from tierwise.testing.replies import Failure

_SIGNATURE = "c2lnbmF0dXJl"

_STOP_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.OTHER: UNKNOWN_FINISH_REASON,
}


class AnthropicMessages:
    """The dialect of Anthropic's own API."""

    base_path = ""
    stream_content_type = "text/event-stream; charset=utf-8"
    blocks_with_error = True

    def asked(self, path: str, body: Mapping[str, Any]) -> Asked | None:
        """Returns model and streaming from the body."""
        if path != "/v1/messages":
            return None
        model = body.get("model")
        return Asked(
            model=model if isinstance(model, str) else "", streamed=body.get("stream") is True
        )

    def key(self, call: ReceivedCall) -> str:
        """Returns the value of `x-api-key`, else the bearer's, as Anthropic's own SDK sends it."""
        key = call.headers.get("x-api-key", "").strip()
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return key or (token.strip() if scheme.lower() == "bearer" else "")

    def check(self, call: ReceivedCall) -> None:
        """Refuses what Anthropic refuses of headers, fields, roles and tool results."""
        check(call)

    def prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Returns the instructions and the text of all messages."""
        messages = objects(body.get("messages"))
        said = [_said(one.get("content")) for one in messages if one.get("role") == "user"]
        instructions = text_of(body.get("system"))
        return Prompt(
            texts=(instructions, *(text_of(one.get("content")) for one in messages)),
            last_user_text=next(filter(None, reversed(said)), ""),
        )

    def answer(self, rendering: Rendering) -> Mapping[str, Any]:
        """Returns a `message`."""
        return _message(rendering) | {
            "content": _blocks(rendering),
            "stop_reason": _stop_reason(rendering),
            "usage": _usage(rendering) | {"output_tokens": rendering.usage.output_tokens},
        }

    def events(self, rendering: Rendering) -> tuple[Event, ...]:
        """Returns `message_start`, the content block by block with a ping, and the end."""
        start = _message(rendering) | {"usage": _usage(rendering) | {"output_tokens": 1}}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
        for index, block in enumerate(_blocks(rendering)):
            events.append(
                {"type": "content_block_start", "index": index, "content_block": _opened(block)}
            )
            if index == 0:
                events.append({"type": "ping"})
            events += [
                {"type": "content_block_delta", "index": index, "delta": delta}
                for delta in _deltas(block, rendering)
            ]
            events.append({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": _stop_reason(rendering), "stop_sequence": None}
        usage = {"output_tokens": rendering.usage.output_tokens}
        events.append({"type": "message_delta", "delta": delta, "usage": usage})
        events.append({"type": "message_stop"})
        return tuple(Event(name=event["type"], data=compact(event)) for event in events)

    def encoded(self, events: Sequence[Event], _call: ReceivedCall) -> tuple[bytes, ...]:
        """Returns server-sent events with their names."""
        return tuple(server_sent(event) for event in events)

    def error(self, failure: Failure, call: ReceivedCall) -> ErrorForm:
        """Returns `{"type": "error", "error": {"type", "message"}, "request_id"}`."""
        return error_form(failure, call)

    def key_rejected(self, key: str, call: ReceivedCall) -> ErrorForm:
        """Returns a 401."""
        message = "invalid x-api-key" if key else "x-api-key header is required"
        return ErrorForm(status=401, body=error_body(call, "authentication_error", message))

    def not_json(self, call: ReceivedCall) -> ErrorForm:
        """Returns a 400."""
        return rejected(call, "The request body is not valid JSON").form

    def not_found(self, call: ReceivedCall) -> ErrorForm:
        """Returns a 404."""
        return ErrorForm(status=404, body=error_body(call, "not_found_error", "Not Found"))

    def too_large(self, call: ReceivedCall) -> ErrorForm:
        """Returns a 413."""
        message = "Request exceeds the maximum size"
        return ErrorForm(status=413, body=error_body(call, "request_too_large", message))

    def error_events(self, form: ErrorForm) -> tuple[Event, ...]:
        """Returns an `error` event."""
        return (Event(name="error", data=compact(form.body)),)

    def request_headers(self, call: ReceivedCall) -> Mapping[str, str]:
        """Returns the request's id."""
        return {"request-id": call.request_id}

    def rate_headers(self, state: RateState) -> Mapping[str, str]:
        """Returns `anthropic-ratelimit-requests-*`, the time as a moment."""
        reset = datetime.now(UTC) + timedelta(seconds=state.reset_s)
        return {
            "anthropic-ratelimit-requests-limit": str(state.limit),
            "anthropic-ratelimit-requests-remaining": str(state.remaining),
            "anthropic-ratelimit-requests-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def _said(content: Any) -> str:  # noqa: ANN401 - whatever a request holds
    """Returns what a user's message says, without the results of tools that it carries."""
    if isinstance(content, str):
        return content
    return "".join(text_of(part) for part in objects(content) if part.get("type") == "text")


def _message(rendering: Rendering) -> dict[str, Any]:
    return {
        "id": f"msg_{rendering.call.request_id}",
        "type": "message",
        "role": "assistant",
        "model": rendering.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(rendering: Rendering) -> dict[str, Any]:
    usage = rendering.usage
    cached = usage.cached_input_tokens + usage.cache_write_tokens
    return {
        "input_tokens": usage.input_tokens - cached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
    }


def _stop_reason(rendering: Rendering) -> str:
    if rendering.completion.withheld is not None:
        return "refusal"
    return _STOP_REASONS[rendering.completion.finish_reason]


def _blocks(rendering: Rendering) -> list[dict[str, Any]]:
    completion = rendering.completion
    blocks: list[dict[str, Any]] = []
    if completion.reasoning:
        blocks.append(
            {"type": "thinking", "thinking": completion.reasoning, "signature": _SIGNATURE}
        )
    if completion.text:
        blocks.append({"type": "text", "text": completion.text})
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call)}
        for call in completion.tool_calls
    ]
    return blocks


def _input(call: ToolCall) -> dict[str, Any]:
    try:
        return call.arguments
    except ValueError:  # arguments that were cut, which only a stream can show
        return {}


def _opened(block: Mapping[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: empty.get(name, value) for name, value in block.items()}


def _deltas(block: Mapping[str, Any], rendering: Rendering) -> list[dict[str, Any]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": piece} for piece in rendering.pieces]
    if block["type"] == "thinking":
        deltas = [
            {"type": "thinking_delta", "thinking": piece} for piece in rendering.reasoning_pieces
        ]
        return [*deltas, {"type": "signature_delta", "signature": _SIGNATURE}]
    calls = {call.id: call.arguments_json for call in rendering.completion.tool_calls}
    return [
        {"type": "input_json_delta", "partial_json": piece}
        for piece in ("", *pieces(calls[block["id"]], ARGUMENTS_PIECE_LENGTH))
    ]
