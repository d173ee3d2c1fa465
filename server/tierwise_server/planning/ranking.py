"""Ranks the models of a tier that qualify, by the request's priority or by stated weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from tierwise_server.deciding.request import Priority
from tierwise_server.planning.limits import Scope, dynamic_drop, has_dynamic_limits
from tierwise_server.planning.prices import TOKENS_PER_PRICE
from tierwise_server.planning.registry import PricedModel

_HASH_BYTES: Final = 8
_HASH_RANGE: Final = 1 << (8 * _HASH_BYTES)
_UNKNOWN: Final = math.inf


class Candidate(NamedTuple):
    """A model that qualifies, with the estimated cost of the call on it."""

    model: PricedModel
    cost: int | None
    """Nano-dollars. None means that the price is unknown."""


class Draw(NamedTuple):
    """A model that was drawn by weight."""

    candidate: Candidate
    propensity: float | None
    """Share of all keys that draw this model. None when there was only one to draw."""


def call_cost(scope: Scope, model: PricedModel) -> int | None:
    """Returns the estimated cost of the call on a model; None when its price is unknown."""
    if model.price is None:
        return None
    return model.price.cost(scope.call.input_tokens[model.family], scope.call.output_tokens)


def ranked_models(scope: Scope, qualified: int, rank: int, priority: Priority) -> list[Candidate]:
    """Returns the models of one tier that qualify, best first.

    Args:
        scope: What the models are held against.
        qualified: Set of the models that meet every limit on what the catalog says of them.
        rank: Rank of the tier.
        priority: What to rank by. Ties go to the lower cost, then the better quality, then the id.
    """
    if not qualified & scope.registry.tier_sets[rank]:
        return []
    candidates = _qualified_of_tier(scope, qualified, rank)
    if has_dynamic_limits(scope):
        candidates = [
            one for one in candidates if dynamic_drop(scope, one.model, one.cost) is None
        ]
    # The rows of a tier are in the order of quality and id, and sorting keeps that among equals.
    candidates.sort(key=_by_cost)
    match priority:
        case Priority.LATENCY:
            fleet = scope.fleet.models
            if fleet:
                candidates.sort(key=lambda one: _latency(scope, one))
        case Priority.QUALITY:
            candidates.sort(key=_by_quality)
        case Priority.COST:
            pass
    return candidates


def _qualified_of_tier(scope: Scope, qualified: int, rank: int) -> list[Candidate]:
    inputs, output = scope.call.input_tokens, scope.call.output_tokens
    new = Candidate._make
    found: list[Candidate] = []
    # One pass over plain numbers: this loop is most of what a decision costs in a large registry.
    for bit, family, input_price, output_price, per_call, single_band_to, model in (
        scope.registry.tiers[rank]
    ):
        if not qualified & bit:
            continue
        tokens = inputs[family]
        if tokens <= single_band_to:
            cost: int | None = per_call - (
                -(tokens * input_price + output * output_price) // TOKENS_PER_PRICE
            )
        else:
            cost = call_cost(scope, model)
        found.append(new((model, cost)))
    return found


def _by_cost(one: Candidate) -> float:
    return _UNKNOWN if one.cost is None else one.cost


def _by_quality(one: Candidate) -> float:
    quality = one.model.model.quality
    return _UNKNOWN if quality is None else -quality


def _latency(scope: Scope, one: Candidate) -> float:
    health = scope.fleet.models.get(one.model.model.id)
    return _UNKNOWN if health is None or health.latency_s is None else health.latency_s


def draw_by_weight(candidates: Sequence[Candidate], key: bytes) -> Draw | None:
    """Draws one of the models that state a weight; None when none does.

    Each model gets a number from the key and its own id alone, so that a change of one model's
    weight moves only the keys that it wins or loses.

    Args:
        candidates: The models that qualify.
        key: Equal keys draw alike.
    """
    weighted = [
        (candidate, weight)
        for candidate in candidates
        if (weight := candidate.model.model.weight) is not None
    ]
    if not weighted:
        return None
    if len(weighted) == 1:
        return Draw(weighted[0][0], None)
    prefix = hashlib.blake2b(key).digest()
    # The smallest of exponentially distributed numbers falls to a model with a probability that is
    # proportional to its rate.
    drawn, weight = min(
        weighted, key=lambda one: (-math.log(_fraction(prefix, one[0])) / one[1], one[0].model.bit)
    )
    return Draw(drawn, weight / math.fsum(each for _, each in weighted))


def _fraction(prefix: bytes, candidate: Candidate) -> float:
    """Returns a number above 0 and at most 1 that is fixed by the key and the model."""
    text = prefix + candidate.model.model.id.encode()
    digest = hashlib.blake2b(text, digest_size=_HASH_BYTES).digest()
    return (int.from_bytes(digest, "big") + 1) / _HASH_RANGE
