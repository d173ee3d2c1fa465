"""Errors of Gemini's generateContent, and what it refuses before it asks a model.

Sources: Google, "Troubleshooting" and "Rate limits"; bodies as users quote them in public bug
reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import ErrorForm, Rejected, objects, seconds
from tierwise.testing.replies import Failure

_TYPE = "type.googleapis.com/google.rpc."
_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"

RATING = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH"}
FEEDBACK = {"blockReason": "SAFETY", "safetyRatings": [RATING]}


@dataclass(frozen=True, slots=True)
class _Known:
    status: int
    name: str
    message: str
    quota_id: str = ""


_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)

_ERRORS = {
    ErrorClass.RATE_LIMITED: _Known(
        429,
        "RESOURCE_EXHAUSTED",
        _QUOTA,
        "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    ),
    ErrorClass.QUOTA_EXHAUSTED: _Known(
        429, "RESOURCE_EXHAUSTED", _QUOTA, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    ),
    ErrorClass.TIMEOUT: _Known(
        504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."
    ),
    ErrorClass.OVERLOADED: _Known(
        503, "UNAVAILABLE", "The model is overloaded. Please try again later."
    ),
    ErrorClass.SERVER_ERROR: _Known(
        500,
        "INTERNAL",
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    ),
    ErrorClass.CONTEXT_TOO_LONG: _Known(
        400,
        "INVALID_ARGUMENT",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    ErrorClass.INVALID_REQUEST: _Known(
        400, "INVALID_ARGUMENT", "Request contains an invalid argument."
    ),
    ErrorClass.AUTHENTICATION: _Known(
        400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."
    ),
}


def error_form(failure: Failure, call: ReceivedCall) -> ErrorForm:
    """Returns a failure as Gemini writes it."""
    if failure.error_class is ErrorClass.CONTENT_POLICY:
        # No error with Gemini, but feedback in a response that succeeds.
        return ErrorForm(status=200, body={"promptFeedback": FEEDBACK})
    known = _ERRORS[failure.error_class]
    details: list[dict[str, Any]] = []
    if failure.error_class is ErrorClass.AUTHENTICATION:
        details.append(_KEY_INVALID)
    if known.quota_id:
        violation = {
            "quotaMetric": _METRIC,
            "quotaId": known.quota_id,
            "quotaDimensions": {"location": "global", "model": call.model},
            "quotaValue": "15",
        }
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [violation]})
    if failure.retry_after_s is not None:
        delay = f"{seconds(failure.retry_after_s)}s"
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": delay})
    message = failure.message or known.message
    form = status_form(known.status, known.name, message, details)
    return ErrorForm(status=failure.status or known.status, body=form.body)


def check(call: ReceivedCall) -> None:
    """Refuses what Gemini refuses of contents, roles and function responses.

    Raises:
        Rejected: The request is refused.
    """
    contents = objects(call.body.get("contents"))
    if not contents:
        raise rejected("* GenerateContentRequest.contents: contents is not specified\n")
    for index, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model"):
            raise rejected("Please use a valid role: user, model.")
        if not objects(content.get("parts")):
            raise rejected(
                f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be "
                "empty.\n"
            )
    _check_functions(contents)


_KEY_INVALID = {
    "@type": f"{_TYPE}ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}


def status_form(
    status: int, name: str, message: str, details: Sequence[Mapping[str, Any]] = ()
) -> ErrorForm:
    """Returns a `google.rpc.Status`."""
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = list(details)
    return ErrorForm(status=status, body={"error": error})


def rejected(message: str) -> Rejected:
    """Returns the refusal of a request that is wrong in itself."""
    return Rejected(status_form(400, "INVALID_ARGUMENT", message))


def _check_functions(contents: Sequence[Mapping[str, Any]]) -> None:
    open_calls = 0
    for index, content in enumerate(contents):
        parts = objects(content.get("parts"))
        responses = sum("functionResponse" in part for part in parts)
        if responses and not open_calls:
            raise rejected(
                "Please ensure that function response turn comes immediately after a function call "
                "turn."
            )
        if responses != open_calls:
            raise rejected(
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn."
            )
        open_calls = sum("functionCall" in part for part in parts)
        before = contents[index - 1].get("role", "user") if index else ""
        if open_calls and before != "user":
            raise rejected(
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn."
            )
