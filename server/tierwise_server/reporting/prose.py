"""What a report says in words around its tables."""

from __future__ import annotations

from collections.abc import Sequence

from tierwise_server.reporting.money_tables import known_cost
from tierwise_server.reporting.rates import FALLBACK_ALERT, share
from tierwise_server.reporting.report import ATTRIBUTION, Report
from tierwise_server.reporting.rows import DAY_MS, date_of
from tierwise_server.reporting.table import ALERT
from tierwise_server.reporting.wording import (
    UNKNOWN,
    count,
    duration,
    percent,
    places_for,
    usd,
)


def heading(report: Report) -> tuple[str, ...]:
    """Returns what a report is about, in lines."""
    period = report.period
    lines = [f"Ledger {report.ledger}, {period.since} to {period.until} (UTC, both included)"]
    if report.overall.calls or report.decisions.decisions:
        lines.append(
            f"{count(report.decisions.decisions)} decisions of routers,"
            f" {count(report.overall.calls)} reported calls"
        )
    return tuple(lines)


def headline(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Returns the figures that a person looks for first, each with its name and a remark."""
    overall, decisions = report.overall, report.decisions
    balance = overall.balance
    places = places_for(balance.counterfactual or overall.known_cost_nano_usd)
    saved = percent(share(balance.saving, balance.counterfactual))
    limit = percent(float(FALLBACK_ALERT))
    above = f"above {limit}: {ALERT}" if report.fallback_alert else f"alert above {limit}"
    return (
        (
            "net saving",
            usd(balance.saving, places) if overall.compared_calls else UNKNOWN,
            f"{saved} of {usd(balance.counterfactual, places)} without routing"
            if overall.compared_calls
            else "no cost is known to compare",
        ),
        (
            "cost",
            known_cost(overall, places),
            f"and {count(overall.unpriced_calls)} calls of unknown cost"
            if overall.unpriced_calls
            else "all calls are priced",
        ),
        ("calls", count(overall.calls), f"{count(decisions.decisions)} decisions"),
        ("fallback", percent(share(overall.fallbacks, overall.calls)), above),
        (
            "routing, median",
            duration(decisions.total_p50_us),
            f"{duration(decisions.total_p99_us)} at p99",
        ),
        ("does it pay?", report.paying.finding.value, "by the thresholds below"),
    )


def nothing_found(report: Report) -> str | None:
    """Returns a sentence on why the report is empty; None where it is not."""
    if report.overall.calls or report.decisions.decisions:
        return None
    if report.first_ms is None or report.last_ms is None:
        return "The ledger is empty: no decision and no outcome was recorded yet."
    first, last = (_day(one) for one in (report.first_ms, report.last_ms))
    return f"Nothing was decided in this period; the ledger has decisions from {first} to {last}."


def _day(time_ms: int) -> str:
    return date_of(time_ms // DAY_MS).isoformat()


def closing_notes(report: Report) -> Sequence[str]:
    """Returns what holds for the whole report."""
    notes = [
        ATTRIBUTION,
        "Amounts are shown rounded, so that the parts of a column add up to its total; JSON and CSV"
        " have exact ones.",
    ]
    if report.price_sources:
        sources = ", ".join(
            f"{source} of {date}" if date else source for source, date in report.price_sources
        )
        notes.append(f"Prices from {sources}.")
    return notes
