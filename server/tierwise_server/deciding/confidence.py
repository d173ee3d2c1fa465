"""From a match to its confidence, by the catalog's calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tierwise_server.catalog.calibration import Calibration, Subject
from tierwise_server.scoring.scorer import Lead


class MatchFigures(NamedTuple):
    """What a confidence is made of."""

    score: float
    margin: float
    """Score minus the best of the others: tiers or tasks, as the calibration's subject is. 0 where
    there are no others."""
    similarity: float


def match_figures(leads: Sequence[Lead], rank: int, subject: Subject) -> MatchFigures:
    """Returns the figures of the match with a tier's best task.

    Args:
        leads: Each tier's best task, cheapest tier first.
        rank: Of the chosen tier.
        subject: What the confidence is to be the probability of.
    """
    chosen = leads[rank]
    rivals = [lead.score for place, lead in enumerate(leads) if place != rank]
    if subject is Subject.TASK:
        rivals.append(chosen.next_score)
    rival = max(rivals, default=-math.inf)
    margin = chosen.score - rival if math.isfinite(rival) else 0.0
    return MatchFigures(chosen.score, margin, chosen.similarity)


def confidence_of(calibration: Calibration, leads: Sequence[Lead], rank: int) -> float | None:
    """Returns the confidence in a match; None where only thresholds were calibrated."""
    if calibration.curve is None:
        return None
    return calibration.curve.at(*match_figures(leads, rank, calibration.subject))
