"""Turns labelled utterance vectors into scores of tasks and tiers.

The score of a task is one formula for every size of catalog:

    score = (1 - share) * task head + share * nearest + tier_weight * tier head
            + phrase_weight * phrase head - background

- *task head*: a linear discriminant of the tasks, refined where tasks compete;
- *nearest*: the similarity of the task's nearest utterance; its share is one for the catalog and
  grows with the number of utterances a task has (`ScorerParameters.nearest_share`);
- *tier head*: a linear discriminant of the tiers, centred so that it only shifts scores between
  tiers; absent in a catalog of one tier;
- *phrase head*: what the words of the prompt say of its tier, centred likewise; absent where only a
  vector is known;
- *background*: by how much the best background task, scored by the first three terms like any
  other, exceeds the level of an unrelated prompt. A background task stands for prompts that no
  tier is for. It is the same for all tasks: it tells whether something matches, never what.

Both discriminants are linear in the vector and are folded into one weight row for each task, so
scoring is one exact search, one small product and a few look-ups. A nearest utterance that is
nearly the prompt itself lifts the score further, to 1 where it is the same. The scale is that of a
cosine: near 0.6 for a typical match of a catalog of few tasks, near 0.3 where many compete, and
near 0.2 for an unrelated prompt, or below 0 where there is background. It is not bounded to
[-1, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierwise_server.scoring.discriminant import Grouping, Labels, Matrix, fit_discriminant
from tierwise_server.scoring.index import FlatIndex, closest
from tierwise_server.scoring.parameters import ScorerParameters
from tierwise_server.scoring.phrases import NO_PHRASES, PhraseHead, Phrases
from tierwise_server.scoring.refinement import refine

__all__ = ["BACKGROUND", "Lead", "Neighbors", "Scorer", "ScorerParameters", "Scores", "fit_scorer"]

BACKGROUND = -1
"""Stands for the tier of a background task. Such tasks have the highest numbers."""

ABSENT = np.float32(-np.inf)
"""Stands for the score and the similarity of what has no utterances."""

KEY_MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd 64-bit number without pattern (2^64 over the golden ratio), as used in Fibonacci hashing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What a scorer says of one vector. The arrays cannot be written to.

    A task without utterances has -inf in both of its places.
    """

    task_scores: NDArray[np.float32]
    """Score of each task that is no background, float32 of shape (tasks,)."""
    task_similarities: NDArray[np.float32]
    """Cosine of each task's nearest utterance, float32 of shape (tasks,)."""
    background: float
    """By how much the scores were lowered because the prompt is like background; 0 if it isn't."""


class Lead(NamedTuple):
    """The best task of a tier. Without utterances, its first task, with -inf in both places."""

    task: int
    """Number of the task: of equals, the lowest."""
    score: float
    similarity: float
    """Cosine of the task's nearest utterance."""
    next_score: float = -math.inf
    """Score of the tier's next best task; -inf where it has no other with utterances."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """Scores that are linear in the vector: `weights @ vector + offsets`."""

    weights: Matrix
    """float32 of shape (tasks, dimensions)."""
    offsets: NDArray[np.float32]
    """float32 of shape (tasks,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heads:
    """What is learned of tasks and tiers."""

    linear: LinearHead
    """Task head and tier head in one."""
    phrases: PhraseHead
    """What phrases say of tiers."""


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
        utterances: Matrix,
        order: Labels,
        grouping: Grouping,
        heads: Heads,
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
            heads: The linear one has a row for each task in `present`.
            present: Ascending numbers of the tasks that have utterances, background included.
            tier_of_task: Tier of every task.
            tier_count: Number of tiers.
            parameters: Figures of the formula.
        """
        self.parameters = parameters
        self.scorer_id = parameters.scorer_id
        """Names the formula, its version and its parameters."""
        self._utterance_count = len(utterances)
        self._nearest_share = np.float32(parameters.nearest_share(grouping.counts))
        # The heads behind the utterances, so that one pass compares a vector with both.
        self._rows = FlatIndex(np.vstack([utterances, heads.linear.weights]))
        self._offsets = heads.linear.offsets
        self._order = order
        self._starts = grouping.starts
        self._ends = grouping.ends
        self._phrase_head = heads.phrases
        self._task_count = int((tier_of_task != BACKGROUND).sum())
        self._inside = int(np.searchsorted(present, self._task_count))
        """How many of the tasks in `present` are no background: the first ones."""
        self._present = present[: self._inside]
        self._tier_of_present = tier_of_task[self._present]
        # As plain lists, since `leads` goes through them one by one.
        tiers = tier_of_task.tolist()
        self._present_tasks: list[int] = self._present.tolist()
        self._places_of_tier: dict[int, list[int]] = {}
        for place, task in enumerate(self._present_tasks):
            self._places_of_tier.setdefault(tiers[task], []).append(place)
        self._no_leads = [
            Lead(tiers.index(tier) if tier in tiers else 0, -math.inf, -math.inf)
            for tier in range(tier_count)
        ]

    def score(self, vector: NDArray[np.float32], phrases: Phrases = NO_PHRASES) -> Scores:
        """Scores every task for one prompt.

        Args:
            vector: Its unit vector, float32 of shape (dimensions,). A zero vector is allowed and
                gives finite scores.
            phrases: Phrases of its text, where the text is known.
        """
        similarities = np.full(self._task_count, ABSENT, dtype=np.float32)
        scores = similarities.copy()
        compared, nearest, background = self._compare(vector, phrases)
        scores[self._present], similarities[self._present] = compared, nearest
        for array in (similarities, scores):
            array.setflags(write=False)
        return Scores(task_scores=scores, task_similarities=similarities, background=background)

    def leads(self, vector: NDArray[np.float32], phrases: Phrases = NO_PHRASES) -> tuple[Lead, ...]:
        """Returns the best task of each tier: what a decision needs of `score`, and no more.

        Args:
            vector: As for `score`.
            phrases: As for `score`.
        """
        compared, nearest, _ = self._compare(vector, phrases)
        scores, similarities = compared.tolist(), nearest.tolist()
        leads = self._no_leads.copy()
        for tier, places in self._places_of_tier.items():
            best = max(places, key=scores.__getitem__)
            score, scores[best] = scores[best], -math.inf
            following = max(map(scores.__getitem__, places))
            leads[tier] = Lead(self._present_tasks[best], score, similarities[best], following)
        return tuple(leads)

    def _compare(self, vector: Matrix, phrases: Phrases) -> tuple[Matrix, Matrix, float]:
        """Returns each task's score and its nearest utterance's similarity, and the background."""
        products = self._rows.similarities(vector)
        scores = products[self._utterance_count :] + self._offsets
        if not self._inside:
            return scores[:0], scores[:0], 0.0
        nearest = np.maximum.reduceat(products[: self._utterance_count], self._starts)
        scores += self._nearest_share * nearest
        background = self._background(scores[self._inside :], nearest[self._inside :])
        scores, nearest = scores[: self._inside], nearest[: self._inside]
        scores += self._phrase_shares(phrases)
        scores -= np.float32(background)
        self._lift_exact_matches(scores, nearest)
        return scores, nearest, background

    def _background(self, scores: Matrix, nearest: Matrix) -> float:
        """Returns by how much the best background task exceeds the level of an unrelated prompt."""
        if not scores.size:
            return 0.0
        self._lift_exact_matches(scores, nearest)
        return max(float(scores.max()) - self.parameters.background_level, 0.0)

    def _phrase_shares(self, phrases: Phrases) -> Matrix:
        """Returns the phrase head's share of each task's score."""
        weight = np.float32(self.parameters.phrase_weight)
        shares: Matrix = weight * self._phrase_head.scores(phrases)[self._tier_of_present]
        return shares

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
            task: Number of a task; None means all. A task without utterances has no neighbors, and
                background never is one.

        Raises:
            ValueError: `k` is negative, or there is no such task.
        """
        start, end = 0, int(self._ends[self._inside - 1]) if self._inside else 0
        if task is not None:
            start, end = self._rows_of(task)
        # In the order given, so that equal similarities are listed by the utterance's number.
        by_number = np.argsort(self._order[start:end])
        numbers = self._order[start:end][by_number]
        positions, values = closest(self._rows.similarities(vector, start, end)[by_number], k)
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
    phrases: Sequence[Phrases] | None = None,
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
        tier_of_task: Number of each task's tier, from 0, or `BACKGROUND` for the last tasks. Tasks
            may be without utterances.
        parameters: Figures of the formula; None means the defaults.
        tier_count: Number of tiers; None means the highest tier that has a task, plus 1.
        phrases: Phrases of each utterance; None leaves the phrase head out.

    Raises:
        ValueError: Shapes or numbers do not fit together, or a vector is not finite.
    """
    parameters = parameters or ScorerParameters()
    labels = np.asarray(task_of_utterance, dtype=np.int64)
    tiers = np.asarray(tier_of_task, dtype=np.int64)
    if tier_count is None:
        tier_count = int(tiers.max(initial=-1)) + 1
    _check(vectors, labels, tiers, tier_count)
    if phrases is not None and len(phrases) != len(labels):
        raise ValueError(f"{len(phrases)} phrases and {len(labels)} task numbers do not agree")

    given = np.ascontiguousarray(vectors, dtype=np.float32)
    keys = _content_keys(given)
    order = np.lexsort((keys, labels))
    rows = given[order]
    present, places = np.unique(labels[order], return_inverse=True)
    grouping = Grouping.of(places.astype(np.int64))
    head = _no_head(len(present), rows.shape[1])
    if len(present) > 0:
        parts = _parts(keys[order], parameters.utterances_per_step)
        head = _fit_head(rows, grouping, parts, tiers[present], parameters)
    return Scorer(
        utterances=rows,
        order=order,
        grouping=grouping,
        heads=Heads(
            linear=head,
            phrases=_fit_phrases(phrases, order, tiers[labels], tier_count, parameters),
        ),
        present=present,
        tier_of_task=tiers,
        tier_count=tier_count,
        parameters=parameters,
    )


def _fit_phrases(
    phrases: Sequence[Phrases] | None,
    order: Labels,
    tiers: Labels,
    tier_count: int,
    parameters: ScorerParameters,
) -> PhraseHead:
    """Fits the phrase head to the utterances that are no background, in the order given."""
    chosen = order[tiers[order] != BACKGROUND] if phrases is not None else order[:0]
    return PhraseHead.fit(
        [phrases[one] for one in chosen.tolist()] if phrases is not None else [],
        tiers[chosen],
        tier_count,
        parameters.phrase_smoothing,
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
    share = np.float32(1.0 - parameters.nearest_share(grouping.counts))
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
    if len(tiers) > 0 and not (tiers.min() >= BACKGROUND and tiers.max() < tier_count):
        raise ValueError(f"tier numbers must lie between 0 and {tier_count - 1}")
    if (np.diff(tiers == BACKGROUND) & (tiers[1:] != BACKGROUND)).any():
        raise ValueError("background tasks must have the highest numbers")
