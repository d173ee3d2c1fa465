"""What goes into the ledger, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from tierwise_server.ledger.money import Tokens
from tierwise_server.planning.prices import ResolvedPrice


class Origin(IntEnum):
    """What an outcome belongs to."""

    ROUTER = 1
    """A router's decision, whose token came with the report."""
    ROUTERLESS = 2
    """A decision that a client made because no router answered."""
    LATER = 3
    """A judgement that came later, by the id of its decision."""


class PriceBasis(IntEnum):
    """Where the cost of an attempt comes from."""

    UNPRICED = 0
    """Nowhere: it is not known."""
    STATED = 1
    """The provider stated it."""
    DECISION = 2
    """The catalog's price at the time of the decision."""
    IN_SERVICE = 3
    """The price of the catalog that was in service at the time of the report, since that of the
    decision is not known here."""
    LIST = 4
    """The installed price list, since the catalog does not know the model."""
    UNBILLED = 5
    """The provider served nothing, so it cost nothing."""


class DecisionRecord(NamedTuple):
    """A decision.

    Of a request of which nothing may be kept, everything that says something of the prompt is left
    at its default: all fields from `task` on.
    """

    decision_id: str
    """32 hex digits, the first 12 of which are its time."""
    catalog: str
    catalog_revision: str
    tier: str
    kind: int
    model_id: str
    baseline_model_id: str
    propensity: float | None
    caller: str
    keep_nothing: bool
    queue_s: float
    encoding_s: float
    scoring_s: float
    total_s: float
    vector_cached: bool
    task: str = ""
    rule_name: str = ""
    abstention: int = 0
    score: float | None = None
    score_threshold: float | None = None
    margin: float | None = None
    similarity: float | None = None
    estimated_cost_nano_usd: int | None = None
    counterfactual_nano_usd: int | None = None
    estimated_input_tokens: int | None = None
    assumed_output_tokens: int | None = None
    expected_tier: str = ""
    task_tag: str = ""
    metadata: Mapping[str, str] | None = None
    prompt: str | None = None
    """Text of the prompt, where the operator has prompts kept."""


class RateHeadroom(NamedTuple):
    """What a provider said is left of its rate limits. What it did not say is None."""

    remaining_requests: int | None
    remaining_tokens: int | None
    reset_s: float | None
    """Until the limits are full again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One call of a model."""

    model_id: str
    provider_id: str = ""
    served_model_name: str = ""
    step_kind: int = 0
    error_class: int = 0
    """0 means that the call succeeded."""
    started_ms: int | None = None
    duration_us: int | None = None
    first_token_us: int | None = None
    tokens: Tokens | None = None
    stated_cost_nano_usd: int | None = None
    provider_request_id: str = ""
    validator: str = ""
    partial: bool = False
    headroom: RateHeadroom | None = None
    """Tells of a moment, and is not kept. None where the provider said nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """What became of a decision."""

    outcome_id: str
    origin: Origin
    decision_id: str
    decided_ms: int
    """When the decision was made, in milliseconds since 1970 in UTC; of a later judgement, when it
    was recorded."""
    recorded_ms: int
    ended_ms: int | None = None
    routerless_cause: int = 0
    catalog: str = ""
    catalog_revision: str = ""
    tier: str = ""
    task: str = ""
    kind: int = 0
    model_id: str = ""
    baseline_model_id: str = ""
    propensity: float | None = None
    caller: str = ""
    expected_tier: str = ""
    keep_nothing: bool = False
    attempts: tuple[AttemptRecord, ...] = ()
    """Oldest first."""
    quality: float | None = None
    verdict: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """A model as a catalog revision knows it."""

    provider: str
    name: str
    """As the provider spells it."""
    tier: str
    price: ResolvedPrice | None
    """None means that the operator says the price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRecord:
    """What the ledger has to know of a catalog revision to price outcomes of its decisions."""

    revision: str
    catalog: str
    encoder_id: str
    scorer_id: str
    tiers: tuple[str, ...]
    """Cheapest first."""
    baseline_model_id: str
    models: Mapping[str, CatalogModel]
    """By id."""
