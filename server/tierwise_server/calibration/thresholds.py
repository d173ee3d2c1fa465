"""Fits thresholds for the most right decisions.

Rejecting a match is worth something for each prompt: 1 where only rejection is right (nothing is
for it, or the default tier is the right one), -1 where only the match is, 0 where it is all the
same. A threshold rejects all matches below it, so the best one is where the sum of the worths below
it is highest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tierwise_server.calibration.reliability import Floats

RESAMPLES = 200
"""Bootstrap samples that a threshold is the mean of."""

_SEED = 20_240_229
_SHIFT = 1e-3
"""How far beyond all scores a threshold lies that accepts or rejects everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedThreshold:
    """A threshold and how sure it is."""

    value: float
    low: float
    """5 % of the bootstrap samples put it lower."""
    high: float
    """5 % put it higher."""


def best_threshold(scores: Floats, worths: Floats) -> float:
    """Returns the threshold with the most right decisions, in the middle of where they are most."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    gained = np.concatenate([[0.0], np.cumsum(worths[order])])
    # Equal scores are rejected together: a cut is possible where the score grows, and at both ends.
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(ordered) > 0.0) + 1, [len(ordered)]]).astype(
        np.int64
    )
    values = gained[cuts]
    best = np.flatnonzero(values >= values.max() - 1e-9)
    first, last = int(cuts[best[0]]), int(cuts[_end_of_run(best)])
    low = ordered[first - 1] if first > 0 else ordered[0] - 2 * _SHIFT
    high = ordered[last] if last < len(ordered) else ordered[-1] + 2 * _SHIFT
    return float((low + high) / 2.0)


def _end_of_run(places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """Returns the last of the consecutive places that start with the first."""
    breaks = np.flatnonzero(np.diff(places) > 1)
    return int(places[breaks[0]] if len(breaks) else places[-1])


def fit_threshold(scores: Floats, worths: Floats) -> FittedThreshold:
    """Returns the mean of the best thresholds of bootstrap samples (bagging; Breiman, 1996).

    The best threshold of one sample jumps between places that are nearly as good. Its bagged form
    varies half as much between halves of CLINC150's validation rows.

    Args:
        scores: Score of each match, at least one.
        worths: What its rejection is worth, weights included.
    """
    chance = np.random.default_rng(_SEED)
    count = len(scores)
    even = np.full(count, 1.0 / count)
    found = np.array(
        [best_threshold(scores, worths * chance.multinomial(count, even)) for _ in range(RESAMPLES)]
    )
    low, high = np.percentile(found, (5, 95))
    return FittedThreshold(value=float(found.mean()), low=float(low), high=float(high))
