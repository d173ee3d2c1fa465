"""What is known of the models' health at one moment, as one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.planning.registry import NEVER, Flags, ModelRegistry, Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """What is known of one model. Everything that is not known is None."""

    available: bool = True
    """False while the model cools down after failures."""
    latency_s: float | None = None
    """Observed time of a call in seconds."""
    remaining_requests: int | None = None
    """Requests that the provider still takes in the current minute."""
    remaining_tokens: int | None = None
    """Tokens that the provider still takes in the current minute."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetView:
    """Health, latency and headroom of the models. A decision reads one view, once."""

    revision: str = ""
    """Differs between views that differ. Empty when nothing is known."""
    models: Mapping[str, ModelHealth] = field(default_factory=lambda: MappingProxyType({}))
    """By model id. A model without an entry is taken as healthy and of unknown latency."""


EMPTY_FLEET: Final = FleetView()
"""Nothing is known of any model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetColumns:
    """A view in columns, in the order of a registry's models."""

    available: Flags
    latency_s: NDArray[np.float64]
    """Infinity where none was observed."""
    remaining_requests: Numbers
    """`NEVER` where it is not known."""
    remaining_tokens: Numbers
    """`NEVER` where it is not known."""


@lru_cache(maxsize=4)
def fleet_columns(registry: ModelRegistry, fleet: FleetView) -> FleetColumns | None:
    """Returns the view in columns, once for each view; None when it holds nothing."""
    if not fleet.models:
        return None
    unknown = ModelHealth()
    known = [fleet.models.get(one.model.id, unknown) for one in registry.models]
    return FleetColumns(
        available=np.array([one.available for one in known], dtype=np.bool_),
        latency_s=np.array(
            [np.inf if one.latency_s is None else one.latency_s for one in known],
            dtype=np.float64,
        ),
        remaining_requests=_or_never([one.remaining_requests for one in known]),
        remaining_tokens=_or_never([one.remaining_tokens for one in known]),
    )


def _or_never(numbers: list[int | None]) -> Numbers:
    return np.array([NEVER if one is None else one for one in numbers], dtype=np.int64)
