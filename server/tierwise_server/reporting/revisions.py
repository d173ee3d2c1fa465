"""Compares what two revisions of a catalog cost and how good the answers were, by task.

Differences of means with 95 % intervals: of costs by Welch's formula, of quality by that of A.
Agresti and B. Caffo ("Simple and effective confidence intervals for proportions and differences of
proportions", 2000), who add one success and one failure to each side, so that a few good answers
don't come out as certainty. Both take calls to be independent of each other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, Select, func, select

from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.ledger.records import Origin
from tierwise_server.ledger.schema import outcomes
from tierwise_server.planning.prices import NANO_USD_PER_USD

FEW: Final = 30
"""Calls of one side below which an interval of costs is only a hint: few dear calls decide it."""

ALL_TASKS: Final = ""
"""Stands for the calls of all tasks together."""

_Z: Final = 1.959964
_GRADES: Final = {1: 1.0, 2: 0.0}
"""What a verdict (positive, negative) counts as where no quality was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Difference of two means, candidate minus live, with its 95 % interval."""

    live: float
    candidate: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.candidate - self.live

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskComparison:
    """One task under both revisions; the empty name stands for all tasks together."""

    task: str
    live_calls: int
    candidate_calls: int
    cost_usd: Difference | None
    """Of a call, all attempts included, where all of their costs are known. None with fewer than
    two such calls on a side."""
    live_judged: int
    candidate_judged: int
    quality: Difference | None
    """None where a side has no judged call."""

    @property
    def is_few(self) -> bool:
        """Whether a side has too few calls for the interval of costs to be more than a hint."""
        return min(self.live_calls, self.candidate_calls) < FEW


@dataclass(slots=True)
class _Side:
    calls: int = 0
    costs: list[float] = field(default_factory=list)
    grades: list[float] = field(default_factory=list)


def compare_revisions(
    engine: Engine, live: str, candidate: str, *, since_ms: int = 0
) -> list[TaskComparison]:
    """Returns all tasks together, then each task, the most frequent first.

    Counts the first call that was reported for each decision, from when both revisions served, and
    leaves out what was pinned.

    Args:
        engine: Of the ledger.
        live: Revision in service.
        candidate: Revision of the candidate.
        since_ms: Decisions from this time on, in milliseconds since 1970.
    """
    sides: dict[str, tuple[_Side, _Side]] = defaultdict(lambda: (_Side(), _Side()))
    for task, revision, cost, grade in _calls(engine, (live, candidate), since_ms):
        place = 0 if revision == live else 1
        for name in dict.fromkeys((ALL_TASKS, task or "(none)")):
            side = sides[name][place]
            side.calls += 1
            if cost is not None:
                side.costs.append(cost)
            if grade is not None:
                side.grades.append(grade)
    found = [_compared(task, *pair) for task, pair in sides.items()]
    return sorted(
        found, key=lambda one: (one.task != ALL_TASKS, -one.live_calls - one.candidate_calls)
    )


_Call = tuple[str, str, float | None, float | None]


def _calls(engine: Engine, revisions: Sequence[str], since_ms: int) -> Iterator[_Call]:
    table = outcomes.c
    of_calls = (
        table.catalog_revision.in_(revisions),
        table.attempt_count > 0,
        # Pins say nothing of a catalog, and audits pin the baseline.
        table.kind != DecisionKind.PINNED,
    )
    with engine.connect() as connection:
        firsts = connection.execute(
            select(func.min(table.decided_ms))
            .where(*of_calls, table.origin == Origin.ROUTER, table.decided_ms >= since_ms)
            .group_by(table.catalog_revision)
        ).scalars()
        start_ms = max(firsts, default=since_ms)
        query: Select[Any] = select(
            table.decision_id,
            table.task,
            table.catalog_revision,
            table.unpriced_count,
            table.answer_cost_nano_usd,
            table.unsuccessful_cost_nano_usd,
            table.quality,
            table.verdict,
        ).where(*of_calls, table.origin == Origin.ROUTER, table.decided_ms >= start_ms)
        rows: dict[str, Any] = {}
        for row in connection.execute(query.order_by(table.id)):
            rows.setdefault(row.decision_id, row)
        grades = {key: _grade(row.quality, row.verdict) for key, row in rows.items()}
        later = (
            select(table.decision_id, table.quality, table.verdict)
            .where(table.attempt_count == 0, table.recorded_ms >= start_ms)
            .order_by(table.id)
        )
        for row in connection.execute(later):
            if row.decision_id in rows and (grade := _grade(row.quality, row.verdict)) is not None:
                grades[row.decision_id] = grade
    for key, row in rows.items():
        cost = None
        if not row.unpriced_count:
            spent = (row.answer_cost_nano_usd or 0) + row.unsuccessful_cost_nano_usd
            cost = spent / NANO_USD_PER_USD
        yield row.task, row.catalog_revision, cost, grades[key]


def _grade(quality: float | None, verdict: int) -> float | None:
    return quality if quality is not None else _GRADES.get(verdict)


def _compared(task: str, live: _Side, candidate: _Side) -> TaskComparison:
    return TaskComparison(
        task=task,
        live_calls=live.calls,
        candidate_calls=candidate.calls,
        cost_usd=welch(live.costs, candidate.costs),
        live_judged=len(live.grades),
        candidate_judged=len(candidate.grades),
        quality=agresti_caffo(live.grades, candidate.grades),
    )


def welch(live: Sequence[float], candidate: Sequence[float]) -> Difference | None:
    """Returns the difference of two means; None with fewer than two values on a side."""
    if min(len(live), len(candidate)) < 2:  # noqa: PLR2004 - a variance needs two
        return None
    (one, one_var), (two, two_var) = map(_mean_and_variance, (live, candidate))
    return _difference(one, two, two - one, one_var / len(live) + two_var / len(candidate))


def agresti_caffo(live: Sequence[float], candidate: Sequence[float]) -> Difference | None:
    """Returns the difference of two means of scores from 0 to 1; None where a side has none."""
    if not live or not candidate:
        return None
    one, two = (math.fsum(scores) / len(scores) for scores in (live, candidate))
    (near, near_var), (far, far_var) = (
        _mean_and_variance((*scores, 0.0, 1.0)) for scores in (live, candidate)
    )
    variance = near_var / (len(live) + 2) + far_var / (len(candidate) + 2)
    return _difference(one, two, far - near, variance)


def _difference(live: float, candidate: float, middle: float, variance: float) -> Difference:
    half = _Z * math.sqrt(variance)
    value = candidate - live
    return Difference(
        live=live,
        candidate=candidate,
        low=min(middle - half, value),
        high=max(middle + half, value),
    )


def _mean_and_variance(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1)
