"""Which rows of the ledger a report counts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, literal

from tierwise_server.ledger.schema import outcomes
from tierwise_server.reporting.rows import Period

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]


def in_period(period: Period) -> ColumnElement[bool]:
    """Returns the condition that an outcome is a call that was decided on in the period."""
    # The sum keeps databases from looking up every row through the index of times, which for most
    # of a table takes far longer than reading it.
    decided_ms = outcomes.c.decided_ms + literal(0, literal_execute=True)
    return and_(
        outcomes.c.attempt_count > 0,
        decided_ms >= period.since_ms,
        decided_ms < period.until_ms,
    )


def decided_in_period(decision_id: ColumnElement[str], period: Period) -> ColumnElement[bool]:
    """Returns the condition that a router's decision was made in the period.

    Ids of decisions begin with their time, and so does the order of their tables.
    """
    return and_(
        decision_id >= f"{max(0, period.since_ms):012x}",
        decision_id < f"{max(0, period.until_ms):012x}",
    )
