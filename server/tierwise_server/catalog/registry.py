"""Owns what the catalog knows of each language model: price, window, capabilities and limits.

It says nothing of which model to choose, and it does not look up prices anywhere.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from tierwise_server.catalog.ids import Location, ModelId, TierId


class Capability(StrEnum):
    """What a model can do and a request can require. The set is complete."""

    TOOLS = "tools"
    """Calls functions that the caller describes."""
    JSON_SCHEMA = "json_schema"
    """Holds its output to a JSON schema."""
    VISION = "vision"
    """Reads images."""
    AUDIO = "audio"
    """Listens to audio."""
    VIDEO = "video"
    """Watches video."""
    DOCUMENTS = "documents"
    """Reads document files such as PDF."""
    REASONING = "reasoning"
    """Thinks before it answers, with an adjustable effort."""
    STREAMING = "streaming"
    """Streams its answer."""
    LOGPROBS = "logprobs"
    """Returns log-probabilities of its tokens."""
    PROMPT_CACHING = "prompt_caching"
    """Bills repeated prompt beginnings at a lower price."""


class PriceSource(StrEnum):
    """Where a model's price comes from."""

    FILE = "file"
    """From `models.yaml` itself."""
    CATALOG = "catalog"
    """From the installed price list, by provider and name."""
    UNKNOWN = "unknown"
    """Nowhere: the operator says that the price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price of a model in US dollars."""

    input: Decimal
    """For a million input tokens."""
    output: Decimal
    """For a million output tokens."""
    cached_input: Decimal | None = None
    """For a million cached input tokens. None means that they cost what `input` says."""
    cache_write: Decimal | None = None
    """For a million input tokens that the provider stores in its cache. None means as above."""
    per_call: Decimal = Decimal(0)
    """For each call, on top of its tokens."""
    as_of: datetime.date | None = None
    """Day on which the operator last looked the price up. None when the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What the provider lets the operator's account use. None means not stated."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One concrete language model that a decision can end in."""

    id: ModelId
    provider: str
    """Provider in kebab-case, `openai` for example."""
    name: str
    """Name exactly as the provider spells it."""
    tier: TierId
    price_source: PriceSource
    price: Price | None
    """Present exactly when `price_source` is `PriceSource.FILE`."""
    context_window: int
    """Most tokens of input and output together."""
    max_output_tokens: int
    """Most tokens of output; never above `context_window`."""
    capabilities: frozenset[Capability]
    quality: float | None
    """The operator's estimate from 0 to 1, until evidence replaces it."""
    limits: RateLimits
    labels: Mapping[str, str]
    """Free labels of the operator's, such as `region`."""
    base_url: str | None
    """Address of a compatible endpoint. None means the provider's own."""
    weight: float | None
    """Share among the models of the tier when choosing by weight; above 0."""
    token_family: str | None
    """Name of the tokenizer family for token estimates. None means by provider."""
    location: Location
