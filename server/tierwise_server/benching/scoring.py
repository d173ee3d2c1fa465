"""Turns what a run holds into a quality for each sample and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierwise_server.benching.functions import FunctionScorer
from tierwise_server.benching.judging import orders
from tierwise_server.benching.run_file import AnswerRow, RunState
from tierwise_server.benching.running import NONSENSE, REFUSED, BenchPlan, other_answer
from tierwise_server.benching.samples import CheckKind, Sample, quality


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """How the judge did."""

    asked: int = 0
    nonsense: int = 0
    failed: int = 0
    pairs: int = 0
    """Pairs of answers that were judged in both orders."""
    contradicted: int = 0
    """Of them, those whose verdict changed with the places."""


def qualities(
    plan: BenchPlan, state: RunState, functions: Sequence[FunctionScorer]
) -> Mapping[tuple[str, str], float]:
    """Returns the quality by sample and model, where there is one.

    A refusal is an answer of quality 0. There is none for calls that failed otherwise, nor where
    the judge did.

    Raises:
        BenchError: A function of the caller's failed.
    """
    found: dict[tuple[str, str], float] = {}
    for sample in plan.samples:
        for model in plan.models:
            row = state.answers.get((sample.id, model.id))
            if row is None:
                continue
            score = _quality(plan, state, functions, sample, row)
            if score is not None:
                found[sample.id, model.id] = score
    return found


def _quality(
    plan: BenchPlan,
    state: RunState,
    functions: Sequence[FunctionScorer],
    sample: Sample,
    row: AnswerRow,
) -> float | None:
    if row.error == REFUSED:
        return 0.0
    if row.text is None:
        return None
    text = row.text
    grades = [one.score(text) for one in sample.checks if one.kind is CheckKind.GRADE]
    grades += [one.score(sample, text) for one in functions if one.applies_to(sample)]
    if plan.judged(sample) and not _is_own_baseline(plan, sample, row):
        judged = _judged(plan, state, sample, row)
        if judged is None:
            return None
        grades.append(judged)
    constraints = [one.score(text) for one in sample.checks if one.kind is CheckKind.CONSTRAINT]
    return quality(grades, constraints)


def _is_own_baseline(plan: BenchPlan, sample: Sample, row: AnswerRow) -> bool:
    """Returns whether an answer is the one that others are compared with: as good as itself."""
    return not sample.references and row.model == plan.baseline


def _judged(plan: BenchPlan, state: RunState, sample: Sample, row: AnswerRow) -> float | None:
    """Returns the mean over the orders; None where one of them is missing."""
    other = other_answer(plan, sample, row.model, state.answers)
    scores = []
    for order in orders(other):
        judgement = state.judgements.get((sample.id, row.model, order))
        if judgement is None or judgement.score is None:
            return None
        scores.append(judgement.score)
    return sum(scores) / len(scores)


def judge_record(state: RunState) -> JudgeRecord:
    """Returns how the judge did."""
    rows = state.judgements.values()
    pairs: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.score is not None and row.order != "alone":
            pairs.setdefault((row.sample, row.model), []).append(row.score)
    both = [scores for scores in pairs.values() if len(scores) > 1]
    return JudgeRecord(
        asked=len(rows),
        nonsense=sum(row.error == NONSENSE for row in rows),
        failed=sum(bool(row.error) and row.error != NONSENSE for row in rows),
        pairs=len(both),
        contradicted=sum(len(set(scores)) > 1 for scores in both),
    )
