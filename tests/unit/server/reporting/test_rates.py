"""Shares of tiers, fallback by pair of tiers, and what decided."""

from __future__ import annotations

import pytest
from tests.unit.server.reporting.conftest import call_group

from tierwise_server.reporting.calls import Calls
from tierwise_server.reporting.rates import (
    decision_figures,
    exceeds_alert,
    tier_order,
    tier_pairs,
    tier_shares,
)
from tierwise_server.reporting.rows import DecisionGroup

TIERS = ("budget", "mid", "premium")


def test_shares_stand_against_the_guide() -> None:
    calls = Calls(
        [
            call_group(tier="budget", calls=6, input_tokens=500, output_tokens=100),
            call_group(
                tier="premium",
                calls=2,
                input_tokens=300,
                output_tokens=100,
                answer_nano_usd=790_000,
            ),
        ]
    )
    shares = tier_shares(calls.by("tier"), calls.overall(), TIERS)
    assert [(one.tier, one.calls, one.tokens, one.cost, one.guide) for one in shares] == [
        ("budget", 0.75, 0.6, 0.21, 0.7),
        ("mid", 0.0, 0.0, 0.0, 0.2),
        ("premium", 0.25, 0.4, 0.79, 0.1),
    ]


@pytest.mark.parametrize("stated", [(), ("budget", "premium"), ("a", "b", "c")])
def test_the_guide_is_for_three_known_tiers(stated: tuple[str, ...]) -> None:
    calls = Calls([call_group()])
    shares = tier_shares(calls.by("tier"), calls.overall(), stated)
    assert {one.guide for one in shares} == {None}


@pytest.mark.parametrize(
    ("fallbacks", "calls", "alert"),
    [(3, 100, False), (31, 1000, True), (0, 0, False), (1, 1, True)],
)
def test_more_than_three_percent_is_an_alert(fallbacks: int, calls: int, alert: bool) -> None:
    assert exceeds_alert(fallbacks, calls) is alert


def test_fallback_is_told_by_pair_of_tiers() -> None:
    calls = Calls(
        [
            call_group(calls=96),
            call_group(calls=1, alternates=1),
            call_group(final_tier="mid", calls=3, escalations=3),
            call_group(final_tier="premium", calls=4, escalations=4, task="sql"),
            call_group(tier="premium", final_tier="premium", calls=9, refusals=2),
            call_group(tier="mid", final_tier="mid", calls=9),
        ]
    )
    pairs = tier_pairs(calls, TIERS)
    found = [
        (
            one.tier,
            one.final_tier,
            one.calls,
            one.fallbacks,
            one.refusals,
            one.decided_calls,
            one.alert,
        )
        for one in pairs
    ]
    assert found == [
        ("budget", "budget", 97, 1, 0, 104, False),
        ("budget", "mid", 3, 3, 0, 104, False),
        ("budget", "premium", 4, 4, 0, 104, True),
        ("premium", "premium", 9, 0, 2, 9, False),
    ]
    assert pairs[2].share == 4 / 104


def test_decisions_by_hand() -> None:
    found = decision_figures(
        [
            DecisionGroup("budget", "", 4, 3, (900, 100, 500)),
            DecisionGroup("budget", "budget", 4, 1, (200,)),
            DecisionGroup("mid", "budget", 7, 2, (300, 400)),
            DecisionGroup("premium", "premium", 99, 1, (600,)),
        ],
        TIERS,
    )
    assert found.decisions == 7
    assert found.by_kind == (("semantic", 4), ("default", 2), ("kind-99", 1))
    assert (found.total_p50_us, found.total_p99_us) == (400, 900)
    assert (found.expected, found.right, found.accuracy) == (4, 2, 0.5)
    assert [one for one in found.confusion if one[2]] == [
        ("budget", "budget", 1),
        ("budget", "mid", 2),
        ("premium", "premium", 1),
    ]
    assert len(found.confusion) == 9


def test_no_decisions_have_no_figures() -> None:
    found = decision_figures([], TIERS)
    assert (found.decisions, found.accuracy, found.total_p50_us) == (0, None, None)


def test_tiers_that_the_catalog_lost_come_last() -> None:
    assert tier_order(TIERS, ["old", "premium", "budget"]) == ("budget", "premium", "old")
