"""The scores of a task, and what they say of one model: quality, cost, latency and failures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.resampling import (
    Floats,
    Interval,
    interval,
    means,
    share_at_least,
    weights,
)
from tierwise_server.benching.run_file import AnswerRow, RunState
from tierwise_server.benching.running import REFUSED, BenchPlan
from tierwise_server.benching.samples import Sample

COMPLETE_SHARE: Final = 0.9
"""Share of a task's samples that must have a quality for a model to be chosen for it."""


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
class TaskScores:
    """Scores of one task: a row for each model, a column for each sample, NaN for none."""

    task: str
    samples: tuple[Sample, ...]
    values: Floats
    costs: Floats
    weighting: Floats


def scores_of(
    task: str,
    plan: BenchPlan,
    state: RunState,
    quality_of: Mapping[tuple[str, str], float],
    drawing: tuple[int, int],
) -> TaskScores:
    """Returns the scores of a task.

    Args:
        task: The task.
        plan: What was run.
        state: What came of it.
        quality_of: Quality by sample and model.
        drawing: Seed and number of the resamples.
    """
    seed, resamples = drawing
    samples = tuple(one for one in plan.samples if one.task == task)
    keys = [[(sample.id, model.id) for sample in samples] for model in plan.models]
    costs = [
        [np.nan if (row := state.answers.get(key)) is None else _cost(row) for key in some]
        for some in keys
    ]
    values = [[quality_of.get(key, np.nan) for key in some] for some in keys]
    return TaskScores(
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


def cell_of(
    scores: TaskScores, position: int, model: BenchModel, state: RunState, bar: float
) -> Cell:
    """Returns what the scores say of the model at a position."""
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
