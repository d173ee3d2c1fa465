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
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES: Final = 4000
COVERAGE: Final = 0.95
_ADDED: Final = 0.5
"""What the scores 0 and 1 count that are added to each set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the interval that holds the true one with 95 % probability."""

    mean: float
    low: float
    high: float


def weights(count: int, task: str, seed: int) -> Floats:
    """Returns the weights of so many samples and of the added 0 and 1, a row for each resample."""
    chance = np.random.default_rng((seed, zlib.crc32(task.encode())))
    own = chance.standard_gamma(1.0, (RESAMPLES, count))
    return np.hstack((own, chance.standard_gamma(_ADDED, (RESAMPLES, 2))))


def means(weighting: Floats, scores: Floats) -> Floats:
    """Returns the mean of each resample. A score that is NaN does not count."""
    known = ~np.isnan(scores)
    own = weighting[:, :-2][:, known]
    added = weighting[:, -2:]
    total = own @ scores[known] + added[:, 1]
    return np.asarray(total / (own.sum(axis=1) + added.sum(axis=1)), dtype=np.float64)


def interval(mean: float, resampled: Floats) -> Interval:
    """Returns the interval of resampled means, which always holds the mean itself."""
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def share_at_least(resampled: Floats, bar: float) -> float:
    """Returns the share of resamples whose mean reaches a bar."""
    return float((resampled >= bar).mean())
