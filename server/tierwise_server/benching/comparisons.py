"""Models against each other: which are dearer and not better, and what ways to choose come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.benching.cells import Cell, TaskScores
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.resampling import Floats, Interval, interval, means

_Picks = NDArray[np.intp]
"""For each sample of a task, the model that is taken, by its position."""


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


def over_tasks(values: Sequence[Floats], scores: Sequence[TaskScores]) -> Interval:
    """Returns the mean over tasks, each counting alike."""
    resampled = [means(one.weighting, row) for one, row in zip(scores, values, strict=True)]
    mean = statistics.fmean(float(np.nanmean(row)) for row in values)
    return interval(mean, np.mean(resampled, axis=0))


def dominations(
    models: Sequence[BenchModel],
    complete: Sequence[int],
    scores: Sequence[TaskScores],
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


def _gain(
    position: int, other: int, scores: Sequence[TaskScores]
) -> tuple[Interval, tuple[str, ...]]:
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


def policies(
    models: Sequence[BenchModel],
    complete: Sequence[int],
    scores: Sequence[TaskScores],
    chosen: Sequence[str] | None,
) -> Iterator[Policy]:
    """Yields what always the cheapest, always the dearest, the choices and an oracle come to.

    Args:
        models: All models.
        complete: Positions of those that have enough scores.
        scores: Scores of each task.
        chosen: Model for each task. None leaves the choices out.
    """
    rows = list(complete)
    common = [
        ~(np.isnan(one.values[rows]).any(axis=0) | np.isnan(one.costs[rows]).any(axis=0))
        for one in scores
    ]
    if len(rows) < 2 or not all(each.any() for each in common):  # noqa: PLR2004 - to compare
        return
    costs = {
        row: statistics.fmean(
            float(one.costs[row][each].mean()) for one, each in zip(scores, common, strict=True)
        )
        for row in rows
    }
    cheapest, dearest = min(rows, key=costs.__getitem__), max(rows, key=costs.__getitem__)
    position = {one.id: number for number, one in enumerate(models)}

    def policy(name: str, picks: Sequence[_Picks]) -> Policy:
        values, spent = [], []
        for one, each, pick in zip(scores, common, picks, strict=True):
            columns = np.arange(one.values.shape[1])
            values.append(np.where(each, one.values[pick, columns], np.nan))
            spent.append(float(one.costs[pick, columns][each].mean()))
        return Policy(
            name=name, quality=over_tasks(values, scores), cost_nano_usd=statistics.fmean(spent)
        )

    def always(rows_by_task: Sequence[int]) -> list[_Picks]:
        return [
            np.full(one.values.shape[1], row) for one, row in zip(scores, rows_by_task, strict=True)
        ]

    yield policy(f"always the cheapest: {models[cheapest].id}", always([cheapest] * len(scores)))
    yield policy(f"always the dearest: {models[dearest].id}", always([dearest] * len(scores)))
    picked = [position.get(one, dearest) for one in chosen or ()]
    if picked and all(one in rows for one in picked):
        yield policy("by task, as chosen", always(picked))
    order = sorted(rows, key=costs.__getitem__)
    oracle = [
        np.array(order)[np.nan_to_num(one.values[order], nan=-1).argmax(axis=0)] for one in scores
    ]
    yield policy("oracle: the cheapest of the best for each prompt", oracle)
