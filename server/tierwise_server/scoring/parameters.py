"""The figures of the scoring formula, each with its source."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

FORMULA = "discriminant-nearest-phrases-2"
"""Name and version of the formula: the version changes when equal parameters score differently."""

DIGEST_DIGITS = 8
"""Hex digits of the parameters' hash: enough to tell settings apart at a glance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerParameters:
    """What the formula leaves open.

    One set serves every size of catalog. The defaults were chosen on CLINC150's validation rows
    (5, 10, 30 and 100 utterances a task, even and uneven; 10, 36 and 150 tasks; whole tasks held
    out) and on parts of Banking77's training rows, never on test rows. Half or twice the value of
    a figure of the task head moves accuracy by a point at most, except where its text says more.
    """

    shrinkage: float = 0.95
    """Share of the identity in the pooled covariance of a task's utterances, over 0 to 1. From 0.9
    to 1 the results are alike, save that 1 costs 0.1 points between tasks that lie close together.
    0.8 costs 0.1 to 0.5 points, 0.8 where tasks differ in size, and 0.002 of AUROC."""
    sharpness: float = 20.0
    """How sharply the refinement tells tasks apart: factor on scores before the softmax. 15 costs
    0.5 points of accuracy, 10 up to 2; 30 costs 0.01 of AUROC against held-out tasks."""
    step_count: int = 6
    """Steps of the refinement; 0 leaves the plain discriminant, 1 to 2 points worse from 10
    utterances a task. 6 steps add 1 point at 100 utterances a task, for twice the time."""
    step_size: float = 0.1
    """Length of a step. Stable up to 0.13 in every catalog tried; 0.2 gains 0.3 points at 5 to 10
    utterances a task and loses 3 at 100."""
    momentum: float = 0.7
    """Share of the step before that a step carries on."""
    utterances_per_step: int = 3000
    """About how many utterances a step looks at; larger catalogs are divided into parts, evenly and
    by content, and give each step another part. Also about how many the covariance is measured
    on. Keeps the time of a fit nearly level beyond this size."""
    saturation: int = 20
    """Utterances of a task in one step beyond which more of them lengthen the step no further."""
    nearest_weight: float = 0.3
    """Share of the nearest utterance's similarity in the score where tasks have many utterances.
    0.4 costs 0.2 points at 100 a task. On 309 prompts for the shipped catalog that are none of its
    cases, shares of 0.25 and 0.3 are 0.3 to 0.9 points better than 0.2."""
    nearest_half_at: float = 20.0
    """Utterances of a task at which it adds half of that; see `nearest_share`. 10 or 40 move
    accuracy by 0.3 points at most. 0, the same share for all catalogs, costs 0.7 points at 5
    utterances a task, 0.5 at 10 and 0.9 where tasks differ in size. A share of 0.1 for all costs
    0.3 at 30 a task on Banking77. Without, Banking77 loses 0.3 to 0.6 points, and CLINC150 0.3 at
    100 a task."""
    exact_from: float = 0.85
    """Similarity of the nearest utterance from which on it lifts the score, to 1 at an exact match:
    a prompt that stands in the files goes where the files say, however the heads see it. Few
    real prompts come this close, so the figures above are as they were without."""
    tier_shrinkage: float = 0.6
    """As `shrinkage`, for the tier head. From 0.3 to 0.9 the results are alike."""
    tier_weight: float = 2.0
    """Weight of the tier head; 0 turns it off. On 156 phrases in which each of 26 topics occurs in
    every tier, with tasks that follow the topic, it lifts the right tier from 67 to 80 %; on the
    shipped utterances from 82.9 to 84.2 %, with 4 to 84.9 %. With tiers dealt out at random over
    CLINC150 it moves accuracy by less than 0.2 points, while 6 costs 0.6."""
    phrase_weight: float = 0.08
    """Weight of the phrase head; 0 turns it off. Cross-validated over 6,500 utterances of 39 tasks,
    it lifts the right tier from 83.8 to 89.1 %, with 30 utterances a task from 78.3 to 82.8 %, with
    5 from 67.2 to 69.8 %. From 0.06 to 0.1 the results are alike, but the more, the more premium
    utterances end up in the lowest tier: 1.9, 2.3 and 2.4 %."""
    phrase_smoothing: float = 0.2
    """Occurrences that are added to those of a phrase and to those expected. From 0.1 to 0.3 the
    results are alike; a fixed share for all tiers instead fails where tiers differ in size."""
    background_level: float = 0.1
    """Score of a background task from which on it lowers the scores of all others: what prompts
    that have nothing to do with a task score for it."""

    def __post_init__(self) -> None:
        """Refuses figures outside their range.

        Raises:
            ValueError: A figure is out of range.
        """
        faults = [
            name
            for name, is_valid in {
                "shrinkage": 0.0 < self.shrinkage <= 1.0,
                "sharpness": self.sharpness > 0.0,
                "step_count": self.step_count >= 0,
                "step_size": self.step_size >= 0.0,
                "momentum": 0.0 <= self.momentum < 1.0,
                "utterances_per_step": self.utterances_per_step >= 1,
                "saturation": self.saturation >= 1,
                "nearest_weight": 0.0 <= self.nearest_weight <= 1.0,
                "nearest_half_at": self.nearest_half_at >= 0.0,
                "exact_from": 0.0 < self.exact_from < 1.0,
                "tier_shrinkage": 0.0 < self.tier_shrinkage <= 1.0,
                "tier_weight": self.tier_weight >= 0.0,
                "phrase_weight": self.phrase_weight >= 0.0,
                "phrase_smoothing": self.phrase_smoothing > 0.0,
                "background_level": -1.0 <= self.background_level <= 1.0,
            }.items()
            if not is_valid
        ]
        if faults:
            raise ValueError(f"out of range: {', '.join(faults)}")

    def nearest_share(self, counts: NDArray[np.int64]) -> float:
        """Returns the nearest utterance's share of the score in one catalog.

        The mean over tasks of `nearest_weight * n / (n + nearest_half_at)`. Which of few utterances
        lies nearest is mostly chance; which of many does tells what a mean has blurred. It is one
        share for all tasks: with one for each, those that differ in size would be scored on
        different scales, which costs 0.6 points.

        Args:
            counts: Utterances of each task that has any.
        """
        if not len(counts):
            return 0.0
        return self.nearest_weight * float((counts / (counts + self.nearest_half_at)).mean())

    @property
    def scorer_id(self) -> str:
        """Names the formula, its version and these figures, equal on every machine."""
        content = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_DIGITS]
        return f"{FORMULA}-{digest}"
