"""What is known of the models' health at one moment, as one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """Health, latency and headroom of the models. A decision reads one view, once."""

    revision: str = ""
    """Differs between views that differ. Empty when nothing is known."""
    models: Mapping[str, ModelHealth] = field(default_factory=lambda: MappingProxyType({}))
    """By model id. A model without an entry is taken as healthy and of unknown latency."""


EMPTY_FLEET: Final = FleetView()
"""Nothing is known of any model."""
