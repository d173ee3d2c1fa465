"""What is known of the models' health at one moment, as one immutable value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.planning.registry import NEVER, Flags, ModelRegistry, Numbers

USAGE_LEVELS: Final = 8
"""Steps in which the use of rate limits is told apart, so that a view does not change with every
call."""

PROBE_SHARES: Final = 16
"""Parts into which plans are divided to tell which of them probe a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """What is known of one model. Everything that is not known is None."""

    available: bool = True
    """False while the model cools down after failures."""
    probe_level: int | None = None
    """Of a model that is not available: `2 ** level` of `PROBE_SHARES` plans call it all the same,
    to see whether it is well again. None means that none do."""
    latency_s: float | None = None
    """Observed time of a call in seconds."""
    remaining_requests: int | None = None
    """Requests that the provider still takes in the current minute."""
    remaining_tokens: int | None = None
    """Tokens that the provider still takes in the current minute."""
    usage_level: int = 0
    """How much of the model's stated rate limits is in use, from 0 to `USAGE_LEVELS`; 0 where it
    states none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetView:
    """Health, latency and headroom of the models. A decision reads one view, once."""

    revision: str = ""
    """Differs between views that differ. Empty when nothing is known."""
    models: Mapping[str, ModelHealth] = field(default_factory=lambda: MappingProxyType({}))
    """By model id. A model without an entry is taken as healthy and of unknown latency."""
    is_probing: bool = field(init=False)
    """Whether any model is being probed."""

    def __post_init__(self) -> None:
        """Derives what every decision asks first."""
        probing = any(one.probe_level is not None for one in self.models.values())
        object.__setattr__(self, "is_probing", probing)

    def probe(self, key: bytes) -> int:
        """Returns the lowest probe level at which the plan of a request calls a model.

        Args:
            key: What chance is keyed by. Equal keys draw alike from the same view.
        """
        if not self.is_probing:
            return NO_PROBE
        digest = hashlib.blake2b(key + self.revision.encode(), digest_size=1).digest()
        return (digest[0] % PROBE_SHARES).bit_length()


NO_PROBE: Final = PROBE_SHARES
"""A level that no model reaches."""

EMPTY_FLEET: Final = FleetView()
"""Nothing is known of any model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetColumns:
    """A view in columns, in the order of a registry's models."""

    available: Flags
    probe_level: Numbers
    """-1 where a model is not probed."""
    latency_s: NDArray[np.float64]
    """Where none was observed, the median of the tier's others, so that a new model is neither
    preferred nor passed over."""
    remaining_requests: Numbers
    """`NEVER` where it is not known."""
    remaining_tokens: Numbers
    """`NEVER` where it is not known."""
    usage_level: Numbers

    def usable(self, probe: int) -> Flags:
        """Returns the models that are well, and those that a plan of this draw probes."""
        return self.available | (self.probe_level >= probe)


@lru_cache(maxsize=4)
def fleet_columns(registry: ModelRegistry, fleet: FleetView) -> FleetColumns | None:
    """Returns the view in columns, once for each view; None when it holds nothing."""
    if not fleet.models:
        return None
    unknown = ModelHealth()
    known = [fleet.models.get(one.model.id, unknown) for one in registry.models]
    return FleetColumns(
        available=np.array([one.available for one in known], dtype=np.bool_),
        probe_level=np.array(
            [-1 if one.probe_level is None else one.probe_level for one in known], dtype=np.int64
        ),
        latency_s=_latencies(registry, known),
        remaining_requests=_or_never([one.remaining_requests for one in known]),
        remaining_tokens=_or_never([one.remaining_tokens for one in known]),
        usage_level=np.array([one.usage_level for one in known], dtype=np.int64),
    )


def _latencies(registry: ModelRegistry, known: list[ModelHealth]) -> NDArray[np.float64]:
    found = np.array(
        [np.nan if one.latency_s is None else one.latency_s for one in known], dtype=np.float64
    )
    for tier in registry.tiers:
        observed = found[tier][~np.isnan(found[tier])]
        neutral = np.median(observed) if observed.size else 0.0
        found[tier] = np.where(np.isnan(found[tier]), neutral, found[tier])
    return found


def _or_never(numbers: list[int | None]) -> Numbers:
    return np.array([NEVER if one is None else one for one in numbers], dtype=np.int64)
