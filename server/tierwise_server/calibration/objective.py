"""What a calibration is to reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_LEVEL = 0.95
"""Confidence that a limit holds, unless the operator asks for another."""


class Granularity(StrEnum):
    """What has a threshold of its own."""

    CATALOG = "catalog"
    TIER = "tier"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class MostAccurate:
    """As many right decisions as can be, by thresholds."""

    granularity: Granularity = Granularity.CATALOG

    def __str__(self) -> str:
        """Returns the objective in words."""
        of = (
            ""
            if self.granularity is Granularity.CATALOG
            else f", a threshold per {self.granularity}"
        )
        return f"most right decisions{of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedUnderRouting:
    """At most a share of a tier's prompts below that tier; then the cheapest, by the dial."""

    tier: str
    limit: float
    level: float = DEFAULT_LEVEL

    def __str__(self) -> str:
        """Returns the objective in words."""
        return (
            f"at most {self.limit:.3g} of the prompts that need {self.tier} below it, with"
            f" {self.level:.3g} confidence; then the cheapest"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedShare:
    """At most a share of all calls on a tier or above; then the best, by the dial."""

    tier: str
    limit: float
    level: float = DEFAULT_LEVEL

    def __str__(self) -> str:
        """Returns the objective in words."""
        return (
            f"at most {self.limit:.3g} of calls on {self.tier} or above, with {self.level:.3g}"
            " confidence; then the best"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsItIs:
    """Thresholds and dial stay; only the confidence is fitted."""

    def __str__(self) -> str:
        """Returns the objective in words."""
        return "confidence alone; thresholds as they are"


Objective = MostAccurate | LimitedUnderRouting | LimitedShare | AsItIs
