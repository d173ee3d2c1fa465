"""Ranks the models of a tier that qualify, by the request's priority or by stated weights.

Models are positions in the registry's columns.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierwise_server.deciding.request import Priority
from tierwise_server.planning.limits import Scope
from tierwise_server.planning.registry import Flags, ModelRegistry

Ranking = NDArray[np.int64]
"""Positions of models, best first."""

_HASH_BYTES: Final = 8
_HASH_RANGE: Final = 1 << (8 * _HASH_BYTES)


class Draw(NamedTuple):
    """A model that was drawn by weight."""

    position: int
    propensity: float | None
    """Share of all keys that draw this model. None when there was only one to draw."""


def ranked_models(scope: Scope, qualified: Flags, rank: int, priority: Priority) -> Ranking:
    """Returns the models of one tier that qualify, best first.

    Args:
        scope: What the models were held against.
        qualified: The models that meet every limit.
        rank: Rank of the tier.
        priority: What to rank by. Ties go to the lower cost, then to the model whose rate limits
            are less in use, then the better quality, then the id; what is not known comes last,
            but for latency, where it stands in the middle.
    """
    tier = scope.registry.tiers[rank]
    found: Ranking = qualified[tier].nonzero()[0] + tier.start
    # A tier's models stand in the order of quality and id, and every sort here is stable.
    if scope.fleet is not None:
        found = found[scope.fleet.usage_level[found].argsort(kind="stable")]
    found = found[scope.costs[found].argsort(kind="stable")]
    match priority:
        case Priority.COST:
            pass
        case Priority.LATENCY:
            if scope.fleet is not None:
                found = found[scope.fleet.latency_s[found].argsort(kind="stable")]
        case Priority.QUALITY:
            found = found[(-scope.registry.quality[found]).argsort(kind="stable")]
    return found


def draw_by_weight(registry: ModelRegistry, positions: Sequence[int], key: bytes) -> Draw | None:
    """Draws one of the models that state a weight; None when none does.

    Each model gets a number from the key and its own id alone, so that a change of one model's
    weight moves only the keys that it wins or loses.

    Args:
        registry: The registry that holds the models.
        positions: The models that qualify.
        key: Equal keys draw alike.
    """
    weighted = [(one, registry.weights[one]) for one in positions if one in registry.weights]
    if not weighted:
        return None
    if len(weighted) == 1:
        return Draw(weighted[0][0], None)
    prefix = hashlib.blake2b(key).digest()
    # The smallest of exponentially distributed numbers falls to a model with a probability that is
    # proportional to its rate.
    drawn, weight = min(
        weighted,
        key=lambda one: -math.log(_fraction(prefix, registry.models[one[0]].model.id)) / one[1],
    )
    return Draw(drawn, weight / math.fsum(each for _, each in weighted))


def _fraction(prefix: bytes, model_id: str) -> float:
    """Returns a number above 0 and at most 1 that is fixed by the key and the model."""
    digest = hashlib.blake2b(prefix + model_id.encode(), digest_size=_HASH_BYTES).digest()
    return (int.from_bytes(digest, "big") + 1) / _HASH_RANGE
