"""What a calibration reaches on prompts that it was not fitted to: cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tierwise_server.calibration.bounds import upper_bound
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.fit import Fit, Fitting, folds
from tierwise_server.calibration.objective import LimitedShare, LimitedUnderRouting
from tierwise_server.calibration.reliability import (
    CoveragePoint,
    Flags,
    Floats,
    calibration_error,
    coverage_at,
    risk_coverage,
)
from tierwise_server.deciding.decision import Verdict

FOLD_COUNT = 5

SHOWN_PRECISIONS = (0.9, 0.95, 0.98)
"""Precisions for which the coverage is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a catalog decides the labelled prompts."""

    accuracy: float
    """Share of right decisions, weighted as traffic is."""
    in_scope_accuracy: float | None
    out_of_scope_recall: float | None
    tier_shares: dict[str, float]
    """Share of the prompts on each tier, weighted as traffic is."""
    limited: float | None = None
    """What the objective limits, as measured."""
    limited_bound: float | None = None
    """What the true share exceeds in at most 5 % of samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Figures of prompts that were left out of the fit that decided them."""

    before: Outcome
    """With the catalog's files as they are."""
    after: Outcome
    calibration_error: float | None
    risk_coverage: list[CoveragePoint]
    coverage_at: dict[float, float]
    """Share of the prompts that can be decided at a precision."""


def validate(fitting: Fitting, whole: Fit) -> Validation:
    """Fits to four fifths of the rows at a time, and judges the fifth that is left out.

    A dial that holds a limit stays where all rows put it: its bound is exact as it is, and four
    fifths of the labels may be too few for it.

    Args:
        fitting: What was fitted.
        whole: The fit to all rows.

    Raises:
        CalibrationError: A part is too small to fit to.
    """
    rows = fitting.rows
    fold = folds(rows, FOLD_COUNT)
    verdicts: list[Verdict | None] = [None] * len(rows)
    confidences, right = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
    usable = np.zeros(len(rows), dtype=np.bool_)
    is_limited = isinstance(fitting.objective, LimitedUnderRouting | LimitedShare)
    dial = whole.dial if is_limited else None
    for number in range(FOLD_COUNT):
        left_out = fold == number
        try:
            fitted = fitting.fit(~left_out, dial=dial)
        except CalibrationError as error:
            raise CalibrationError(
                f"cross-validating, on four fifths of the data: {error}"
            ) from error
        decided = fitting.verdicts(fitted)
        matches, match_right, match_usable = fitting.matches(fitted.dial)
        for place in np.flatnonzero(left_out).tolist():
            verdicts[place] = decided[place]
            if match_usable[place] and fitted.curve is not None:
                usable[place], right[place] = True, match_right[place]
                confidences[place] = fitted.curve.at(*matches[place].tolist())
    judged = [one for one in verdicts if one is not None]
    return Validation(
        before=outcome(fitting, fitting.verdicts(Fit())),
        after=outcome(fitting, judged),
        calibration_error=calibration_error(
            confidences[usable], right[usable], fitting.weights[usable]
        ),
        risk_coverage=risk_coverage(confidences[usable], right[usable]),
        coverage_at={
            precision: coverage_at(confidences[usable], right[usable], precision, len(rows))
            for precision in SHOWN_PRECISIONS
        },
    )


def outcome(fitting: Fitting, verdicts: list[Verdict]) -> Outcome:
    """Returns how the labelled prompts are decided."""
    rows, weights = fitting.rows, fitting.weights
    right = np.array(
        [row.is_right(one, fitting.subject) for row, one in zip(rows, verdicts, strict=True)]
    )
    inside = np.array([row.label.in_scope for row in rows])
    ranks = np.array([one.tier.rank for one in verdicts])
    limited, bound = _limited(fitting, ranks)
    return Outcome(
        accuracy=float(weights @ right / weights.sum()),
        in_scope_accuracy=_mean(right[inside]),
        out_of_scope_recall=_mean(right[~inside]),
        tier_shares={
            tier.id: float(weights @ (ranks == tier.rank) / weights.sum())
            for tier in fitting.catalog.tiers
        },
        limited=limited,
        limited_bound=bound,
    )


def _limited(fitting: Fitting, ranks: Floats) -> tuple[float | None, float | None]:
    objective = fitting.objective
    if not isinstance(objective, LimitedUnderRouting | LimitedShare):
        return None, None
    rank = next(tier.rank for tier in fitting.catalog.tiers if tier.id == objective.tier)
    if isinstance(objective, LimitedShare):
        hits, trials = int((ranks >= rank).sum()), len(ranks)
    else:
        needs = np.array([row.label.tier == objective.tier for row in fitting.rows])
        hits, trials = int((ranks[needs] < rank).sum()), int(needs.sum())
    return hits / trials, upper_bound(hits, trials, objective.level)


def _mean(right: Flags) -> float | None:
    return float(right.mean()) if len(right) else None
