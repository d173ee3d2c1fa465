"""Intervals and shares for means of few scores, by seeded resampling.

The Bayesian bootstrap (D. B. Rubin, "The Bayesian Bootstrap", 1981) weighs the scores by a
Dirichlet distribution in place of drawing them. Two scores are added that count half each, one 0
and one 1: for scores that are 0 or 1 the result is Jeffreys' interval, and eight answers that are
all good don't come out as certainty, as they do when scores are drawn.

The weights belong to the samples: all models of a task are weighed alike, so that differences
between models are paired.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES: Final = 4000

MOST_WEIGHTS: Final = 16_000_000
"""Weights that are held at a time, of 8 bytes each; of more samples there are fewer resamples."""

COVERAGE: Final = 0.95
_FACTORS: Final = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_ADDED: Final = 0.5
"""What the scores 0 and 1 count that are added to each set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the interval that holds the true one with 95 % probability."""

    mean: float
    low: float
    high: float


def resamples_for(counts: Sequence[int]) -> int:
    """Returns how many resamples to draw for tasks of so many samples."""
    return min(RESAMPLES, MOST_WEIGHTS // (sum(counts) + 1))


def weights(count: int, task: str, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Returns the weights of so many samples and of the added 0 and 1, a row for each resample."""
    chance = np.random.default_rng((seed, zlib.crc32(task.encode())))
    own = chance.standard_gamma(1.0, (resamples, count))
    return np.hstack((own, chance.standard_gamma(_ADDED, (resamples, 2))))


def means(weighting: Floats, scores: Floats) -> Floats:
    """Returns the mean of each resample. A score that is NaN does not count."""
    known = ~np.isnan(scores)
    own = weighting[:, :-2][:, known]
    added = weighting[:, -2:]
    total = own @ scores[known] + added[:, 1]
    return np.asarray(total / (own.sum(axis=1) + added.sum(axis=1)), dtype=np.float64)


def samples_needed(scores: Floats, bar: float, confidence: float, seed: int) -> int | None:
    """Returns about how many samples like these would show that the mean reaches a bar.

    The scores are repeated until they do. None where that takes more than 32 times as many, or the
    mean is below the bar.
    """
    known = scores[~np.isnan(scores)]
    if not len(known) or known.mean() < bar:
        return None
    for factor in _FACTORS:
        repeated = np.repeat(known, factor)
        weighting = weights(len(repeated), "needed", seed, resamples_for([len(repeated)]))
        if share_at_least(means(weighting, repeated), bar) >= confidence:
            return len(repeated)
    return None


def interval(mean: float, resampled: Floats) -> Interval:
    """Returns the interval of resampled means, which always holds the mean itself."""
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def share_at_least(resampled: Floats, bar: float) -> float:
    """Returns the share of resamples whose mean reaches a bar."""
    return float((resampled >= bar).mean())
