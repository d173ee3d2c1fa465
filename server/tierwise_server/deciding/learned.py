"""From predicted quality to a tier: the bar, the interval and the cost-to-quality dial.

Works on numbers alone, so that every decision can be tested by table and by property.

The cheapest tier whose lower bound reaches what is required is chosen. That is the bar, less what
even the best tier is expected to fall short of 1 by: where no model does well, a dear one that does
little better is not worth its price. With a bar of 0.85, a tier may be expected to fall short of
the best one by 0.15. (Against a fixed bar, hopeless prompts would be the first to go to the dearest
tier: on MMLU outcomes that is worse than going by prompt length.) Where no lower bound reaches it,
the tier with the highest one is chosen, the cheaper one of equals. So a higher bar never leads to a
cheaper tier; the tests hold that as a property. The dial moves the bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise_server.catalog.calibration import NEUTRAL_DIAL
from tierwise_server.learning import Prediction

BAR_LEAN = 0.15
"""Quality that the dial at either end moves the bar by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedOutcome:
    """What the evidence says."""

    predictions: tuple[Prediction, ...]
    """Of each tier, cheapest first."""
    chosen: Prediction
    bar: float
    """The quality bar, with the dial applied."""
    required: float
    """What the lower bound had to reach: the bar, less what the best tier falls short of 1 by."""
    cleared: bool
    """Whether it did."""
    kept_previous: bool = False
    """Whether two tiers were as good and the tier of the turn before was kept."""


def leaned_bar(bar: float, dial: float) -> float:
    """Returns the bar with the dial applied, from 0 to 1."""
    return min(max(bar + 2.0 * (dial - NEUTRAL_DIAL) * BAR_LEAN, 0.0), 1.0)


def shortfall(predictions: Sequence[Prediction]) -> float:
    """Returns what even the best tier is expected to fall short of 1 by."""
    return 1.0 - max(one.quality for one in predictions)


def decide_by_evidence(
    predictions: Sequence[Prediction],
    *,
    bar: float,
    margin: float,
    dial: float = NEUTRAL_DIAL,
    previous_rank: int | None = None,
) -> LearnedOutcome:
    """Picks the tier of a prompt from the predicted quality of each.

    Args:
        predictions: Of every tier, in any order.
        bar: Quality to reach with the dial at rest.
        margin: A lower bound that reaches what is required by less than this leaves a conversation
            in the higher tier that it is in.
        dial: The cost-to-quality dial, from 0 to 1.
        previous_rank: Rank of the tier of the turn before.
    """
    ordered = sorted(predictions, key=lambda one: one.rank)
    bar = leaned_bar(bar, dial)
    required = bar - shortfall(ordered)
    clearing = [one for one in ordered if one.lower >= required]
    chosen = clearing[0] if clearing else max(ordered, key=lambda one: (one.lower, -one.rank))
    kept = False
    if previous_rank is not None and chosen.rank < previous_rank < len(ordered):
        kept = bool(clearing) and chosen.lower < required + margin
        chosen = ordered[previous_rank] if kept else chosen
    return LearnedOutcome(
        predictions=tuple(ordered),
        chosen=chosen,
        bar=bar,
        required=required,
        cleared=bool(clearing),
        kept_previous=kept,
    )


def other_bars(outcome: LearnedOutcome) -> tuple[float | None, float | None]:
    """Returns the bars between which the tier is the chosen one, without a turn before.

    The first is the highest bar at which a cheaper tier is chosen, None where none ever is; the
    second the one above which a dearer tier is, None likewise.
    """
    chosen, short = outcome.chosen, shortfall(outcome.predictions)
    cheaper = [one.lower for one in outcome.predictions if one.rank < chosen.rank]
    dearer = [one.lower for one in outcome.predictions if one.rank > chosen.rank]
    rises = bool(dearer) and max(dearer) > chosen.lower
    return max(cheaper) + short if cheaper else None, chosen.lower + short if rises else None
