"""Owns what operators let callers spend, and how much they let them call, as plain values."""

from dataclasses import dataclass
from enum import StrEnum

from tierwise_server.catalog.ids import Location, TierId


class Period(StrEnum):
    """How long a limit counts before it begins anew, in UTC."""

    DAY = "day"
    MONTH = "month"


class AtLimit(StrEnum):
    """What happens to the calls of a caller whose limit is reached."""

    WARN = "warn"
    """They go on; log, metrics and the decision say so."""
    CAP = "cap"
    """They go no higher than a tier."""
    REFUSE = "refuse"
    """They are refused until the period ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """What a caller may spend in a period."""

    caller: str
    """As requests name it. Empty means all callers together."""
    per: Period
    nano_usd: int
    at_limit: AtLimit
    tier: TierId | None
    """Highest tier once the limit is reached; present exactly when `at_limit` is `AtLimit.CAP`."""
    location: Location

    @property
    def is_binding(self) -> bool:
        """Whether it changes decisions, so that the spend has to be known in full."""
        return self.at_limit is not AtLimit.WARN


EACH_CALLER = "*"
"""Stands, in place of a caller's name, for every caller that has no limit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """How much a caller may call."""

    caller: str
    """As requests name it. Empty means all callers together; `EACH_CALLER` each by itself."""
    per_second: float | None
    """Prompts a second, on average. None means no limit; so for the other."""
    concurrent: int | None
    """Calls at a time."""
    location: Location
