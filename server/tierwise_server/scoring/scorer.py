"""Turns labelled utterance vectors into scores of tasks and tiers.

The score of a task is one formula for every size of catalog:

    score = (1 - nearest_weight) * task head + nearest_weight * nearest + tier_weight * tier head

- *task head*: a linear discriminant of the tasks, refined where tasks compete;
- *nearest*: the similarity of the task's nearest utterance;
- *tier head*: a linear discriminant of the tiers, centred so that it only shifts scores between
  tiers; absent in a catalog of one tier.

Both heads are linear in the vector and are folded into one weight row for each task, so scoring is
one exact search and one small product. A nearest utterance that is nearly the prompt itself lifts
the score further, to 1 where it is the same. The scale is that of a cosine: near 0.6 for a typical
match of a catalog of few tasks, near 0.3 where many compete, and near 0.2 for an unrelated prompt.
It is not bounded to [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.scoring.discriminant import Grouping, Labels, Matrix, fit_discriminant
from tierwise_server.scoring.index import FlatIndex, closest
from tierwise_server.scoring.parameters import ScorerParameters
from tierwise_server.scoring.refinement import refine

__all__ = ["Neighbors", "Scorer", "ScorerParameters", "Scores", "fit_scorer"]

ABSENT = np.float32(-np.inf)
"""Stands for the score and the similarity of what has no utterances."""

KEY_MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd 64-bit number without pattern (2^64 over the golden ratio), as used in Fibonacci hashing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What a scorer says of one vector. The arrays cannot be written to.

    A task without utterances has -inf in both of its places, and so has a tier without such tasks.
    """

    task_scores: NDArray[np.float32]
    """Score of each task, float32 of shape (tasks,)."""
    task_similarities: NDArray[np.float32]
    """Cosine of each task's nearest utterance, float32 of shape (tasks,)."""
    tier_scores: NDArray[np.float32]
    """Score of each tier, that of its best task: float32 of shape (tiers,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """Scores that are linear in the vector: `weights @ vector + offsets`."""

    weights: Matrix
    """float32 of shape (tasks, dimensions)."""
    offsets: NDArray[np.float32]
    """float32 of shape (tasks,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbors:
    """Utterances nearest to a vector, closest first, the lower number first among equals."""

    utterances: NDArray[np.int64]
    """Numbers of the utterances, in the order that was given to `fit_scorer`."""
    similarities: NDArray[np.float32]
    """Their cosines."""


class Scorer:
    """The formula, fitted to one set of utterances. Immutable and thread-safe; see `fit_scorer`."""

    def __init__(
        self,
        *,
        utterances: FlatIndex,
        order: Labels,
        grouping: Grouping,
        head: LinearHead,
        present: Labels,
        tier_of_task: Labels,
        tier_count: int,
        parameters: ScorerParameters,
    ) -> None:
        """Takes over what `fit_scorer` has prepared.

        Args:
            utterances: Vectors of the utterances, sorted by task.
            order: Number, as given, of each of them.
            grouping: Utterances of each task in `present`.
            head: Task head and tier head in one, for each task in `present`.
            present: Ascending numbers of the tasks that have utterances.
            tier_of_task: Tier of every task.
            tier_count: Number of tiers.
            parameters: Figures of the formula.
        """
        self.parameters = parameters
        self.scorer_id = parameters.scorer_id
        """Names the formula, its version and its parameters."""
        self._utterances = utterances
        self._heads = FlatIndex(head.weights)
        self._offsets = head.offsets
        self._order = order
        self._starts = grouping.starts
        self._ends = grouping.ends
        self._present = present
        self._task_count = len(tier_of_task)
        self._tier_count = tier_count
        tiers = tier_of_task[present]
        self._by_tier = np.argsort(tiers, kind="stable")
        self._tiers, self._tier_starts = np.unique(tiers[self._by_tier], return_index=True)

    def score(self, vector: NDArray[np.float32]) -> Scores:
        """Scores every task and tier for one unit vector, float32 of shape (dimensions,).

        A zero vector is allowed and gives finite scores.
        """
        similarities = np.full(self._task_count, ABSENT, dtype=np.float32)
        scores = similarities.copy()
        tiers = np.full(self._tier_count, ABSENT, dtype=np.float32)
        if len(self._present) > 0:
            nearest = np.maximum.reduceat(self._utterances.similarities(vector), self._starts)
            blended = self._heads.similarities(vector)
            blended += self._offsets
            blended += np.float32(self.parameters.nearest_weight) * nearest
            self._lift_exact_matches(blended, nearest)
            similarities[self._present] = nearest
            scores[self._present] = blended
            tiers[self._tiers] = np.maximum.reduceat(blended[self._by_tier], self._tier_starts)
        for array in (similarities, scores, tiers):
            array.setflags(write=False)
        return Scores(task_scores=scores, task_similarities=similarities, tier_scores=tiers)

    def _lift_exact_matches(self, scores: Matrix, nearest: Matrix) -> None:
        """Lifts the scores of tasks that have nearly the same utterance, to 1 for the very same."""
        start = np.float32(self.parameters.exact_from)
        if nearest.max() <= start:
            return
        closeness = np.clip((nearest - start) / (1 - start), 0.0, 1.0) ** 2
        scores += closeness * np.maximum(1 - scores, 0.0)

    def nearest(self, vector: NDArray[np.float32], k: int, task: int | None = None) -> Neighbors:
        """Returns the k utterances nearest to a vector, of one task or of all.

        Args:
            vector: Unit vector, float32 of shape (dimensions,).
            k: How many at most, at least 0.
            task: Number of a task; None means all. A task without utterances has no neighbors.

        Raises:
            ValueError: `k` is negative, or there is no such task.
        """
        start, end = 0, len(self._utterances)
        if task is not None:
            start, end = self._rows_of(task)
        # In the order given, so that equal similarities are listed by the utterance's number.
        by_number = np.argsort(self._order[start:end])
        numbers = self._order[start:end][by_number]
        positions, values = closest(self._utterances.similarities(vector, start, end)[by_number], k)
        return Neighbors(utterances=numbers[positions], similarities=values)

    def _rows_of(self, task: int) -> tuple[int, int]:
        if not 0 <= task < self._task_count:
            raise ValueError(f"there is no task {task}; the scorer has {self._task_count}")
        place = int(np.searchsorted(self._present, task))
        if place == len(self._present) or self._present[place] != task:
            return 0, 0
        return int(self._starts[place]), int(self._ends[place])


def fit_scorer(
    vectors: NDArray[np.float32],
    task_of_utterance: Sequence[int] | NDArray[np.integer],
    tier_of_task: Sequence[int] | NDArray[np.integer],
    parameters: ScorerParameters | None = None,
    *,
    tier_count: int | None = None,
) -> Scorer:
    """Fits the formula to labelled utterances. Closed form and a fixed number of steps: no chance.

    Equal inputs give equal bits on one machine with one setting of its linear algebra library's
    threads; elsewhere scores agree to about 1e-5. The order of the utterances does not matter, to
    the bit: they are put in an order of their own first. (Two different vectors with the same
    64-bit key would be the exception; scores then agree to 1e-5.) Renumbering the tasks changes
    scores by rounding alone.

    Args:
        vectors: Unit vector of each utterance, float32 of shape (n, dimensions); n may be 0.
        task_of_utterance: Number of each utterance's task, from 0.
        tier_of_task: Number of each task's tier, from 0. Tasks may be without utterances.
        parameters: Figures of the formula; None means the defaults.
        tier_count: Number of tiers; None means the highest tier that has a task, plus 1.

    Raises:
        ValueError: Shapes or numbers do not fit together, or a vector is not finite.
    """
    parameters = parameters or ScorerParameters()
    labels = np.asarray(task_of_utterance, dtype=np.int64)
    tiers = np.asarray(tier_of_task, dtype=np.int64)
    if tier_count is None:
        tier_count = int(tiers.max(initial=-1)) + 1
    _check(vectors, labels, tiers, tier_count)

    given = np.ascontiguousarray(vectors, dtype=np.float32)
    keys = _content_keys(given)
    order = np.lexsort((keys, labels))
    rows = given[order]
    utterances = FlatIndex(rows)
    present, places = np.unique(labels[order], return_inverse=True)
    grouping = Grouping.of(places.astype(np.int64))
    head = _no_head(len(present), rows.shape[1])
    if len(present) > 0:
        parts = _parts(keys[order], parameters.utterances_per_step)
        head = _fit_head(rows, grouping, parts, tiers[present], parameters)
    return Scorer(
        utterances=utterances,
        order=order,
        grouping=grouping,
        head=head,
        present=present,
        tier_of_task=tiers,
        tier_count=tier_count,
        parameters=parameters,
    )


def _no_head(task_count: int, dimensions: int) -> LinearHead:
    return LinearHead(
        weights=np.zeros((task_count, dimensions), dtype=np.float32),
        offsets=np.zeros(task_count, dtype=np.float32),
    )


def _fit_head(
    rows: Matrix,
    grouping: Grouping,
    parts: Labels,
    tier_of_group: Labels,
    parameters: ScorerParameters,
) -> LinearHead:
    """Fits the task head and the tier head, and folds them into one."""
    means = grouping.means(rows)
    sample, labels = rows[parts == 0], grouping.labels[parts == 0]
    start = fit_discriminant(means, grouping.counts, sample, labels, shrinkage=parameters.shrinkage)
    share = np.float32(1.0 - parameters.nearest_weight)
    weights = share * refine(rows, grouping, parts, start, parameters)
    offsets = share * start.offsets

    used, tier_places = np.unique(tier_of_group, return_inverse=True)
    if len(used) > 1 and parameters.tier_weight > 0.0:
        counts = np.bincount(tier_places, weights=grouping.counts).astype(np.int64)
        tier_means = np.zeros((len(used), rows.shape[1]), dtype=np.float32)
        np.add.at(tier_means, tier_places, means * grouping.counts[:, None].astype(np.float32))
        tier_means /= counts[:, None].astype(np.float32)
        tier = fit_discriminant(
            tier_means, counts, sample, tier_places[labels], shrinkage=parameters.tier_shrinkage
        )
        weight = np.float32(parameters.tier_weight)
        weights += weight * (tier.weights - tier.weights.mean(axis=0))[tier_places]
        offsets += weight * (tier.offsets - tier.offsets.mean())[tier_places]
    return LinearHead(weights=weights, offsets=offsets)


def _content_keys(rows: Matrix) -> NDArray[np.uint64]:
    """Returns a key for each row that depends on its bits alone, not on its place."""
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    bits = rows.view(np.uint64)
    factors = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(KEY_MULTIPLIER)
    keys: NDArray[np.uint64] = bits @ (factors | np.uint64(1))
    return keys


def _parts(keys: NDArray[np.uint64], most_rows: int) -> Labels:
    """Divides rows into parts of about `most_rows`, each row by its own key.

    So taking an utterance away leaves the others in their parts, and an explanation that does so
    shows the effect of that utterance alone. (The few removals that save a whole part excepted.)
    """
    part_count = max(-(-len(keys) // most_rows), 1)
    return ((keys >> np.uint64(32)) % np.uint64(part_count)).astype(np.int64)


def _check(vectors: NDArray[np.float32], labels: Labels, tiers: Labels, tier_count: int) -> None:
    if vectors.ndim != 2 or labels.shape != (len(vectors),):  # noqa: PLR2004
        raise ValueError(
            f"{vectors.shape} vectors and {labels.shape} task numbers do not fit together"
        )
    if tiers.ndim != 1:
        raise ValueError(f"tier_of_task must have one dimension, not {tiers.ndim}")
    if len(labels) > 0 and not (labels.min() >= 0 and labels.max() < len(tiers)):
        raise ValueError(f"task numbers must lie between 0 and {len(tiers) - 1}")
    if len(tiers) > 0 and not (tiers.min() >= 0 and tiers.max() < tier_count):
        raise ValueError(f"tier numbers must lie between 0 and {tier_count - 1}")
