"""What deciding costs is what the operator says, exactly."""

from __future__ import annotations

import pytest

from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.routing_cost import parse_routing_cost

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "decisions", "running_ms", "nano_usd"),
    [
        ("0.08/hour", 5, 24 * HOUR_MS, 1_920_000_000),
        ("1/hour", 0, 1, 278),
        ("0.000001/decision", 1_234_567, HOUR_MS, 1_234_567_000),
        ("0.0000000005/decision", 1, 0, 1),
        ("0/decision", 10, 10, 0),
    ],
)
def test_costs_are_exact(text: str, decisions: int, running_ms: int, nano_usd: int) -> None:
    assert parse_routing_cost(text).of(decisions, running_ms) == nano_usd


@pytest.mark.parametrize(
    "text", ["", "0.08", "0.08/day", "-1/hour", "1e3/hour", "nan/hour", "1/hour ", "\u0661/hour"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ReportError, match="--routing-cost takes US dollars as"):
        parse_routing_cost(text)
