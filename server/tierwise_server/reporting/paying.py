"""Whether routing pays here at all, by thresholds from field reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.calls import CallFigures
from tierwise_server.reporting.rows import DAY_MS
from tierwise_server.reporting.wording import percent, places_for, usd

LITTLE_CALLS_A_DAY: Final = 1_000
LITTLE_USD_A_MONTH: Final = 300
MUCH_CALLS_A_DAY: Final = 10_000
MUCH_USD_A_MONTH: Final = 1_000
ALIKE_PERCENT: Final = 90
DAYS_A_MONTH: Final = 30

_PERCENT: Final = 100


class Finding(StrEnum):
    """What a threshold says."""

    PAYS = "pays"
    DOES_NOT_PAY = "does not pay"
    NOT_THE_CASE = "not the case"
    """The threshold is not reached, and so says nothing."""
    UNDECIDED = "undecided"
    """What all thresholds come to when none speaks for or against."""
    NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A threshold with the measured value."""

    name: str
    measured: str
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Paying:
    """The checks, and what they come to."""

    checks: tuple[Check, ...]
    finding: Finding
    summary: str


def paying(
    overall: CallFigures, by_task: Sequence[CallFigures], evaluations: int, span_ms: int
) -> Paying:
    """Returns whether routing pays.

    Args:
        overall: Figures of all calls.
        by_task: Figures by task.
        evaluations: Judged calls, and decisions of which the expected tier is known.
        span_ms: Time that the calls came in. Less than a day counts as one.
    """
    if not overall.calls:
        return Paying(
            checks=(), finding=Finding.NOT_KNOWN, summary="No calls, so nothing to tell it by."
        )
    traffic = _Traffic(overall, span_ms)
    checks = (
        _little(traffic),
        _alike(overall, by_task),
        _evaluated(evaluations),
        _much(traffic),
        _saved(overall),
    )
    return _concluded(checks)


class _Traffic:
    """Calls a day, and dollars a month without routing, as exact ratios."""

    def __init__(self, overall: CallFigures, span_ms: int) -> None:
        self._calls = overall.calls
        self._span_ms = max(span_ms, DAY_MS)
        self._spend = overall.balance.counterfactual
        self.spend_is_partial = overall.uncompared_calls > 0
        self._spend_is_known = overall.compared_calls > 0

    def has_calls_above(self, calls_a_day: int) -> bool:
        return self._calls * DAY_MS > calls_a_day * self._span_ms

    def spends_above(self, usd_a_month: int) -> bool:
        spent = self._spend * DAYS_A_MONTH * DAY_MS
        return spent > usd_a_month * NANO_USD_PER_USD * self._span_ms

    def __str__(self) -> str:
        calls = f"{self._calls * DAY_MS / self._span_ms:,.0f} calls a day and"
        if not self._spend_is_known:
            return f"{calls} an unknown amount without routing"
        spend = self._spend / NANO_USD_PER_USD * DAYS_A_MONTH * DAY_MS / self._span_ms
        least = "at least " if self.spend_is_partial else ""
        return f"{calls} {least}${spend:,.2f} a month without routing"


def _little(traffic: _Traffic) -> Check:
    if traffic.has_calls_above(LITTLE_CALLS_A_DAY) or traffic.spends_above(LITTLE_USD_A_MONTH):
        finding = Finding.NOT_THE_CASE
    else:
        finding = Finding.NOT_KNOWN if traffic.spend_is_partial else Finding.DOES_NOT_PAY
    return Check(
        name=f"does not pay at {LITTLE_CALLS_A_DAY:,} calls a day and ${LITTLE_USD_A_MONTH:,} a"
        " month or less",
        measured=str(traffic),
        finding=finding,
    )


def _much(traffic: _Traffic) -> Check:
    finding = Finding.NOT_THE_CASE
    if traffic.has_calls_above(MUCH_CALLS_A_DAY):
        if traffic.spends_above(MUCH_USD_A_MONTH):
            finding = Finding.PAYS
        elif traffic.spend_is_partial:
            finding = Finding.NOT_KNOWN
    return Check(
        name=f"pays back within 60 days past {MUCH_CALLS_A_DAY:,} calls a day and"
        f" ${MUCH_USD_A_MONTH:,} a month",
        measured=str(traffic),
        finding=finding,
    )


def _alike(overall: CallFigures, by_task: Sequence[CallFigures]) -> Check:
    """Calls are alike when they are of one task. Those without a task may be of any."""
    named = {one.label: one.calls for one in by_task if one.label}
    without = overall.calls - sum(named.values())
    task = max(named, key=lambda one: named[one], default="")
    top = named.get(task, 0)
    limit = ALIKE_PERCENT * overall.calls
    if top * _PERCENT >= limit:
        finding = Finding.DOES_NOT_PAY
    else:
        finding = Finding.NOT_KNOWN if (top + without) * _PERCENT >= limit else Finding.NOT_THE_CASE
    measured = (
        f"{percent(top / overall.calls)} are of the task {task}" if task else "no call has one"
    )
    if task and without:
        measured += f", {percent(without / overall.calls)} have none"
    return Check(
        name=f"does not pay when {ALIKE_PERCENT} % of the calls are alike, of one task",
        measured=measured,
        finding=finding,
    )


def _evaluated(evaluations: int) -> Check:
    return Check(
        name="does not pay without evaluations",
        measured=f"{evaluations:,} judged calls or decisions with a known expected tier",
        finding=Finding.NOT_THE_CASE if evaluations else Finding.DOES_NOT_PAY,
    )


def _saved(overall: CallFigures) -> Check:
    saving = overall.balance.saving
    finding = Finding.DOES_NOT_PAY
    if not overall.compared_calls:
        finding = Finding.NOT_KNOWN
    elif saving > 0:
        finding = Finding.NOT_THE_CASE
    return Check(
        name="does not pay when it saves nothing",
        measured=f"net saving of {usd(saving, places_for(saving))} on"
        f" {overall.compared_calls:,} calls of known cost",
        finding=finding,
    )


def _concluded(checks: tuple[Check, ...]) -> Paying:
    against = [one for one in checks if one.finding is Finding.DOES_NOT_PAY]
    unknown = [one for one in checks if one.finding is Finding.NOT_KNOWN]
    if against:
        names = "; ".join(one.name for one in against)
        return Paying(
            checks=checks,
            finding=Finding.DOES_NOT_PAY,
            summary=f"Routing does not pay here, or that it does is not shown: {names}.",
        )
    if unknown:
        return Paying(
            checks=checks,
            finding=Finding.NOT_KNOWN,
            summary="The ledger does not tell whether routing pays: some figures are not known.",
        )
    if any(one.finding is Finding.PAYS for one in checks):
        return Paying(
            checks=checks,
            finding=Finding.PAYS,
            summary="Routing pays here: this much traffic pays it back within 60 days.",
        )
    return Paying(
        checks=checks,
        finding=Finding.UNDECIDED,
        summary="Between the thresholds: no reason against routing, and the net saving decides.",
    )
