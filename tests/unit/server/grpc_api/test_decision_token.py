"""Decision tokens: what goes in comes out, and damage is found."""

from __future__ import annotations

import base64
import json
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.grpc_api.decision_token import (
    DecisionToken,
    InvalidTokenError,
    decode_token,
    encode_token,
)

TOKEN = DecisionToken(
    decision_id="0193" * 8,
    decision_time_ms=1_750_000_000_000,
    catalog="default",
    catalog_revision="0123456789abcdef",
    tier="budget",
    task="summarization",
    kind=4,
    model="small-fast",
    baseline_model="big-thinker",
    estimated_cost_nano_usd=12_345,
    counterfactual_cost_nano_usd=None,
    propensity=0.25,
    caller="billing",
    expected_tier="",
    keep_nothing=False,
)

MAX_CHARACTERS = 2_000
"""As the contract promises."""

TEXT = st.text(max_size=100)
COST = st.none() | st.integers(0, 2**63 - 1)


def crafted(payload: bytes) -> str:
    """Returns a token of version 1 around any bytes, with the right checksum."""
    body = zlib.crc32(payload).to_bytes(4, "big") + payload
    return "1." + base64.urlsafe_b64encode(body).decode().rstrip("=")


@given(
    st.builds(
        DecisionToken,
        decision_id=TEXT,
        decision_time_ms=st.integers(0, 2**53),
        catalog=TEXT,
        catalog_revision=TEXT,
        tier=TEXT,
        task=TEXT,
        kind=st.integers(0, 100),
        model=TEXT,
        baseline_model=TEXT,
        estimated_cost_nano_usd=COST,
        counterfactual_cost_nano_usd=COST,
        propensity=st.none() | st.floats(0, 1, exclude_min=True),
        caller=TEXT,
        expected_tier=TEXT,
        keep_nothing=st.booleans(),
    )
)
def test_what_goes_in_comes_out(token: DecisionToken) -> None:
    text = encode_token(token)
    assert text.isascii()
    assert decode_token(text) == token


def test_the_longest_fields_stay_within_the_promised_length() -> None:
    longest = TOKEN._replace(
        catalog="c" * 64,
        tier="t" * 64,
        task="t" * 64,
        model="m" * 64,
        baseline_model="m" * 64,
        expected_tier="t" * 64,
        estimated_cost_nano_usd=2**63 - 1,
        counterfactual_cost_nano_usd=2**63 - 1,
        propensity=0.123456789012345678,
        caller="\U0001f9d1" * 100,
    )
    text = encode_token(longest)
    assert len(text) <= MAX_CHARACTERS
    assert decode_token(text) == longest


@given(st.data())
def test_any_single_altered_character_is_found(data: st.DataObject) -> None:
    text = encode_token(TOKEN)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(string.printable).filter(lambda one: one != text[place]))
    with pytest.raises(InvalidTokenError):
        decode_token(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("caller", ["billing", "billings", "billings1"])
def test_the_last_character_counts_in_full(caller: str) -> None:
    text = encode_token(TOKEN._replace(caller=caller))
    for other in string.ascii_letters + string.digits + "-_":
        if other != text[-1]:
            with pytest.raises(InvalidTokenError):
                decode_token(text[:-1] + other)


@given(st.data())
def test_a_truncated_or_extended_token_is_found(data: st.DataObject) -> None:
    text = encode_token(TOKEN)
    length = data.draw(st.integers(0, len(text) - 1))
    extra = data.draw(st.text(string.printable, min_size=1, max_size=5))
    for other in (text[:length], text + extra):
        with pytest.raises(InvalidTokenError):
            decode_token(other)


@given(st.text() | st.binary().map(crafted))
def test_nothing_else_is_a_token_or_breaks_the_reader(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        decode_token(text)


@pytest.mark.parametrize("version", ["0.", "2.", "10.", "", "v1.", " 1."])
def test_other_versions_are_refused(version: str) -> None:
    body = encode_token(TOKEN).removeprefix("1.")
    with pytest.raises(InvalidTokenError, match="version"):
        decode_token(version + body)


def fields_with(place: int, value: object) -> bytes:
    fields = json.loads(base64.urlsafe_b64decode(encode_token(TOKEN)[2:] + "==")[4:])
    fields[place] = value
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"fifteen letters"',
        json.dumps(dict.fromkeys("abcdefghijklmno")).encode(),
        json.dumps([None] * 15).encode(),
        json.dumps(["x"] * 15).encode(),
        fields_with(1, "soon"),
        fields_with(6, "SEMANTIC"),
        fields_with(9, "12"),
        fields_with(11, "high"),
        fields_with(14, "no"),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'["' + b"9" * 5_000 + b'"]',
        b"[" + b"9" * 5_000 + b"]",
        '["\ud800"]'.encode("utf-8", "surrogatepass"),
    ],
    ids=range(18),
)
def test_a_right_checksum_does_not_make_other_content_a_token(payload: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        decode_token(crafted(payload))
