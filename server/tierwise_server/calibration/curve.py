"""Fits the confidence curve: a logistic curve that never falls (Platt, 1999).

Isotonic regression would follow the data more closely, but needs about a thousand rows for it;
a catalog has hundreds.
"""

from __future__ import annotations

import numpy as np

from tierwise_server.calibration.reliability import Flags, Floats
from tierwise_server.catalog.calibration import ConfidenceCurve

FEATURES = ("score", "margin", "similarity")
"""In the order in which they are used when there are labels for few of them only."""

EVENTS_PER_FEATURE = 10
"""Rows of the rarer kind, right or wrong, that each weight needs (Peduzzi et al., 1996)."""

DIGITS = 6
"""Decimals of a weight, as it is written down."""

_RIDGE = 0.1
_STEPS = 100
_SMALLEST_STEP = 1e-9
_FLATTEST = 1e-9


def fit_curve(matches: Floats, right: Flags, weights: Floats | None = None) -> ConfidenceCurve:
    """Fits the curve by penalised maximum likelihood.

    Weights that come out negative are left out, so that a better match never has less confidence.

    Args:
        matches: Score, margin and similarity of each match, (n, 3), finite.
        right: Whether each match is right; both must occur.
        weights: How much each counts, with a mean of 1; None means equally.

    Raises:
        ValueError: All matches are right, or all are wrong.
    """
    if right.all() or not right.any():
        raise ValueError("a confidence needs matches that are right and matches that are wrong")
    weights = np.ones(len(right)) if weights is None else weights
    events = int(min(right.sum(), (~right).sum()))
    spread = matches.std(axis=0)
    kept = [one for one in range(len(FEATURES)) if spread[one] > _FLATTEST]
    kept = kept[: max(events // EVENTS_PER_FEATURE, 1)]
    centre = matches.mean(axis=0)
    standard = (matches - centre) / np.where(spread > _FLATTEST, spread, 1.0)
    while True:
        intercept, slopes = _logistic(standard[:, kept], right, weights)
        if not len(slopes) or slopes.min() >= 0.0:
            break
        kept.pop(int(np.argmin(slopes)))
    values = dict.fromkeys(FEATURES, 0.0)
    for place, slope in zip(kept, slopes, strict=True):
        values[FEATURES[place]] = round(float(slope / spread[place]), DIGITS)
        intercept -= values[FEATURES[place]] * float(centre[place])
    return ConfidenceCurve(intercept=round(intercept, DIGITS), **values)


def _logistic(features: Floats, right: Flags, weights: Floats) -> tuple[float, Floats]:
    """Returns intercept and slopes of a logistic regression, by damped Newton steps.

    The targets are Platt's, a little inside 0 and 1, so that data without errors has a finite fit.
    """
    hits = float(right.sum())
    targets = np.where(right, (hits + 1.0) / (hits + 2.0), 1.0 / (len(right) - hits + 2.0))
    design = np.column_stack([np.ones(len(right)), features])
    penalty = np.diag([0.0] + [_RIDGE] * features.shape[1])
    parameters = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        exponents = design @ at
        cross = np.logaddexp(0.0, exponents) - targets * exponents
        return float(weights @ cross + 0.5 * at @ penalty @ at)

    before = loss(parameters)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ parameters, -500.0, 500.0)))
        slope = design.T @ (weights * (chance - targets)) + penalty @ parameters
        bend = (design * (weights * chance * (1.0 - chance))[:, None]).T @ design + penalty
        bend[0, 0] += _SMALLEST_STEP
        step = np.linalg.solve(bend, slope)
        length = 1.0
        while (after := loss(parameters - length * step)) > before and length > _SMALLEST_STEP:
            length /= 2.0
        parameters = parameters - length * step
        if before - after < _SMALLEST_STEP:
            break
        before = after
    return float(parameters[0]), parameters[1:]
