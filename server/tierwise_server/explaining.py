"""What a decision rests on, and what would flip it.

Everything here is computed anew from the snapshot that decided: taking utterances away means
fitting the scorer without them and deciding again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.model import Task, Tier, Utterance
from tierwise_server.catalog.rules import Rule
from tierwise_server.deciding.decide import (
    Opening,
    close_decision,
    effective_dial,
    learned_outcome,
    rule_holds,
    semantic_outcome,
    tier_scores,
)
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.learned import leaned_bar, other_bars, shortfall
from tierwise_server.deciding.semantic import leaned_threshold
from tierwise_server.learned import EvidenceMatch
from tierwise_server.learning import Prediction
from tierwise_server.scoring import Lead, Phrases
from tierwise_server.snapshot import Snapshot, fit_catalog

NEAREST_SHOWN = 5
"""Nearest utterances shown of each task, and most that are taken away to flip a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceMatch:
    """One utterance's showing."""

    index: int
    """Position in `Catalog.utterances`."""
    utterance: Utterance
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TierShowing:
    """One tier's showing."""

    tier: Tier
    score: float
    threshold: float
    """What the score has to reach, with the request's dial applied."""
    task: Task
    """The tier's best task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskShowing:
    """One task's showing."""

    task: Task
    score: float
    threshold: float
    similarity: float
    nearest: tuple[UtteranceMatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleShowing:
    """A rule whose conditions hold."""

    rule: Rule
    override: bool
    applied: bool
    """Whether it decided, or added a required capability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A change that would have led to another tier."""

    verdict: Verdict
    threshold: float | None = None
    """Threshold of the best task from which on the decision is another."""
    without: tuple[UtteranceMatch, ...] = ()
    """Utterances without which the decision is another."""
    bar: float | None = None
    """Quality bar of the catalog from which on the decision is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceShowing:
    """What the evidence says."""

    predictions: tuple[Prediction, ...]
    """Of each tier, cheapest first; empty where too little lies near the prompt."""
    bar: float
    """The quality bar, with the request's dial applied."""
    required: float | None
    """What a lower bound has to reach; None without predictions."""
    nearest: tuple[EvidenceMatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a decision rests on."""

    tiers: tuple[TierShowing, ...] = ()
    tasks: tuple[TaskShowing, ...] = ()
    rules: tuple[RuleShowing, ...] = ()
    flips: tuple[Flip, ...] = ()
    evidence: EvidenceShowing | None = None
    """None where there is none, or the prompt has no vector."""


def explain(
    snapshot: Snapshot,
    opening: Opening,
    verdict: Verdict,
    *,
    vector: NDArray[np.float32] | None,
    phrases: Phrases,
    leads: Sequence[Lead] | None,
    predictions: Sequence[Prediction] = (),
    task_limit: int,
) -> Explanation:
    """Returns what a verdict rests on. Blocking; fits the scorer up to five times."""
    rules = tuple(_rules(snapshot, opening, verdict))
    if vector is None or leads is None:
        return Explanation(rules=rules)
    comparison = _Comparison(snapshot, opening, verdict, (vector, phrases), leads)
    # Where evidence decided, utterances did not, so nothing of theirs would flip it.
    flips = (
        _bar_flips(snapshot, opening, verdict, leads, predictions)
        if predictions
        else comparison.flips()
    )
    return Explanation(
        tiers=comparison.tiers(),
        tasks=comparison.tasks(task_limit),
        rules=rules,
        flips=tuple(flips),
        evidence=_evidence(snapshot, opening, vector, predictions),
    )


def _evidence(
    snapshot: Snapshot,
    opening: Opening,
    vector: NDArray[np.float32],
    predictions: Sequence[Prediction],
) -> EvidenceShowing | None:
    if not snapshot.catalog.evidence:
        return None
    bar = leaned_bar(snapshot.catalog.learned.bar, opening.request.dial)
    return EvidenceShowing(
        predictions=tuple(predictions),
        bar=bar,
        required=bar - shortfall(predictions) if predictions else None,
        nearest=snapshot.learned.nearest(vector, NEAREST_SHOWN),
    )


def _bar_flips(
    snapshot: Snapshot,
    opening: Opening,
    verdict: Verdict,
    leads: Sequence[Lead],
    predictions: Sequence[Prediction],
) -> Iterator[Flip]:
    """Yields the bars at which evidence leads to another tier, the lower one first."""
    catalog = snapshot.catalog
    outcome = learned_outcome(catalog, opening.request, predictions)
    lean = outcome.bar - catalog.learned.bar
    cheaper, dearer = other_bars(outcome)
    for edge, moved in ((cheaper, 0.0), (dearer, 1e-6)):
        if edge is None or not 0.0 <= edge - lean <= 1.0:
            continue
        settings = replace(catalog.learned, bar=edge - lean + moved)
        flipped = close_decision(replace(catalog, learned=settings), opening, leads, predictions)
        if flipped.tier.id != verdict.tier.id:
            yield Flip(verdict=flipped, bar=edge - lean)


def _rules(snapshot: Snapshot, opening: Opening, verdict: Verdict) -> Iterator[RuleShowing]:
    book = snapshot.catalog.rules
    decided = False
    for override, rules in ((True, book.override), (False, book.default)):
        for rule in rules:
            if rule_holds(rule, opening.request, opening.subject):
                decides = rule is verdict.rule
                adds = override and not decided and bool(rule.then.required_capabilities)
                yield RuleShowing(rule=rule, override=override, applied=decides or adds)
                decided = decided or (override and rule.then.has_target)


class _Comparison:
    """The comparison of one prompt with the utterances of one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        opening: Opening,
        verdict: Verdict,
        prompt: tuple[NDArray[np.float32], Phrases],
        leads: Sequence[Lead],
    ) -> None:
        self._snapshot = snapshot
        self._catalog = snapshot.catalog
        self._opening = opening
        self._verdict = verdict
        self._vector, self._phrases = prompt
        self._leads = leads
        self._scores = snapshot.scorer.score(*prompt)

    def tiers(self) -> tuple[TierShowing, ...]:
        """Returns each tier's showing, best first."""
        showings = [
            TierShowing(
                tier=self._catalog.tiers[one.rank],
                score=one.score,
                threshold=self._leaned(one.threshold, one.rank),
                task=self._catalog.tasks[one.task],
            )
            for one in tier_scores(self._catalog, self._leads)
        ]
        return tuple(sorted(showings, key=lambda one: (-one.score, one.tier.rank)))

    def tasks(self, limit: int) -> tuple[TaskShowing, ...]:
        """Returns the best tasks' showings, best first."""
        order = np.argsort(-self._scores.task_scores, kind="stable")[:limit]
        return tuple(self._task(self._catalog.tasks[int(index)]) for index in order)

    def flips(self) -> Iterator[Flip]:
        """Yields the changes that would have led to another tier."""
        threshold = self._threshold_flip()
        if threshold is not None:
            yield threshold
        removal = self._removal_flip()
        if removal is not None:
            yield removal

    def _task(self, task: Task) -> TaskShowing:
        return TaskShowing(
            task=task,
            score=float(self._scores.task_scores[task.index]),
            threshold=self._leaned(
                self._catalog.threshold_of(task), self._catalog.tier_by_id[task.tier].rank
            ),
            similarity=float(self._scores.task_similarities[task.index]),
            nearest=self._nearest(task),
        )

    def _nearest(self, task: Task) -> tuple[UtteranceMatch, ...]:
        nearest = self._snapshot.scorer.nearest(self._vector, NEAREST_SHOWN, task=task.index)
        return tuple(
            UtteranceMatch(
                index=index, utterance=self._catalog.utterances[index], similarity=similarity
            )
            for index, similarity in zip(
                nearest.utterances.tolist(), nearest.similarities.tolist(), strict=True
            )
        )

    def _leaned(self, threshold: float, rank: int) -> float:
        default = self._catalog.tier_by_id[self._catalog.default_tier]
        return leaned_threshold(
            threshold,
            rank=rank,
            default_rank=default.rank,
            dial=effective_dial(self._catalog, self._opening.request),
        )

    def _threshold_flip(self) -> Flip | None:
        """Returns the threshold at which the comparison starts or stops to decide."""
        outcome = semantic_outcome(self._catalog, self._opening.request, self._leads)
        accepted = outcome.best.score >= outcome.threshold
        edge = outcome.best.threshold + outcome.best.score - outcome.threshold
        # Just on the other side of the edge, where the decision is the other one.
        moved = float(np.nextafter(edge, np.inf)) + 1e-6 if accepted else edge - 1e-6
        tiers = tuple(
            replace(
                tier,
                threshold=moved,
                tasks=tuple(replace(task, threshold=moved) for task in tier.tasks),
            )
            for tier in self._catalog.tiers
        )
        calibration = self._catalog.calibration and replace(
            self._catalog.calibration, threshold=moved, tier_thresholds={}, task_thresholds={}
        )
        catalog = replace(self._catalog, tiers=tiers, calibration=calibration)
        verdict = close_decision(catalog, self._opening, self._leads)
        if verdict.tier.id == self._verdict.tier.id:
            return None
        return Flip(verdict=verdict, threshold=edge)

    def _removal_flip(self) -> Flip | None:
        """Returns the fewest nearest utterances of the task whose removal flips the decision."""
        if self._verdict.semantic is None or self._verdict.task is None:
            return None
        nearest = self._nearest(self._verdict.task)
        kept = np.ones(len(self._catalog.utterances), dtype=np.bool_)
        for count, match in enumerate(nearest, start=1):
            kept[match.index] = False
            if not kept.any():
                return None
            snapshot = self._snapshot
            scorer = fit_catalog(self._catalog, snapshot.vectors, snapshot.phrases, kept)
            leads = scorer.leads(self._vector, self._phrases)
            verdict = close_decision(self._catalog, self._opening, leads)
            if verdict.tier.id != self._verdict.tier.id:
                return Flip(verdict=verdict, without=nearest[:count])
        return None
