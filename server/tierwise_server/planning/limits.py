"""Tells which models meet the limits of a request, and of the others why they do not.

A limit on what the catalog says of a model is a set of models, so that all of them together cost a
few operations for any number of models. What depends on the call's price or on the fleet is looked
at model by model, and only where a tier's models are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Final

from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.request import Constraints
from tierwise_server.planning.call import CallSize
from tierwise_server.planning.fleet import FleetView
from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.planning.registry import ModelRegistry, PricedModel

CAPABILITY_OF_ATTACHMENT: Final = {
    AttachmentKind.IMAGE: Capability.VISION,
    AttachmentKind.AUDIO: Capability.AUDIO,
    AttachmentKind.VIDEO: Capability.VIDEO,
    AttachmentKind.DOCUMENT: Capability.DOCUMENTS,
}
"""What a model must be able to do to take an attachment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """Everything that models are held against, for one request."""

    registry: ModelRegistry
    call: CallSize
    constraints: Constraints
    capabilities: frozenset[Capability]
    """What the model must be able to do, rules and attachments included."""
    fleet: FleetView
    decided_rank: int
    ranks: tuple[int, ...]
    """Ranks of the tiers that may be used, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of a request on what the catalog says of models."""

    constraint: str
    """Name in kebab-case, for programs."""
    models: int
    """Set of the models that meet it."""
    describe: Callable[[Scope, PricedModel], str]
    """Tells, for people, why a model does not meet it."""


def static_limits(scope: Scope) -> Iterator[Limit]:
    """Yields the request's limits, in the order in which a dropped model's reason is looked for."""
    registry, call, constraints = scope.registry, scope.call, scope.constraints
    yield Limit(
        constraint="tier",
        models=reduce(_or, (registry.tier_sets[rank] for rank in scope.ranks), 0),
        describe=_tier,
    )
    yield from _naming_limits(registry, constraints)
    for capability in sorted(scope.capabilities):
        if (models := registry.by_capability.get(capability, 0)) != registry.all_set:
            yield Limit(constraint="capability", models=models, describe=_capability)
    for label in constraints.required_labels.items():
        yield Limit(
            constraint="label", models=registry.by_label.get(label, 0), describe=_label
        )
    yield Limit(
        constraint="context-window",
        models=reduce(
            _or,
            (
                windows.at_least(tokens + call.output_tokens)
                for windows, tokens in zip(registry.windows, call.safe_input_tokens, strict=True)
            ),
        ),
        describe=_context_window,
    )
    if call.output_stated:
        yield Limit(
            constraint="output-limit",
            models=registry.output_limits.at_least(call.output_tokens),
            describe=_output_limit,
        )
    if constraints.cost_ceiling_nano_usd is not None:
        yield Limit(
            constraint="price-unknown", models=registry.priced_set, describe=_price_unknown
        )
    yield Limit(
        constraint="no-headroom",
        models=reduce(
            _or,
            (
                limits.at_least(tokens + call.output_tokens)
                for limits, tokens in zip(registry.token_limits, call.input_tokens, strict=True)
            ),
        ),
        describe=_token_limit,
    )


def _naming_limits(registry: ModelRegistry, constraints: Constraints) -> Iterator[Limit]:
    """Yields the limits that name providers or models."""
    everything = registry.all_set
    if constraints.pinned_model:
        pinned = registry.by_id[constraints.pinned_model].bit
        yield Limit(constraint="model-not-allowed", models=pinned, describe=_not_pinned)
    providers = registry.by_provider
    if constraints.allowed_providers:
        allowed = reduce(_or, (providers.get(one, 0) for one in constraints.allowed_providers))
        yield Limit(
            constraint="provider-not-allowed", models=allowed, describe=_provider_not_allowed
        )
    if constraints.denied_providers:
        denied = reduce(_or, (providers.get(one, 0) for one in constraints.denied_providers))
        yield Limit(
            constraint="provider-denied", models=everything & ~denied, describe=_provider_denied
        )
    if constraints.allowed_models:
        allowed = reduce(_or, (registry.by_id[one].bit for one in constraints.allowed_models))
        yield Limit(constraint="model-not-allowed", models=allowed, describe=_model_not_allowed)
    if constraints.denied_models:
        denied = reduce(_or, (registry.by_id[one].bit for one in constraints.denied_models))
        yield Limit(
            constraint="model-denied", models=everything & ~denied, describe=_model_denied
        )


def qualified_models(scope: Scope) -> int:
    """Returns the set of models that meet every limit on what the catalog says of them."""
    return reduce(and_, (limit.models for limit in static_limits(scope)))


def dynamic_drop(scope: Scope, model: PricedModel, cost: int | None) -> tuple[str, str] | None:
    """Returns the limit on price or fleet that a model does not meet, and why; None if it does.

    Args:
        scope: What the model is held against.
        model: The model.
        cost: Estimated cost of the call on it. None means unknown.
    """
    ceiling = scope.constraints.cost_ceiling_nano_usd
    if ceiling is not None and cost is not None and cost > ceiling:
        return "cost-ceiling", f"a call costs about {_usd(cost)}, above {_usd(ceiling)}"
    health = scope.fleet.models.get(model.model.id)
    if health is None:
        return None
    if not health.available:
        return "unhealthy", "it cools down after failures"
    if health.remaining_requests is not None and health.remaining_requests < 1:
        return "no-headroom", "its provider takes no further request in this minute"
    needed = scope.call.input_tokens[model.family] + scope.call.output_tokens
    if health.remaining_tokens is not None and health.remaining_tokens < needed:
        return (
            "no-headroom",
            f"the call needs about {needed:,} tokens, and its provider takes"
            f" {health.remaining_tokens:,} more in this minute",
        )
    return None


def has_dynamic_limits(scope: Scope) -> bool:
    """Returns whether `dynamic_drop` can drop any model."""
    return bool(scope.fleet.models) or scope.constraints.cost_ceiling_nano_usd is not None


def _or(left: int, right: int) -> int:
    return left | right


def _usd(nano_usd: int) -> str:
    return f"{nano_usd / NANO_USD_PER_USD:.6f} USD"


def _tier(scope: Scope, model: PricedModel) -> str:
    tiers = scope.registry.tier_ids
    own, decided = tiers[model.rank], tiers[scope.decided_rank]
    if scope.constraints.pinned_tier or scope.constraints.pinned_model:
        return f"it is of tier {own}, and the request pins another"
    if model.rank < scope.decided_rank and not scope.constraints.downgrade_allowed:
        return f"it is of tier {own}, below {decided}, and the request allows no downgrade"
    return f"it is of tier {own}, which the request's limits leave out"


def _not_pinned(scope: Scope, model: PricedModel) -> str:
    return f"the request pins {scope.constraints.pinned_model}"


def _provider_not_allowed(scope: Scope, model: PricedModel) -> str:
    return f"its provider {model.model.provider} is not among the allowed ones"


def _provider_denied(scope: Scope, model: PricedModel) -> str:
    return f"the request denies its provider {model.model.provider}"


def _model_not_allowed(scope: Scope, model: PricedModel) -> str:
    return "it is not among the allowed models"


def _model_denied(scope: Scope, model: PricedModel) -> str:
    return "the request denies it"


def _capability(scope: Scope, model: PricedModel) -> str:
    missing = sorted(scope.capabilities - model.model.capabilities)
    return f"it lacks {', '.join(missing)}"


def _label(scope: Scope, model: PricedModel) -> str:
    missing = [
        f"{key}={value}"
        for key, value in scope.constraints.required_labels.items()
        if model.model.labels.get(key) != value
    ]
    return f"it does not carry {', '.join(missing)}"


def _context_window(scope: Scope, model: PricedModel) -> str:
    tokens = scope.call.safe_input_tokens[model.family]
    return (
        f"input of up to {tokens:,} tokens and output of {scope.call.output_tokens:,} do not fit"
        f" into its window of {model.model.context_window:,}"
    )


def _output_limit(scope: Scope, model: PricedModel) -> str:
    return (
        f"it writes at most {model.model.max_output_tokens:,} tokens, and the request expects"
        f" {scope.call.output_tokens:,}"
    )


def _price_unknown(scope: Scope, model: PricedModel) -> str:
    return "its price is unknown, and the request sets a cost ceiling"


def _token_limit(scope: Scope, model: PricedModel) -> str:
    needed = scope.call.input_tokens[model.family] + scope.call.output_tokens
    return (
        f"the call needs about {needed:,} tokens, and its limit is"
        f" {model.model.limits.tokens_per_minute:,} a minute"
    )
