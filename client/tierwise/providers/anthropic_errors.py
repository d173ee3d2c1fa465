"""Anthropic's messages API: what a failure says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers import http_errors
from tierwise.providers.base import HttpReply
from tierwise.providers.untrusted_json import mapping, parsed, text

_CLASSES = {
    "authentication_error": ErrorClass.AUTHENTICATION,
    "permission_error": ErrorClass.AUTHENTICATION,
    "billing_error": ErrorClass.QUOTA_EXHAUSTED,
    "invalid_request_error": ErrorClass.INVALID_REQUEST,
    "not_found_error": ErrorClass.INVALID_REQUEST,
    "request_too_large": ErrorClass.CONTEXT_TOO_LONG,
    "rate_limit_error": ErrorClass.RATE_LIMITED,
    "timeout_error": ErrorClass.TIMEOUT,
    "api_error": ErrorClass.SERVER_ERROR,
    "overloaded_error": ErrorClass.OVERLOADED,
}
"""https://platform.claude.com/docs/en/api/errors"""

_PHRASES = (
    (
        re.compile(r"prompt is too long|exceeds? (the )?context (limit|window)", re.IGNORECASE),
        ErrorClass.CONTEXT_TOO_LONG,
    ),
    (
        re.compile(
            r"credit balance is too low|reached your .{0,30}usage limits|extra usage is required",
            re.IGNORECASE,
        ),
        ErrorClass.QUOTA_EXHAUSTED,
    ),
    (re.compile(r"blocked by content filtering", re.IGNORECASE), ErrorClass.CONTENT_POLICY),
)
"""What the message says where the type, that of a bad request or a rate limit, says less."""


def failure_of_reply(reply: HttpReply) -> ProviderError:
    """Returns what a response that is no message says."""
    body = mapping(parsed(reply.content))
    if not body.get("error"):
        detail = "a response without a message" if reply.status < 300 else ""  # noqa: PLR2004
        return http_errors.failure(
            http_errors.status_class(reply.status),
            status=reply.status,
            headers=reply.headers,
            detail=detail,
        )
    return failure_of_error(body, reply.headers, status=reply.status)


def failure_of_error(
    body: Mapping[str, Any], headers: Mapping[str, str], *, status: int
) -> ProviderError:
    """Returns the failure that the body of a response, or an event of a stream, reports.

    Args:
        body: With the field `error`.
        headers: Of the response.
        status: Of the response.
    """
    error = mapping(body.get("error"))
    details = mapping(error.get("details"))
    error_class = _CLASSES.get(text(error.get("type")), http_errors.status_class(status))
    if error_class in (ErrorClass.INVALID_REQUEST, ErrorClass.RATE_LIMITED):
        message = text(error.get("message"))
        error_class = next(
            (meant for phrase, meant in _PHRASES if phrase.search(message)), error_class
        )
        # A month's spending is used up: https://platform.claude.com/docs/en/api/rate-limits
        if details.get("error_code") == "enforced_spend_limit_reached":
            error_class = ErrorClass.QUOTA_EXHAUSTED
    return http_errors.failure(
        error_class,
        status=status,
        headers=headers,
        identifiers=(error.get("type"), details.get("error_code")),
        call_id=text(body.get("request_id")),
    )
