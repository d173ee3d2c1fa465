"""How well decisions meet what was expected: figures from pairs of both, nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise_server.calibration.reliability import (
    CoveragePoint,
    calibration_error,
    coverage_at,
    risk_coverage,
)
from tierwise_server.calibration.rows import OUT_OF_SCOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One prompt: what was expected, and what was decided."""

    expected_tier: str
    """A tier, `none` for what must match nothing, or empty where only a task is expected."""
    expected_task: str = ""
    decided_tier: str
    decided_task: str
    matched: bool
    """Whether a rule or the comparison with utterances decided, rather than a default."""
    score: float | None
    """Score of the best tier; None when there was no comparison."""
    tags: tuple[str, ...] = ()
    confidence: float | None = None
    """Confidence in the match; None without a calibration, or without a match."""

    @property
    def in_scope(self) -> bool:
        """Whether something was to be matched."""
        return self.expected_tier != OUT_OF_SCOPE

    @property
    def right(self) -> bool:
        """Whether the decision is what was expected."""
        if not self.in_scope:
            return not self.matched
        if self.expected_tier:
            return self.decided_tier == self.expected_tier
        return self.decided_task == self.expected_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a set of judgements says. Shares are None where there is nothing to share out."""

    count: int
    accuracy: float | None
    """Share of right decisions, out-of-scope prompts included."""
    task_accuracy: float | None
    """Share of right tasks among the prompts that expect one."""
    coverage: float | None
    """Share of the in-scope prompts that were matched."""
    matched_accuracy: float | None
    """Share of right decisions among the in-scope prompts that were matched."""
    out_of_scope_recall: float | None
    """Share of the out-of-scope prompts that matched nothing."""
    out_of_scope_auroc: float | None
    """Chance that an in-scope prompt scores above an out-of-scope one."""
    calibration_error: float | None
    """Expected calibration error of the confidence, over the decisions that carry one."""
    coverage_at_95_precision: float | None
    """Largest share of the prompts, the most confident first, of which 95 % are right matches."""
    risk_coverage: Sequence[CoveragePoint]
    """Risk of deciding the most confident share of those with a confidence."""
    confusion: Mapping[str, Mapping[str, int]]
    """Decided tiers (`none` where nothing matched) by expected tier."""


def figures(judgements: Sequence[Judgement]) -> Figures:
    """Returns the figures of a set of judgements."""
    inside = [one for one in judgements if one.in_scope]
    outside = [one for one in judgements if not one.in_scope]
    matched = [one for one in inside if one.matched]
    with_task = [one for one in inside if one.expected_task]
    confident = [one for one in judgements if one.confidence is not None]
    confidences = np.array([one.confidence for one in confident], dtype=np.float64)
    right = np.array([one.right for one in confident], dtype=np.bool_)
    return Figures(
        count=len(judgements),
        accuracy=_share([one.right for one in judgements]),
        task_accuracy=_share([one.decided_task == one.expected_task for one in with_task]),
        coverage=_share([one.matched for one in inside]),
        matched_accuracy=_share([one.right for one in matched]),
        out_of_scope_recall=_share([not one.matched for one in outside]),
        out_of_scope_auroc=_auroc(
            [one.score for one in inside if one.score is not None],
            [one.score for one in outside if one.score is not None],
        ),
        calibration_error=calibration_error(confidences, right),
        coverage_at_95_precision=(
            coverage_at(confidences, right, 0.95, len(judgements)) if confident else None
        ),
        risk_coverage=risk_coverage(confidences, right),
        confusion=_confusion(judgements),
    )


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _confusion(judgements: Sequence[Judgement]) -> dict[str, dict[str, int]]:
    rows: dict[str, Counter[str]] = {}
    for one in judgements:
        if one.expected_tier:
            decided = one.decided_tier if one.matched else OUT_OF_SCOPE
            rows.setdefault(one.expected_tier, Counter())[decided] += 1
    return {tier: dict(row) for tier, row in rows.items()}


def _auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Returns the area under the ROC curve by ranks (Mann-Whitney U), ties counted half."""
    if not positives or not negatives:
        return None
    values = np.array([*positives, *negatives])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(middle_rank[inverse][: len(positives)].sum())
    wins = rank_sum - len(positives) * (len(positives) + 1) / 2
    return wins / (len(positives) * len(negatives))
