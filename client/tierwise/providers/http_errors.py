"""What failures have in common in every provider's API: status codes, waiting times, identifiers.

An error's message is put together here from our own words and the provider's identifiers, never
from its prose: that quotes keys ("Incorrect API key provided: sk-…") and prompts ("Invalid value:
'…'"), and nothing tells such a quotation from the rest.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC

from tierwise.answers import RateHeadroom
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError

_STATUS_CLASSES: Mapping[int, ErrorClass] = {
    401: ErrorClass.AUTHENTICATION,
    402: ErrorClass.QUOTA_EXHAUSTED,
    403: ErrorClass.AUTHENTICATION,
    407: ErrorClass.AUTHENTICATION,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.CONTEXT_TOO_LONG,
    429: ErrorClass.RATE_LIMITED,
    499: ErrorClass.CANCELLED,  # of nginx, and those who took it from there: the caller hung up
    501: ErrorClass.INVALID_REQUEST,
    503: ErrorClass.OVERLOADED,
    504: ErrorClass.TIMEOUT,
    # Of Cloudflare, which most providers stand behind: the origin refuses, is not reached, is slow.
    521: ErrorClass.CONNECTION,
    522: ErrorClass.CONNECTION,
    523: ErrorClass.CONNECTION,
    524: ErrorClass.TIMEOUT,
    529: ErrorClass.OVERLOADED,
}

_EXPLANATIONS: Mapping[ErrorClass, str] = {
    ErrorClass.RATE_LIMITED: "the provider's rate limit is reached",
    ErrorClass.TIMEOUT: "the provider took too long",
    ErrorClass.OVERLOADED: "the provider has no capacity at the moment",
    ErrorClass.SERVER_ERROR: "the provider failed internally",
    ErrorClass.CONNECTION: "the connection broke before the answer was whole",
    ErrorClass.CONTEXT_TOO_LONG: "prompt and requested output do not fit the model; shorten them",
    ErrorClass.CONTENT_POLICY: "the provider declined for reasons of content",
    ErrorClass.INVALID_REQUEST: "the provider refuses the request as it is",
    ErrorClass.AUTHENTICATION: "the provider does not accept the key; check it and its permissions",
    ErrorClass.QUOTA_EXHAUSTED: "the account's credit or quota is used up; check its billing",
    ErrorClass.MALFORMED_RESPONSE: "the answer makes no sense in the provider's own format",
    ErrorClass.REJECTED_BY_VALIDATOR: "a check rejected the answer",
    ErrorClass.CANCELLED: "the provider says that the call was cancelled",
}

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-\[\]]{0,63}")
_KEY_LIKE = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}|(?i:\b(?:sk|gsk|csk|pk|key)[-_])")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")
_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "mistral-correlation-id",
    "x-generation-id",
)
_KINDS = ("requests", "tokens")
"""What rates are limited by, as the names of headers end."""

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?"
    r"(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_LARGEST_NUMBER = 2.0**53
"""Beyond it, nothing that a header can mean is left."""

_DURATION_UNITS_S = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_WAIT_IN_WORDS = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?(?:ms|[dhms]))+|\d+(?:\.\d+)? seconds?)",
    re.IGNORECASE,
)


def status_class(status: int) -> ErrorClass:
    """Returns what a status code means where the body says nothing more exact."""
    if status in _STATUS_CLASSES:
        return _STATUS_CLASSES[status]
    if status >= 500:  # noqa: PLR2004 - the class of server errors
        return ErrorClass.SERVER_ERROR
    # No provider answers a call with 1xx or 3xx, and a 2xx is a failure when it is no answer.
    return ErrorClass.INVALID_REQUEST if status >= 400 else ErrorClass.MALFORMED_RESPONSE  # noqa: PLR2004


def failure(
    error_class: ErrorClass,
    *,
    status: int | None = None,
    headers: Mapping[str, str],
    identifiers: Iterable[object] = (),
    detail: str = "",
    call_id: str = "",
    retry_after_s: float | None = None,
) -> ProviderError:
    """Returns an error whose message holds nothing that a provider has put in words.

    Args:
        error_class: What kind of failure it is.
        status: Of the response. None for a failure inside a stream.
        headers: Of the response, names in lower case.
        identifiers: The provider's type, code and field of the failure. Those that could be
            anything else than identifiers are left out.
        detail: What is wrong, in our own words. Empty takes a sentence on the class.
        call_id: The provider's identifier of the call, where the headers name none.
        retry_after_s: Where the headers name none.
    """
    named = dict.fromkeys(filter(None, map(identifier, identifiers)))
    named.pop(str(status), None)
    where = " ".join([*([f"HTTP {status}"] if status else []), *named])
    explanation = detail or _EXPLANATIONS[error_class]
    stated = retry_after(headers)
    return ProviderError(
        f"{where}: {explanation}" if where else explanation,
        error_class=error_class,
        status_code=status,
        request_id=request_id_of(headers) or request_id(call_id),
        retry_after_s=retry_after_s if stated is None else stated,
    )


def identifier(value: object) -> str:
    """Returns a value if it is an identifier such as `rate_limit_exceeded`; otherwise nothing."""
    word = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return word if _IDENTIFIER.fullmatch(word) and not _KEY_LIKE.search(word) else ""


def request_id_of(headers: Mapping[str, str]) -> str:
    """Returns the provider's identifier of a call; empty when the headers have none."""
    return next(filter(None, (request_id(headers.get(name)) for name in _REQUEST_ID_HEADERS)), "")


def request_id(value: object) -> str:
    """Returns a value if it can be the identifier of a call; otherwise nothing."""
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that the response asks to wait; None when it does not say.

    Read are `Retry-After-Ms`, `Retry-After` as seconds or date, and, of the `X-RateLimit-Reset`
    headers, those whose window is exhausted. Dates count from the response's own `Date`.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    stated = headers.get("retry-after", "").strip()
    if stated:
        seconds = _number(stated)
        return seconds if seconds is not None else _until(stated, headers)
    waits = [
        duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in _KINDS
        if _number(headers.get(f"x-ratelimit-remaining-{kind}", "")) == 0
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def wait_in_words(message: str) -> float | None:
    """Returns the seconds that a sentence such as "Please try again in 1m2.5s" asks to wait."""
    found = _WAIT_IN_WORDS.search(message)
    if found is None:
        return None
    return duration_s(re.sub(r" seconds?$", "s", found.group(1), flags=re.IGNORECASE))


def wait_until_epoch(milliseconds: float, headers: Mapping[str, str]) -> float:
    """Returns the seconds until a point in time, at least 0."""
    return max(0.0, milliseconds / 1000 - _now(headers))


def duration_s(text: str) -> float | None:
    """Returns the seconds of a duration such as `1m26.4s`, `120ms` or `6`; None for other text."""
    text = text.strip()
    plain = _number(text)
    if plain is not None:
        return plain
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    seconds = sum(
        float(amount) * unit
        for amount, unit in zip(found.groups(), _DURATION_UNITS_S, strict=True)
        if amount
    )
    return seconds if math.isfinite(seconds) else None


def headroom(headers: Mapping[str, str]) -> RateHeadroom | None:
    """Returns what is left of the rate limits, by the `X-RateLimit` headers; None without any.

    Where a provider names several windows, the one with the least left counts.
    """
    requests = _least(headers, "x-ratelimit-remaining-req")
    tokens = _least(headers, "x-ratelimit-remaining-tokens")
    if requests is None and tokens is None:
        return None
    resets = (duration_s(headers.get(f"x-ratelimit-reset-{kind}", "")) for kind in _KINDS)
    return RateHeadroom(
        remaining_requests=requests,
        remaining_tokens=tokens,
        reset_s=max((reset for reset in resets if reset is not None), default=None),
    )


def _least(headers: Mapping[str, str], prefix: str) -> int | None:
    values = [_number(value) for name, value in headers.items() if name.startswith(prefix)]
    return min((int(value) for value in values if value is not None), default=None)


def _number(text: str) -> float | None:
    """Reads a number that is neither negative nor beyond all use."""
    digits = text.strip()
    if not re.fullmatch(r"\d+(?:\.\d+)?", digits, re.ASCII):
        return None
    value = float(digits)
    return value if value <= _LARGEST_NUMBER else None


def _until(date: str, headers: Mapping[str, str]) -> float | None:
    moment = _timestamp(date)
    return None if moment is None else max(0.0, moment - _now(headers))


def _now(headers: Mapping[str, str]) -> float:
    """The time on the provider's clock, else on ours: only differences of one clock make sense."""
    stated = _timestamp(headers.get("date", ""))
    return time.time() if stated is None else stated


def _timestamp(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
