"""The parts of every breakdown make the whole, to the last digit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.server.reporting.conftest import BIG_COST, DAY, SMALL_COST, call_group, figures

from tierwise_server.reporting.calls import DIMENSIONS, CallFigures, Calls, quantile, spread
from tierwise_server.reporting.rows import CallGroup

AMOUNT = st.integers(0, 10**18)
NAME = st.sampled_from(["", "a", "b", "c"])


@st.composite
def groups(draw: st.DrawFn) -> CallGroup:
    calls = draw(st.integers(1, 1000))
    below = st.integers(0, calls)
    return call_group(
        day=draw(st.integers(DAY - 10, DAY + 10)),
        tier=draw(NAME),
        final_tier=draw(NAME),
        task=draw(NAME),
        model_id=draw(NAME),
        caller=draw(NAME),
        compared=draw(st.booleans()),
        calls=calls,
        routerless=draw(below),
        unanswered=draw(below),
        alternates=draw(below),
        escalations=draw(below),
        input_tokens=draw(AMOUNT) // 1000,
        output_tokens=draw(AMOUNT) // 1000,
        answer_nano_usd=draw(AMOUNT),
        unsuccessful_nano_usd=draw(AMOUNT),
        counterfactual_nano_usd=draw(AMOUNT),
        latencies_us=tuple(draw(st.lists(st.integers(0, 10**9), max_size=5))),
    )


def exact(one: CallFigures) -> tuple[int, ...]:
    balance = one.balance
    return (
        one.calls,
        one.routerless,
        one.unanswered,
        one.alternates,
        one.escalations,
        one.input_tokens,
        one.output_tokens,
        one.compared_calls,
        one.known_cost_nano_usd,
        one.uncompared_cost_nano_usd,
        balance.counterfactual,
        balance.calls,
        balance.unsuccessful,
        balance.routing,
        balance.saving,
    )


@given(st.lists(groups(), min_size=1, max_size=30), st.sampled_from(DIMENSIONS), AMOUNT)
def test_the_parts_make_the_whole(
    calls: list[CallGroup], dimension: str, routing_cost: int
) -> None:
    table = Calls(calls, routing_cost)
    parts = [exact(one) for one in table.by(dimension)]
    whole = table.overall()
    assert tuple(map(sum, zip(*parts, strict=True))) == exact(whole)
    assert whole.known_cost_nano_usd == sum(
        one.answer_nano_usd + one.unsuccessful_nano_usd for one in calls
    )
    assert whole.balance.routing == routing_cost
    assert whole.balance.saving == (
        sum(
            one.counterfactual_nano_usd - one.answer_nano_usd - one.unsuccessful_nano_usd
            for one in calls
            if one.compared
        )
        - routing_cost
    )


@given(st.lists(groups(), min_size=1, max_size=20), st.sampled_from(DIMENSIONS))
def test_quantiles_are_exact(calls: list[CallGroup], dimension: str) -> None:
    table = Calls(calls)
    times = sorted(time for one in calls for time in one.latencies_us)
    expected = None if not times else times[max(0, math.ceil(len(times) * 0.99) - 1)]
    assert table.overall().latency_p99_us == expected
    if dimension == "caller":
        for one in table.by(dimension):
            own = sorted(
                time for group in calls if group.caller == one.label for time in group.latencies_us
            )
            assert one.latency_p50_us == quantile(own, 0.5)
            assert one.latency_p99_us == quantile(own, 0.99)


def test_net_saving_by_hand() -> None:
    failed = call_group(unsuccessful_nano_usd=50_000, escalations=1)
    unpriced = call_group(
        compared=False, answer_nano_usd=0, unsuccessful_nano_usd=7, unpriced_calls=1
    )
    whole = figures(call_group(), failed, unpriced, routing=1_000)
    assert whole.balance.counterfactual == 2 * BIG_COST
    assert whole.balance.calls == 2 * SMALL_COST
    assert whole.balance.unsuccessful == 50_000
    assert whole.balance.saving == 2 * BIG_COST - 2 * SMALL_COST - 50_000 - 1_000
    assert (whole.compared_calls, whole.uncompared_calls) == (2, 1)
    assert whole.uncompared_cost_nano_usd == 7
    assert whole.fallbacks == 1


def test_no_calls_are_nothing() -> None:
    whole = figures()
    assert whole.calls == whole.known_cost_nano_usd == whole.balance.saving == 0
    assert whole.latency_p50_us is None
    assert Calls(()).by("tier") == []


def test_weeks_begin_on_mondays() -> None:
    table = Calls([call_group(day=DAY), call_group(day=DAY + 1), call_group(day=DAY + 7)])
    assert [(one.label, one.calls) for one in table.by("week")] == [
        ("2026-02-23", 1),
        ("2026-03-02", 2),
    ]
    assert [one.label for one in table.by("day")] == ["2026-03-01", "2026-03-02", "2026-03-08"]


def test_groups_come_in_the_order_asked_for_then_by_calls() -> None:
    table = Calls(
        [
            call_group(tier="premium"),
            call_group(tier="retired", calls=2),
            call_group(tier="other", calls=9),
            call_group(tier="budget"),
        ]
    )
    order = [one.label for one in table.by("tier", ["budget", "mid", "premium"])]
    assert order == ["budget", "premium", "other", "retired"]


def test_routing_is_paid_by_the_calls_that_were_routed() -> None:
    table = Calls(
        [
            call_group(caller="a", calls=2, routerless=2),
            call_group(caller="b", calls=2, routerless=1),
            call_group(caller="c", calls=2),
        ],
        100,
    )
    assert {one.label: one.balance.routing for one in table.by("caller")} == {
        "a": 0,
        "b": 33,
        "c": 67,
    }


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (10, [1, 1, 1], [3, 3, 4]),
        (10, [0, 0], [10, 0]),
        (1, [3, 1], [0, 1]),
        (7, [], []),
    ],
)
def test_an_amount_is_spread_whole(amount: int, weights: list[int], parts: list[int]) -> None:
    assert spread(amount, weights) == parts
