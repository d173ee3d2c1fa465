"""The tables of a report that are about money and calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tierwise_server.reporting.calls import CallFigures
from tierwise_server.reporting.rates import share
from tierwise_server.reporting.report import ASSUMPTION, Report
from tierwise_server.reporting.table import Table
from tierwise_server.reporting.wording import (
    UNKNOWN,
    count,
    duration,
    named,
    percent,
    places_for,
    tokens,
    usd,
)

MOST_ROWS: Final = 40
"""Rows of a breakdown that people are shown; JSON and CSV have all."""


def money_tables(report: Report) -> Iterator[Table]:
    """Yields how the net saving comes about."""
    overall, balance = report.overall, report.overall.balance
    places = places_for(balance.counterfactual or overall.known_cost_nano_usd)

    def part(nano_usd: int) -> tuple[str, str]:
        if not overall.compared_calls:
            return UNKNOWN, UNKNOWN
        return usd(nano_usd, places), percent(share(nano_usd, balance.counterfactual))

    baseline = ", ".join(filter(None, report.baselines)) or "the baseline model"
    if report.routing_cost is None:
        routing = ("- routing", "not counted", "")
    else:
        routing = (f"- routing, at {report.routing_cost}", *part(balance.routing))
    rows = [
        (
            f"counterfactual: {count(overall.compared_calls)} calls on {baseline}",
            *part(balance.counterfactual),
        ),
        ("- calls that answered", *part(balance.calls)),
        ("- failed and rejected attempts", *part(balance.unsuccessful)),
        routing,
        ("= net saving", *part(balance.saving)),
    ]
    notes = [ASSUMPTION]
    if report.routing_cost is None:
        notes.append("The cost of routing is not counted: say --routing-cost.")
    if overall.uncompared_calls:
        known = overall.uncompared_cost_nano_usd
        amount = f"at least {usd(known, places)}" if known else "not known"
        rows.append((f"not compared: {count(overall.uncompared_calls)} calls", amount, ""))
        notes.append(
            "Of the calls that are not compared, the price of an attempt or of the baseline model"
            " is not known. The amount is the known part of their cost; no saving is claimed."
        )
    yield Table(
        id="money",
        title="Net saving",
        headings=("", "amount", "of the counterfactual"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def unpriced_tables(report: Report) -> Iterator[Table]:
    """Yields the attempts of unknown cost."""
    if report.unpriced:
        yield Table(
            id="unpriced",
            title="Attempts of unknown cost",
            headings=("model", "attempts", "input", "output"),
            rows=tuple(
                (
                    named(one.model_id),
                    count(one.attempts),
                    tokens(one.input_tokens),
                    tokens(one.output_tokens),
                )
                for one in report.unpriced
            ),
            notes=("These tokens cost something that is not in any amount of this report.",),
        )


def paying_tables(report: Report) -> Iterator[Table]:
    """Yields whether routing pays."""
    yield Table(
        id="paying",
        title="Does routing pay here?",
        headings=("threshold", "measured", "finding"),
        word_columns=3,
        rows=tuple((one.name, one.measured, one.finding.value) for one in report.paying.checks),
        notes=(report.paying.summary,),
    )


def breakdown_tables(report: Report) -> Iterator[Table]:
    """Yields the breakdowns that were asked for."""
    if not report.overall.calls:
        return
    partial = report.overall.uncompared_calls > 0
    places = places_for(report.overall.balance.counterfactual or report.overall.known_cost_nano_usd)
    for dimension, figures in report.breakdowns.items():
        notes = []
        shown = figures
        if len(figures) > MOST_ROWS:
            # Of days and weeks the last ones, of all else the most frequent ones.
            last = dimension in {"day", "week"}
            shown = figures[-MOST_ROWS:] if last else figures[:MOST_ROWS]
            which = "last" if last else "most frequent"
            notes.append(
                f"The {which} {MOST_ROWS} of {count(len(figures))}; JSON and CSV have them all."
            )
        yield Table(
            id=f"by-{dimension}",
            title=f"By {dimension}",
            headings=(
                dimension,
                "calls",
                "input",
                "output",
                "cost",
                "counterfactual",
                "saving",
                "saved",
                "p50",
                "p99",
                "fallback",
                "refused",
                *(("not compared",) if partial else ()),
            ),
            rows=tuple(
                _breakdown_row(one, name, places, partial=partial)
                for one, name in (
                    *((one, named(one.label)) for one in shown),
                    (report.overall, "all"),
                )
            ),
            notes=tuple(notes),
            total=True,
        )


def _breakdown_row(one: CallFigures, name: str, places: int, *, partial: bool) -> tuple[str, ...]:
    balance = one.balance
    return (
        name,
        count(one.calls),
        tokens(one.input_tokens),
        tokens(one.output_tokens),
        known_cost(one, places),
        usd(balance.counterfactual, places) if one.compared_calls else UNKNOWN,
        usd(balance.saving, places) if one.compared_calls else UNKNOWN,
        percent(share(balance.saving, balance.counterfactual)),
        duration(one.latency_p50_us),
        duration(one.latency_p99_us),
        percent(share(one.fallbacks, one.calls)),
        percent(share(one.refusals, one.calls)),
        *((count(one.uncompared_calls),) if partial else ()),
    )


def known_cost(one: CallFigures, places: int) -> str:
    """Returns the known cost; what is not known at all is not shown as nothing."""
    if not one.known_cost_nano_usd and one.unpriced_calls:
        return UNKNOWN
    return usd(one.known_cost_nano_usd, places)
