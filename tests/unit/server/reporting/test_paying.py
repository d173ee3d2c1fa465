"""Whether routing pays, at and around each threshold."""

from __future__ import annotations

import pytest
from tests.unit.server.reporting.conftest import DAY_MS, call_group, figures

from tierwise_server.reporting.calls import Calls
from tierwise_server.reporting.paying import Finding, Paying, paying

USD = 1_000_000_000
MONTH_MS = 30 * DAY_MS


def judged(
    calls: int,
    usd: int,
    *,
    top_task: float = 0.5,
    without_task: float = 0.0,
    evaluations: int = 1,
    compared: bool = True,
    span_ms: int = MONTH_MS,
    cost: int = 0,
) -> Paying:
    top, without = round(calls * top_task), round(calls * without_task)
    shared = {"compared": compared, "answer_nano_usd": 0, "counterfactual_nano_usd": 0}
    groups = [
        call_group(
            calls=top,
            compared=compared,
            answer_nano_usd=cost * USD,
            counterfactual_nano_usd=usd * USD,
            task="top",
        ),
        call_group(calls=without, task="", **shared),
        call_group(calls=calls - top - without, task="rest", **shared),
    ]
    by_task = Calls(groups).by("task")
    return paying(figures(*groups), by_task, evaluations, span_ms)


def findings(found: Paying) -> list[Finding]:
    return [one.finding for one in found.checks]


NO, PAYS, NOT, UNKNOWN = (
    Finding.DOES_NOT_PAY,
    Finding.PAYS,
    Finding.NOT_THE_CASE,
    Finding.NOT_KNOWN,
)


@pytest.mark.parametrize(
    ("found", "checks", "finding"),
    [
        (judged(30 * 1000, 300), [NO, NOT, NOT, NOT, NOT], NO),
        (judged(30 * 1000 + 1, 300), [NOT] * 5, Finding.UNDECIDED),
        (judged(30 * 1000, 301), [NOT] * 5, Finding.UNDECIDED),
        (judged(30 * 10_000, 1_001), [NOT] * 5, Finding.UNDECIDED),
        (judged(30 * 10_000 + 1, 1_000), [NOT] * 5, Finding.UNDECIDED),
        (judged(30 * 10_000 + 1, 1_001), [NOT, NOT, NOT, PAYS, NOT], PAYS),
        (judged(600_000, 5_000, top_task=0.9), [NOT, NO, NOT, PAYS, NOT], NO),
        (
            judged(600_000, 5_000, top_task=0.6, without_task=0.3),
            [NOT, UNKNOWN, NOT, PAYS, NOT],
            UNKNOWN,
        ),
        (judged(600_000, 5_000, evaluations=0), [NOT, NOT, NO, PAYS, NOT], NO),
        (judged(600_000, 5_000, cost=5_000), [NOT, NOT, NOT, PAYS, NO], NO),
        (
            judged(600_000, 5_000, compared=False),
            [NOT, NOT, NOT, UNKNOWN, UNKNOWN],
            UNKNOWN,
        ),
        (judged(3_000, 30, compared=False), [UNKNOWN, NOT, NOT, NOT, UNKNOWN], UNKNOWN),
    ],
)
def test_each_threshold_speaks_when_it_is_reached(
    found: Paying, checks: list[Finding], finding: Finding
) -> None:
    assert findings(found) == checks
    assert found.finding is finding


def test_the_measured_values_are_named() -> None:
    found = judged(60_000, 600, without_task=0.25, evaluations=12)
    assert [one.measured for one in found.checks] == [
        "2,000 calls a day and $600.00 a month without routing",
        "50.0 % are of the task top, 25.0 % have none",
        "12 judged calls or decisions with a known expected tier",
        "2,000 calls a day and $600.00 a month without routing",
        "net saving of $600.00 on 60,000 calls of known cost",
    ]


def test_less_than_a_day_counts_as_one() -> None:
    found = judged(1_000, 10, span_ms=3_600_000)
    assert found.checks[0].measured.startswith("1,000 calls a day and $300.00 a month")
    assert found.checks[0].finding is NO


def test_without_calls_nothing_is_known() -> None:
    found = paying(figures(), [], 0, MONTH_MS)
    assert (found.finding, found.checks) == (UNKNOWN, ())
