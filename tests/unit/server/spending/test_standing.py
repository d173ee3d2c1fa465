"""What reached limits do to a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tierwise_server.catalog.ids import Location, TierId
from tierwise_server.catalog.limits import AtLimit, Period, SpendLimit
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.decide import Opening, close_decision, open_decision
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.request import Constraints, RoutingRequest
from tierwise_server.spending.errors import SpendLimitReachedError
from tierwise_server.spending.standing import Reached, Standing, check, within_limits


def reached(at_limit: AtLimit, tier: str = "") -> Reached:
    limit = SpendLimit(
        caller="bot",
        per=Period.DAY,
        nano_usd=1_500_000_000,
        at_limit=at_limit,
        tier=TierId(tier) if tier else None,
        location=Location(file="limits.yaml", line=7),
    )
    return Reached(limit=limit, reset_ms=86_400_000)


def decided(catalog: Catalog, **constraints: str) -> tuple[Opening, Verdict]:
    """Returns a decision by the default tier, or by a pin."""
    limits = Constraints(**constraints) if constraints else Constraints()
    request = RoutingRequest(text="hello", rules_only=True, constraints=limits)
    opening = open_decision(catalog, request, "en")
    return opening, close_decision(catalog, opening, None)


def standing(*found: Reached) -> Standing:
    return Standing(is_limited=True, is_bound=True, reached=found)


def test_nothing_reached_changes_nothing(small_catalog: Catalog) -> None:
    decision = decided(small_catalog)
    assert within_limits(standing(), small_catalog, *decision) == decision


def test_a_warning_is_said_and_that_is_all(small_catalog: Catalog) -> None:
    opening, verdict = decided(small_catalog)
    warned = within_limits(standing(reached(AtLimit.WARN)), small_catalog, opening, verdict)
    assert warned[0] == opening
    assert replace(warned[1], reason=verdict.reason) == verdict
    assert "1.5 USD a day for caller 'bot' (limits.yaml:7) is reached" in warned[1].reason


def test_the_lowest_cap_of_several_holds(small_catalog: Catalog) -> None:
    opening, verdict = decided(small_catalog, lowest_tier="budget")
    caps = standing(reached(AtLimit.CAP, "premium"), reached(AtLimit.CAP, "budget"))
    capped, moved = within_limits(caps, small_catalog, opening, verdict)
    assert (verdict.tier.id, moved.tier.id) == ("mid", "budget")
    assert (capped.bounds.lowest, capped.bounds.highest) == (0, 0)
    assert moved.reason.count("is reached") == 2


@pytest.mark.parametrize(
    ("constraints", "asked"),
    [
        ({"pinned_tier": "premium"}, "premium"),
        ({"lowest_tier": "mid"}, "mid"),
    ],
)
def test_a_cap_refuses_what_asks_for_more(
    small_catalog: Catalog, constraints: Mapping[str, str], asked: str
) -> None:
    opening, verdict = decided(small_catalog, **constraints)
    cap = standing(reached(AtLimit.CAP, "budget"))
    with pytest.raises(SpendLimitReachedError, match=f"budget .* asks for {asked}"):
        within_limits(cap, small_catalog, opening, verdict)


def test_a_cap_of_a_tier_that_this_catalog_does_not_have_is_only_said(
    small_catalog: Catalog,
) -> None:
    opening, verdict = decided(small_catalog)
    cap = standing(reached(AtLimit.CAP, "of-newer-files"))
    assert within_limits(cap, small_catalog, opening, verdict)[1].tier == verdict.tier


def test_a_refusal_comes_before_all_else(small_catalog: Catalog) -> None:
    both = standing(reached(AtLimit.CAP, "budget"), reached(AtLimit.REFUSE))
    with pytest.raises(SpendLimitReachedError, match=r"no further calls.*1970-01-02T00:00:00Z"):
        check(both)
    with pytest.raises(SpendLimitReachedError):
        within_limits(both, small_catalog, *decided(small_catalog))
