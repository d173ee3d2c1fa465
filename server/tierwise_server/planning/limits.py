"""Tells which models meet the limits of a request, and of the others why they do not.

A limit is a set of models, so that all limits together cost a few operations for any number of
models. Sentences are made only for models whose reason someone asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Final

import numpy as np

from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.request import Constraints
from tierwise_server.planning.call import CallSize
from tierwise_server.planning.costs import Costs
from tierwise_server.planning.fleet import FleetColumns
from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.planning.registry import NEVER, Flags, ModelRegistry, Numbers

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
    costs: Costs
    constraints: Constraints
    capabilities: frozenset[Capability]
    """What the model must be able to do, rules and attachments included."""
    fleet: FleetColumns | None
    """None when nothing is known of the fleet."""
    probe: int
    """Lowest probe level at which the plan calls a model that is being probed."""
    decided_rank: int
    ranks: tuple[int, ...]
    """Ranks of the tiers that may be used, in the order in which they are tried."""
    minds_health: bool = True
    """Whether models that are ill or exhausted are dropped."""

    def cost(self, position: int) -> int | None:
        """Returns the estimated cost of the call on a model; None when its price is unknown."""
        cost: int = self.costs.item(position)
        return None if cost == NEVER else cost


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limit:
    """One limit of a request."""

    constraint: str
    """Name in kebab-case, for programs."""
    models: Flags
    """The models that meet it."""
    describe: Callable[[Scope, int], str]
    """Tells, for people, why the model at a position does not meet it."""


def qualified_models(scope: Scope) -> Flags:
    """Returns the models that meet every limit."""
    return reduce(and_, (limit.models for limit in limits_of(scope)))


def limits_of(scope: Scope) -> Iterator[Limit]:
    """Yields the request's limits, in the order in which a dropped model's reason is looked for."""
    yield Limit(constraint="tier", models=_models_of_tiers(scope), describe=_tier)
    yield from _naming_limits(scope.registry, scope.constraints)
    yield from _ability_limits(scope)
    yield from _size_limits(scope.registry, scope.call)
    yield from _price_limits(scope)
    if scope.fleet is not None and scope.minds_health:
        yield from _fleet_limits(scope, scope.fleet)


def _models_of_tiers(scope: Scope) -> Flags:
    found = scope.registry.nothing.copy()
    for rank in scope.ranks:
        found[scope.registry.tiers[rank]] = True
    return found


def _naming_limits(registry: ModelRegistry, constraints: Constraints) -> Iterator[Limit]:
    """Yields the limits that name providers or models."""
    if constraints.pinned_model:
        pinned = registry.named([constraints.pinned_model])
        yield Limit(constraint="model-not-allowed", models=pinned, describe=_not_pinned)
    if constraints.allowed_providers:
        allowed = _of_providers(registry, constraints.allowed_providers)
        yield Limit(
            constraint="provider-not-allowed", models=allowed, describe=_provider_not_allowed
        )
    if constraints.denied_providers:
        denied = _of_providers(registry, constraints.denied_providers)
        yield Limit(constraint="provider-denied", models=~denied, describe=_provider_denied)
    if constraints.allowed_models:
        allowed = registry.named(constraints.allowed_models)
        yield Limit(constraint="model-not-allowed", models=allowed, describe=_model_not_allowed)
    if constraints.denied_models:
        denied = registry.named(constraints.denied_models)
        yield Limit(constraint="model-denied", models=~denied, describe=_model_denied)


def _of_providers(registry: ModelRegistry, providers: frozenset[str]) -> Flags:
    found = registry.nothing.copy()
    for provider in providers:
        found |= registry.by_provider.get(provider, registry.nothing)
    return found


def _ability_limits(scope: Scope) -> Iterator[Limit]:
    registry = scope.registry
    for capability in sorted(scope.capabilities):
        models = registry.by_capability.get(capability, registry.nothing)
        yield Limit(constraint="capability", models=models, describe=_capability)
    for label in scope.constraints.required_labels.items():
        models = registry.by_label.get(label, registry.nothing)
        yield Limit(constraint="label", models=models, describe=_label)


def _size_limits(registry: ModelRegistry, call: CallSize) -> Iterator[Limit]:
    output = call.output_tokens
    # Most calls are far below every limit, which one comparison tells.
    if max(call.safe_input_tokens) + output > registry.smallest_window:
        needed = _by_family(registry, call.safe_input_tokens) + output
        yield Limit(
            constraint="context-window",
            models=registry.context_window >= needed,
            describe=_context_window,
        )
    if call.output_stated:
        yield Limit(
            constraint="output-limit",
            models=registry.max_output_tokens >= output,
            describe=_output_limit,
        )
    if max(call.input_tokens) + output > registry.smallest_rate:
        needed = _by_family(registry, call.input_tokens) + output
        yield Limit(
            constraint="no-headroom",
            models=registry.tokens_per_minute >= needed,
            describe=_token_limit,
        )


def _price_limits(scope: Scope) -> Iterator[Limit]:
    ceiling = scope.constraints.cost_ceiling_nano_usd
    if ceiling is not None or scope.constraints.priced_only:
        yield Limit(
            constraint="price-unknown", models=scope.registry.priced, describe=_price_unknown
        )
    if ceiling is not None:
        yield Limit(
            constraint="cost-ceiling",
            models=(scope.costs <= ceiling).astype(np.bool_),
            describe=_cost_ceiling,
        )


def _fleet_limits(scope: Scope, fleet: FleetColumns) -> Iterator[Limit]:
    yield Limit(constraint="unhealthy", models=fleet.usable(scope.probe), describe=_unhealthy)
    yield Limit(
        constraint="no-headroom", models=fleet.remaining_requests >= 1, describe=_request_headroom
    )
    needed = _by_family(scope.registry, scope.call.input_tokens) + scope.call.output_tokens
    yield Limit(
        constraint="no-headroom",
        models=fleet.remaining_tokens >= needed,
        describe=_token_headroom,
    )


def _by_family(registry: ModelRegistry, tokens: tuple[int, ...]) -> Numbers:
    return np.array(tokens, dtype=np.int64)[registry.family]


def _usd(nano_usd: int) -> str:
    return f"{nano_usd / NANO_USD_PER_USD:.6f} USD"


def _tier(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    tiers = scope.registry.tier_ids
    own, decided = tiers[model.rank], tiers[scope.decided_rank]
    if scope.constraints.pinned_tier or scope.constraints.pinned_model:
        return f"it is of tier {own}, and the request pins another"
    if model.rank < scope.decided_rank and not scope.constraints.downgrade_allowed:
        return f"it is of tier {own}, below {decided}, and the request allows no downgrade"
    return f"it is of tier {own}, which the request's limits leave out"


def _not_pinned(scope: Scope, _position: int) -> str:
    return f"the request pins {scope.constraints.pinned_model}"


def _provider_not_allowed(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    return f"its provider {model.model.provider} is not among the allowed ones"


def _provider_denied(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    return f"the request denies its provider {model.model.provider}"


def _model_not_allowed(_scope: Scope, _position: int) -> str:
    return "it is not among the allowed models"


def _model_denied(_scope: Scope, _position: int) -> str:
    return "the request denies it"


def _capability(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    missing = sorted(scope.capabilities - model.model.capabilities)
    return f"it lacks {', '.join(missing)}"


def _label(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    missing = [
        f"{key}={value}"
        for key, value in scope.constraints.required_labels.items()
        if model.model.labels.get(key) != value
    ]
    return f"it does not carry {', '.join(missing)}"


def _context_window(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    tokens = scope.call.safe_input_tokens[model.family]
    return (
        f"input of up to {tokens:,} tokens and output of {scope.call.output_tokens:,} do not fit"
        f" into its window of {model.model.context_window:,}"
    )


def _output_limit(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    return (
        f"it writes at most {model.model.max_output_tokens:,} tokens, and the request expects"
        f" {scope.call.output_tokens:,}"
    )


def _price_unknown(scope: Scope, _position: int) -> str:
    if scope.constraints.cost_ceiling_nano_usd is None:
        return "its price is unknown, and the caller has a spend limit"
    return "its price is unknown, and the request sets a cost ceiling"


def _token_limit(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    needed = scope.call.input_tokens[model.family] + scope.call.output_tokens
    return (
        f"the call needs about {needed:,} tokens, and its limit is"
        f" {model.model.limits.tokens_per_minute:,} a minute"
    )


def _cost_ceiling(scope: Scope, position: int) -> str:
    cost, ceiling = scope.cost(position) or 0, scope.constraints.cost_ceiling_nano_usd or 0
    return f"a call costs about {_usd(cost)}, above the ceiling of {_usd(ceiling)}"


def _unhealthy(_scope: Scope, _position: int) -> str:
    return "it cools down after failures"


def _request_headroom(_scope: Scope, _position: int) -> str:
    return "its provider takes no further request in this minute"


def _token_headroom(scope: Scope, position: int) -> str:
    model = scope.registry.models[position]
    needed = scope.call.input_tokens[model.family] + scope.call.output_tokens
    return (
        f"the call needs about {needed:,} tokens, more than its provider still takes in this minute"
    )
