"""Ridge regression in closed form, its penalty chosen by the leave-one-out error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_LEVERAGE = 1.0 - 1e-6
"""A row that alone determines its own fit would divide by zero."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """A linear prediction: `weights @ row + offset`."""

    weights: NDArray[np.float32]
    offset: float
    residuals: NDArray[np.float32]
    """What each row it was fitted to lies above the prediction of a fit without that row."""


class RidgeRows:
    """Rows to regress on, decomposed once for any number of targets."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        """Takes rows of shape (n, dimensions), n at least 1."""
        self._center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centered = rows - self._center
        gram = (centered.T @ centered).astype(np.float64)
        values, self._basis = np.linalg.eigh(gram)
        self._values = np.maximum(values, 0.0)
        self._turned = (centered @ self._basis.astype(np.float32)).astype(np.float32)
        self._squares = self._turned**2

    def fit(self, targets: NDArray[np.float64], penalties: Sequence[float]) -> Ridge:
        """Returns the regression whose penalty has the least squared leave-one-out error.

        The residual of row i of a fit without it is `residual / (1 - leverage)` of the fit with it
        (Allen 1974, PRESS), so no fit is repeated. The offset is not penalised: without any signal
        in the rows the prediction is the mean.

        Args:
            targets: One for each row.
            penalties: What to choose from.
        """
        count = len(targets)
        mean = float(targets.mean())
        moved = (targets - mean).astype(np.float32)
        products = self._turned.T @ moved
        best: tuple[float, NDArray[np.float64], NDArray[np.float32]] | None = None
        for penalty in penalties:
            turned_weights = products / (self._values + penalty)
            fitted = self._turned @ turned_weights.astype(np.float32)
            shrunk = (1.0 / (self._values + penalty)).astype(np.float32)
            leverage = np.minimum(self._squares @ shrunk + 1.0 / count, _MOST_LEVERAGE)
            residuals = (moved - fitted) / (1.0 - leverage)
            error = float(np.mean(residuals.astype(np.float64) ** 2))
            if best is None or error < best[0]:
                best = error, turned_weights, residuals.astype(np.float32)
        if best is None:
            raise ValueError("there are no penalties")
        weights = self._basis @ best[1]
        return Ridge(
            weights=weights.astype(np.float32),
            offset=mean - float(weights @ self._center.astype(np.float64)),
            residuals=best[2],
        )
