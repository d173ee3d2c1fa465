"""Which tasks the scorer takes for each other, found by cross-validation over the utterances."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.faults import quoted
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.model import Catalog, Task
from tierwise_server.linting.findings import Finding, Severity, found
from tierwise_server.scoring import Phrases
from tierwise_server.snapshot import fit_catalog

FOLDS: Final = 4
LEAST_CONFUSED: Final = 3
"""Utterances of one task that have to go to another before the two count as confusable."""

LEAST_SHARE: Final = 0.1
"""Share of a task's utterances that has to."""

SHOWN_PAIRS: Final = 3
FAR: Final = 0.35
"""Lead of another tier from which on an utterance looks misplaced. About what separates a typical
utterance from the best wrong tier."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How utterances are scored by a scorer that has not seen them."""

    task: NDArray[np.int64]
    """Best task of each utterance."""
    lead: Matrix
    """Score of the best task minus that of the best task of the utterance's own tier; 0 where
    the tier is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Confusion:
    """Utterances of one task that read like another."""

    task: Task
    other: Task
    places: tuple[int, ...]


def held_out_scores(catalog: Catalog, vectors: Matrix, phrases: tuple[Phrases, ...]) -> HeldOut:
    """Scores each utterance by scorers that are fitted without it.

    Args:
        catalog: The catalog.
        vectors: Unit vector of each of `snapshot.embedded_texts`.
        phrases: Phrases of each of them.
    """
    count = len(catalog.utterances)
    folds = np.array([_fold(one.text) for one in catalog.utterances])
    own_tier = np.array(
        [catalog.tier_by_id[catalog.tasks[one.task_index].tier].rank for one in catalog.utterances]
    )
    tasks, lead = np.empty(count, dtype=np.int64), np.zeros(count, dtype=np.float32)
    for fold in range(FOLDS):
        held = np.flatnonzero(folds == fold)
        if len(held) == 0:
            continue
        scorer = fit_catalog(catalog, vectors, phrases, kept=folds != fold)
        for place in held.tolist():
            leads = scorer.leads(vectors[place], phrases[place])
            best = max(leads, key=lambda one: one.score)
            tasks[place] = best.task
            if np.isfinite(own := leads[own_tier[place]].score):
                lead[place] = best.score - own
    return HeldOut(task=tasks, lead=lead)


def confusion_findings(catalog: Catalog, vectors: Matrix, held_out: HeldOut) -> Iterator[Finding]:
    """Yields tasks that are taken for each other, and utterances that look misplaced.

    Args:
        catalog: The catalog.
        vectors: Unit vector of each of `catalog.utterances`.
        held_out: What `held_out_scores` found.
    """
    for one in _confusions(catalog, held_out):
        yield _confusable(catalog, vectors, held_out, one)
    for place in np.flatnonzero(held_out.lead >= FAR).tolist():
        utterance = catalog.utterances[place]
        task, other = catalog.tasks[utterance.task_index], catalog.tasks[held_out.task[place]]
        near = catalog.utterances[_nearest_of(catalog, vectors, place, other)]
        yield found(
            LintRule.MISPLACED_UTTERANCE,
            Severity.NOTE,
            utterance.location,
            f"{quoted(utterance.text)} of {task.tier}/{task.id} reads like {other.tier}/{other.id}"
            f" when the scorer has not seen it, by {held_out.lead[place]:.2f}; nearest there:"
            f" {quoted(near.text)} at {near.location}.",
            f"Move it there, or add utterances like it to {task.id}.",
            [near.location],
        )


def _fold(text: str) -> int:
    """Returns the fold of a text: by its content, so that edits elsewhere change nothing."""
    return zlib.crc32(text.encode(errors="replace")) % FOLDS


def _confusions(catalog: Catalog, held_out: HeldOut) -> Iterator[_Confusion]:
    start = 0
    for task in catalog.tasks:
        count = len(task.utterances)
        decided = held_out.task[start : start + count]
        for other in np.unique(decided).tolist():
            places = start + np.flatnonzero(decided == other)
            many = len(places) >= max(LEAST_CONFUSED, LEAST_SHARE * count)
            if other != task.index and many:
                yield _Confusion(
                    task=task, other=catalog.tasks[other], places=tuple(places.tolist())
                )
        start += count


def _confusable(catalog: Catalog, vectors: Matrix, held_out: HeldOut, one: _Confusion) -> Finding:
    task, other = one.task, one.other
    across = task.tier != other.tier
    worst = sorted(one.places, key=lambda place: -float(held_out.lead[place]))[:SHOWN_PAIRS]
    pairs = [(place, _nearest_of(catalog, vectors, place, other)) for place in worst]
    shown = "; ".join(
        f"{quoted(catalog.utterances[place].text)} ({catalog.utterances[place].location}) like"
        f" {quoted(catalog.utterances[near].text)} ({catalog.utterances[near].location})"
        for place, near in pairs
    )
    return found(
        LintRule.CONFUSABLE_TASKS,
        Severity.WARNING if across else Severity.NOTE,
        task.location,
        f"{len(one.places)} of {len(task.utterances)} utterances of {task.tier}/{task.id} read like"
        f" {other.tier}/{other.id} when the scorer has not seen them: {shown}.",
        "Move what belongs there, and add utterances to both that show the difference."
        if across
        else "Both are of one tier, so prompts lose nothing; merge them if they mean the same.",
        [catalog.utterances[number].location for pair in pairs for number in pair],
    )


def _nearest_of(catalog: Catalog, vectors: Matrix, place: int, task: Task) -> int:
    """Returns the utterance of a task that is nearest to another utterance."""
    start = sum(len(one.utterances) for one in catalog.tasks[: task.index])
    rows = vectors[start : start + len(task.utterances)]
    return start + int((rows @ vectors[place]).argmax())
