"""What a decision is asked for, as plain values.

The service boundary checks everything that can be checked without a catalog; what needs one
(ids of tiers and models, contradictions between them) is checked here, when a request meets a
catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from tierwise_server.catalog.calibration import NEUTRAL_DIAL

if TYPE_CHECKING:
    from tierwise_server.catalog.registry import Capability
    from tierwise_server.catalog.rules import AttachmentKind

EMPTY_LABELS: Mapping[str, str] = MappingProxyType({})


class RequiredQuality(IntEnum):
    """How good the answer has to be; sets the lowest tier without naming one."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Priority(IntEnum):
    """What the models of one tier are ranked by."""

    COST = 1
    LATENCY = 2
    QUALITY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Limits that a decision and every step of its plan must keep."""

    pinned_tier: str = ""
    """Tier to use, whatever the prompt is."""
    pinned_model: str = ""
    """Model to use, whatever the prompt is."""
    lowest_tier: str = ""
    """Lowest tier to use; empty means the cheapest."""
    highest_tier: str = ""
    """Highest tier to use; empty means the dearest."""
    required_quality: RequiredQuality = RequiredQuality.LOW
    allowed_providers: frozenset[str] = frozenset()
    """Providers that may be used; empty means all."""
    denied_providers: frozenset[str] = frozenset()
    allowed_models: frozenset[str] = frozenset()
    """Models that may be used; empty means all."""
    denied_models: frozenset[str] = frozenset()
    required_capabilities: frozenset[Capability] = frozenset()
    required_labels: Mapping[str, str] = field(default_factory=lambda: EMPTY_LABELS)
    cost_ceiling_nano_usd: int | None = None
    """Highest estimated cost of one call."""
    priced_only: bool = False
    """Whether models of unknown price are left out, since what the caller spends is limited."""
    downgrade_allowed: bool = False
    """Whether the choice may go down a tier when nothing else qualifies."""


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRequest:
    """One prompt to decide on, without its vector."""

    text: str = ""
    """The prompt, or the last user turn of a conversation; empty when a vector was sent."""
    text_given: bool = True
    """Whether there is a text at all; rules that read it cannot hold without."""
    character_count: int = 0
    """Characters of the whole input, all turns included."""
    constraints: Constraints = NO_CONSTRAINTS
    previous_tier: str = ""
    priority: Priority = Priority.COST
    dial: float = NEUTRAL_DIAL
    """The cost-to-quality dial, from 0 (cheaper) to 1 (better)."""
    rules_only: bool = False
    task_tag: str = ""
    expected_tier: str = ""
    attachments: frozenset[AttachmentKind] = frozenset()
    expected_output_tokens: int | None = None
    input_tokens: int | None = None
    """Tokens of the whole input as the caller counts them."""
    language: str = ""
    """ISO 639-1 code, as the caller states it; empty means to be detected."""
    caller: str = ""
    affinity_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: EMPTY_LABELS)
    keep_nothing: bool = False
