"""Predicts a tier's quality on a prompt from the evidence on other prompts.

For each tier, a ridge regression on the prompt's vector and length says what is to be expected, and
the labelled neighbours of the prompt correct it: with residuals `r` of a fit without the neighbour
itself and weights `w = exp(sharpness * (cosine - 1))`,

    quality = regression + sum(w * r) / (sum(w) + credibility)

which is the credibility estimate of Buehlmann (1967): surroundings without evidence add nothing,
and dense ones replace the regression. The regression itself is shrunk to the tier's mean by its
penalty; a task's mean is in it as far as the vector tells the task. The interval is that of Wilson
(1927) for a share, with `n = min(s, observations * sum(w)) + observations * credibility`, where
`s = sum(w)**2 / sum(w**2)` is the effective number of neighbours (Kish 1965). Quality from 0 to 1
varies at most as much as a share of the same mean, so for graded labels the interval is on the safe
side. It is one for the mean of prompts like this one, not for a single answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.learning.parameters import PredictorParameters
from tierwise_server.learning.ridge import Ridge, RidgeRows, contrast_error
from tierwise_server.scoring import FlatIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What to expect of one tier on one prompt."""

    rank: int
    """Place of the tier, 0 for the cheapest."""
    quality: float
    """Expected quality, from 0 to 1."""
    lower: float
    upper: float
    support: float
    """Weight of the neighbours that have a label of the tier."""


def length_of(text: str) -> float:
    """Returns the length of a prompt as the regression reads it: the logarithm of characters."""
    return math.log1p(len(text))


class QualityPredictor:
    """Predicts quality per tier. Immutable, and safe to read from several threads."""

    def __init__(
        self,
        index: FlatIndex,
        regressions: list[Ridge],
        residuals: NDArray[np.float32],
        length: tuple[float, float],
        parameters: PredictorParameters,
    ) -> None:
        """Takes what `fit_predictor` found.

        Args:
            index: The prompts of the evidence.
            regressions: One for each tier.
            residuals: Shape (prompts, tiers), NaN where a prompt has no label of a tier.
            length: Mean and standard deviation of the prompts' lengths.
            parameters: The figures.
        """
        self.parameters = parameters
        self._index = index
        self._weights = np.stack([one.weights for one in regressions])
        self._offsets = np.array([one.offset for one in regressions], dtype=np.float32)
        labelled = ~np.isnan(residuals)
        tiers = len(regressions)
        # Residuals and labels side by side, so that one product sums both.
        self._sums = np.hstack([np.where(labelled, residuals, 0.0), labelled]).astype(np.float32)
        self._labelled = self._sums[:, tiers:]
        self._length = length

    def __len__(self) -> int:
        """Returns the number of prompts."""
        return len(self._index)

    def predict(self, vector: NDArray[np.float32], length: float | None) -> list[Prediction]:
        """Returns what to expect of each tier, cheapest first.

        Empty where too little evidence lies near the prompt to predict every tier.

        Args:
            vector: Unit vector of the prompt.
            length: As `length_of` measures it; None where the text is not known.
        """
        figures = self.parameters
        rows, similarities = self._nearest(vector)
        weights = np.exp(figures.sharpness * (similarities - 1.0))
        tiers = len(self._offsets)
        sums = weights @ self._sums[rows]
        support = sums[tiers:]
        if support.min() < figures.least_support:
            return []
        squares = (weights * weights) @ self._labelled[rows]
        expected = self._weights[:, :-1] @ vector + self._offsets
        expected += self._weights[:, -1] * self._scaled(length)
        quality = expected + sums[:tiers] / (support + figures.credibility)
        worth = figures.observations
        counts = np.minimum(support * support / squares, worth * support)
        counts += worth * figures.credibility
        return [
            _prediction(rank, min(max(mean, 0.0), 1.0), count, weight, figures.confidence_z)
            for rank, (mean, count, weight) in enumerate(
                zip(quality.tolist(), counts.tolist(), support.tolist(), strict=True)
            )
        ]

    def nearest(self, vector: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
        """Returns the nearest prompts with their cosines, closest first."""
        rows, similarities = self._index.nearest(vector, count)
        return list(zip(rows.tolist(), similarities.tolist(), strict=True))

    def _nearest(
        self, vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns the neighbours and their cosines, in no order."""
        similarities = self._index.similarities(vector)
        most = self.parameters.neighbors
        if len(similarities) <= most:
            return np.arange(len(similarities)), similarities
        rows = np.argpartition(similarities, -most)[-most:]
        return rows, similarities[rows]

    def _scaled(self, length: float | None) -> float:
        mean, deviation = self._length
        scale = self.parameters.length_scale
        return 0.0 if length is None else scale * (length - mean) / deviation


def fit_predictor(
    vectors: NDArray[np.float32],
    lengths: NDArray[np.float64],
    quality: NDArray[np.float64],
    parameters: PredictorParameters | None = None,
) -> QualityPredictor:
    """Fits a predictor to labelled prompts. Takes about 0.3 s for 10,000 of them.

    Args:
        vectors: Unit vector of each prompt, float32 of shape (prompts, dimensions).
        lengths: Of each prompt, as `length_of` measures; NaN where the text is not known.
        quality: Shape (prompts, tiers), from 0 to 1, NaN where a prompt has no label of a tier.
            Every tier has at least one label.
        parameters: The figures; None for the defaults.
    """
    figures = parameters or PredictorParameters()
    known = lengths[~np.isnan(lengths)]
    mean = float(known.mean()) if len(known) else 0.0
    deviation = float(known.std()) if len(known) else 0.0
    deviation = deviation if deviation > 0.0 else 1.0
    scaled = np.where(np.isnan(lengths), 0.0, figures.length_scale * (lengths - mean) / deviation)
    rows = np.hstack([vectors, scaled[:, np.newaxis]]).astype(np.float32)
    labelled = ~np.isnan(quality)
    decomposed: dict[bytes, RidgeRows] = {}
    for kept in labelled.T:
        # A benchmark labels the same prompts for every tier.
        if (key := kept.tobytes()) not in decomposed:
            decomposed[key] = RidgeRows(rows[kept])

    def fitted(penalty: float) -> tuple[float, list[Ridge], NDArray[np.float32]]:
        regressions: list[Ridge] = []
        residuals = np.full(quality.shape, np.nan, dtype=np.float32)
        for tier, kept in enumerate(labelled.T):
            one = decomposed[kept.tobytes()].fit(quality[kept, tier], penalty)
            regressions.append(one)
            residuals[kept, tier] = one.residuals
        return contrast_error(residuals), regressions, residuals

    _, regressions, residuals = min(map(fitted, figures.penalties), key=lambda found: found[0])
    return QualityPredictor(FlatIndex(vectors), regressions, residuals, (mean, deviation), figures)


def _prediction(
    rank: int, quality: float, count: float, support: float, deviations: float
) -> Prediction:
    """Returns a prediction with Wilson's interval for a share among `count` observations."""
    square = deviations * deviations
    center = (quality + square / (2 * count)) / (1 + square / count)
    spread = (
        deviations
        * math.sqrt(quality * (1 - quality) / count + square / (4 * count * count))
        / (1 + square / count)
    )
    return Prediction(
        rank=rank,
        quality=quality,
        lower=max(center - spread, 0.0),
        upper=min(center + spread, 1.0),
        support=support,
    )
