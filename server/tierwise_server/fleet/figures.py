"""Bounded sums and windows over what was observed, and figures that move in steps.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

HALF_LIFE_S: Final = 120.0
"""Age at which an observed latency counts half."""

OLDEST_S: Final = 900.0
"""Age from which on it does not count."""

LEAST_OBSERVED: Final = 3
"""Observations below which a latency is not known."""

LATENCY_STEP: Final = 1.2
"""Two latencies whose quotient is smaller count as equal."""

_SLACK: Final = 0.75
"""Steps by which a figure has to leave the middle of its step to move to another: more than half a
step, so that one on the edge does not move to and fro."""

_MINUTE_S: Final = 60.0


@dataclass(slots=True)
class MinuteRate:
    """How much of something there is in a minute: a sum in which each part fades away."""

    amount: float = 0.0
    at_s: float = 0.0

    def add(self, amount: float, now_s: float) -> None:
        """Adds what is observed now."""
        self.amount = self.per_minute(now_s) + amount
        self.at_s = now_s

    def per_minute(self, now_s: float) -> float:
        """Returns the rate; exact for a steady flow."""
        return self.amount * math.exp(-max(0.0, now_s - self.at_s) / _MINUTE_S)


def typical_latency(samples: Iterable[tuple[float, float]], now_s: float) -> float | None:
    """Returns the median of what was observed, newer samples weighing more; None with too few.

    Args:
        samples: Time and seconds of each call.
        now_s: The time.
    """
    fresh = [(seconds, now_s - at_s) for at_s, seconds in samples if now_s - at_s <= OLDEST_S]
    if len(fresh) < LEAST_OBSERVED:
        return None
    weighted = sorted((seconds, 0.5 ** (age_s / HALF_LIFE_S)) for seconds, age_s in fresh)
    half = sum(weight for _, weight in weighted) / 2
    for seconds, weight in weighted:
        half -= weight
        if half <= 0:
            return seconds
    return weighted[-1][0]


def stepped_latency(latency_s: float | None, before_s: float | None) -> float | None:
    """Returns a latency in steps of `LATENCY_STEP`, the step before where it still fits."""
    if latency_s is None:
        return None
    exponent = math.log(max(latency_s, 1e-3), LATENCY_STEP)
    if before_s is not None and abs(exponent - math.log(before_s, LATENCY_STEP)) <= _SLACK:
        return before_s
    return float(LATENCY_STEP ** round(exponent))


def stepped_usage(share: float, levels: int, before: int) -> int:
    """Returns a share from 0 to 1 as one of so many levels, the one before where it still fits."""
    position = min(max(share, 0.0), 1.0) * levels
    if abs(position - (before + 0.5)) <= _SLACK:
        return before
    return min(int(position), levels)


def stepped_headroom(count: int | None) -> int | None:
    """Returns a count rounded down to a power of two; 0 stays 0."""
    return count and 1 << (count.bit_length() - 1)
