"""The tables of a report that are about money and calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tierwise_server.ledger.money import Balance
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
    usd,
    usd_parts,
)

MOST_ROWS: Final = 40
"""Rows of a breakdown that people are shown; JSON and CSV have all."""


def money_tables(report: Report) -> Iterator[Table]:
    """Yields how the net saving comes about."""
    overall, balance = report.overall, report.overall.balance
    places = places_for(balance.counterfactual or overall.known_cost_nano_usd)

    def part(nano_usd: int, shown: str) -> tuple[str, str]:
        if not overall.compared_calls:
            return UNKNOWN, UNKNOWN
        return shown, percent(share(nano_usd, balance.counterfactual))

    saving, routing_part, unsuccessful, calls = balance_parts(balance, places)
    baseline = ", ".join(filter(None, report.baselines)) or "the baseline model"
    if report.routing_cost is None:
        routing = ("- routing", "not counted", "")
    else:
        routing = (f"- routing, at {report.routing_cost}", *part(balance.routing, routing_part))
    rows = [
        (
            f"counterfactual: {count(overall.compared_calls)} calls on {baseline}",
            *part(balance.counterfactual, usd(balance.counterfactual, places)),
        ),
        ("- calls that answered", *part(balance.calls, calls)),
        ("- failed and rejected attempts", *part(balance.unsuccessful, unsuccessful)),
        routing,
        ("= net saving", *part(balance.saving, saving)),
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


def balance_parts(balance: Balance, places: int) -> list[str]:
    """Returns what makes up the counterfactual, as it is shown.

    That is the saving, routing, unsuccessful attempts and the calls that answered.
    """
    parts = (balance.saving, balance.routing, balance.unsuccessful, balance.calls)
    return usd_parts(parts, places)


def unpriced_tables(report: Report) -> Iterator[Table]:
    """Yields the attempts of unknown cost."""
    if report.unpriced:
        yield Table(
            id="unpriced",
            title="Attempts of unknown cost",
            headings=("model", "attempts", "input tokens", "output tokens"),
            rows=tuple(
                (
                    named(one.model_id),
                    count(one.attempts),
                    count(one.input_tokens),
                    count(one.output_tokens),
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
                "input tokens",
                "output tokens",
                "cost",
                "counterfactual",
                "saving",
                "saved",
                "call p50",
                "call p99",
                "fallback",
                "refused",
                *(("not compared",) if partial else ()),
            ),
            rows=(
                *(
                    _breakdown_row(one, named(one.label), amounts, partial=partial)
                    for one, amounts in zip(shown, _amounts(shown, places), strict=True)
                ),
                _breakdown_row(
                    report.overall, "all", *_amounts([report.overall], places), partial=partial
                ),
            ),
            notes=tuple(notes),
            total=True,
        )


class _Amounts(NamedTuple):
    """Amounts of a row as they are shown."""

    cost: str
    counterfactual: str
    saving: str


def _amounts(rows: Sequence[CallFigures], places: int) -> list[_Amounts]:
    """Returns the amounts of rows, each column of which adds up to its total as it is shown."""
    columns = (
        usd_parts((one.known_cost_nano_usd for one in rows), places),
        usd_parts((one.balance.counterfactual for one in rows), places),
        usd_parts((one.balance.saving for one in rows), places),
    )
    return [_Amounts(*row) for row in zip(*columns, strict=True)]


def _breakdown_row(
    one: CallFigures, name: str, amounts: _Amounts, *, partial: bool
) -> tuple[str, ...]:
    balance = one.balance
    return (
        name,
        count(one.calls),
        count(one.input_tokens),
        count(one.output_tokens),
        amounts.cost if _has_known_cost(one) else UNKNOWN,
        amounts.counterfactual if one.compared_calls else UNKNOWN,
        amounts.saving if one.compared_calls else UNKNOWN,
        percent(share(balance.saving, balance.counterfactual)),
        duration(one.latency_p50_us),
        duration(one.latency_p99_us),
        percent(share(one.fallbacks, one.calls)),
        percent(share(one.refusals, one.calls)),
        *((count(one.uncompared_calls),) if partial else ()),
    )


def known_cost(one: CallFigures, places: int) -> str:
    """Returns the known cost; what is not known at all is not shown as nothing."""
    return usd(one.known_cost_nano_usd, places) if _has_known_cost(one) else UNKNOWN


def _has_known_cost(one: CallFigures) -> bool:
    return bool(one.known_cost_nano_usd) or not one.unpriced_calls
