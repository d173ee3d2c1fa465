"""The cost-matched shuffle control: is the router better than its own tier mix dealt at random?

A router that sends 70 of 100 prompts to the cheapest tier saves money whichever 70 they are. It
earns its name only when answers are better than if the same number of prompts had been sent there
by chance. That can be told from prompts of which the answers of all those tiers were judged.

Over all orders of dealing the same mix, the mean grade of a shuffle has a closed form: the mean
grade of each tier on all prompts, weighted by the tier's share of the router's choices. The
interval is a percentile bootstrap over prompts, with a fixed seed: the same rows give the same
figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tierwise_server.reporting.judgements import PROMPT_ID
from tierwise_server.reporting.rows import JudgedCall

LEAST_PROMPTS: Final = 30
"""Prompts below which a bootstrap interval is too narrow to be believed."""

RESAMPLES: Final = 2_000
SEED: Final = 7_461_301
COVERAGE: Final = 0.95

_LEAST_TIERS: Final = 2
_HOW: Final = (
    "Route some prompts once freely and once pinned to each other tier, give all calls of a prompt"
    f" the same `{PROMPT_ID}` in their metadata, and report a quality or a verdict for each"
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIdentifiable:
    """The ledger cannot tell; nothing is claimed."""

    reason: str
    missing: str
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleControl:
    """How the router stands against its own mix dealt at random."""

    prompts: int
    mix: tuple[tuple[str, int], ...]
    """Prompts that the router sent to each tier."""
    router_grade: float
    shuffled_grade: float
    low: float
    """Least gain over the shuffle that the data leaves likely."""
    high: float
    router_cost_nano_usd: float | None
    """Mean of a call; None where a cost is not known."""
    shuffled_cost_nano_usd: float | None

    @property
    def gain(self) -> float:
        """What the router adds to the mean grade of a shuffle."""
        return self.router_grade - self.shuffled_grade

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `no different`, by whether the interval leaves zero out."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no different"


@dataclass(frozen=True, slots=True)
class _Prompt:
    choice: str
    grades: Mapping[str, float]
    costs: Mapping[str, float | None]


def shuffle_control(
    judged: Sequence[JudgedCall], order: Sequence[str]
) -> ShuffleControl | NotIdentifiable:
    """Returns the control, or why the judged calls do not tell.

    Args:
        judged: Judged calls.
        order: Tiers, cheapest first.
    """
    if not judged:
        return NotIdentifiable(
            reason="no call was judged",
            missing="Report a quality or a verdict with outcomes. " + _HOW,
        )
    several = [one for one in _prompts(judged) if len(one.grades) >= _LEAST_TIERS]
    if not several:
        return NotIdentifiable(
            reason=f"of {len(judged)} judged calls, no prompt was judged on several tiers",
            missing=_HOW,
        )
    tiers = [one for one in order if any(prompt.choice == one for prompt in several)]
    complete = [one for one in several if all(tier in one.grades for tier in tiers)]
    if len(tiers) < _LEAST_TIERS:
        return NotIdentifiable(
            reason=f"the router sent every prompt that was judged on several tiers ({len(several)})"
            f" to {tiers[0]}, and a shuffle of one tier changes nothing",
            missing="Judge prompts that the router sends to different tiers",
        )
    if len(complete) < LEAST_PROMPTS:
        return NotIdentifiable(
            reason=f"{len(complete)} prompts were judged on all of {', '.join(tiers)}, fewer than"
            f" {LEAST_PROMPTS}",
            missing=_HOW,
        )
    return _control(complete, tiers)


def _prompts(judged: Sequence[JudgedCall]) -> list[_Prompt]:
    """Returns the prompts with several calls, of which the router was free to choose one's tier.

    The first free choice counts as the router's.
    """
    times = Counter(one.prompt_key for one in judged)
    calls: defaultdict[str, list[JudgedCall]] = defaultdict(list)
    for one in judged:
        if times[one.prompt_key] > 1:
            calls[one.prompt_key].append(one)
    prompts = []
    for same in calls.values():
        free = [one for one in same if one.free]
        if not free:
            continue
        choice = min(free, key=lambda one: one.decided_ms).tier
        by_tier: defaultdict[str, list[JudgedCall]] = defaultdict(list)
        for one in same:
            by_tier[one.final_tier].append(one)
        prompts.append(
            _Prompt(
                choice=choice,
                grades={
                    tier: sum(one.grade for one in some) / len(some)
                    for tier, some in by_tier.items()
                },
                costs={tier: _mean_cost(some) for tier, some in by_tier.items()},
            )
        )
    return prompts


def _mean_cost(calls: Sequence[JudgedCall]) -> float | None:
    costs = [one.cost_nano_usd for one in calls if one.cost_nano_usd is not None]
    return sum(costs) / len(costs) if len(costs) == len(calls) else None


def _control(prompts: Sequence[_Prompt], tiers: Sequence[str]) -> ShuffleControl:
    grades = np.array([[one.grades[tier] for tier in tiers] for one in prompts])
    choices = np.array([tiers.index(one.choice) for one in prompts])
    costs = [[one.costs[tier] for tier in tiers] for one in prompts]
    router, shuffled = _means(grades, choices)
    low, high = _interval(grades, choices)
    router_cost = shuffled_cost = None
    if all(cost is not None for row in costs for cost in row):
        router_cost, shuffled_cost = _means(np.array(costs, dtype=np.float64), choices)
    mix = Counter(one.choice for one in prompts)
    return ShuffleControl(
        prompts=len(prompts),
        mix=tuple((tier, mix[tier]) for tier in tiers),
        router_grade=router,
        shuffled_grade=shuffled,
        low=low,
        high=high,
        router_cost_nano_usd=router_cost,
        shuffled_cost_nano_usd=shuffled_cost,
    )


def _means(values: Floats, choices: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Returns the mean value of the chosen tiers, and that over all orders of dealing the mix."""
    count, tiers = values.shape
    mix = np.bincount(choices, minlength=tiers) / count
    return float(values[np.arange(count), choices].mean()), float(mix @ values.mean(axis=0))


def _interval(grades: Floats, choices: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Returns the bounds of the gain, by drawing prompts again and again."""
    chance = np.random.default_rng(SEED)
    count = len(choices)
    gains = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = chance.integers(0, count, count)
        router, shuffled = _means(grades[drawn], choices[drawn])
        gains[number] = router - shuffled
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(gains, (tail, 1 - tail))
    return float(low), float(high)
