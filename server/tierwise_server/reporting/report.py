"""Puts a report together from the rows of a ledger: a pure function of them and of the request."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from tierwise_server.reporting.calls import CallFigures, Calls
from tierwise_server.reporting.paying import Paying, paying
from tierwise_server.reporting.rates import (
    DecisionFigures,
    TierPair,
    TierShare,
    decision_figures,
    exceeds_alert,
    tier_order,
    tier_pairs,
    tier_shares,
)
from tierwise_server.reporting.routing_cost import RoutingCost
from tierwise_server.reporting.rows import LedgerRows, Period, ServedOther, UnpricedModel
from tierwise_server.reporting.shuffle import NotIdentifiable, ShuffleControl, shuffle_control

ROUTERLESS_CAUSES: Final = {1: "unavailable", 2: "timeout", 3: "overloaded"}
"""Why no router decided, by the numbers of the contract."""

ASSUMPTION: Final = (
    "The counterfactual is the same call on the baseline model at that model's prices, with the"
    " same tokens of input, as many of them read from a cache and written to it, and the same"
    " tokens of output. Nothing is claimed for calls without an answer."
)
ATTRIBUTION: Final = (
    "A call counts as a whole, failed attempts included: in the tier that was decided, and at the"
    " model that answered or failed last. Days and weeks are those of the decision, in UTC."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTier:
    """How the answers of one tier were judged."""

    tier: str
    calls: int
    grade: float
    """Mean, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report says."""

    ledger: str
    """Its URL without a password."""
    made_at: datetime.datetime
    period: Period
    first_ms: int | None
    """First decision that the ledger keeps, in the period or not; None where it is empty."""
    last_ms: int | None
    baselines: tuple[str, ...]
    price_sources: tuple[tuple[str, str], ...]
    routing_cost: RoutingCost | None
    """None means that the cost of routing is not counted."""
    overall: CallFigures
    breakdowns: dict[str, list[CallFigures]]
    """By dimension, in the order asked for."""
    by_day: tuple[CallFigures, ...]
    tier_shares: tuple[TierShare, ...]
    tier_pairs: tuple[TierPair, ...]
    decisions: DecisionFigures
    routerless_causes: tuple[tuple[str, int], ...]
    served_other: tuple[ServedOther, ...]
    unpriced: tuple[UnpricedModel, ...]
    judged: tuple[JudgedTier, ...]
    callless_judgements: int
    """Judgements of decisions of which no call is kept."""
    shuffle: ShuffleControl | NotIdentifiable
    paying: Paying

    @property
    def fallback_alert(self) -> bool:
        """Whether more calls needed a fallback than the share that means trouble."""
        return exceeds_alert(self.overall.fallbacks, self.overall.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What a report is asked for."""

    period: Period
    dimensions: tuple[str, ...]
    routing_cost: RoutingCost | None
    now: datetime.datetime
    ledger: str


def make_report(request: ReportRequest, rows: LedgerRows) -> Report:
    """Returns the report."""
    facts, period = rows.facts, request.period
    span_ms = _span_ms(request, rows)
    decided = sum(one.decisions for one in rows.decisions)
    cost = request.routing_cost.of(decided, span_ms) if request.routing_cost is not None else 0
    calls = Calls(rows.calls, cost)
    order = tier_order(
        facts.tiers,
        {one.tier for one in rows.calls}
        | {one.final_tier for one in rows.calls}
        | {one.tier for one in rows.decisions}
        | {tier for one in rows.judged for tier in (one.tier, one.final_tier)},
    )
    overall = calls.overall()
    needed = dict.fromkeys((*request.dimensions, "day", "tier", "task"))
    figures = {one: calls.by(one, order if one == "tier" else ()) for one in needed}
    decisions = decision_figures(rows.decisions, order)
    return Report(
        ledger=request.ledger,
        made_at=request.now,
        period=period,
        first_ms=facts.first_ms,
        last_ms=facts.last_ms,
        baselines=facts.baselines,
        price_sources=facts.price_sources,
        routing_cost=request.routing_cost,
        overall=overall,
        breakdowns={one: figures[one] for one in request.dimensions},
        by_day=tuple(figures["day"]),
        tier_shares=tier_shares(figures["tier"], overall, facts.tiers),
        tier_pairs=tier_pairs(calls, order),
        decisions=decisions,
        routerless_causes=tuple(
            (ROUTERLESS_CAUSES.get(cause, f"cause-{cause}"), count)
            for cause, count in rows.routerless_causes
        ),
        served_other=rows.served_other,
        unpriced=rows.unpriced,
        judged=_judged(rows, order),
        callless_judgements=rows.callless_judgements,
        shuffle=shuffle_control(rows.judged, order),
        paying=paying(overall, figures["task"], len(rows.judged) + decisions.expected, span_ms),
    )


def _span_ms(request: ReportRequest, rows: LedgerRows) -> int:
    """Returns how long, within the period, there was a ledger to write into."""
    start, end = request.period.since_ms, request.period.until_ms
    if rows.facts.first_ms is not None:
        start = max(start, rows.facts.first_ms)
    return max(0, min(end, round(request.now.timestamp() * 1000)) - start)


def _judged(rows: LedgerRows, order: tuple[str, ...]) -> tuple[JudgedTier, ...]:
    grades: dict[str, list[float]] = {}
    for one in rows.judged:
        grades.setdefault(one.final_tier, []).append(one.grade)
    return tuple(
        JudgedTier(tier=tier, calls=len(grades[tier]), grade=sum(grades[tier]) / len(grades[tier]))
        for tier in order
        if tier in grades
    )
