"""Chooses the model: limits first, then the request's priority, then one tier up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from tierwise_server.catalog.registry import Capability
from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.request import (
    NO_CONSTRAINTS,
    Constraints,
    Priority,
    RoutingRequest,
)
from tierwise_server.planning.call import CallSize, measure_call
from tierwise_server.planning.costs import estimate_costs
from tierwise_server.planning.errors import DroppedModel, NoModelQualifiesError
from tierwise_server.planning.fleet import FleetView, fleet_columns
from tierwise_server.planning.limits import (
    CAPABILITY_OF_ATTACHMENT,
    Scope,
    limits_of,
    qualified_models,
)
from tierwise_server.planning.plan import Plan, plan_for
from tierwise_server.planning.ranking import Ranking, draw_by_weight, ranked_models
from tierwise_server.planning.registry import Flags, ModelRegistry, PricedModel
from tierwise_server.planning.selection import DEFAULT_PLAN_LIMITS, PlanLimits, Shortlist

REMEMBERED_CHOICES: Final = 4096
"""Choices that are kept for requests like those before: about 6 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelChoice:
    """The model of a decision, what it should cost, and what to call when it fails."""

    model: PricedModel
    plan: Plan
    estimated_cost_nano_usd: int | None
    """Of calling the model once. None means unpriced."""
    baseline: PricedModel
    """Model that the saving is measured against."""
    counterfactual_cost_nano_usd: int | None
    """Estimated cost of the same call on the baseline. None means unpriced."""
    propensity: float | None = None
    """Share of all affinity keys for which this model would be chosen; None when nothing was left
    to chance."""


def plan_models(
    registry: ModelRegistry,
    verdict: Verdict,
    bounds: TierBounds,
    request: RoutingRequest,
    *,
    language: str,
    fleet: FleetView,
    seed: bytes,
    limits: PlanLimits = DEFAULT_PLAN_LIMITS,
) -> ModelChoice | None:
    """Chooses the model for a verdict and plans the attempts; None without any models.

    Weights apply under the cost priority, among the qualified models of the tier that state one:
    where an operator splits a tier's calls by weight, models without a weight wait as alternates.

    Args:
        registry: The catalog's models.
        verdict: Tier and task, and what rules ask of the model.
        bounds: Tiers that the request allows.
        request: The request that the verdict is for.
        language: ISO 639-1 code that was stated or detected; empty when not known.
        fleet: What is known of the models' health.
        seed: What weighted choices and probes are keyed by when the request has no affinity key:
            its text or vector.
        limits: How far the plan may go.

    Raises:
        NoModelQualifiesError: No model meets the request's limits.
    """
    key = request.affinity_key.encode() or seed
    need = _need(verdict, bounds, request, language, fleet.probe(key))
    if request.constraints is NO_CONSTRAINTS and not registry.weights:
        return _remembered_choice(registry, fleet, need, limits)
    return _choice(registry, fleet, need, request.constraints, limits, key)


def explain_drops(
    registry: ModelRegistry,
    verdict: Verdict,
    bounds: TierBounds,
    request: RoutingRequest,
    *,
    language: str,
    fleet: FleetView,
    seed: bytes,
) -> tuple[DroppedModel, ...]:
    """Returns the models that a decision could not use, each with the first limit it misses.

    Takes what `plan_models` takes.
    """
    if not registry.models:
        return ()
    probe = fleet.probe(request.affinity_key.encode() or seed)
    need = _need(verdict, bounds, request, language, probe)
    return _drops(_qualified(registry, fleet, need, request.constraints)[0])


class _Need(NamedTuple):
    """What a choice depends on, beside the models, the caller's constraints and chance."""

    call: CallSize
    rank: int
    """Rank of the decided tier."""
    bounds: TierBounds
    capabilities: frozenset[Capability]
    priority: Priority
    model: str
    """Model that a rule names; empty leaves the choice open."""
    probe: int
    """What the request drew among the probes of models that may be well again."""


def _need(
    verdict: Verdict, bounds: TierBounds, request: RoutingRequest, language: str, probe: int
) -> _Need:
    capabilities = verdict.required_capabilities | request.constraints.required_capabilities
    if request.attachments:
        capabilities |= {CAPABILITY_OF_ATTACHMENT[kind] for kind in request.attachments}
    return _Need(
        call=measure_call(request, language),
        rank=verdict.tier.rank,
        bounds=bounds,
        capabilities=capabilities,
        priority=request.priority,
        model=verdict.model,
        probe=probe,
    )


@lru_cache(maxsize=REMEMBERED_CHOICES)
def _remembered_choice(
    registry: ModelRegistry, fleet: FleetView, need: _Need, limits: PlanLimits
) -> ModelChoice | None:
    """Returns the choice for a request that neither constrains it nor leaves it to chance.

    Such a choice is a pure function of few values, and the calls of one tier are alike: of short
    prompts nearly all, and of prompts of 60 tokens about three in four have a size that came
    before.
    """
    return _choice(registry, fleet, need, NO_CONSTRAINTS, limits, b"")


def _choice(
    registry: ModelRegistry,
    fleet: FleetView,
    need: _Need,
    constraints: Constraints,
    limits: PlanLimits,
    key: bytes,
) -> ModelChoice | None:
    baseline = registry.baseline
    if baseline is None:
        return None
    scope, qualified = _qualified(registry, fleet, need, constraints)
    for rank in scope.ranks:
        ranking = ranked_models(scope, qualified, rank, need.priority)
        if ranking.size:
            break
    else:
        raise NoModelQualifiesError(_drops(scope))
    first, propensity = _first(registry, ranking, need, key)
    shortlist = Shortlist(
        scope=scope,
        qualified=qualified,
        priority=need.priority,
        first=first,
        alternates=ranking[ranking != first],
        highest_rank=need.bounds.highest,
    )
    return ModelChoice(
        model=registry.models[first],
        plan=plan_for(shortlist, limits),
        estimated_cost_nano_usd=scope.cost(first),
        baseline=baseline,
        counterfactual_cost_nano_usd=scope.cost(registry.position_of[baseline.model.id]),
        propensity=propensity,
    )


def _qualified(
    registry: ModelRegistry, fleet: FleetView, need: _Need, constraints: Constraints
) -> tuple[Scope, Flags]:
    """Returns what models are held against, and those that meet it.

    Where health and headroom would leave none, they are not minded: better a model that is ill
    than none.
    """
    scope = _scope(registry, fleet, need, constraints)
    qualified = qualified_models(scope)
    if scope.fleet is None or qualified.any():
        return scope, qualified
    regardless = replace(scope, minds_health=False)
    qualified = qualified_models(regardless)
    # Where no model would do either way, the reasons are those of the whole scope.
    return (regardless, qualified) if qualified.any() else (scope, qualified)


def _scope(
    registry: ModelRegistry, fleet: FleetView, need: _Need, constraints: Constraints
) -> Scope:
    rank, bounds = need.rank, need.bounds
    if constraints.pinned_tier or constraints.pinned_model:
        # A pin holds "whatever the prompt is", so it holds for every step as well.
        ranks: tuple[int, ...] = (rank,)
    else:
        ranks = tuple(range(rank, bounds.highest + 1))
        if constraints.downgrade_allowed:
            ranks += tuple(range(rank - 1, bounds.lowest - 1, -1))
    return Scope(
        registry=registry,
        call=need.call,
        costs=estimate_costs(registry, need.call),
        constraints=constraints,
        capabilities=need.capabilities,
        fleet=fleet_columns(registry, fleet),
        probe=need.probe,
        decided_rank=rank,
        ranks=ranks,
    )


def _first(
    registry: ModelRegistry, ranking: Ranking, need: _Need, key: bytes
) -> tuple[int, float | None]:
    """Returns the model to call first, and the share of keys that get it where chance decides."""
    if need.model and (named := registry.position_of[need.model]) in ranking:
        return named, None
    if registry.weights and need.priority is Priority.COST:
        draw = draw_by_weight(registry, ranking.tolist(), key)
        if draw is not None:
            return draw
    return ranking.item(0), None


def _drops(scope: Scope) -> tuple[DroppedModel, ...]:
    limits = tuple(limits_of(scope))
    dropped: list[DroppedModel] = []
    for position in scope.registry.file_order:
        limit = next((one for one in limits if not one.models[position]), None)
        if limit is not None:
            dropped.append(
                DroppedModel(
                    model_id=scope.registry.models[position].model.id,
                    constraint=limit.constraint,
                    description=limit.describe(scope, position),
                )
            )
    return tuple(dropped)
