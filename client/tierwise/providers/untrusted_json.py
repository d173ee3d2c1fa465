"""Reading JSON of which nothing may be taken for granted: every value is what it is, or absent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_LARGEST_COUNT = 2**53
"""Beyond it, a count of tokens is no count, and would not fit where it is stored."""


def parsed(text: str | bytes) -> object:
    """Returns what JSON text says; None when it is no JSON."""
    try:
        decoded = text.decode("utf-8-sig", errors="replace") if isinstance(text, bytes) else text
        value: object = json.loads(decoded, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value


def _refuse(constant: str) -> object:
    """Refuses NaN and the infinities, which Python reads, and no request may hold."""
    raise ValueError(constant)


def mapping(value: object) -> Mapping[str, Any]:
    """Returns an object's fields; none for anything else."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """Returns an array's items; none for anything else."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str:
    """Returns a string that can be encoded; empty for anything else.

    JSON may hold halves of surrogate pairs, which no other program takes; they become U+FFFD.
    """
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def count(value: object) -> int | None:
    """Returns a count; None for anything else."""
    amount = number(value)
    if amount is None or not 0 <= amount <= _LARGEST_COUNT or amount != int(amount):
        return None
    return int(amount)


def number(value: object) -> float | None:
    """Returns a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
