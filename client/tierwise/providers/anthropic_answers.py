"""Anthropic's messages API: what a message and the rate limits' headers say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tierwise.answers import Answer, FinishReason, RateHeadroom, Usage
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import ToolCall
from tierwise.providers import http_errors
from tierwise.providers.anthropic_errors import failure_of_reply
from tierwise.providers.base import HttpReply
from tierwise.providers.untrusted_json import count, mapping, parsed, sequence, text

PROVIDER_ID = "anthropic"

SUCCESS = 200

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
}
"""https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons. What is missing is
another reason: `pause_turn`, after which only Anthropic's own tools go on, and whatever is new."""


class MalformedMessageError(Exception):
    """A message that makes no sense; for the adapter alone. Its text says where, in our words."""


def answer_of_reply(reply: HttpReply) -> Answer:
    """Returns the message of a response that was not streamed.

    Raises:
        ProviderError: It is none, or none that is whole.
    """
    message = mapping(parsed(reply.content))
    if not reply.succeeded or message.get("error"):
        raise failure_of_reply(reply)
    headers = headers_of_success(reply.headers)
    try:
        blocks = [checked_block(block) for block in _content(message)]
    except MalformedMessageError as error:
        raise http_errors.failure(
            ErrorClass.MALFORMED_RESPONSE,
            status=reply.status,
            headers=headers,
            detail=str(error),
        ) from None
    answer = answer_of_message(message, blocks, headers)
    failure = shortcoming(answer, message, headers)
    if failure is not None:
        failure.partial = answer
        raise failure
    return answer


def headers_of_success(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns headers without the waiting time, which Anthropic names in successes as well.

    There it is when the limits' windows start anew, and nothing that a failure need wait for.
    """
    return {name: value for name, value in headers.items() if name != "retry-after"}


def checked_block(block: object) -> dict[str, Any]:
    """Returns a block of a message's content, of which the fields that matter here are there.

    Raises:
        MalformedMessageError: They are not.
    """
    fields = dict(mapping(block))
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise MalformedMessageError("a block of the content has no type")
    if kind in ("text", "thinking"):
        if not isinstance(fields.get(kind, ""), str):
            raise MalformedMessageError(f"a block of type {kind} holds no text")
        fields[kind] = text(fields.get(kind))
    if kind == "tool_use":
        named = text(fields.get("id")) and text(fields.get("name"))
        if not named or not isinstance(fields.get("input"), dict):
            raise MalformedMessageError("a call of a tool lacks its id, name or arguments")
        try:
            fields["input"] = json.loads(json_of(fields["input"]))
        except (ValueError, RecursionError):
            raise MalformedMessageError("the arguments of a call can't be written") from None
    return fields


def answer_of_message(
    message: Mapping[str, Any],
    blocks: Sequence[dict[str, Any]],
    headers: Mapping[str, str],
    *,
    streamed_arguments: Mapping[int, str] | None = None,
) -> Answer:
    """Returns what a message says, whole or not.

    Args:
        message: Its fields, without regard to `content`.
        blocks: Its content, each block checked.
        headers: Of the response.
        streamed_arguments: Arguments by index of their block, as they came in a stream.
    """
    arguments = streamed_arguments or {}
    calls = [
        ToolCall(
            id=text(block["id"]),
            name=text(block["name"]),
            arguments_json=arguments.get(index) or json_of(block["input"]),
        )
        for index, block in enumerate(blocks)
        if block["type"] == "tool_use"
    ]
    if calls and any(block["type"] not in ("text", "tool_use") for block in blocks):
        calls[0] = _with_turn(calls[0], blocks)
    stop_reason = text(message.get("stop_reason"))
    return Answer(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        tool_calls=tuple(calls),
        finish_reason=_FINISH_REASONS.get(stop_reason, FinishReason.OTHER) if stop_reason else None,
        usage=_usage(mapping(message.get("usage"))),
        served_model=text(message.get("model")),
        request_id=http_errors.request_id_of(headers) or http_errors.request_id(message.get("id")),
        headroom=headroom(headers),
    )


def shortcoming(
    answer: Answer, message: Mapping[str, Any], headers: Mapping[str, str]
) -> ProviderError | None:
    """Returns why a message that ended is no answer; None when it is one."""
    stop_reason = message.get("stop_reason")
    error_class, detail, category = ErrorClass.MALFORMED_RESPONSE, "", None
    if stop_reason == "refusal":
        error_class = ErrorClass.CONTENT_POLICY
        category = mapping(message.get("stop_details")).get("category")
    elif answer.finish_reason is None:
        detail = "the message does not say why it ended"
    elif answer.finish_reason is FinishReason.LENGTH:
        return None
    elif answer.finish_reason is FinishReason.TOOL_CALLS and not answer.tool_calls:
        detail = "the message ended for a call of a tool, and has none"
    elif not all(isinstance(parsed(call.arguments_json), dict) for call in answer.tool_calls):
        detail = "the arguments of a call are no JSON object"
    # A model may begin with what it was told to stop at: nothing is then what was asked for.
    elif answer.text or answer.tool_calls or stop_reason == "stop_sequence":
        return None
    else:
        detail = "the message is empty"
    return http_errors.failure(
        error_class,
        status=SUCCESS,
        headers=headers,
        identifiers=(stop_reason, category),
        detail=detail,
        call_id=text(message.get("id")),
    )


def kept_blocks(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Returns the blocks of the turn that made these calls; none where nothing was kept."""
    state = mapping(calls[0].provider_state.get(PROVIDER_ID)) if calls else {}
    try:
        blocks = [checked_block(block) for block in sequence(state.get("content"))]
    except MalformedMessageError:
        return []
    # The API refuses empty text, its own included.
    return [block for block in blocks if block["type"] != "text" or block["text"]]


def headroom(headers: Mapping[str, str]) -> RateHeadroom | None:
    """Returns what is left of the rate limits; None where the headers don't say.

    The headers: https://platform.claude.com/docs/en/api/rate-limits#response-headers. Of several
    limits on tokens, `tokens` stands for the one that is nearest to being reached.
    """
    requests = _digits(headers.get("anthropic-ratelimit-requests-remaining"))
    tokens = _digits(headers.get("anthropic-ratelimit-tokens-remaining"))
    if requests is None and tokens is None:
        return None
    resets = [
        _epoch_ms(headers.get(f"anthropic-ratelimit-{kind}-reset", ""))
        for kind in ("requests", "tokens")
    ]
    latest = max((reset for reset in resets if reset is not None), default=None)
    return RateHeadroom(
        remaining_requests=requests,
        remaining_tokens=tokens,
        reset_s=None if latest is None else http_errors.wait_until_epoch(latest, headers),
    )


def json_of(arguments: Mapping[str, Any]) -> str:
    """Returns arguments as JSON text.

    Raises:
        ValueError: They hold numbers that JSON does not have.
        RecursionError: They are nested too deeply.
    """
    return text(json.dumps(arguments, ensure_ascii=False, allow_nan=False))


def _content(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    if not isinstance(content, list):
        raise MalformedMessageError("a response without a message")
    return content


def _with_turn(call: ToolCall, blocks: Sequence[dict[str, Any]]) -> ToolCall:
    """Returns a call that has its turn with it.

    Reasoning is signed, and must come back with the calls, unchanged and in its place:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks
    """
    return ToolCall(
        id=call.id,
        name=call.name,
        arguments_json=call.arguments_json,
        provider_state={PROVIDER_ID: {"content": [dict(block) for block in blocks]}},
    )


def _usage(usage: Mapping[str, Any]) -> Usage | None:
    fresh, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if fresh is None and output is None:
        return None
    # Unlike ours, Anthropic's input leaves out what the cache gave or took.
    cached = count(usage.get("cache_read_input_tokens")) or 0
    written = count(usage.get("cache_creation_input_tokens")) or 0
    details = mapping(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=(fresh or 0) + cached + written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output or 0,
        reasoning_tokens=count(details.get("thinking_tokens")) or 0,
    )


def _digits(value: str | None) -> int | None:
    return int(value) if value and re.fullmatch(r"[0-9]{1,15}", value) else None


def _epoch_ms(moment: str) -> float | None:
    try:
        at = datetime.fromisoformat(moment)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000
    except (ValueError, OverflowError):
        return None
