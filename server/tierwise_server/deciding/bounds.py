"""The span of tiers that a request allows, and what is wrong with a request for a catalog."""

from __future__ import annotations

from dataclasses import dataclass

from tierwise_server.catalog.ids import ModelId, TierId
from tierwise_server.catalog.model import Catalog, Tier
from tierwise_server.deciding.errors import (
    FieldFault,
    InvalidFieldsError,
    UnknownModelError,
    UnknownTierError,
    shown,
)
from tierwise_server.deciding.request import NO_CONSTRAINTS, RequiredQuality, RoutingRequest

MAX_LISTED = 10
"""Known values that an error lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierBounds:
    """Ranks of the lowest and the highest tier that a request allows, both included."""

    lowest: int
    highest: int

    def clamp(self, rank: int) -> int:
        """Returns the rank, moved into the bounds."""
        return min(max(rank, self.lowest), self.highest)


def check_request(catalog: Catalog, request: RoutingRequest) -> TierBounds:
    """Checks what a request says of tiers and models, and returns the tiers that it allows.

    Raises:
        UnknownTierError: A tier that the catalog does not have.
        UnknownModelError: A model that the catalog does not have.
        InvalidFieldsError: Limits that contradict each other.
    """
    for field, tier in (
        ("previous_tier_id", request.previous_tier),
        ("expected_tier_id", request.expected_tier),
    ):
        if tier:
            _tier(catalog, field, tier)
    if request.constraints is NO_CONSTRAINTS:
        return TierBounds(lowest=0, highest=len(catalog.tiers) - 1)
    _check_models(catalog, request)
    bounds = _bounds(catalog, request)
    faults = [*_label_faults(catalog, request), *_provider_faults(request)]
    if faults:
        raise InvalidFieldsError(faults)
    return bounds


def _tier(catalog: Catalog, field: str, tier: str) -> Tier:
    found = catalog.tier_by_id.get(TierId(tier))
    if found is None:
        raise UnknownTierError(field, tier, tuple(known.id for known in catalog.tiers))
    return found


def _bounds(catalog: Catalog, request: RoutingRequest) -> TierBounds:
    limits = request.constraints
    top = len(catalog.tiers) - 1
    by_quality = {
        RequiredQuality.LOW: 0,
        RequiredQuality.MEDIUM: len(catalog.tiers) // 2,
        RequiredQuality.HIGH: top,
    }[limits.required_quality]
    lowest, field = by_quality, "constraints.required_quality"
    if limits.lowest_tier:
        rank = _tier(catalog, "constraints.lowest_tier_id", limits.lowest_tier).rank
        if rank >= lowest:
            lowest, field = rank, "constraints.lowest_tier_id"
    highest = top
    if limits.highest_tier:
        highest = _tier(catalog, "constraints.highest_tier_id", limits.highest_tier).rank
    if lowest > highest:
        raise InvalidFieldsError(
            [
                FieldFault(
                    field=field,
                    description=f"asks for {catalog.tiers[lowest].id} or higher, but"
                    f" highest_tier_id allows no tier above {catalog.tiers[highest].id}",
                )
            ]
        )
    bounds = TierBounds(lowest=lowest, highest=highest)
    _check_pins(catalog, request, bounds)
    return bounds


def _check_pins(catalog: Catalog, request: RoutingRequest, bounds: TierBounds) -> None:
    limits = request.constraints
    if limits.pinned_tier:
        field, tier = "constraints.pinned_tier_id", limits.pinned_tier
    elif limits.pinned_model:
        field = "constraints.pinned_model_id"
        tier = catalog.model_by_id[ModelId(limits.pinned_model)].tier
    else:
        return
    rank = _tier(catalog, field, tier).rank
    if bounds.clamp(rank) != rank:
        raise InvalidFieldsError(
            [
                FieldFault(
                    field=field,
                    description=f"is of tier {tier}, outside of the tiers from"
                    f" {catalog.tiers[bounds.lowest].id} to {catalog.tiers[bounds.highest].id}"
                    " that the other constraints allow",
                )
            ]
        )


def _check_models(catalog: Catalog, request: RoutingRequest) -> None:
    limits = request.constraints
    for field, models in (
        ("constraints.pinned_model_id", {limits.pinned_model} - {""}),
        ("constraints.allowed_model_ids", limits.allowed_models),
        ("constraints.denied_model_ids", limits.denied_models),
    ):
        for model in sorted(models):
            if ModelId(model) not in catalog.model_by_id:
                raise UnknownModelError(field, model)
    faults = [
        FieldFault(
            field="constraints.denied_model_ids", description=f"{shown(model)} is {how} as well"
        )
        for how, models in (
            ("allowed", limits.allowed_models),
            ("pinned", frozenset({limits.pinned_model})),
        )
        for model in sorted(limits.denied_models & models)
    ]
    pinned = limits.pinned_model
    if pinned and limits.allowed_models and pinned not in limits.allowed_models:
        faults.append(
            FieldFault(
                field="constraints.pinned_model_id",
                description=f"{shown(pinned)} is not among allowed_model_ids",
            )
        )
    if faults:
        raise InvalidFieldsError(faults)


def _provider_faults(request: RoutingRequest) -> list[FieldFault]:
    limits = request.constraints
    return [
        FieldFault(
            field="constraints.denied_provider_ids",
            description=f"{shown(provider)} is allowed as well",
        )
        for provider in sorted(limits.allowed_providers & limits.denied_providers)
    ]


def _label_faults(catalog: Catalog, request: RoutingRequest) -> list[FieldFault]:
    faults: list[FieldFault] = []
    for key, value in request.constraints.required_labels.items():
        values = {model.labels[key] for model in catalog.models if key in model.labels}
        if value in values:
            continue
        carried = (
            f"they carry {', '.join(sorted(values)[:MAX_LISTED])}"
            if values
            else "none carries that key"
        )
        faults.append(
            FieldFault(
                field=f"constraints.required_labels[{shown(key)}]",
                description=f"no model of the catalog has {shown(value)}; {carried}",
            )
        )
    return faults
