"""Turns utterance vectors with labels into a scorer of tasks and tiers."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.scoring.index import FlatIndex, closest

FORMULA = "lda-nearest-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerParameters:
    """The figures of the formula."""

    shrinkage: float = 0.6
    nearest_weight: float = 0.15
    tier_weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a scorer says of one vector. A task without utterances has -inf everywhere."""

    task_scores: NDArray[np.float32]
    task_similarities: NDArray[np.float32]
    tier_scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """Utterances nearest to a vector, closest first."""

    utterances: NDArray[np.int64]
    similarities: NDArray[np.float32]


class Scorer:
    """An immutable, thread-safe fit of the formula to one set of utterances."""

    def __init__(
        self,
        index: FlatIndex,
        tasks: NDArray[np.int64],
        order: NDArray[np.int64],
        weights: NDArray[np.float32],
        offsets: NDArray[np.float32],
        tier_of_task: NDArray[np.int64],
        tier_count: int,
        parameters: ScorerParameters,
    ) -> None:
        self._index = index
        self._tasks = tasks
        self._order = order
        self._weights = FlatIndex(weights)
        self._offsets = offsets
        self._tier_of_task = tier_of_task
        self._tier_count = tier_count
        self._parameters = parameters
        count = np.bincount(tasks, minlength=len(tier_of_task))
        self._present = np.flatnonzero(count)
        self._starts = (np.cumsum(count) - count)[self._present]

    @property
    def scorer_id(self) -> str:
        """Names formula, version and parameters."""
        digest = hashlib.sha256(struct.pack("<3d", *astuple(self._parameters))).hexdigest()
        return f"{FORMULA}-{digest[:8]}"

    def score(self, vector: NDArray[np.float32]) -> Scores:
        """Scores every task and tier for one unit vector, float32 of shape (dimensions,)."""
        similarities = np.full(len(self._tier_of_task), -np.inf, dtype=np.float32)
        scores = similarities.copy()
        tiers = np.full(self._tier_count, -np.inf, dtype=np.float32)
        if len(self._present) > 0:
            nearest = np.maximum.reduceat(self._index.similarities(vector), self._starts)
            similarities[self._present] = nearest
            linear = 2 * self._weights.similarities(vector)[self._present]
            weight = np.float32(self._parameters.nearest_weight)
            scores[self._present] = linear + self._offsets[self._present] + weight * nearest
            np.maximum.at(tiers, self._tier_of_task, scores)
        return Scores(task_scores=scores, task_similarities=similarities, tier_scores=tiers)

    def nearest(self, vector: NDArray[np.float32], k: int, task: int | None = None) -> Neighbors:
        """Returns the k nearest utterances, of one task or of all."""
        similarities = self._index.similarities(vector)
        order = self._order
        if task is not None:
            similarities, order = similarities[self._tasks == task], order[self._tasks == task]
        positions, values = closest(similarities, k)
        return Neighbors(utterances=order[positions], similarities=values)


def fit_scorer(
    vectors: NDArray[np.float32],
    task_of_utterance: Sequence[int] | NDArray[np.integer],
    tier_of_task: Sequence[int] | NDArray[np.integer],
    parameters: ScorerParameters | None = None,
    *,
    tier_count: int | None = None,
) -> Scorer:
    """Fits the scorer. Tasks and tiers are numbered from 0."""
    parameters = parameters or ScorerParameters()
    given = np.asarray(task_of_utterance, dtype=np.int64)
    tiers = np.asarray(tier_of_task, dtype=np.int64)
    order = np.argsort(given, kind="stable")
    rows = np.ascontiguousarray(vectors[order], dtype=np.float32)
    tasks = given[order]
    count = np.bincount(tasks, minlength=len(tiers))
    means = np.zeros((len(tiers), vectors.shape[1]))
    np.add.at(means, tasks, rows)
    means /= np.maximum(count, 1)[:, None]
    spread = rows - means[tasks]
    within = spread.T @ spread
    scale = np.trace(within) / len(within)
    identity = np.eye(len(within))
    if scale > 0:
        shrinkage = parameters.shrinkage
        precision = np.linalg.inv((1 - shrinkage) * within / scale + shrinkage * identity)
    else:
        precision = identity
    weights = means @ precision
    offsets = -(weights * means).sum(axis=1)
    return Scorer(
        FlatIndex(rows),
        tasks,
        order,
        weights.astype(np.float32),
        offsets.astype(np.float32),
        tiers,
        tier_count if tier_count is not None else int(tiers.max(initial=-1)) + 1,
        parameters,
    )
