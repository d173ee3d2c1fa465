"""Errors of OpenAI's chat completions, and of the providers that speak the format.

Sources: OpenAI, "Error codes"; OpenRouter, "Errors and Debugging"; Azure OpenAI, "Content
filtering" and "Quotas and limits"; otherwise bodies as users quote them in public bug reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import ErrorForm, retry_after
from tierwise.testing.replies import Failure

INVALID_REQUEST = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class _Known:
    status: int
    message: str
    error_type: str | None = INVALID_REQUEST
    code: str | None = None
    param: str | None = None


_OPENAI = {
    ErrorClass.RATE_LIMITED: _Known(
        429,
        "Rate limit reached for {model} in organization org-test on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 20s.",
        "requests",
        "rate_limit_exceeded",
    ),
    ErrorClass.TIMEOUT: _Known(408, "Request timed out.", "timeout"),
    ErrorClass.OVERLOADED: _Known(
        503,
        "The engine is currently overloaded, please try again later",
        "service_unavailable_error",
        "server_is_overloaded",
    ),
    ErrorClass.SERVER_ERROR: _Known(
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
    ),
    ErrorClass.CONTEXT_TOO_LONG: _Known(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "130000 tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    ),
    ErrorClass.CONTENT_POLICY: _Known(
        400,
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "
        "Please try again with a different prompt.",
        code="invalid_prompt",
    ),
    ErrorClass.INVALID_REQUEST: _Known(
        400,
        "Invalid value for 'temperature': expected a number between 0 and 2.",
        code="invalid_value",
        param="temperature",
    ),
    ErrorClass.AUTHENTICATION: _Known(
        401,
        "Incorrect API key provided: {key}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    ),
    ErrorClass.QUOTA_EXHAUSTED: _Known(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more "
        "information on this error, read the docs: "
        "https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        "insufficient_quota",
    ),
}

_AZURE = _OPENAI | {
    ErrorClass.RATE_LIMITED: _Known(
        429,
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version "
        "2024-10-21 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please "
        "retry after 6 seconds.",
        None,
        "429",
    ),
    ErrorClass.TIMEOUT: _Known(408, "The operation was timeout.", None, "Timeout"),
    ErrorClass.CONTENT_POLICY: _Known(
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy. Please modify your prompt and retry.",
        None,
        "content_filter",
        "prompt",
    ),
    ErrorClass.AUTHENTICATION: _Known(
        401,
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide "
        "a valid key for an active subscription and use a correct regional API endpoint for your "
        "resource.",
        None,
        "401",
    ),
}

_OPENROUTER = _OPENAI | {
    ErrorClass.TIMEOUT: _Known(408, "Your request timed out"),
    ErrorClass.RATE_LIMITED: _Known(429, "Provider returned error"),
    ErrorClass.OVERLOADED: _Known(
        503, "There is no available model provider that meets your routing requirements"
    ),
    ErrorClass.SERVER_ERROR: _Known(502, "Provider returned error"),
    ErrorClass.CONTENT_POLICY: _Known(403, "Your input was flagged"),
    ErrorClass.AUTHENTICATION: _Known(401, "No auth credentials found"),
    ErrorClass.QUOTA_EXHAUSTED: _Known(
        402, "Insufficient credits. Add more using https://openrouter.ai/settings/credits"
    ),
}

_BY_PROVIDER = {"azure": _AZURE, "openrouter": _OPENROUTER}


def error_form(provider: str, failure: Failure, call: ReceivedCall, key: str = "") -> ErrorForm:
    """Returns a failure as the provider writes it."""
    known = _BY_PROVIDER.get(provider, _OPENAI)[failure.error_class]
    status = failure.status or known.status
    message = failure.message or known.message.format(model=call.model, key=masked(key))
    if provider == "openrouter":
        return ErrorForm(
            status=status,
            # An error within a response that claims success keeps the code of its own.
            body=openrouter_body(known.status, message, failure.error_class),
            headers=retry_after(failure),
        )
    body = body_of(message, error_type=known.error_type, code=known.code, param=known.param)
    if provider == "azure" and failure.error_class is ErrorClass.CONTENT_POLICY:
        body["error"] |= {"status": known.status, "innererror": _AZURE_FILTER}
    headers = retry_after(failure)
    if failure.retry_after_s is not None and provider in {"openai", "azure"}:
        headers["retry-after-ms"] = str(round(failure.retry_after_s * 1000))
    return ErrorForm(status=status, body=body, headers=headers)


def body_of(
    message: str,
    *,
    error_type: str | None = INVALID_REQUEST,
    code: str | None = None,
    param: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Returns the body of an error in OpenAI's form."""
    return {"error": {"message": message, "type": error_type, "param": param, "code": code}}


def openrouter_body(
    code: int, message: str, error_class: ErrorClass | None = None
) -> dict[str, Any]:
    """Returns the body of an error in OpenRouter's form."""
    error: dict[str, Any] = {"code": code, "message": message}
    if error_class is ErrorClass.CONTENT_POLICY:
        error["metadata"] = {"reasons": ["violence"], "provider_name": "OpenAI"}
    elif error_class is ErrorClass.RATE_LIMITED:
        error["metadata"] = {
            "provider_name": "OpenAI",
            "raw": "the model is temporarily rate-limited upstream. Please retry shortly.",
        }
    return {"error": error}


def masked(key: str) -> str:
    """Returns a key as OpenAI quotes it: its ends, and asterisks between."""
    if len(key) <= 12:  # noqa: PLR2004 - eight characters in front and four at the end
        return "*" * len(key)
    return f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


_AZURE_FILTER = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {
        "hate": {"filtered": False, "severity": "safe"},
        "self_harm": {"filtered": False, "severity": "safe"},
        "sexual": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": True, "severity": "medium"},
    },
}
