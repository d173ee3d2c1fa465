"""The tables of a report in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tierwise_server.reporting.money_tables import (
    breakdown_tables,
    money_tables,
    paying_tables,
    unpriced_tables,
)
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.routing_tables import (
    accuracy_tables,
    decision_tables,
    fallback_tables,
    judged_tables,
    routerless_tables,
    served_other_tables,
    shuffle_tables,
    tier_share_tables,
)
from tierwise_server.reporting.table import Table

_PARTS: Final[tuple[Callable[[Report], Iterator[Table]], ...]] = (
    money_tables,
    unpriced_tables,
    paying_tables,
    tier_share_tables,
    fallback_tables,
    decision_tables,
    accuracy_tables,
    shuffle_tables,
    judged_tables,
    served_other_tables,
    routerless_tables,
    breakdown_tables,
)


def report_tables(report: Report) -> tuple[Table, ...]:
    """Returns the tables of a report; those without content are left out."""
    return tuple(table for part in _PARTS for table in part(report))
