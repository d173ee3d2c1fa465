"""What can go wrong with one call of a model, and what each failure may lead to.

The table is that of the plan: whether the same model is called again, whether another model of the
tier is, and whether a model of a higher tier is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final


class ErrorClass(IntEnum):
    """A failed call. The numbers are those of the contract; a test holds them equal."""

    RATE_LIMITED = 1
    TIMEOUT = 2
    OVERLOADED = 3
    SERVER_ERROR = 4
    CONNECTION = 5
    CONTEXT_TOO_LONG = 6
    CONTENT_POLICY = 7
    INVALID_REQUEST = 8
    AUTHENTICATION = 9
    QUOTA_EXHAUSTED = 10
    MALFORMED_RESPONSE = 11
    REJECTED_BY_VALIDATOR = 12
    CANCELLED = 13


class Reach(Enum):
    """Which other models a failure may lead to."""

    NONE = "none"
    ANY = "any"
    OTHER_PROVIDER = "other-provider"
    """Models of a provider that no step before it calls."""
    LARGER_WINDOW = "larger-window"
    """Models whose context window exceeds that of every step before them."""
    HIGHER_TIER = "higher-tier"
    """Models of a tier above that of every step before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What one failure leads to."""

    retry_limit: int = 0
    """How often the same model may be called again."""
    alternate: Reach = Reach.NONE
    """Which models of the same tier may be called."""
    escalation: Reach = Reach.NONE
    """Which models of higher tiers may be called."""
    paid: bool = False
    """Whether a call that fails so may cost tokens, which a retry then pays again."""


_TRANSIENT: Final = Response(retry_limit=2, alternate=Reach.ANY, escalation=Reach.ANY)

RESPONSES: Final = MappingProxyType(
    {
        ErrorClass.RATE_LIMITED: _TRANSIENT,
        ErrorClass.OVERLOADED: _TRANSIENT,
        ErrorClass.SERVER_ERROR: _TRANSIENT,
        ErrorClass.CONNECTION: _TRANSIENT,
        # The provider may have written, and bill, an answer that came too late.
        ErrorClass.TIMEOUT: Response(
            retry_limit=2, alternate=Reach.ANY, escalation=Reach.ANY, paid=True
        ),
        ErrorClass.QUOTA_EXHAUSTED: Response(
            alternate=Reach.OTHER_PROVIDER, escalation=Reach.OTHER_PROVIDER
        ),
        ErrorClass.MALFORMED_RESPONSE: Response(
            retry_limit=1, alternate=Reach.ANY, escalation=Reach.ANY, paid=True
        ),
        ErrorClass.REJECTED_BY_VALIDATOR: Response(escalation=Reach.HIGHER_TIER, paid=True),
        ErrorClass.CONTEXT_TOO_LONG: Response(
            alternate=Reach.LARGER_WINDOW, escalation=Reach.LARGER_WINDOW
        ),
        ErrorClass.AUTHENTICATION: Response(alternate=Reach.OTHER_PROVIDER),
        ErrorClass.CONTENT_POLICY: Response(),
        ErrorClass.INVALID_REQUEST: Response(),
        ErrorClass.CANCELLED: Response(),
    }
)
"""What each failure leads to. Has an entry for every class."""
