"""Which class a failure is of, for the servers that speak OpenAI's chat completions.

An error comes as `{"error": {...}}`, as the bare object (Mistral, Cerebras, older vLLM), as a
string (Ollama) or as FastAPI's `detail`; with any status, in a body of status 200 (OpenRouter), or
as an event of a stream. Codes decide first, then the words of messages, then the status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers import http_errors
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.untrusted_json import count, mapping, number, parsed, sequence, text

_CODES: Mapping[str, ErrorClass] = {
    code: error_class
    for error_class, codes in {
        ErrorClass.CONTEXT_TOO_LONG: (
            "context_length_exceeded",
            "exceed_context_size_error",
            "string_too_long",
        ),
        ErrorClass.CONTENT_POLICY: (
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation_blocked",
        ),
        ErrorClass.QUOTA_EXHAUSTED: (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_hard_limit_reached",
            "billing_not_active",
            "weight_exceeds_budget",
            "token_limit_exceeded",
            "openrouter_credits",
            "openrouter_guardrail_budget",
            "openrouter_workspace_budget",
            "openrouter_key_limit",
        ),
        ErrorClass.RATE_LIMITED: (
            "rate_limit_exceeded",
            "rate_limited",
            "request_quota_exceeded",
            "token_quota_exceeded",
            "in_flight_budget_exhausted",
            "openrouter_in_flight_budget",
        ),
        ErrorClass.OVERLOADED: (
            "server_is_overloaded",
            "engine_overloaded",
            "capacity_exceeded",
            "service_tier_capacity_exceeded",
            "overloaded_error",
            "queue_exceeded",
        ),
        ErrorClass.AUTHENTICATION: (
            "invalid_api_key",
            "wrong_api_key",
            "account_deactivated",
            "organization_restricted",
        ),
        # The model, not the caller, wrote what the server then refused (Groq).
        ErrorClass.MALFORMED_RESPONSE: ("tool_use_failed", "json_validate_failed"),
    }.items()
    for code in codes
}
"""Codes and types that mean the same wherever they occur, whatever the status."""

_WORDS: Mapping[ErrorClass, tuple[str, ...]] = {
    ErrorClass.CONTENT_POLICY: (
        "content management policy",
        "content exists risk",
        "usage policy",
        "usage policies",
        "content policy",
        "safety system",
        "requires moderation",
        "input was flagged",
    ),
    ErrorClass.CONTEXT_TOO_LONG: (
        "maximum context length",
        "context length exceeded",
        "context window",
        "context size has been exceeded",
        "available context size",
        "reduce the length of the messages",
        "longer than the model's context length",
        "greater than the context length",
        "exceeded max context length",
        "exceeds the context length",
        "prompt is too long",
        "input is too long",
        "max_tokens must be at least 1, got -",
    ),
    ErrorClass.QUOTA_EXHAUSTED: (
        "exceeded your current quota",
        "insufficient balance",
        "insufficient credits",
        "requires more credits",
        "free-models-per-day",
    ),
    ErrorClass.OVERLOADED: (
        "overloaded",
        "over capacity",
        "tier capacity exceeded",
        "experiencing high demand",
        "server busy",
    ),
    ErrorClass.RATE_LIMITED: ("rate limit", "rate-limited", "too many requests"),
}
"""Parts of messages, in lower case, of failures that come without a code of their own."""

_REQUEST_FAULTS = (ErrorClass.CONTENT_POLICY, ErrorClass.CONTEXT_TOO_LONG)
_WORDS_BY_STATUS: Mapping[int | None, tuple[ErrorClass, ...]] = {
    None: tuple(_WORDS),
    400: _REQUEST_FAULTS,
    403: (ErrorClass.CONTENT_POLICY, ErrorClass.QUOTA_EXHAUSTED),
    413: _REQUEST_FAULTS,
    422: _REQUEST_FAULTS,
    429: (ErrorClass.QUOTA_EXHAUSTED, ErrorClass.OVERLOADED),
    500: (ErrorClass.CONTEXT_TOO_LONG, ErrorClass.OVERLOADED),
}
"""Which words count beside which status; None stands for a failure without one."""

_TYPES: Mapping[str, ErrorClass] = {
    "invalid_request_error": ErrorClass.INVALID_REQUEST,
    "badrequesterror": ErrorClass.INVALID_REQUEST,
    "notfounderror": ErrorClass.INVALID_REQUEST,
    "not_found_error": ErrorClass.INVALID_REQUEST,
    "authentication_error": ErrorClass.AUTHENTICATION,
    "permission_error": ErrorClass.AUTHENTICATION,
    "rate_limit_error": ErrorClass.RATE_LIMITED,
    "slow_down": ErrorClass.RATE_LIMITED,
    "tokens": ErrorClass.RATE_LIMITED,
    "requests": ErrorClass.RATE_LIMITED,
    "timeout": ErrorClass.TIMEOUT,
}
"""Codes and types that are less exact than a status, for failures without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What an error object says."""

    identifiers: tuple[object, ...] = ()
    """Code, type and field; and the codes of what the provider passed on."""
    words: str = ""
    """Messages, in lower case; to be searched, never to be shown."""
    status: int | None = None
    flagged: bool = False
    """Whether a moderation says what it took offence at."""
    reset_epoch_ms: float | None = None


def failure_of_body(
    content: object, *, status: int, headers: Mapping[str, str], dialect: Dialect
) -> ProviderError:
    """Returns the failure that an error's JSON stands for.

    Args:
        content: The parsed body or event. May be anything.
        status: Of the response. Of a success it says nothing on the failure.
        headers: Of the response.
        dialect: Of the server.
    """
    fault = _fault(content)
    error_class = _class_of(fault, status, dialect)
    wait = http_errors.wait_in_words(fault.words)
    if wait is None and fault.reset_epoch_ms is not None:
        wait = http_errors.wait_until_epoch(fault.reset_epoch_ms, headers)
    return http_errors.failure(
        error_class,
        status=status,
        headers=headers,
        identifiers=fault.identifiers,
        retry_after_s=wait,
    )


def is_error(content: Mapping[str, Any]) -> bool:
    """Says whether a body or event reports a failure."""
    return bool(content.get("error")) or text(content.get("object")).lower() == "error"


def _class_of(fault: _Fault, status: int, dialect: Dialect) -> ErrorClass:
    codes = [str(one).lower() for one in fault.identifiers]
    for code in codes:
        if code in _CODES:
            return _CODES[code]
    if "string_above_max_length" in codes and any("messages" in code for code in codes):
        return ErrorClass.CONTEXT_TOO_LONG
    if fault.flagged:
        return ErrorClass.CONTENT_POLICY
    effective = status if status >= 400 else fault.status  # noqa: PLR2004 - the codes of failures
    for error_class in _WORDS_BY_STATUS.get(effective, ()):
        if any(word in fault.words for word in _WORDS[error_class]):
            return error_class
    if effective is not None:
        return dialect.statuses.get(effective) or http_errors.status_class(effective)
    return next((_TYPES[code] for code in codes if code in _TYPES), ErrorClass.SERVER_ERROR)


def _fault(content: object, *, nested: bool = False) -> _Fault:
    outer = mapping(content[0] if isinstance(content, list) and content else content)
    error = outer.get("error")
    inner = mapping(error) or outer
    metadata, cause = mapping(inner.get("metadata")), mapping(inner.get("innererror"))
    identifiers = [
        inner.get("type"),
        inner.get("code"),
        inner.get("param"),
        cause.get("code"),
        metadata.get("error_type"),
        metadata.get("limit_source"),
    ]
    words = [error, inner.get("message"), *_details(outer.get("detail"))]
    # A router passes on what the provider behind it said (OpenRouter).
    raw = metadata.get("raw")
    if not nested and raw:
        passed_on = _fault(parsed(raw) if isinstance(raw, str) else raw, nested=True)
        identifiers += passed_on.identifiers
        words += [passed_on.words, raw]
    limits = mapping(metadata.get("headers"))
    return _Fault(
        identifiers=tuple(one for one in identifiers if one not in (None, "", [], {})),
        words=" ".join(filter(None, map(text, words))).lower(),
        status=_status(inner),
        flagged="flagged_input" in metadata,
        reset_epoch_ms=_epoch(limits.get("X-RateLimit-Reset")),
    )


def _details(detail: object) -> Iterator[object]:
    yield detail
    for one in sequence(detail):
        yield mapping(one).get("msg")


def _status(error: Mapping[str, Any]) -> int | None:
    for name in ("status", "status_code", "code"):
        value = error.get(name)
        status = count(int(value) if isinstance(value, str) and value in _CODE_WORDS else value)
        if status is not None and 400 <= status <= 599:  # noqa: PLR2004 - the codes of failures
            return status
    return None


_CODE_WORDS = frozenset(map(str, range(400, 600)))
"""Status codes as Azure writes them in `code`."""


def _epoch(value: object) -> float | None:
    milliseconds = number(value)
    if milliseconds is None and isinstance(value, str) and value.isdecimal():
        milliseconds = http_errors.duration_s(value)
    return milliseconds
