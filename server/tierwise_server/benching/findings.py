"""What a run says: quality, cost and latency by task and model, and what to choose."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.resampling import (
    Floats,
    Interval,
    interval,
    means,
    resamples_for,
    samples_needed,
    share_at_least,
    weights,
)
from tierwise_server.benching.run_file import AnswerRow, RunState
from tierwise_server.benching.running import REFUSED, BenchPlan
from tierwise_server.benching.samples import Sample
from tierwise_server.benching.scoring import JudgeRecord, judge_record

COMPLETE_SHARE: Final = 0.9
"""Share of a task's samples that must have a quality for a model to be chosen for it."""

DEFAULT_BAR: Final = 0.85
DEFAULT_CONFIDENCE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model on one task."""

    task: str
    model: str
    samples: int
    scored: int
    refused: int
    failed: int
    """Calls without an answer, refusals not counted."""
    cut: int
    """Answers that ended at their limit of tokens."""
    quality: Interval | None
    """None where nothing is scored."""
    clears: float | None
    """Share of resamples whose mean quality reaches the bar."""
    cost_nano_usd: float | None
    """Mean of an answer's cost. None when some price is unknown."""
    latency_p50_s: float | None
    latency_p90_s: float | None
    served: tuple[str, ...]
    """Models that answered, as the provider names them."""

    @property
    def is_complete(self) -> bool:
        """Whether enough samples have a quality for a conclusion."""
        return self.scored >= COMPLETE_SHARE * self.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to use for a task."""

    task: str
    model: str
    """Cheapest model that clears the bar with the confidence asked for. Empty for none."""
    tier: str
    """Tier of that model. Empty for none."""
    best: str
    """Model of the highest mean quality. Empty where no model is complete."""
    reason: str
    """Why there is none; empty where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domination:
    """A model that a cheaper one does as well as, or better, over all tasks."""

    model: str
    by: str
    gain: Interval
    """Quality of the dominated model less that of the other."""
    cost_ratio: float
    """How many times as much it costs."""
    better_tasks: tuple[str, ...]
    """Tasks on which its mean is higher all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A way to choose models, over the samples that every model has a quality and a cost for."""

    name: str
    quality: Interval
    cost_nano_usd: float
    """Mean of a call, each task counting alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a run says."""

    bar: float
    confidence: float
    seed: int
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    """Cheapest tier first."""
    cells: Mapping[tuple[str, str], Cell]
    """By task and model."""
    overall: Mapping[str, Interval]
    """Mean quality over the tasks by model, each task counting alike; only of complete models."""
    choices: tuple[Choice, ...]
    dominated: tuple[Domination, ...]
    policies: tuple[Policy, ...]
    judge: str
    """Id of the judge. Empty without one."""
    judged: JudgeRecord
    spent_nano_usd: int
    unpriced: tuple[str, ...]
    """Models of unknown price."""
    given_up: Mapping[str, str]
    is_stopped: bool
    """Whether the cap ended the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """Scores of one task: a row for each model, a column for each sample, NaN for none."""

    task: str
    samples: tuple[Sample, ...]
    values: Floats
    costs: Floats
    weighting: Floats


def find(
    plan: BenchPlan,
    state: RunState,
    quality_of: Mapping[tuple[str, str], float],
    *,
    bar: float,
    confidence: float,
    seed: int,
    given_up: Mapping[str, str],
    is_stopped: bool,
) -> Findings:
    """Returns what a run says.

    Args:
        plan: What was run.
        state: What came of it.
        quality_of: Quality by sample and model.
        bar: Mean quality that is good enough.
        confidence: Share of resamples that must reach it.
        seed: Of the resampling.
        given_up: Models that are called no more, and why.
        is_stopped: Whether the cap ended the run.
    """
    models = plan.models
    counts = Counter(one.task for one in plan.samples)
    resamples = resamples_for(list(counts.values()))
    scores = [_scores(task, plan, state, quality_of, (seed, resamples)) for task in counts]
    cells = {
        (one.task, model.id): _cell(one, position, model, state, bar)
        for one in scores
        for position, model in enumerate(models)
    }
    choices = tuple(_choice(one, models, cells, (bar, confidence), seed) for one in scores)
    complete = [
        position
        for position, model in enumerate(models)
        if all(cells[one.task, model.id].is_complete for one in scores)
    ]
    return Findings(
        bar=bar,
        confidence=confidence,
        seed=seed,
        tasks=tuple(one.task for one in scores),
        models=tuple(one.id for one in models),
        cells=cells,
        overall={
            models[position].id: _over_tasks([one.values[position] for one in scores], scores)
            for position in complete
        },
        choices=choices,
        dominated=tuple(_dominations(models, complete, scores, cells)),
        policies=tuple(_policies(models, complete, scores, choices)),
        judge=plan.judge.id if plan.judge is not None else "",
        judged=judge_record(state),
        spent_nano_usd=state.spent_nano_usd,
        unpriced=tuple(one.id for one in models if one.price is None),
        given_up=dict(given_up),
        is_stopped=is_stopped,
    )


def _scores(
    task: str,
    plan: BenchPlan,
    state: RunState,
    quality_of: Mapping[tuple[str, str], float],
    drawing: tuple[int, int],
) -> _Scores:
    seed, resamples = drawing
    samples = tuple(one for one in plan.samples if one.task == task)
    keys = [[(sample.id, model.id) for sample in samples] for model in plan.models]
    costs = [
        [np.nan if (row := state.answers.get(key)) is None else _cost(row) for key in some]
        for some in keys
    ]
    values = [[quality_of.get(key, np.nan) for key in some] for some in keys]
    return _Scores(
        task=task,
        samples=samples,
        values=np.array(values, dtype=np.float64),
        costs=np.array(costs, dtype=np.float64),
        weighting=weights(len(samples), task, seed, resamples),
    )


def _cost(row: AnswerRow) -> float:
    """Returns what an answer cost; a refusal without a bill cost what its attempts did."""
    if row.cost_nano_usd is not None:
        return row.cost_nano_usd
    return row.spent_nano_usd if row.error == REFUSED else np.nan


def _cell(scores: _Scores, position: int, model: BenchModel, state: RunState, bar: float) -> Cell:
    rows = [
        row for one in scores.samples if (row := state.answers.get((one.id, model.id))) is not None
    ]
    values, costs = scores.values[position], scores.costs[position]
    known = ~np.isnan(values)
    quality = clears = None
    if known.any():
        resampled = means(scores.weighting, values)
        quality = interval(float(values[known].mean()), resampled)
        clears = share_at_least(resampled, bar)
    latencies = sorted(row.duration_s for row in rows if row.duration_s is not None)
    answered = [row for row in rows if row.text is not None]
    priced = [cost for cost in costs if not np.isnan(cost)]
    return Cell(
        task=scores.task,
        model=model.id,
        samples=len(scores.samples),
        scored=int(known.sum()),
        refused=sum(row.error == REFUSED for row in rows),
        failed=sum(row.text is None and row.error != REFUSED for row in rows),
        cut=sum(row.cut for row in rows),
        quality=quality,
        clears=clears,
        cost_nano_usd=(float(np.mean(priced)) if priced and len(priced) >= len(answered) else None),
        latency_p50_s=statistics.median(latencies) if latencies else None,
        latency_p90_s=float(np.quantile(latencies, 0.9)) if latencies else None,
        served=tuple(sorted({row.served_model for row in answered if row.served_model})),
    )


def _choice(
    scores: _Scores,
    models: Sequence[BenchModel],
    cells: Mapping[tuple[str, str], Cell],
    asked: tuple[float, float],
    seed: int,
) -> Choice:
    task, (bar, confidence) = scores.task, asked
    tier_of = {one.id: one.registered.tier for one in models}
    own = [cells[task, one.id] for one in models if cells[task, one.id].is_complete]
    priced = sorted(
        (one for one in own if one.cost_nano_usd is not None),
        key=lambda one: one.cost_nano_usd or 0.0,
    )
    best = max(own, key=_mean, default=None)
    chosen = next((one for one in priced if (one.clears or 0.0) >= confidence), None)
    reason = ""
    if best is None:
        reason = "no model has enough answers"
    elif chosen is None:
        near = max(own, key=lambda one: one.clears or 0.0)
        if _mean(near) >= bar:
            position = [one.id for one in models].index(near.model)
            needed = samples_needed(scores.values[position], bar, confidence, seed)
            advice = "more samples may decide"
            if needed is not None:
                advice = f"some {needed} samples like these would do"
            reason = f"{near.model} is the nearest, sure to {near.clears or 0:.0%}: {advice}"
        else:
            reason = f"the best is {best.model} with {_mean(best):.2f}"
    return Choice(
        task=task,
        model=chosen.model if chosen else "",
        tier=tier_of[chosen.model] if chosen else "",
        best=best.model if best else "",
        reason=reason,
    )


def _mean(cell: Cell) -> float:
    return cell.quality.mean if cell.quality is not None else 0.0


def _over_tasks(values: Sequence[Floats], scores: Sequence[_Scores]) -> Interval:
    """Returns the mean over tasks, each counting alike."""
    resampled = [means(one.weighting, row) for one, row in zip(scores, values, strict=True)]
    mean = statistics.fmean(float(np.nanmean(row)) for row in values)
    return interval(mean, np.mean(resampled, axis=0))


def _dominations(
    models: Sequence[BenchModel],
    complete: Sequence[int],
    scores: Sequence[_Scores],
    cells: Mapping[tuple[str, str], Cell],
) -> Iterator[Domination]:
    """Yields each dominated model with the best of those that dominate it."""
    costs = {
        position: _mean_cost(cells[one.task, models[position].id] for one in scores)
        for position in complete
    }
    for position in complete:
        own_cost = costs[position]
        found: list[Domination] = []
        for other in complete:
            other_cost = costs[other]
            if own_cost is None or other_cost is None or not 0 < other_cost < own_cost:
                continue
            gain, better = _gain(position, other, scores)
            if gain.mean <= 0:
                found.append(
                    Domination(
                        model=models[position].id,
                        by=models[other].id,
                        gain=gain,
                        cost_ratio=own_cost / other_cost,
                        better_tasks=better,
                    )
                )
        if found:
            yield min(found, key=lambda one: (one.gain.mean, -one.cost_ratio))


def _gain(position: int, other: int, scores: Sequence[_Scores]) -> tuple[Interval, tuple[str, ...]]:
    """Returns how much better one model is than another, sample by sample, and on which tasks."""
    differences, resampled, better = [], [], []
    for one in scores:
        left, right = one.values[position], one.values[other]
        both = ~np.isnan(left) & ~np.isnan(right)
        if not both.any():
            continue
        left, right = np.where(both, left, np.nan), np.where(both, right, np.nan)
        difference = float((left[both] - right[both]).mean())
        differences.append(difference)
        resampled.append(means(one.weighting, left) - means(one.weighting, right))
        if difference > 0:
            better.append(one.task)
    mean = statistics.fmean(differences)
    return interval(mean, np.mean(resampled, axis=0)), tuple(better)


def _mean_cost(cells: Iterable[Cell]) -> float | None:
    costs = [one.cost_nano_usd for one in cells]
    known = [one for one in costs if one is not None]
    return statistics.fmean(known) if known and len(known) == len(costs) else None


def _policies(
    models: Sequence[BenchModel],
    complete: Sequence[int],
    scores: Sequence[_Scores],
    choices: Sequence[Choice],
) -> Iterator[Policy]:
    """Yields what always the cheapest, always the dearest, the choices and an oracle come to."""
    rows = list(complete)
    common = [
        ~(np.isnan(one.values[rows]).any(axis=0) | np.isnan(one.costs[rows]).any(axis=0))
        for one in scores
    ]
    if not rows or not all(each.any() for each in common):
        return
    costs = {
        row: statistics.fmean(
            float(one.costs[row][each].mean()) for one, each in zip(scores, common, strict=True)
        )
        for row in rows
    }
    cheapest, dearest = min(rows, key=costs.__getitem__), max(rows, key=costs.__getitem__)
    position = {one.id: number for number, one in enumerate(models)}

    def policy(name: str, picks: Sequence[NDArrayOfInt]) -> Policy:
        values, spent = [], []
        for one, each, pick in zip(scores, common, picks, strict=True):
            columns = np.arange(one.values.shape[1])
            values.append(np.where(each, one.values[pick, columns], np.nan))
            spent.append(float(one.costs[pick, columns][each].mean()))
        return Policy(
            name=name, quality=_over_tasks(values, scores), cost_nano_usd=statistics.fmean(spent)
        )

    def always(rows_by_task: Sequence[int]) -> list[NDArrayOfInt]:
        return [
            np.full(one.values.shape[1], row) for one, row in zip(scores, rows_by_task, strict=True)
        ]

    yield policy(f"always the cheapest: {models[cheapest].id}", always([cheapest] * len(scores)))
    yield policy(f"always the dearest: {models[dearest].id}", always([dearest] * len(scores)))
    chosen = [position.get(one.model or one.best, dearest) for one in choices]
    if all(one in rows for one in chosen):
        yield policy("by task, as chosen", always(chosen))
    order = sorted(rows, key=costs.__getitem__)
    oracle = [
        np.array(order)[np.nan_to_num(one.values[order], nan=-1).argmax(axis=0)] for one in scores
    ]
    yield policy("oracle: the cheapest of the best for each prompt", oracle)


NDArrayOfInt = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
