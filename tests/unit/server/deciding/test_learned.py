"""From predicted quality to a tier: by table and by property."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.deciding.learned import (
    BAR_LEAN,
    LearnedOutcome,
    decide_by_evidence,
    leaned_bar,
    other_bars,
)
from tierwise_server.learning import Prediction


def expected(*lowers: float, best: float = 1.0) -> list[Prediction]:
    """Returns predictions with these lower bounds; the highest one's tier is to be `best`."""
    highest = max(lowers)
    return [
        Prediction(
            rank=rank,
            quality=max(best, lower) if lower == highest else lower,
            lower=lower,
            upper=1.0,
            support=5.0,
        )
        for rank, lower in enumerate(lowers)
    ]


def decided(
    *lowers: float, bar: float = 0.8, best: float = 1.0, **rest: float | int | None
) -> LearnedOutcome:
    predictions = expected(*lowers, best=best)
    return decide_by_evidence(predictions, bar=bar, margin=0.02, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lowers", "rank", "cleared"),
    [
        ((0.9, 0.95, 0.99), 0, True),
        ((0.7, 0.8, 0.99), 1, True),
        ((0.7, 0.6, 0.85), 2, True),
        ((0.1, 0.2, 0.3), 2, False),
        ((0.1, 0.3, 0.2), 1, False),
        ((0.3, 0.3, 0.3), 0, False),
    ],
)
def test_the_cheapest_tier_that_clears_the_bar_or_else_the_best(
    lowers: tuple[float, ...], rank: int, cleared: bool
) -> None:
    outcome = decided(*lowers)
    assert (outcome.chosen.rank, outcome.cleared) == (rank, cleared)


@pytest.mark.parametrize(("best", "rank"), [(1.0, 1), (0.9, 1), (0.7, 1), (0.65, 0)])
def test_a_tier_has_to_reach_the_bar_less_what_the_best_one_falls_short_of(
    best: float, rank: int
) -> None:
    outcome = decided(0.46, 0.62, bar=0.8, best=best)
    assert outcome.required == pytest.approx(0.8 - (1 - best))
    assert outcome.chosen.rank == rank


def test_the_dial_moves_the_bar() -> None:
    assert leaned_bar(0.8, 0.5) == 0.8
    assert leaned_bar(0.8, 0.0) == pytest.approx(0.8 - BAR_LEAN)
    assert leaned_bar(0.8, 1.0) == pytest.approx(0.8 + BAR_LEAN)
    assert (leaned_bar(0.95, 1.0), leaned_bar(0.05, 0.0)) == (1.0, 0.0)
    assert [decided(0.7, 0.85, dial=dial).chosen.rank for dial in (0.0, 0.5, 1.0)] == [0, 1, 1]


def test_a_conversation_stays_where_the_cheaper_tier_is_barely_as_good() -> None:
    barely = decided(0.81, 0.9, 0.95, previous_rank=1)
    assert (barely.chosen.rank, barely.kept_previous) == (1, True)
    clearly = decided(0.83, 0.9, 0.95, previous_rank=1)
    assert (clearly.chosen.rank, clearly.kept_previous) == (0, False)
    upwards = decided(0.5, 0.81, 0.95, previous_rank=0)
    assert (upwards.chosen.rank, upwards.kept_previous) == (1, False)


shares = st.floats(0, 1)
lowers = st.lists(shares, min_size=1, max_size=5)


@given(lowers, shares, shares, shares)
def test_a_higher_bar_never_leads_to_a_cheaper_tier(
    values: list[float], best: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    left, right = decided(*values, bar=low, best=best), decided(*values, bar=high, best=best)
    assert left.chosen.rank <= right.chosen.rank


@given(lowers, shares, shares, shares)
def test_a_higher_dial_never_leads_to_a_cheaper_tier(
    values: list[float], bar: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    left, right = decided(*values, bar=bar, dial=low), decided(*values, bar=bar, dial=high)
    assert left.chosen.rank <= right.chosen.rank


@given(st.lists(shares, min_size=1, max_size=4), shares)
def test_the_order_of_the_tiers_makes_no_difference(values: list[float], bar: float) -> None:
    found = {
        decide_by_evidence(order, bar=bar, margin=0.02).chosen
        for order in itertools.permutations(expected(*values))
    }
    assert len(found) == 1


@given(lowers, shares, shares)
def test_the_tier_changes_at_the_bars_that_are_named(
    values: list[float], best: float, bar: float
) -> None:
    outcome = decided(*values, bar=bar, best=best)
    cheaper, dearer = other_bars(outcome)
    rank = outcome.chosen.rank
    assert (cheaper is None) == (rank == 0)
    if cheaper is not None and 0.0 <= cheaper - 1e-9 <= 1.0:
        assert decided(*values, bar=cheaper - 1e-9, best=best).chosen.rank < rank
    if dearer is not None and dearer + 1e-9 <= 1.0:
        assert decided(*values, bar=dearer - 1e-9, best=best).chosen.rank <= rank
        assert decided(*values, bar=dearer + 1e-9, best=best).chosen.rank > rank
