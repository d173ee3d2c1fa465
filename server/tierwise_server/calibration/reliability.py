"""How far confidences can be relied on: calibration error, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tierwise_server.calibration.bounds import upper_bound

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

BIN_COUNT = 15
"""Bins of the calibration error, as in Guo et al., On Calibration of Modern Neural Networks."""

SHOWN_COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the prompts for which the risk is shown."""


def calibration_error(
    confidences: Floats, right: Flags, weights: Floats | None = None
) -> float | None:
    """Returns the expected calibration error over 15 bins of equal width; None without rows.

    Args:
        confidences: From 0 to 1.
        right: What each was the confidence of: whether it came true.
        weights: How much each counts; None means equally.
    """
    if not len(confidences):
        return None
    weights = np.ones(len(confidences)) if weights is None else weights
    bins = np.minimum((confidences * BIN_COUNT).astype(np.int64), BIN_COUNT - 1)
    gaps = np.bincount(bins, weights * (confidences - right), minlength=BIN_COUNT)
    return float(np.abs(gaps).sum() / weights.sum())


class CoveragePoint(NamedTuple):
    """What is decided when only the most confident share of the prompts is."""

    coverage: float
    """Share of the prompts that are decided."""
    confidence: float
    """Confidence that those at least have."""
    risk: float
    """Share of wrong ones among those decided."""
    risk_bound: float
    """What the true share exceeds in at most 5 % of samples."""


def risk_coverage(
    confidences: Floats, right: Flags, shares: Sequence[float] = SHOWN_COVERAGES
) -> list[CoveragePoint]:
    """Returns the risk of deciding the most confident share of the prompts, for several shares."""
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum(~right[order])
    points = []
    for share in shares:
        count = round(share * len(order))
        if count:
            hits = int(wrong[count - 1])
            points.append(
                CoveragePoint(
                    coverage=count / len(order),
                    confidence=float(confidences[order[count - 1]]),
                    risk=hits / count,
                    risk_bound=upper_bound(hits, count, 0.95),
                )
            )
    return points


def coverage_at(
    confidences: Floats, right: Flags, precision: float, total: int | None = None
) -> float:
    """Returns the largest share of the prompts that can be decided at a precision.

    Args:
        confidences: Of the prompts that have one.
        right: Whether each is right.
        precision: Least share of right ones among those decided.
        total: Number of all prompts, those without confidence included; None means that all have.
    """
    total = len(confidences) if total is None else total
    if not len(confidences) or not total:
        return 0.0
    order = np.argsort(-confidences, kind="stable")
    counts = np.arange(1, len(order) + 1)
    enough = np.cumsum(right[order]) / counts >= precision
    # Equal confidences are decided together or not at all.
    ends = np.append(np.diff(confidences[order]) < 0.0, True)
    reached = np.flatnonzero(enough & ends)
    return float(counts[reached[-1]] / total) if len(reached) else 0.0
