"""What every provider's failures have in common."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.answers import RateHeadroom
from tierwise.error_class import ErrorClass
from tierwise.providers import http_errors


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (301, ErrorClass.MALFORMED_RESPONSE),
        (400, ErrorClass.INVALID_REQUEST),
        (401, ErrorClass.AUTHENTICATION),
        (402, ErrorClass.QUOTA_EXHAUSTED),
        (403, ErrorClass.AUTHENTICATION),
        (404, ErrorClass.INVALID_REQUEST),
        (408, ErrorClass.TIMEOUT),
        (413, ErrorClass.CONTEXT_TOO_LONG),
        (418, ErrorClass.INVALID_REQUEST),
        (422, ErrorClass.INVALID_REQUEST),
        (429, ErrorClass.RATE_LIMITED),
        (500, ErrorClass.SERVER_ERROR),
        (502, ErrorClass.SERVER_ERROR),
        (503, ErrorClass.OVERLOADED),
        (504, ErrorClass.TIMEOUT),
        (522, ErrorClass.CONNECTION),
        (529, ErrorClass.OVERLOADED),
        (599, ErrorClass.SERVER_ERROR),
    ],
)
def test_status_has_its_class(status: int, error_class: ErrorClass) -> None:
    assert http_errors.status_class(status) is error_class


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "0\x1f"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:27:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            0.0,
        ),
        ({"x-ratelimit-reset-requests": "2s"}, None),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m26.4s"},
            86.4,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "120ms",
            },
            1.0,
        ),
    ],
)
def test_waiting_time_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert http_errors.retry_after(headers) == pytest.approx(seconds)


def test_date_without_the_providers_clock_counts_from_ours() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    waited = http_errors.retry_after({"retry-after": date})
    assert waited is not None
    assert 90 < waited <= 100


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6", 6.0),
        ("0s", 0.0),
        ("120ms", 0.12),
        ("1m26.4s", 86.4),
        ("114h18m0s", 411480.0),
        ("2d", 172800.0),
        ("", None),
        ("soon", None),
        ("s", None),
        ("-1s", None),
    ],
)
def test_duration_is_read(text: str, seconds: float | None) -> None:
    assert http_errors.duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("please try again in 7m12s. visit", 432.0),
        ("try again in 20ms", 0.02),
        ("please retry after 86400 seconds.", 86400.0),
        ("try again in 1 second", 1.0),
        ("try again later", None),
    ],
)
def test_waiting_time_is_found_in_words(message: str, seconds: float | None) -> None:
    assert http_errors.wait_in_words(message) == pytest.approx(seconds)


@settings(deadline=None)
@given(st.text())
def test_no_header_can_break_reading(text: str) -> None:
    names = ("retry-after", "retry-after-ms", "date", "x-ratelimit-remaining-requests")
    headers = dict.fromkeys((*names, "x-ratelimit-reset-requests", "x-request-id"), text)
    waited = http_errors.retry_after(headers)
    assert waited is None or waited >= 0
    error = http_errors.failure(ErrorClass.SERVER_ERROR, status=500, headers=headers)
    assert error.error_class is ErrorClass.SERVER_ERROR
    http_errors.headroom(headers)
    http_errors.wait_in_words(text)


@pytest.mark.parametrize(
    ("headers", "headroom"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "500"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-remaining-tokens": "29984",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-reset-tokens": "2s",
            },
            RateHeadroom(remaining_requests=499, remaining_tokens=29984, reset_s=2.0),
        ),
        (
            {
                "x-ratelimit-remaining-req-10-second": "53",
                "x-ratelimit-remaining-tokens-minute": "1999370",
                "x-ratelimit-remaining-tokens-month": "9999999370",
            },
            RateHeadroom(remaining_requests=53, remaining_tokens=1999370),
        ),
        ({"x-ratelimit-remaining-requests": "many"}, None),
    ],
)
def test_headroom_is_read(headers: dict[str, str], headroom: RateHeadroom | None) -> None:
    assert http_errors.headroom(headers) == headroom


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("messages[0].content", "messages[0].content"),
        ("3230", "3230"),
        (429, "429"),
        (True, ""),
        (None, ""),
        ("", ""),
        ("two words", ""),
        ("sk-proj-abc", ""),
        ("gsk_abc", ""),
        ("abcdefgh12345678abcdefgh", ""),
        ("x" * 65, ""),
        (["rate_limit_exceeded"], ""),
    ],
)
def test_only_identifiers_are_shown(value: object, shown: str) -> None:
    assert http_errors.identifier(value) == shown


def test_message_says_where_and_what() -> None:
    error = http_errors.failure(
        ErrorClass.RATE_LIMITED,
        status=429,
        headers={"x-request-id": "req_1", "retry-after": "3"},
        identifiers=["tokens", "rate_limit_exceeded", "tokens", 429],
        call_id="other",
    )
    assert str(error) == (
        "HTTP 429 tokens rate_limit_exceeded: the provider's rate limit is reached"
    )
    assert (error.status_code, error.request_id, error.retry_after_s) == (429, "req_1", 3.0)


def test_request_id_with_characters_of_its_own_is_not_taken() -> None:
    assert http_errors.request_id_of({"x-request-id": "a\nb", "request-id": "req_2"}) == "req_2"


@pytest.mark.parametrize("error_class", list(ErrorClass), ids=lambda one: one.word)
def test_every_class_has_an_explanation(error_class: ErrorClass) -> None:
    assert str(http_errors.failure(error_class, headers={}))
