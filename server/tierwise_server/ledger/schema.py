"""The ledger's tables, as the newest migration leaves them.

Amounts are whole nano-dollars, times whole milliseconds since 1970 in UTC, durations whole
microseconds: integers sum exactly and quickly. An outcome repeats what reports group by, and sums
its attempts, so that a report reads one table once. NULL means not known.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData()

# SQLite numbers rows by itself only where the type says INTEGER.
_ROW_ID = BigInteger().with_variant(Integer, "sqlite")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _small(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, SmallInteger, nullable=nullable)


def _real(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=True)


decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),  # sorts by time
    _number("decided_ms"),
    _text("catalog"),
    _text("catalog_revision"),
    _text("tier"),
    _text("task"),
    _small("kind"),
    _text("rule_name"),
    _small("abstention"),
    _real("score"),
    _real("score_threshold"),
    _real("margin"),
    _real("similarity"),
    _text("model_id"),
    _text("baseline_model_id"),
    _number("estimated_cost_nano_usd", nullable=True),
    _number("counterfactual_nano_usd", nullable=True),
    _number("estimated_input_tokens", nullable=True),
    _number("assumed_output_tokens", nullable=True),
    _real("propensity"),
    _text("caller"),
    _text("expected_tier"),
    _text("task_tag"),
    Column("metadata", Text, nullable=True),
    _small("keep_nothing"),
    _number("queue_us"),
    _number("encoding_us"),
    _number("scoring_us"),
    _number("total_us"),
    _small("vector_cached"),
    sqlite_with_rowid=False,
)
"""What routers decided; those that clients made themselves are in `outcomes` alone."""

prompts = Table(
    "prompts",
    metadata,
    Column("decision_id", Text, primary_key=True),
    _text("text"),
)
"""Prompts, where the operator has them kept and the caller allows it."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("outcome_id", Text, nullable=False, unique=True),
    _text("decision_id"),
    _number("decided_ms"),
    _number("recorded_ms"),
    _number("ended_ms", nullable=True),
    _small("origin"),
    _small("routerless_cause"),
    _text("catalog"),
    _text("catalog_revision"),
    _text("tier"),
    _text("task"),
    _small("kind"),
    _text("model_id"),
    _text("baseline_model_id"),
    _real("propensity"),
    _text("caller"),
    _text("expected_tier"),
    _small("keep_nothing"),
    _small("attempt_count"),
    _small("failed_count"),
    _text("final_tier"),
    _text("final_model_id"),
    _small("highest_step"),
    _small("error_class"),
    _small("refused"),
    _number("input_tokens"),
    _number("cached_input_tokens"),
    _number("cache_write_tokens"),
    _number("output_tokens"),
    _number("reasoning_tokens"),
    _number("answer_cost_nano_usd", nullable=True),
    _number("unsuccessful_cost_nano_usd"),
    _small("unpriced_count"),
    _number("counterfactual_nano_usd", nullable=True),
    Column("counterfactual_price_id", String(32), nullable=True),
    _number("latency_us", nullable=True),
    _number("waited_us"),
    _number("first_token_us", nullable=True),
    _small("other_model", nullable=True),
    _real("quality"),
    _small("verdict"),
    Index("outcomes_decision_id", "decision_id"),
    Index("outcomes_decided_ms", "decided_ms"),
)
"""One row for each report. `attempt_count` 0 is a judgement alone, to be joined to the call that it
judges by `decision_id`; of several, the last recorded counts."""

attempts = Table(
    "attempts",
    metadata,
    Column("outcome_row", _ROW_ID, ForeignKey("outcomes.id", ondelete="CASCADE"), primary_key=True),
    Column("position", SmallInteger, primary_key=True),
    _text("model_id"),
    _text("provider_id"),
    _text("served_model_name"),
    _text("tier"),
    _small("step_kind"),
    _small("error_class"),
    _number("started_ms", nullable=True),
    _number("duration_us", nullable=True),
    _number("first_token_us", nullable=True),
    _number("input_tokens", nullable=True),
    _number("cached_input_tokens", nullable=True),
    _number("cache_write_tokens", nullable=True),
    _number("output_tokens", nullable=True),
    _number("reasoning_tokens", nullable=True),
    _number("stated_cost_nano_usd", nullable=True),
    _number("computed_cost_nano_usd", nullable=True),
    _number("cost_nano_usd", nullable=True),
    _small("price_basis"),
    Column("price_id", String(32), nullable=True),
    _small("other_model", nullable=True),
    _text("provider_request_id"),
    _text("validator"),
    _small("partial"),
    sqlite_with_rowid=False,
)
"""The calls of each outcome, oldest first from position 0."""

prices = Table(
    "prices",
    metadata,
    Column("price_id", String(32), primary_key=True),
    _text("bands"),  # JSON list of `pricing.bands_of`
    _number("per_call"),
    _text("source"),
    Column("source_date", String(10), nullable=True),
)
"""Every price that a cost was computed by, in nano-dollars a million tokens. Never changed."""

catalogs = Table(
    "catalogs",
    metadata,
    Column("revision", Text, primary_key=True),
    _text("catalog"),
    _text("encoder_id"),
    _text("scorer_id"),
    _text("tiers"),  # JSON list, cheapest first
    _text("baseline_model_id"),
    _text("models"),  # JSON: id to [provider, name, tier, price id or null]
    _number("first_served_ms"),
)
"""What outcomes of a catalog revision are priced by, also once it is out of service."""
