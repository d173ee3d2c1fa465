"""From scores to a tier: threshold, margin, ties and the cost-to-quality dial.

Works on numbers alone, so that every decision can be tested by table and by property.

With at least two tiers and a dial at `x` from 0 to 1, let `lean = 2x - 1`. Each tier's score is
leaned by `lean * LEAN_PER_RANK` for each step of its rank. The tiers whose leaned score lies within
the margin of the best are tied; a tie goes to the highest of them. The plain score of the best
tier must reach its threshold, which the same dial raises for tiers below the default tier and
lowers for those above it. So a higher dial never leads to a lower tier (ties settled upwards, one
threshold, no previous tier); the tests hold that as a property.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tierwise_server.catalog.calibration import NEUTRAL_DIAL

LEAN_PER_RANK = 0.1
"""Score that the dial at either end is worth, for each step between tiers. On the shipped catalog
the margin between tiers has a median near 0.1, so the ends move about half of the decisions."""

THRESHOLD_LEAN = 0.1
"""Threshold that the dial at either end is worth."""


class Abstention(Enum):
    """Why the comparison with utterances did not decide."""

    BELOW_THRESHOLD = auto()
    TIE = auto()
    LANGUAGE = auto()
    RULES_ONLY = auto()
    STALE_CALIBRATION = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierScore:
    """One tier's showing."""

    rank: int
    """Place of the tier, 0 for the cheapest."""
    score: float
    task: int
    """Index of the tier's best task."""
    threshold: float
    """What the score has to reach with the dial at rest: that of the best task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticOutcome:
    """What the comparison with utterances says."""

    best: TierScore
    """The tier with the highest score."""
    chosen: TierScore | None
    """The tier to use; None when the comparison abstains."""
    threshold: float
    """What the score of `best` had to reach, with the dial applied."""
    margin: float | None
    """Score of the best tier minus that of the next best; None with one tier."""
    tied: bool = False
    """Whether several tiers lay within the margin."""
    kept_previous: bool = False
    """Whether the tie went to the tier of the turn before."""
    abstention: Abstention | None = None


def leaned_threshold(threshold: float, *, rank: int, default_rank: int, dial: float) -> float:
    """Returns the threshold of a tier with the dial applied."""
    lean = 2.0 * (dial - NEUTRAL_DIAL)
    if rank < default_rank:
        return threshold + lean * THRESHOLD_LEAN
    if rank > default_rank:
        return threshold - lean * THRESHOLD_LEAN
    return threshold


def decide_semantically(
    tiers: Sequence[TierScore],
    *,
    margin: float,
    tie_goes_up: bool,
    default_rank: int,
    dial: float = NEUTRAL_DIAL,
    previous_rank: int | None = None,
) -> SemanticOutcome:
    """Picks the tier of a prompt from the tiers' scores.

    Args:
        tiers: Each tier that has utterances, at least one, in any order.
        margin: Score by which the best tier must lead; closer ones are tied.
        tie_goes_up: Whether a tie goes to the highest tied tier; otherwise it abstains.
        default_rank: Rank of the catalog's default tier.
        dial: The cost-to-quality dial: from 0 to 1, moved by where a calibration rests it.
        previous_rank: Rank of the tier of the turn before, which a tie stays at.
    """
    ordered = sorted(tiers, key=lambda tier: (-tier.score, tier.rank))
    best = ordered[0]
    lead = best.score - ordered[1].score if len(ordered) > 1 else None

    lean = 2.0 * (dial - NEUTRAL_DIAL) * LEAN_PER_RANK
    leaned = [(tier.score + lean * tier.rank, tier) for tier in ordered]
    bar = max(score for score, _ in leaned) - margin
    tied = [tier for score, tier in leaned if score >= bar]

    kept = next((tier for tier in tied if tier.rank == previous_rank), None)
    chosen = max(tied, key=lambda tier: tier.rank)
    if len(tied) > 1 and kept is not None:
        chosen = kept
    threshold = leaned_threshold(
        best.threshold, rank=chosen.rank, default_rank=default_rank, dial=dial
    )

    abstention = None
    if best.score < threshold:
        abstention = Abstention.BELOW_THRESHOLD
    elif len(tied) > 1 and kept is None and not tie_goes_up:
        abstention = Abstention.TIE
    return SemanticOutcome(
        best=best,
        chosen=None if abstention else chosen,
        threshold=threshold,
        margin=lead,
        tied=len(tied) > 1,
        kept_previous=abstention is None and len(tied) > 1 and kept is not None,
        abstention=abstention,
    )
