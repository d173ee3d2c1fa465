"""How far what can be seen of a text without reading it gives its tier away.

A catalog whose premium utterances are long teaches a router that long is premium. Here multinomial
logistic regression sees nothing but length, case and punctuation, and is cross-validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MARKS: Final = "?!.,;:"
END_MARKS: Final = "?!."
NAMES: Final = (
    "characters",
    "words",
    "share of capitals",
    "a capital first",
    *(f"count of `{mark}`" for mark in MARKS),
    *(f"`{mark}` at the end" for mark in END_MARKS),
)
"""What each of the cues is, in their order."""

FOLDS: Final = 5
_SEED: Final = 1
_STEPS: Final = 12
_RIDGE: Final = 1.0
"""Weight of the squared weights in the loss, as scikit-learn has it by default."""

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceFigures:
    """What the cues give away."""

    accuracy: float
    """Share of held-out texts whose label the cues tell."""
    largest_share: float
    """What guessing the most frequent label would reach."""
    medians: Matrix
    """Median of each cue by label, of shape (labels, cues)."""
    telling: int
    """Number of the cue that tells the labels apart best."""

    @property
    def most(self) -> float:
        """Accuracy up to which the cues give nothing away.

        A sixth of the way from guessing to certainty, nearly: 0.45 with three labels of equal size.
        """
        return self.largest_share + 0.175 * (1.0 - self.largest_share)


def cues(text: str) -> Matrix:
    """Returns what can be seen of a text without reading it, as `NAMES` lists it."""
    letters = [one for one in text if one.isalpha()]
    return np.array(
        [
            len(text),
            len(text.split()),
            sum(one.isupper() for one in letters) / max(len(letters), 1),
            text[:1].isupper(),
            *(text.count(mark) for mark in MARKS),
            *(text.endswith(mark) for mark in END_MARKS),
        ],
        dtype=np.float64,
    )


def surface_figures(texts: Sequence[str], labels: Labels) -> SurfaceFigures:
    """Cross-validates what the cues tell of labels, which run from 0.

    Args:
        texts: At least `FOLDS` of each label.
        labels: Label of each text.
    """
    rows = np.array([cues(text) for text in texts])
    folds = _folds(labels)
    right = np.zeros(len(labels), dtype=np.bool_)
    for fold in range(FOLDS):
        held = folds == fold
        weights = _fitted(rows[~held], labels[~held], rows[held])
        right[held] = weights.argmax(axis=1) == labels[held]
    shares = np.bincount(labels) / len(labels)
    medians = np.array([np.median(rows[labels == one], axis=0) for one in range(len(shares))])
    means = np.array([rows[labels == one].mean(axis=0) for one in range(len(shares))])
    spread = rows.std(axis=0)
    apart = (means.max(axis=0) - means.min(axis=0)) / np.where(spread > 0.0, spread, np.inf)
    return SurfaceFigures(
        accuracy=float(right.mean()),
        largest_share=float(shares.max()),
        medians=medians,
        telling=int(apart.argmax()),
    )


def _folds(labels: Labels) -> Labels:
    """Returns the fold of each row: shuffled by a fixed seed, each label spread evenly."""
    dice = np.random.default_rng(_SEED)
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        places = dice.permutation(np.flatnonzero(labels == label))
        folds[places] = np.arange(len(places)) % FOLDS
    return folds


def _fitted(rows: Matrix, labels: Labels, held: Matrix) -> Matrix:
    """Fits multinomial logistic regression by Newton's method; returns the held rows' scores."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    design = _with_ones((rows - mean) / spread)
    count = int(labels.max()) + 1
    columns = design.shape[1]
    wanted = np.eye(count)[labels]
    ridge = np.full(columns, _RIDGE)
    # Hardly any on the offsets; a little, since shifting all of them together changes nothing.
    ridge[-1] = 1e-6
    penalty = np.tile(ridge, count)
    weights = np.zeros((count, columns))
    for _ in range(_STEPS):
        shares = _softmax(design @ weights.T)
        gradient = (shares - wanted).T @ design + ridge * weights
        curvature = np.empty((count, columns, count, columns))
        for one in range(count):
            for other in range(count):
                factor = shares[:, one] * ((one == other) - shares[:, other])
                curvature[one, :, other, :] = (design * factor[:, None]).T @ design
        hessian = curvature.reshape(count * columns, count * columns) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient.ravel()).reshape(weights.shape)
        weights -= step
        if np.abs(step).max() < 1e-6:  # noqa: PLR2004 - far below what moves a decision
            break
    scores: Matrix = _with_ones((held - mean) / spread) @ weights.T
    return scores


def _with_ones(rows: Matrix) -> Matrix:
    return np.hstack([rows, np.ones((len(rows), 1))])


def _softmax(scores: Matrix) -> Matrix:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return shares
