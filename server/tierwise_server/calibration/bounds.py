"""Exact bounds of a share that was counted (Clopper and Pearson, Biometrika 26, 1934).

They hold for any sample size: the true share lies beyond a bound of level 0.95 in at most 5 % of
samples.
"""

from __future__ import annotations

import math

import numpy as np

_STEPS = 60
"""Halvings of an interval of length 1: beyond the digits of a double."""

MOST_LABELS = 1_000_000
"""Where the search for a large enough sample ends."""


def chance_of_at_most(hits: int, trials: int, share: float) -> float:
    """Returns the probability of at most so many hits, each trial being one with this share."""
    if hits >= trials or share <= 0.0:
        return 1.0
    if hits < 0 or share >= 1.0:
        return 0.0
    counts = np.arange(hits + 1)
    # log C(n, k) by its ratios: log C(n, k) = log C(n, k - 1) + log((n - k + 1) / k).
    steps = np.log((trials - counts[1:] + 1) / counts[1:])
    choices = np.concatenate([[0.0], np.cumsum(steps)])
    logs = choices + counts * math.log(share) + (trials - counts) * math.log1p(-share)
    peak = float(logs.max())
    return min(1.0, math.exp(peak) * float(np.exp(logs - peak).sum()))


def upper_bound(hits: int, trials: int, level: float) -> float:
    """Returns the share that the true one exceeds in at most `1 - level` of samples."""
    if trials == 0 or hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if chance_of_at_most(hits, trials, middle) > 1.0 - level:
            low = middle
        else:
            high = middle
    return high


def lower_bound(hits: int, trials: int, level: float) -> float:
    """Returns the share that the true one falls short of in at most `1 - level` of samples."""
    return 1.0 - upper_bound(trials - hits, trials, level)


def is_at_most(hits: int, trials: int, limit: float, level: float) -> bool:
    """Returns whether the true share is at most the limit, as far as the level goes."""
    return trials > 0 and chance_of_at_most(hits, trials, limit) <= 1.0 - level


def labels_needed(limit: float, level: float, rate: float = 0.0) -> int | None:
    """Returns how many labels show that a share is at most the limit, hits coming at a rate.

    Args:
        limit: Most the share may be, above 0 and below 1.
        level: Confidence, above 0 and below 1.
        rate: Share of hits expected among the labels.

    Returns:
        The number; None where the rate is no lower than the limit, or a million would not do.
    """
    if rate >= limit:
        return None
    low, high = 0, 1
    while not is_at_most(math.ceil(rate * high), high, limit, level):
        low, high = high, high * 2
        if high > MOST_LABELS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if is_at_most(math.ceil(rate * middle), middle, limit, level):
            high = middle
        else:
            low = middle
    return high
