"""Groups of calls, and ledgers of both kinds of database to fill and report on."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence

from tests.unit.server.ledger.conftest import catalog, postgres, sqlite_url, url

from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.records import CatalogRecord, DecisionRecord, OutcomeRecord
from tierwise_server.ledger.store import LedgerStore
from tierwise_server.reporting.calls import CallFigures, Calls
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.ledger_source import read_rows
from tierwise_server.reporting.report import Report, ReportRequest, make_report
from tierwise_server.reporting.routing_cost import RoutingCost
from tierwise_server.reporting.rows import CallGroup, Period

__all__ = ["postgres", "sqlite_url", "url"]

NOW = datetime.datetime(2026, 3, 31, 12, tzinfo=datetime.UTC)
MARCH = Period(since=datetime.date(2026, 3, 1), until=datetime.date(2026, 3, 31))
DAY = 20513
"""1 March 2026, a Sunday, in days since 1970."""
DAY_MS = 86_400_000
FIRST_MS = DAY * DAY_MS

SMALL_COST = 210_000
"""Of a call of 1,000 tokens of input and 100 of output on the cheap model, in nano-dollars."""
BIG_COST = 7_500_000
"""Of the same call on the dear model."""


def call_group(**changes: object) -> CallGroup:
    """Returns one call on the cheap model."""
    values = {
        "day": DAY,
        "tier": "budget",
        "final_tier": "budget",
        "task": "grammar",
        "model_id": "small",
        "caller": "billing",
        "compared": True,
        "calls": 1,
        "routerless": 0,
        "unanswered": 0,
        "alternates": 0,
        "escalations": 0,
        "refusals": 0,
        "other_models": 0,
        "unpriced_calls": 0,
        "input_tokens": 1000,
        "output_tokens": 100,
        "answer_nano_usd": SMALL_COST,
        "unsuccessful_nano_usd": 0,
        "counterfactual_nano_usd": BIG_COST,
        "latencies_us": (1_000_000,),
        **changes,
    }
    return CallGroup(**values)  # type: ignore[arg-type]


def figures(*groups: CallGroup, routing: int = 0) -> CallFigures:
    """Returns the figures of all calls of some groups."""
    return Calls(groups, routing).overall()


def write(
    url: str,
    *,
    decisions: Sequence[DecisionRecord] = (),
    outcomes: Sequence[OutcomeRecord] = (),
    known: CatalogRecord | None = None,
) -> None:
    """Writes into a ledger as servers do."""
    known = known or catalog()
    prices = PriceBook()
    prices.put_in_service(known)
    with contextlib.closing(LedgerStore(url, prices)) as store:
        store.write(catalogs=[known], decisions=decisions, outcomes=outcomes)


def reported(
    url: str,
    *dimensions: str,
    period: Period = MARCH,
    routing_cost: RoutingCost | None = None,
) -> Report:
    """Returns the report on a ledger."""
    with opened_ledger(url) as engine:
        rows = read_rows(engine, period)
    request = ReportRequest(
        period=period,
        dimensions=dimensions,
        routing_cost=routing_cost,
        now=NOW,
        ledger="sqlite:///ledger",
    )
    return make_report(request, rows)
