"""What a run says: quality, cost and latency by task and model, and what to choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tierwise_server.benching.cells import Cell, TaskScores, cell_of, scores_of
from tierwise_server.benching.comparisons import (
    Domination,
    Policy,
    dominations,
    over_tasks,
    policies,
)
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.resampling import (
    Interval,
    resamples_for,
    samples_needed,
)
from tierwise_server.benching.run_file import RunState
from tierwise_server.benching.running import BenchPlan
from tierwise_server.benching.scoring import JudgeRecord, judge_record

DEFAULT_BAR: Final = 0.85
DEFAULT_CONFIDENCE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to use for a task."""

    task: str
    model: str
    """Cheapest model that clears the bar with the confidence asked for. Empty for none."""
    tier: str
    """Tier of that model. Empty for none."""
    confidence: float | None
    """How sure it is that the model clears the bar, having been chosen from so many."""
    best: str
    """Model of the highest mean quality. Empty where no model is complete."""
    reason: str
    """Why there is none; empty where there is one."""


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
    scores = [scores_of(task, plan, state, quality_of, (seed, resamples)) for task in counts]
    cells = {
        (one.task, model.id): cell_of(one, position, model, state, bar)
        for one in scores
        for position, model in enumerate(models)
    }
    choices = tuple(_choice(one, models, cells, (bar, confidence), seed) for one in scores)
    chosen = None
    if any(one.model for one in choices):
        # Where no model is sure enough, what a careful operator would take.
        chosen = [one.model or one.best for one in choices]
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
            models[position].id: over_tasks([one.values[position] for one in scores], scores)
            for position in complete
        },
        choices=choices,
        dominated=tuple(dominations(models, complete, scores, cells)),
        policies=tuple(policies(models, complete, scores, chosen)),
        judge=plan.judge.id if plan.judge is not None else "",
        judged=judge_record(state),
        spent_nano_usd=state.spent_nano_usd,
        unpriced=tuple(one.id for one in models if one.price is None),
        given_up=dict(given_up),
        is_stopped=is_stopped,
    )


def _choice(
    scores: TaskScores,
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
    # Several models are looked at, and the luckiest must not pass for the best: Bonferroni.
    needed_share = 1 - (1 - confidence) / max(len(priced), 1)
    chosen = next((one for one in priced if (one.clears or 0.0) >= needed_share), None)
    reason = ""
    if best is None:
        reason = "no model has enough answers"
    elif chosen is None:
        reason = f"no model reaches the bar; the best is {best.model} with {_mean(best):.2f}"
        near = next((one for one in priced if _mean(one) >= bar), None)
        if near is not None:
            position = [one.id for one in models].index(near.model)
            needed = samples_needed(scores.values[position], bar, needed_share, seed)
            advice = "it takes many more samples" if needed is None else f"some {needed} would do"
            reason = (
                f"{near.model} is the cheapest whose mean reaches the bar, and {near.scored}"
                f" samples make that sure to {_sure(near, len(priced)):.1%} alone; {advice}"
            )
    return Choice(
        task=task,
        model=chosen.model if chosen else "",
        tier=tier_of[chosen.model] if chosen else "",
        confidence=_sure(chosen, len(priced)) if chosen else None,
        best=best.model if best else "",
        reason=reason,
    )


def _sure(cell: Cell, compared: int) -> float:
    """Returns how sure it is that a model clears the bar, given how many were to choose from."""
    return max(0.0, 1 - compared * (1 - (cell.clears or 0.0)))


def _mean(cell: Cell) -> float:
    return cell.quality.mean if cell.quality is not None else 0.0
