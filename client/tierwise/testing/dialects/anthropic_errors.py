"""Errors of Anthropic's messages, and what it refuses before it asks a model.

Sources: Anthropic, "Errors"; messages of refused requests as users quote them in public bug
reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import ErrorForm, Rejected, objects, retry_after
from tierwise.testing.replies import Failure

_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Known:
    status: int
    error_type: str
    message: str


_ERRORS = {
    ErrorClass.RATE_LIMITED: _Known(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute. For "
        "details, refer to: https://docs.claude.com/en/api/rate-limits.",
    ),
    ErrorClass.TIMEOUT: _Known(504, "timeout_error", "The request timed out while processing."),
    ErrorClass.OVERLOADED: _Known(529, "overloaded_error", "Overloaded"),
    ErrorClass.SERVER_ERROR: _Known(500, "api_error", "Internal server error"),
    ErrorClass.CONTEXT_TOO_LONG: _Known(
        400, "invalid_request_error", "prompt is too long: 205000 tokens > 200000 maximum"
    ),
    ErrorClass.CONTENT_POLICY: _Known(
        400, "invalid_request_error", "Output blocked by content filtering policy"
    ),
    ErrorClass.INVALID_REQUEST: _Known(400, "invalid_request_error", "temperature: range: 0..1"),
    ErrorClass.AUTHENTICATION: _Known(401, "authentication_error", "invalid x-api-key"),
    ErrorClass.QUOTA_EXHAUSTED: _Known(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
        "to upgrade or purchase credits.",
    ),
}


def error_form(failure: Failure, call: ReceivedCall) -> ErrorForm:
    """Returns a failure as Anthropic writes it."""
    known = _ERRORS[failure.error_class]
    return ErrorForm(
        status=failure.status or known.status,
        body=error_body(call, known.error_type, failure.message or known.message),
        headers=retry_after(failure),
    )


def check(call: ReceivedCall) -> None:
    """Refuses what Anthropic refuses of headers, fields, roles and tool results.

    Raises:
        Rejected: The request is refused.
    """
    body = call.body
    if "anthropic-version" not in call.headers:
        raise rejected(call, "anthropic-version: header is required")
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise rejected(call, f"{name}: Field required")
    limit = body["max_tokens"]
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise rejected(call, "max_tokens: Input should be a valid integer")
    if limit < 1:
        raise rejected(call, "max_tokens: must be greater than or equal to 1")
    messages = objects(body["messages"])
    if not messages:
        raise rejected(call, "messages: at least one message is required")
    _check_messages(call, messages)
    _check_tools(call, messages)


def _check_messages(call: ReceivedCall, messages: Sequence[Mapping[str, Any]]) -> None:
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role == "system":
            raise rejected(
                call,
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
                'parameter, not "system" as an input message role.',
            )
        if role not in ("user", "assistant"):
            raise rejected(call, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if not content and not (role == "assistant" and index == len(messages) - 1):
            raise rejected(
                call,
                f"messages.{index}: all messages must have non-empty content except for the "
                "optional final assistant message",
            )
        if any(part.get("type") == "text" and not part.get("text") for part in objects(content)):
            raise rejected(call, "messages: text content blocks must be non-empty")


def _check_tools(call: ReceivedCall, messages: Sequence[Mapping[str, Any]]) -> None:
    wanted: list[str] = []
    for index, message in enumerate(messages):
        parts = objects(message.get("content"))
        answered = [
            str(part.get("tool_use_id")) for part in parts if part.get("type") == "tool_result"
        ]
        for call_id in answered:
            if call_id not in wanted:
                raise rejected(
                    call,
                    f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` "
                    f"blocks: {call_id}. Each `tool_result` block must have a corresponding "
                    "`tool_use` block in the previous message.",
                )
        _refuse_unanswered(call, [one for one in wanted if one not in answered], index - 1)
        wanted = [str(part.get("id")) for part in parts if part.get("type") == "tool_use"]
        for call_id in wanted:
            if not _CALL_ID.fullmatch(call_id):
                raise rejected(
                    call,
                    f"messages.{index}.content.0.tool_use.id: String should match pattern "
                    "'^[a-zA-Z0-9_-]+$'",
                )
    _refuse_unanswered(call, wanted, len(messages) - 1)


def _refuse_unanswered(call: ReceivedCall, call_ids: Sequence[str], index: int) -> None:
    if call_ids:
        raise rejected(
            call,
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {', '.join(call_ids)}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message.",
        )


def rejected(call: ReceivedCall, message: str) -> Rejected:
    """Returns the refusal of a request that is wrong in itself."""
    return Rejected(ErrorForm(status=400, body=error_body(call, "invalid_request_error", message)))


def error_body(call: ReceivedCall, error_type: str, message: str) -> dict[str, Any]:
    """Returns the body of an error."""
    error = {"type": error_type, "message": message}
    return {"type": "error", "error": error, "request_id": call.request_id}
