"""Gemini's generateContent API: what a failure says.

The body is a `google.rpc.Status` (https://cloud.google.com/apis/design/errors). Its status names
alone are too coarse to act on: a wrong key is an INVALID_ARGUMENT, and a day's quota and a minute's
are both a RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers import http_errors
from tierwise.providers.base import HttpReply
from tierwise.providers.untrusted_json import count, mapping, parsed, sequence, text

_CLASSES = {
    "INVALID_ARGUMENT": ErrorClass.INVALID_REQUEST,
    "FAILED_PRECONDITION": ErrorClass.INVALID_REQUEST,
    "OUT_OF_RANGE": ErrorClass.INVALID_REQUEST,
    "NOT_FOUND": ErrorClass.INVALID_REQUEST,
    "UNIMPLEMENTED": ErrorClass.INVALID_REQUEST,
    "UNAUTHENTICATED": ErrorClass.AUTHENTICATION,
    "PERMISSION_DENIED": ErrorClass.AUTHENTICATION,
    "RESOURCE_EXHAUSTED": ErrorClass.RATE_LIMITED,
    # The documentation's cause is a connection that something closed. It was not the caller: who
    # has given up reads no answer.
    "CANCELLED": ErrorClass.CONNECTION,
    "ABORTED": ErrorClass.SERVER_ERROR,
    "DATA_LOSS": ErrorClass.SERVER_ERROR,
    "INTERNAL": ErrorClass.SERVER_ERROR,
    "UNKNOWN": ErrorClass.SERVER_ERROR,
    "UNAVAILABLE": ErrorClass.OVERLOADED,
    "DEADLINE_EXCEEDED": ErrorClass.TIMEOUT,
}
"""https://ai.google.dev/gemini-api/docs/troubleshooting"""

_REASONS = {
    "API_KEY_INVALID": ErrorClass.AUTHENTICATION,
    "API_KEY_EXPIRED": ErrorClass.AUTHENTICATION,
    "BILLING_DISABLED": ErrorClass.QUOTA_EXHAUSTED,
    "QUOTA_EXHAUSTED": ErrorClass.QUOTA_EXHAUSTED,
    "MODEL_CAPACITY_EXHAUSTED": ErrorClass.OVERLOADED,
}
"""Reasons of a `google.rpc.ErrorInfo` that say more than the status."""

_PHRASES = (
    (
        re.compile(r"token count.{0,60}exceeds|maximum number of tokens allowed", re.IGNORECASE),
        ErrorClass.CONTEXT_TOO_LONG,
    ),
    (re.compile(r"\bAPI key (not|expired)\b", re.IGNORECASE), ErrorClass.AUTHENTICATION),
    (re.compile(r"location is not supported", re.IGNORECASE), ErrorClass.AUTHENTICATION),
    (
        # The free tier has nothing for this model or country, or the money is used up.
        re.compile(
            r"enable billing|\blimit: 0\b|credits are depleted|spend(ing)? (cap|limit)",
            re.IGNORECASE,
        ),
        ErrorClass.QUOTA_EXHAUSTED,
    ),
)
"""What a message says where there are no details."""

_LONG_WINDOW = re.compile(r"Per(Day|Week|Month)")
"""In the name of a quota that no wait within a call's time makes whole."""


def failure_of_reply(reply: HttpReply) -> ProviderError:
    """Returns what a response that is no generated content says."""
    error = error_in(parsed(reply.content))
    if error is not None:
        return failure_of_error(error, reply.headers, status=reply.status)
    detail = "a response without generated content" if reply.status < 300 else ""  # noqa: PLR2004
    return http_errors.failure(
        http_errors.status_class(reply.status),
        status=reply.status,
        headers=reply.headers,
        detail=detail,
    )


def error_in(body: object) -> Mapping[str, Any] | None:
    """Returns the error that a body reports, which some methods wrap into an array."""
    fields = mapping(next(iter(sequence(body)), body))
    return mapping(fields["error"]) if fields.get("error") else None


def failure_of_error(
    error: Mapping[str, Any], headers: Mapping[str, str], *, status: int
) -> ProviderError:
    """Returns the failure that a `google.rpc.Status` reports.

    Args:
        error: Its fields.
        headers: Of the response.
        status: Of the response.
    """
    reasons = [text(info.get("reason")) for info in _details(error, "ErrorInfo")]
    return http_errors.failure(
        _class(error, reasons, status),
        status=status,
        headers=headers,
        identifiers=(error.get("status"), *reasons),
        retry_after_s=_retry_delay_s(error),
    )


def _class(error: Mapping[str, Any], reasons: list[str], status: int) -> ErrorClass:
    # In a stream, whose response was a success, the error's own code says what is the matter.
    by_code = http_errors.status_class(count(error.get("code")) or status)
    error_class = _CLASSES.get(text(error.get("status")), by_code)
    for reason in reasons:
        if reason in _REASONS:
            return _REASONS[reason]
    if error_class is ErrorClass.RATE_LIMITED:
        if by_code is ErrorClass.QUOTA_EXHAUSTED or any(map(_LONG_WINDOW.search, _quotas(error))):
            return ErrorClass.QUOTA_EXHAUSTED
    elif error_class is not ErrorClass.INVALID_REQUEST:
        return error_class
    message = text(error.get("message"))
    return next((meant for phrase, meant in _PHRASES if phrase.search(message)), error_class)


def _quotas(error: Mapping[str, Any]) -> Iterator[str]:
    for failed in _details(error, "QuotaFailure"):
        for violation in sequence(failed.get("violations")):
            yield text(mapping(violation).get("quotaId"))


def _retry_delay_s(error: Mapping[str, Any]) -> float | None:
    for info in _details(error, "RetryInfo"):
        delay = http_errors.duration_s(text(info.get("retryDelay")))
        if delay is not None:
            return delay
    return None


def _details(error: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    for detail in sequence(error.get("details")):
        if text(mapping(detail).get("@type")).endswith(f"google.rpc.{name}"):
            yield mapping(detail)
