"""Chooses the model: limits first, then the request's priority, then one tier up."""

from __future__ import annotations

from dataclasses import dataclass

from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.request import Priority, RoutingRequest
from tierwise_server.planning.call import measure_call
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
from tierwise_server.planning.registry import ModelRegistry, PricedModel
from tierwise_server.planning.selection import DEFAULT_PLAN_LIMITS, PlanLimits, Shortlist


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
        seed: What weighted choices are keyed by when the request has no affinity key: a hash of
            its text or vector.
        limits: How far the plan may go.

    Raises:
        NoModelQualifiesError: No model meets the request's limits.
    """
    if not registry.models or registry.baseline is None:
        return None
    scope = _scope(registry, verdict, bounds, request, language, fleet)
    qualified = qualified_models(scope)
    for rank in scope.ranks:
        ranking = ranked_models(scope, qualified, rank, request.priority)
        if ranking.size:
            break
    else:
        raise NoModelQualifiesError(_drops(scope))
    first, propensity = _first(registry, ranking, verdict, request, seed)
    shortlist = Shortlist(
        scope=scope,
        qualified=qualified,
        priority=request.priority,
        first=first,
        alternates=ranking[ranking != first],
        highest_rank=bounds.highest,
    )
    baseline = registry.baseline
    return ModelChoice(
        model=registry.models[first],
        plan=plan_for(shortlist, limits),
        estimated_cost_nano_usd=scope.cost(first),
        baseline=baseline,
        counterfactual_cost_nano_usd=scope.cost(registry.position_of[baseline.model.id]),
        propensity=propensity,
    )


def explain_drops(
    registry: ModelRegistry,
    verdict: Verdict,
    bounds: TierBounds,
    request: RoutingRequest,
    *,
    language: str,
    fleet: FleetView,
) -> tuple[DroppedModel, ...]:
    """Returns the models that a decision could not use, each with the first limit it misses."""
    if not registry.models:
        return ()
    return _drops(_scope(registry, verdict, bounds, request, language, fleet))


def _scope(
    registry: ModelRegistry,
    verdict: Verdict,
    bounds: TierBounds,
    request: RoutingRequest,
    language: str,
    fleet: FleetView,
) -> Scope:
    constraints = request.constraints
    rank = verdict.tier.rank
    if constraints.pinned_tier or constraints.pinned_model:
        # A pin holds "whatever the prompt is", so it holds for every step as well.
        ranks: tuple[int, ...] = (rank,)
    else:
        ranks = tuple(range(rank, bounds.highest + 1))
        if constraints.downgrade_allowed:
            ranks += tuple(range(rank - 1, bounds.lowest - 1, -1))
    call = measure_call(request, language)
    return Scope(
        registry=registry,
        call=call,
        costs=estimate_costs(registry, call),
        constraints=constraints,
        capabilities=(
            verdict.required_capabilities
            | constraints.required_capabilities
            | {CAPABILITY_OF_ATTACHMENT[kind] for kind in request.attachments}
        ),
        fleet=fleet_columns(registry, fleet),
        decided_rank=rank,
        ranks=ranks,
    )


def _first(
    registry: ModelRegistry,
    ranking: Ranking,
    verdict: Verdict,
    request: RoutingRequest,
    seed: bytes,
) -> tuple[int, float | None]:
    """Returns the model to call first, and the share of keys that get it where chance decides."""
    if verdict.model and (named := registry.position_of[verdict.model]) in ranking:
        return named, None
    if registry.weights and request.priority is Priority.COST:
        draw = draw_by_weight(registry, ranking.tolist(), request.affinity_key.encode() or seed)
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
