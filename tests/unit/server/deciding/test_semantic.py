"""From scores to a tier, by table and by property."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tierwise_server.deciding.semantic import (
    LEAN_PER_RANK,
    THRESHOLD_LEAN,
    Abstention,
    SemanticOutcome,
    TierScore,
    decide_semantically,
    leaned_threshold,
)


def tiers(*scores: float, threshold: float = 0.5) -> list[TierScore]:
    """Returns showings of tiers 0, 1, … with these scores."""
    return [
        TierScore(rank=rank, score=score, task=rank, threshold=threshold)
        for rank, score in enumerate(scores)
    ]


def decide(*scores: float, threshold: float = 0.5, **options: Any) -> SemanticOutcome:  # noqa: ANN401
    values = {"margin": 0.125, "tie_goes_up": True, "default_rank": 1, **options}
    return decide_semantically(tiers(*scores, threshold=threshold), **values)


def rank_of(outcome: SemanticOutcome) -> int | None:
    return None if outcome.chosen is None else outcome.chosen.rank


def test_the_best_tier_is_chosen_when_it_clears_threshold_and_margin() -> None:
    outcome = decide(0.75, 0.25, 0.5)
    assert rank_of(outcome) == 0
    assert outcome.best.rank == 0
    assert outcome.margin == 0.25
    assert outcome.threshold == 0.5
    assert not outcome.tied
    assert outcome.abstention is None


@pytest.mark.parametrize(
    ("score", "chosen"),
    [(0.5, 0), (math.nextafter(0.5, 0), None), (math.nextafter(0.5, 1), 0)],
)
def test_a_score_that_equals_the_threshold_reaches_it(score: float, chosen: int | None) -> None:
    outcome = decide(score, 0.0, 0.0)
    assert rank_of(outcome) == chosen
    assert outcome.abstention is (Abstention.BELOW_THRESHOLD if chosen is None else None)


@pytest.mark.parametrize(
    ("second", "chosen", "tied"),
    [(0.625, 1, True), (math.nextafter(0.625, 0), 0, False), (0.75, 1, True)],
)
def test_tiers_within_the_margin_of_the_best_are_tied(
    second: float, chosen: int, tied: bool
) -> None:
    outcome = decide(0.75, second)
    assert (rank_of(outcome), outcome.tied) == (chosen, tied)


def test_a_tie_goes_to_the_highest_of_the_tied_tiers() -> None:
    assert rank_of(decide(0.75, 0.75, 0.7, 0.1)) == 2


def test_a_tie_abstains_where_ties_do_not_go_up() -> None:
    outcome = decide(0.75, 0.75, 0.0, tie_goes_up=False)
    assert rank_of(outcome) is None
    assert outcome.abstention is Abstention.TIE
    assert outcome.tied


def test_a_tie_below_the_threshold_is_below_the_threshold() -> None:
    outcome = decide(0.25, 0.25, 0.0, tie_goes_up=False)
    assert outcome.abstention is Abstention.BELOW_THRESHOLD


@pytest.mark.parametrize("tie_goes_up", [True, False])
def test_a_tie_stays_in_the_tier_of_the_turn_before(tie_goes_up: bool) -> None:
    outcome = decide(0.75, 0.7, 0.72, previous_rank=1, tie_goes_up=tie_goes_up)
    assert rank_of(outcome) == 1
    assert outcome.kept_previous


def test_the_tier_of_the_turn_before_has_no_say_outside_of_a_tie() -> None:
    outcome = decide(0.75, 0.25, 0.72, previous_rank=1)
    assert rank_of(outcome) == 2
    assert not outcome.kept_previous


def test_a_clear_winner_that_is_the_previous_tier_is_not_called_kept() -> None:
    assert not decide(0.75, 0.25, 0.0, previous_rank=0).kept_previous


def test_one_tier_has_no_margin_and_no_tie() -> None:
    outcome = decide(0.75, default_rank=0)
    assert rank_of(outcome) == 0
    assert outcome.margin is None
    assert not outcome.tied


def test_the_margin_shown_is_of_plain_scores_whatever_the_dial() -> None:
    assert decide(0.75, 0.25, dial=1.0).margin == 0.5


@pytest.mark.parametrize(
    ("dial", "chosen"),
    [(0.0, 0), (0.5, 1), (1.0, 2)],
)
def test_the_dial_leans_near_ties_down_or_up(dial: float, chosen: int) -> None:
    # Each is ahead of the next by 0.05, half of what an end of the dial is worth for a step.
    outcome = decide(0.7, 0.75, 0.7, margin=0.02, threshold=0.3, dial=dial)
    assert rank_of(outcome) == chosen


def test_the_dial_moves_the_threshold_away_from_the_default_tier() -> None:
    def at(rank: int, dial: float) -> float:
        return leaned_threshold(0.5, rank=rank, default_rank=1, dial=dial)

    assert [at(rank, 0.5) for rank in range(3)] == [0.5, 0.5, 0.5]
    assert [at(rank, 1.0) for rank in range(3)] == [0.5 + THRESHOLD_LEAN, 0.5, 0.5 - THRESHOLD_LEAN]
    assert [at(rank, 0.0) for rank in range(3)] == [0.5 - THRESHOLD_LEAN, 0.5, 0.5 + THRESHOLD_LEAN]


def test_the_threshold_is_that_of_the_best_tier_leaned_by_the_chosen_one() -> None:
    showings = [
        TierScore(rank=0, score=0.75, task=0, threshold=0.5),
        TierScore(rank=1, score=0.75, task=1, threshold=0.25),
        TierScore(rank=2, score=0.0, task=2, threshold=0.9),
    ]
    outcome = decide_semantically(showings, margin=0.1, tie_goes_up=True, default_rank=0, dial=1.0)
    assert outcome.best.rank == 0
    assert rank_of(outcome) == 1
    assert outcome.threshold == pytest.approx(0.5 - THRESHOLD_LEAN)


SCORE = st.floats(min_value=-1.0, max_value=1.5, width=32)
UNIT = st.floats(min_value=0.0, max_value=1.0)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[TierScore], dict[str, Any]]:
    """Draws tiers with scores, and all other arguments but the dial."""
    scores = draw(st.lists(SCORE, min_size=1, max_size=5))
    count = len(scores)
    showings = [
        TierScore(rank=rank, score=score, task=rank, threshold=draw(SCORE))
        for rank, score in enumerate(scores)
    ]
    options = {
        "margin": draw(st.floats(min_value=0.0, max_value=0.5)),
        "tie_goes_up": draw(st.booleans()),
        "default_rank": draw(st.integers(0, count - 1)),
        "previous_rank": draw(st.none() | st.integers(0, count - 1)),
    }
    return showings, options


@given(situations(), UNIT, st.randoms(use_true_random=False))
def test_the_order_of_the_tiers_does_not_matter(
    situation: tuple[list[TierScore], dict[str, Any]],
    dial: float,
    random: Any,  # noqa: ANN401
) -> None:
    showings, options = situation
    shuffled = list(showings)
    random.shuffle(shuffled)
    assert decide_semantically(shuffled, dial=dial, **options) == decide_semantically(
        showings, dial=dial, **options
    )


@given(situations(), UNIT)
def test_an_outcome_says_only_what_holds(
    situation: tuple[list[TierScore], dict[str, Any]], dial: float
) -> None:
    showings, options = situation
    outcome = decide_semantically(showings, dial=dial, **options)
    assert outcome.best in showings
    assert outcome.best.score == max(tier.score for tier in showings)
    assert (outcome.chosen is None) == (outcome.abstention is not None)
    assert (outcome.margin is None) == (len(showings) == 1)
    assert outcome.margin is None or outcome.margin >= 0
    if outcome.chosen is not None:
        assert outcome.chosen in showings
        assert outcome.best.score >= outcome.threshold
    if outcome.kept_previous:
        assert outcome.chosen is not None
        assert outcome.chosen.rank == options["previous_rank"]
    if len(showings) == 1:
        assert not outcome.tied


@given(situations(), UNIT)
def test_a_tier_far_below_the_best_is_never_chosen(
    situation: tuple[list[TierScore], dict[str, Any]], dial: float
) -> None:
    showings, options = situation
    outcome = decide_semantically(showings, dial=dial, **options)
    reach = options["margin"] + LEAN_PER_RANK * (len(showings) - 1) + 1e-9
    if outcome.chosen is not None:
        assert outcome.chosen.score >= outcome.best.score - reach


@given(situations(), UNIT, st.floats(min_value=0.001, max_value=1.0))
def test_a_higher_threshold_never_accepts_more(
    situation: tuple[list[TierScore], dict[str, Any]], dial: float, raised: float
) -> None:
    showings, options = situation
    higher = [
        TierScore(rank=one.rank, score=one.score, task=one.task, threshold=one.threshold + raised)
        for one in showings
    ]
    after = decide_semantically(higher, dial=dial, **options)
    if after.chosen is not None:
        before = decide_semantically(showings, dial=dial, **options)
        assert before.chosen is not None
        assert before.chosen.rank == after.chosen.rank


@given(situations(), UNIT, UNIT)
def test_a_higher_dial_never_leads_to_a_lower_tier(
    situation: tuple[list[TierScore], dict[str, Any]], one: float, other: float
) -> None:
    showings, options = situation
    options = {**options, "tie_goes_up": True, "previous_rank": None}
    dials = sorted((one, other))
    # Rounding may settle an edge either way; the promise is about real numbers.
    for dial in dials:
        lean = 2 * (dial - 0.5) * LEAN_PER_RANK
        leaned = sorted(tier.score + lean * tier.rank for tier in showings)
        assume(all(abs(leaned[-1] - options["margin"] - score) > 1e-9 for score in leaned))
        best = max(showings, key=lambda tier: (tier.score, -tier.rank))
        for rank in range(len(showings)):
            bar = leaned_threshold(
                best.threshold, rank=rank, default_rank=options["default_rank"], dial=dial
            )
            assume(abs(best.score - bar) > 1e-9)
    low, high = (
        rank
        if (rank := rank_of(decide_semantically(showings, dial=dial, **options))) is not None
        else options["default_rank"]
        for dial in dials
    )
    assert low <= high


@given(situations())
def test_a_dial_at_rest_is_the_plain_threshold(
    situation: tuple[list[TierScore], dict[str, Any]],
) -> None:
    showings, options = situation
    outcome = decide_semantically(showings, dial=0.5, **options)
    assert outcome.threshold == outcome.best.threshold
    assert outcome == decide_semantically(showings, **options)


@given(situations(), UNIT, SCORE)
def test_a_dearer_tier_that_scores_worst_by_far_changes_nothing(
    situation: tuple[list[TierScore], dict[str, Any]], dial: float, threshold: float
) -> None:
    showings, options = situation
    far = TierScore(rank=len(showings), score=-9.0, task=9, threshold=threshold)
    before = decide_semantically(showings, dial=dial, **options)
    after = decide_semantically([*showings, far], dial=dial, **options)
    assert after.chosen == before.chosen
    assert after.threshold == before.threshold
