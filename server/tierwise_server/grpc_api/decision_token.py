"""The decision token: what a report needs of a decision, carried by the client.

A token stands alone: any replica, with any catalog revision, can take an outcome for it. It is a
version, a JSON list and a checksum in URL-safe base64. The checksum finds damage; it is no
signature, so nothing in a token is ever trusted for access or limits.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import astuple, dataclass

_VERSION = "1."
_CHECKSUM_BYTES = 4


class InvalidTokenError(Exception):
    """Text that is no decision token of a version that this server knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionToken:
    """What a report needs of a decision."""

    decision_id: str
    decision_time_ms: int
    """Milliseconds since 1970 in UTC."""
    catalog: str
    catalog_revision: str
    tier: str
    task: str
    kind: int
    model: str
    baseline_model: str
    estimated_cost_nano_usd: int | None
    counterfactual_cost_nano_usd: int | None
    propensity: float | None
    caller: str
    expected_tier: str
    keep_nothing: bool


def encode_token(token: DecisionToken) -> str:
    """Returns the token as the client carries it, in ASCII."""
    payload = json.dumps(astuple(token), separators=(",", ":")).encode()
    checksum = zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "big")
    return _VERSION + base64.urlsafe_b64encode(checksum + payload).decode().rstrip("=")


def decode_token(text: str) -> DecisionToken:
    """Returns what a token says.

    Raises:
        InvalidTokenError: It is damaged, or of a version that this server does not know.
    """
    if not text.startswith(_VERSION):
        raise InvalidTokenError("is no decision token of a version that this server knows")
    body = text[len(_VERSION) :]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidTokenError("is damaged") from error
    checksum, payload = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        raise InvalidTokenError("is damaged")
    try:
        fields = json.loads(payload)
        return DecisionToken(**dict(zip(DecisionToken.__slots__, fields, strict=True)))
    except (ValueError, TypeError) as error:
        raise InvalidTokenError("does not hold what a token of this version holds") from error
