"""Which catalog decides for whom, while a share of the callers is given to a candidate."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final, NamedTuple

_HASH_BYTES: Final = 8
_HASH_RANGE: Final = 1 << (8 * _HASH_BYTES)
# Sets the draw of arms apart from that of models, which may have the same key.
_PERSON: Final = b"tierwise-arm"


class Arm(IntEnum):
    """Side of a canary, numbered as in the contract."""

    LIVE = 1
    CANDIDATE = 2


class Draw(NamedTuple):
    """The arm that a key falls to."""

    arm: Arm
    propensity: float
    """Share of all keys that fall to this arm."""


FORCED: Final = Draw(Arm.LIVE, 1.0)
"""Of requests that the candidate cannot decide on."""


def draw_arm(key: bytes, share: float) -> Draw:
    """Returns the arm of a key: equal keys get equal arms, and keep them as the share grows.

    Args:
        key: The affinity key, else the caller, else the prompt.
        share: Share of all keys that falls to the candidate, from 0 to 1.
    """
    digest = hashlib.blake2b(key, digest_size=_HASH_BYTES, person=_PERSON).digest()
    if int.from_bytes(digest, "big") < share * _HASH_RANGE:
        return Draw(Arm.CANDIDATE, share)
    return Draw(Arm.LIVE, 1.0 - share)
