"""The learned layer on RouterBench: what it costs to reach 95 % of the best model's quality.

Tiers are fixed on training folds alone: the models on the hull of mean cost and mean quality there,
so that no tier is dominated. Routers are swept along their bar, and the cost at which their mean
quality reaches the target is read off by linear interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from outcome_data import Floats, Outcomes, Rows, interval, learned_from, predicted

from tierwise_server.deciding.learned import decide_by_evidence
from tierwise_server.learning import Prediction

FOLDS = 5
SHARE = 0.95
BARS = np.linspace(0.0, 1.0, 51)
ROUNDS = 300
VALIDATOR_ERROR = 0.1
"""Share of answers that the imperfect validator judges wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """Quality and cost of each prompt at each operating point; shape (points, prompts)."""

    quality: Floats
    cost: Floats

    def cost_at(self, target: float, rows: Rows) -> float:
        """Returns the least mean cost of a mix of operating points whose mean quality is enough."""
        quality = self.quality[:, rows].mean(axis=1)
        cost = self.cost[:, rows].mean(axis=1)
        return _least_cost(quality, cost, target)


def hull(quality: Floats, cost: Floats) -> list[int]:
    """Returns the points on the upper hull of quality over cost, cheapest first."""
    kept: list[int] = []
    for place in np.lexsort((-quality, cost)):
        if kept and quality[place] <= quality[kept[-1]]:
            continue
        while len(kept) > 1 and _slope(quality, cost, kept[-2], kept[-1]) <= _slope(
            quality, cost, kept[-1], int(place)
        ):
            kept.pop()
        kept.append(int(place))
    return kept


def measure_routerbench(data: Outcomes) -> dict[str, object]:
    """Returns the costs of reaching the target, by router."""
    fold = data.folds(FOLDS)
    tiers: list[list[int]] = []
    order: list[Rows] = []
    parts: dict[str, list[Floats]] = {}
    for one in range(FOLDS):
        train, test = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        columns = hull(data.quality[train].mean(axis=0), data.cost[train].mean(axis=0))
        tiers.append(columns)
        order.append(test)
        predictions = predicted(data, learned_from(data, train, columns), test)
        first = np.array([[_rank(tier, bar, len(columns)) for tier in predictions] for bar in BARS])
        quality = data.quality[np.ix_(test, columns)]
        cost = data.cost[np.ix_(test, columns)]
        ladder = [np.full((1, len(test)), rank) for rank in range(len(columns))]
        checked = [cascaded(start, quality, cost, 0.0) for start in ladder]
        for name, sweep in {
            "learned": answered(first, quality, cost),
            "shuffled": dealt_out(first, [answered(start, quality, cost) for start in ladder]),
            "learned_with_validator": cascaded(first, quality, cost, 0.0),
            "learned_with_imperfect_validator": cascaded(first, quality, cost, VALIDATOR_ERROR),
            "shuffled_with_validator": dealt_out(first, checked),
            "fixed_start_with_validator": cascaded(np.concatenate(ladder), quality, cost, 0.0),
        }.items():
            parts.setdefault(f"{name} quality", []).append(sweep.quality)
            parts.setdefault(f"{name} cost", []).append(sweep.cost)
    rows = np.concatenate(order)
    names = [name.removesuffix(" quality") for name in parts if name.endswith(" quality")]
    sweeps = {
        name: Sweep(
            quality=_side_by_side(parts[f"{name} quality"]),
            cost=_side_by_side(parts[f"{name} cost"]),
        )
        for name in names
    }
    quality, cost = data.quality[rows], data.cost[rows]
    # Each model as an operating point: mixing them at random is the line along their hull.
    sweeps["random_mix_on_hull"] = Sweep(quality=quality.T, cost=cost.T)
    return _table(data, tiers, sweeps, quality, cost)


def answered(first: Rows, quality: Floats, cost: Floats) -> Sweep:
    """Returns what asking the chosen tier gives."""
    prompts = np.arange(len(quality))
    return Sweep(quality=quality[prompts, first], cost=cost[prompts, first])


def cascaded(first: Rows, quality: Floats, cost: Floats, error: float) -> Sweep:
    """Returns what asking the chosen tier, and the next one while a validator rejects, gives.

    The validator tells right from wrong answers, but for a share of them at random. What is
    rejected is paid for; the last tier's answer is taken.
    """
    chance = np.random.default_rng(0)
    accepts = (quality > 0.5) != (chance.random(quality.shape) < error)
    accepts[:, -1] = True
    prompts = np.arange(len(quality))
    total = np.zeros(first.shape)
    at = first.copy()
    is_open = np.ones(first.shape, dtype=bool)
    for _ in range(quality.shape[1]):
        total += np.where(is_open, cost[prompts, at], 0.0)
        is_open &= ~accepts[prompts, at]
        at = np.where(is_open, at + 1, at)
    return Sweep(quality=quality[prompts, at], cost=total)


def dealt_out(first: Rows, by_tier: Sequence[Sweep]) -> Sweep:
    """Returns what the same mix of tiers at each operating point gives, dealt out at random.

    As its expectation, so that no lucky deal is taken for an operating point.

    Args:
        first: The tier that each prompt starts at, by operating point.
        by_tier: What starting at each tier gives, of one operating point each.
    """
    shares = np.stack([(first == rank).mean(axis=1) for rank in range(len(by_tier))], axis=1)
    return Sweep(
        quality=shares @ np.concatenate([one.quality for one in by_tier]),
        cost=shares @ np.concatenate([one.cost for one in by_tier]),
    )


def _rank(tiers: Sequence[Prediction], bar: float, count: int) -> int:
    """Returns the tier that the service would choose; the highest one without a prediction."""
    if not tiers:
        return count - 1
    return decide_by_evidence(tiers, bar=float(bar), margin=0.0).chosen.rank


def _table(
    data: Outcomes,
    tiers: Sequence[Sequence[int]],
    sweeps: dict[str, Sweep],
    quality: Floats,
    cost: Floats,
) -> dict[str, object]:
    best = int(quality.mean(axis=0).argmax())
    everyone = np.arange(len(quality))
    draws = [
        np.random.default_rng(seed).integers(0, len(quality), len(quality))
        for seed in range(ROUNDS)
    ]

    def with_interval(figure: Callable[[Rows], float]) -> dict[str, object]:
        values = [figure(rows) for rows in draws]
        return {"value": round(figure(everyone), 4), "interval": interval(values)}

    def relative(sweep: Sweep) -> Callable[[Rows], float]:
        def figure(rows: Rows) -> float:
            target = SHARE * quality[rows, best].mean()
            return float(sweep.cost_at(target, rows) / cost[rows, best].mean())

        return figure

    def by_oracle(rows: Rows) -> float:
        """The cheapest right answer to each prompt, the cheapest one where none is right."""
        right = np.where(
            quality[rows] >= quality[rows].max(axis=1, keepdims=True), cost[rows], np.inf
        )
        return float(right.min(axis=1).mean() / cost[rows, best].mean())

    def single(rows: Rows) -> float:
        """The cheapest model that alone reaches the target."""
        enough = quality[rows].mean(axis=0) >= SHARE * quality[rows, best].mean()
        return float(cost[rows].mean(axis=0)[enough].min() / cost[rows, best].mean())

    def lead(over: str, name: str) -> Callable[[Rows], float]:
        left, right = relative(sweeps[over]), relative(sweeps[name])
        return lambda rows: left(rows) - right(rows)

    return {
        "target": f"{SHARE:.0%} of the quality of {data.models[best]}",
        "always_best": {
            "quality": round(float(quality[:, best].mean()), 4),
            "usd_per_1000": round(1e3 * float(cost[:, best].mean()), 4),
        },
        "tiers_by_fold": [[data.models[one] for one in columns] for columns in tiers],
        "cost_by_always_best": {name: with_interval(relative(one)) for name, one in sweeps.items()}
        | {"cheapest_single_model": with_interval(single), "oracle": with_interval(by_oracle)},
        "saved_over": {
            "random_mix_on_hull": with_interval(lead("random_mix_on_hull", "learned")),
            "shuffled": with_interval(lead("shuffled", "learned")),
            "shuffled, both with validator": with_interval(
                lead("shuffled_with_validator", "learned_with_validator")
            ),
        },
        "oracle_quality": round(float(quality.max(axis=1).mean()), 4),
    }


def _least_cost(quality: Floats, cost: Floats, target: float) -> float:
    """Returns the cost at which the hull of operating points reaches a quality."""
    points = hull(quality, cost)
    reached, paid = quality[points], cost[points]
    if target > reached[-1]:
        return float("nan")
    return float(np.interp(target, reached, paid))


def _side_by_side(parts: Sequence[Floats]) -> Floats:
    """Returns the folds' prompts side by side; folds with fewer tiers repeat their last point."""
    most = max(len(one) for one in parts)
    return np.hstack([np.pad(one, ((0, most - len(one)), (0, 0)), mode="edge") for one in parts])


def _slope(quality: Floats, cost: Floats, left: int, right: int) -> float:
    rise, run = quality[right] - quality[left], cost[right] - cost[left]
    return float(rise / run) if run > 0 else float("inf")
