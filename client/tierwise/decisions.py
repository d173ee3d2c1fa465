"""What the router decided: the tier, why, and the plan of models to call.

The classes mirror the messages of `tierwise.v1`; a value that is absent on the wire is None here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from tierwise.error_class import ErrorClass

CALL_TIMEOUT_S = 30.0
"""Time limit of one call, where a plan says nothing."""


class DecisionKind(IntEnum):
    """What decided. The numbers are those of the contract."""

    PINNED = 1
    OVERRIDE_RULE = 2
    LEARNED = 3
    SEMANTIC = 4
    DEFAULT_RULE = 5
    PREVIOUS_TIER = 6
    DEFAULT = 7


class StepKind(IntEnum):
    """How a step stands to the first one. The numbers are those of the contract."""

    FIRST = 1
    ALTERNATE = 2
    ESCALATION = 3


class RouterlessCause(IntEnum):
    """Why no router decided. The numbers are those of the contract."""

    UNAVAILABLE = 1
    TIMEOUT = 2
    OVERLOADED = 3


class Capability(IntEnum):
    """What a model can do. The numbers are those of the contract."""

    TOOLS = 1
    JSON_SCHEMA = 2
    VISION = 3
    AUDIO = 4
    VIDEO = 5
    DOCUMENTS = 6
    REASONING = 7
    STREAMING = 8
    LOGPROBS = 9
    PROMPT_CACHING = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of a model, in billionths of a US dollar."""

    input_nano_usd_per_million: int
    output_nano_usd_per_million: int
    cached_input_nano_usd_per_million: int | None = None
    """None means that cached input costs as much as other input."""
    cache_write_nano_usd_per_million: int | None = None
    """Of input that the provider stores in its cache. None means as much as other input."""
    call_nano_usd: int = 0
    """Of a call as such, beside its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A concrete model that calls can be sent to."""

    model_id: str
    provider_id: str
    upstream_name: str
    """The model's name as the provider spells it."""
    tier_id: str = ""
    price: Price | None = None
    """None means unknown, never free."""
    context_window_tokens: int = 0
    """0 means not stated."""
    output_limit_tokens: int = 0
    """0 means not stated."""
    capabilities: frozenset[Capability] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""
    """Where to send calls. Empty means the provider's own address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One attempt of a plan."""

    model: Model
    kind: StepKind = StepKind.FIRST
    error_classes: frozenset[ErrorClass] = frozenset()
    """Failures of the step before that lead to this one. Empty in the first step."""
    retry_limits: Mapping[ErrorClass, int] = field(default_factory=dict)
    """How often the same model may be called again after a failure. Absent means never."""
    call_timeout_s: float = CALL_TIMEOUT_S
    estimated_cost_nano_usd: int | None = None
    """Of one call. None means unpriced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The attempts that may be made, in order."""

    steps: tuple[PlanStep, ...]
    """At least one."""
    worst_case_cost_nano_usd: int | None = None
    estimated_input_tokens: int = 0
    assumed_output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The result of routing one prompt."""

    decision_id: str
    decision_token: str = field(default="", repr=False)
    """What a report quotes. Empty for a decision that was made without a router."""
    catalog: str = ""
    tier_id: str
    task_id: str = ""
    kind: DecisionKind = DecisionKind.DEFAULT
    rule_name: str = ""
    score: float | None = None
    score_threshold: float | None = None
    margin: float | None = None
    similarity: float | None = None
    confidence: float | None = None
    model_id: str = ""
    """Empty when the catalog has no models."""
    plan: Plan | None = None
    """None when the catalog has no models."""
    estimated_cost_nano_usd: int | None = None
    counterfactual_cost_nano_usd: int | None = None
    baseline_model_id: str = ""
    catalog_revision: str = ""
    reason: str = ""
    """The decision in one English sentence."""
    routerless_cause: RouterlessCause | None = None
    """Why no router decided. None when one did."""

    @property
    def model(self) -> Model | None:
        """The model to call first. None when the catalog has no models."""
        return self.plan.steps[0].model if self.plan is not None else None
