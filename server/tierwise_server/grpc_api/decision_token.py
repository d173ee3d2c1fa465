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
from types import UnionType
from typing import NamedTuple

_VERSION = "1."
_CHECKSUM_BYTES = 4


class InvalidTokenError(Exception):
    """Text that is no decision token of a version that this server knows."""


class DecisionToken(NamedTuple):
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


_TYPES: dict[str, type | UnionType] = {
    "decision_id": str,
    "decision_time_ms": int,
    "catalog": str,
    "catalog_revision": str,
    "tier": str,
    "task": str,
    "kind": int,
    "model": str,
    "baseline_model": str,
    "estimated_cost_nano_usd": int | None,
    "counterfactual_cost_nano_usd": int | None,
    "propensity": float | None,
    "caller": str,
    "expected_tier": str,
    "keep_nothing": bool,
}
"""Type of each field, in the order of the token."""

# `json.dumps` makes an encoder for every call that asks for anything out of the ordinary.
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode_token(token: DecisionToken) -> str:
    """Returns the token as the client carries it, in ASCII."""
    payload = _to_json(token).encode()
    checksum = zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "big")
    return _VERSION + _text(checksum + payload)


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
    if zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "big") != checksum or _text(raw) != body:
        raise InvalidTokenError("is damaged")
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("does not hold what a token of this version holds") from error
    if not isinstance(values, list) or not _fits(values):
        raise InvalidTokenError("does not hold what a token of this version holds")
    return DecisionToken(**dict(zip(_TYPES, values, strict=True)))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _fits(values: list[object]) -> bool:
    return len(values) == len(_TYPES) and all(
        isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        for value, kind in zip(values, _TYPES.values(), strict=True)
    )
