"""Picks the models that a plan is made of.

A plan is bounded twice: in its number of steps, and in what any step may cost beside the first, so
that a failure never turns into a call that is many times dearer without anyone having asked for it.
Models are positions in the registry's columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tierwise_server.deciding.request import Priority
from tierwise_server.planning.limits import Scope
from tierwise_server.planning.ranking import Ranking, ranked_models
from tierwise_server.planning.registry import NEVER, Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """How far a plan may go."""

    max_steps: int = 4
    """The first call, two alternates and one escalation; more escalations when there are fewer
    alternates. A caller who waits 30 s a call does not wait for more."""
    cost_multiple: int = 8
    """Most that a step may cost, as a multiple of the first. Below the tenfold that is known to
    break budgets, and above what one tier up costs on today's price lists, which is 4 to 7.5 times
    from the cheapest model of one tier to the cheapest of the next."""
    provider_spread: int = 2
    """A model of another provider goes before the best of a provider that the plan already calls
    when it costs at most this many times as much, since an outage, a used-up quota or a bad key
    concerns all models of a provider."""


DEFAULT_PLAN_LIMITS: Final = PlanLimits()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shortlist:
    """The models that a plan may be made of, as positions in the registry."""

    scope: Scope
    qualified: Flags
    """The models that meet every limit."""
    priority: Priority
    first: int
    """The chosen model."""
    alternates: Ranking
    """The other models of its tier that qualify, best first."""
    highest_rank: int
    """Rank of the highest tier that the request allows."""

    def tiers(self) -> Iterator[Ranking]:
        """Yields the models of each tier that the plan may use, from the chosen one's up.

        A pinned model has no other steps, and a pinned tier none above it.
        """
        yield self.alternates
        constraints = self.scope.constraints
        if constraints.pinned_tier or constraints.pinned_model:
            return
        rank = self.scope.registry.models[self.first].rank
        for higher in range(rank + 1, self.highest_rank + 1):
            yield ranked_models(self.scope, self.qualified, higher, self.priority)


def select_models(shortlist: Shortlist, limits: PlanLimits) -> list[int]:
    """Returns the models of a plan in the order of its steps, the chosen one first."""
    return _Selection(shortlist, limits).positions()


class _Selection:
    """Picks the models of one plan."""

    def __init__(self, shortlist: Shortlist, limits: PlanLimits) -> None:
        self._scope = shortlist.scope
        self._models = shortlist.scope.registry.models
        self._limits = limits
        self._first = shortlist.first
        self._tiers = _Tiers(shortlist)
        self._ceiling = self._cost_ceiling()

    def positions(self) -> list[int]:
        """Returns the models in the order of the steps.

        One place is kept for an escalation where there can be one, since some failures lead
        nowhere else.
        """
        higher = filter(None, map(self._affordable, self._tiers.above()))
        escalation = next(higher, None)
        chosen = [self._first]
        rest = self._affordable(self._tiers.own)
        while rest and len(chosen) < self._limits.max_steps - (escalation is not None):
            best = self._next(chosen, rest)
            chosen.append(best)
            rest.remove(best)
        while escalation and len(chosen) < self._limits.max_steps:
            chosen.append(self._next(chosen, escalation))
            escalation = next(higher, None)
        return self._with_larger_window(chosen)

    def _cost_ceiling(self) -> int | None:
        """Returns the most that a step may cost; None when the first one's price is unknown.

        A multiple of nothing means nothing: after a model that is free, the measure is the
        cheapest that is not, of the same tier or else of the nearest one above.
        """
        cost = self._scope.cost(self._first)
        if cost is None:
            return None
        if cost > 0:
            return cost * self._limits.cost_multiple
        for tier in self._tiers.all():
            costs = self._scope.costs[tier]
            paid = costs[(costs > 0) & (costs != NEVER)]
            if paid.size:
                return int(paid.min()) * self._limits.cost_multiple
        return 0

    def _affordable(self, tier: Ranking) -> list[int]:
        """Returns the models that may be steps, best first.

        Where a price is unknown the multiple is too: such a model may stand in for one of its own
        tier, which is there because it costs about as much, but nothing goes up on an unknown
        price.
        """
        alternates = tier is self._tiers.own
        if self._ceiling is None:
            return list(tier.tolist()) if alternates else []
        costs = self._scope.costs[tier]
        affordable = costs <= self._ceiling
        if alternates:
            affordable |= costs == NEVER
        # Costs of any length compare to columns of objects.
        found: list[int] = tier[affordable.astype(np.bool_, copy=False)].tolist()
        return found

    def _next(self, chosen: Sequence[int], candidates: Sequence[int]) -> int:
        """Returns the best candidate, or one of a new provider that costs about as much."""
        best = candidates[0]
        providers = {self._models[one].model.provider for one in chosen}
        if self._models[best].model.provider not in providers:
            return best
        cost = self._scope.cost(best)
        for one in candidates:
            if self._models[one].model.provider in providers:
                continue
            other = self._scope.cost(one)
            if other == cost or (
                cost is not None
                and other is not None
                and other <= cost * self._limits.provider_spread
            ):
                return one
        return best

    def _with_larger_window(self, chosen: list[int]) -> list[int]:
        """Returns the choice with a way out for input that turns out too long, if there is one.

        The nearest tier that has a larger window gives it; tiers between are skipped. It takes the
        place of the last alternate when the plan is full.
        """
        models = self._models
        window = models[self._first].model.context_window
        if self._scope.registry.largest_window <= window:
            return chosen
        if any(models[one].model.context_window > window for one in chosen):
            return chosen
        affordable = (one for tier in self._tiers.all() for one in self._affordable(tier))
        larger = (one for one in affordable if models[one].model.context_window > window)
        added = next(larger, None)
        if added is None:
            return chosen
        if len(chosen) >= self._limits.max_steps:
            rank = models[self._first].rank
            alternates = [one for one in chosen[1:] if models[one].rank == rank]
            if not alternates:
                return chosen
            chosen.remove(alternates[-1])
        # Sorting keeps the order inside a tier.
        return [chosen[0], *sorted([*chosen[1:], added], key=lambda one: models[one].rank)]


class _Tiers:
    """The tiers of a plan, ranked when they are first looked at: most plans never reach the top."""

    def __init__(self, shortlist: Shortlist) -> None:
        self._tiers = shortlist.tiers()
        self.own = next(self._tiers)
        self._seen: list[Ranking] = []

    def above(self) -> Iterator[Ranking]:
        """Yields the tiers above the chosen model's."""
        yield from self._seen
        for tier in self._tiers:
            self._seen.append(tier)
            yield tier

    def all(self) -> Iterator[Ranking]:
        """Yields the chosen model's tier and those above."""
        yield self.own
        yield from self.above()
