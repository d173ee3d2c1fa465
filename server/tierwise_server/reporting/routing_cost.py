"""What deciding costs, as the operator states it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.errors import ReportError

_COST: Final = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)/(hour|decision)", re.ASCII)
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingCost:
    """An amount for each hour that the router runs, or for each decision."""

    usd: Decimal
    per: str
    """`hour` or `decision`."""

    def of(self, decisions: int, running_ms: int) -> int:
        """Returns the cost in nano-dollars, to the nearest with halves up.

        Args:
            decisions: Decisions of routers.
            running_ms: Time that the router ran.
        """
        units = Fraction(running_ms, _HOUR_MS) if self.per == "hour" else Fraction(decisions)
        exact = Fraction(self.usd) * NANO_USD_PER_USD * units
        return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)

    def __str__(self) -> str:
        """Returns the cost as it was given."""
        return f"{self.usd} USD/{self.per}"


def parse_routing_cost(text: str) -> RoutingCost:
    """Reads an amount in US dollars for an hour or for a decision, as `0.08/hour`.

    Raises:
        ReportError: The text is neither.
    """
    found = _COST.fullmatch(text)
    if found is None:
        raise ReportError(
            f"--routing-cost takes US dollars as 0.08/hour or 0.000001/decision, not {text!r}"
        )
    return RoutingCost(usd=Decimal(found[1]), per=found[2])
