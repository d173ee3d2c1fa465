"""Linear discriminant analysis with shrinkage, in closed form.

A group (a task, or a tier) is described by its mean; all groups share one covariance, pooled
within groups and shrunk towards the identity, because a catalog has far fewer utterances than the
covariance has entries.
"""

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]

NO_SPREAD = 1e-9
"""Variance for each dimension below which utterances count as identical; rounding of unit vectors
leaves about 1e-15."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Which rows belong to which group. Rows of a group are next to each other."""

    labels: Labels
    """Group of each row, ascending, numbered from 0 without gaps."""
    counts: Labels
    """Rows of each group, at least 1."""
    starts: Labels
    """First row of each group."""

    @classmethod
    def of(cls, labels: Labels) -> Self:
        """Describes ascending labels."""
        counts = np.bincount(labels)
        return cls(labels=labels, counts=counts, starts=np.cumsum(counts) - counts)

    @property
    def ends(self) -> Labels:
        """Row behind the last of each group."""
        return self.starts + self.counts

    def means(self, rows: Matrix) -> Matrix:
        """Returns the mean of each group's rows, float32 of shape (groups, dimensions)."""
        # `np.add.reduceat` along the first axis takes six times as long.
        bounds = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return np.stack([rows[start:end].mean(axis=0) for start, end in bounds])


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminant:
    """Linear scores of groups: `weights @ vector + offsets`.

    Up to a term that all groups share, half the squared distance of a vector from a group's mean,
    negated. The shared term is set so that the scores stay near those of a plain inner product
    with the mean: they read like cosines, and about the same threshold serves few utterances and
    many.
    """

    weights: Matrix
    """float32 of shape (groups, dimensions)."""
    offsets: NDArray[np.float32]
    """float32 of shape (groups,)."""
    precision: Matrix
    """Inverse of the shrunk covariance, of mean eigenvalue 1: (dimensions, dimensions)."""
    mean_sizes: NDArray[np.float32]
    """Squared length of each group's mean under `precision`, as measured: (groups,)."""
    spread: float
    """Mean squared distance of a row from its group's true mean, estimated, under `precision`."""


def fit_discriminant(
    means: Matrix, counts: Labels, sample: Matrix, labels: Labels, *, shrinkage: float
) -> Discriminant:
    """Fits the groups' linear scores.

    Args:
        means: Mean of each group over all of its rows, float32 of shape (groups, dimensions).
        counts: How many rows each group has.
        sample: Rows that the covariance is measured on: all, or an even choice of them.
        labels: Group of each row in the sample.
        shrinkage: Share of the identity in the covariance, above 0.
    """
    deviations = sample - means[labels]
    scatter: Matrix = deviations.T @ deviations
    precision = _shrunk_precision(scatter, len(sample), shrinkage)

    # The means of few rows lie further from the origin than the true ones, by the spread over the
    # number of rows. Uncorrected, a task of one utterance would hardly ever be chosen.
    degrees = len(sample) * (1.0 - len(counts) / int(counts.sum()))
    spread = float(np.vdot(precision, scatter)) / degrees if degrees > 0.0 else 0.0
    weights = means @ precision
    sizes = np.einsum("gd,gd->g", weights, means)
    true_sizes = sizes - np.float32(spread) / counts.astype(np.float32)
    return Discriminant(
        weights=weights,
        offsets=0.5 * (true_sizes.mean() - true_sizes),
        precision=precision,
        mean_sizes=sizes,
        spread=spread,
    )


def _shrunk_precision(scatter: Matrix, row_count: int, shrinkage: float) -> Matrix:
    dimensions = len(scatter)
    identity = np.eye(dimensions, dtype=np.float32)
    variance = float(np.trace(scatter)) / dimensions
    if variance <= NO_SPREAD * row_count:
        return identity
    covariance = np.float32((1.0 - shrinkage) / variance) * scatter
    precision = np.linalg.inv(covariance + np.float32(shrinkage) * identity)
    precision *= dimensions / np.trace(precision)
    return precision.astype(np.float32, copy=False)
