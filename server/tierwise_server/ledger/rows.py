"""From records to rows of the tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

from tierwise_server.ledger.pricing import (
    SettledAttempt,
    SettledOutcome,
    bands_of,
    catalog_json,
    price_id,
)
from tierwise_server.ledger.records import CatalogRecord, DecisionRecord, OutcomeRecord
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.prices import ResolvedPrice

_TIME_DIGITS: Final = 12
"""Hex digits of time at the beginning of a decision's id, in milliseconds."""

_MICROSECONDS: Final = 1e6

Row = dict[str, Any]


def plain(text: str) -> str:
    """Returns text that every database takes: PostgreSQL has no NUL, and UTF-8 no lone surrogate.

    Tokens are not signed, so their text may be anything.
    """
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def decision_row(one: DecisionRecord) -> Row:
    """Returns a row of `decisions`."""
    return {
        "decision_id": one.decision_id,
        "decided_ms": int(one.decision_id[:_TIME_DIGITS], 16),
        "catalog": one.catalog,
        "catalog_revision": one.catalog_revision,
        "tier": one.tier,
        "task": one.task,
        "kind": one.kind,
        "rule_name": plain(one.rule_name),
        "abstention": one.abstention,
        "score": _finite(one.score),
        "score_threshold": _finite(one.score_threshold),
        "margin": _finite(one.margin),
        "similarity": _finite(one.similarity),
        "model_id": one.model_id,
        "baseline_model_id": one.baseline_model_id,
        "estimated_cost_nano_usd": one.estimated_cost_nano_usd,
        "counterfactual_nano_usd": one.counterfactual_nano_usd,
        "estimated_input_tokens": one.estimated_input_tokens,
        "assumed_output_tokens": one.assumed_output_tokens,
        "propensity": one.propensity,
        "caller": plain(one.caller),
        "expected_tier": plain(one.expected_tier),
        "task_tag": plain(one.task_tag),
        "metadata": json.dumps(dict(one.metadata)) if one.metadata else None,
        "keep_nothing": int(one.keep_nothing),
        "queue_us": round(one.queue_s * _MICROSECONDS),
        "encoding_us": round(one.encoding_s * _MICROSECONDS),
        "scoring_us": round(one.scoring_s * _MICROSECONDS),
        "total_us": round(one.total_s * _MICROSECONDS),
        "vector_cached": int(one.vector_cached),
    }


def prompt_row(one: DecisionRecord) -> Row:
    """Returns a row of `prompts`."""
    return {"decision_id": one.decision_id, "text": plain(one.prompt or "")}


def outcome_row(number: int, settled: SettledOutcome) -> Row:
    """Returns a row of `outcomes`."""
    return {"id": number, **_identity(settled.record), **_sums(settled)}


def _identity(one: OutcomeRecord) -> Row:
    return {
        "outcome_id": one.outcome_id,
        "decision_id": plain(one.decision_id),
        "decided_ms": one.decided_ms,
        "recorded_ms": one.recorded_ms,
        "ended_ms": one.ended_ms,
        "origin": int(one.origin),
        "routerless_cause": one.routerless_cause,
        "catalog": plain(one.catalog),
        "catalog_revision": plain(one.catalog_revision),
        "tier": plain(one.tier),
        "task": plain(one.task),
        "kind": one.kind,
        "model_id": plain(one.model_id),
        "baseline_model_id": plain(one.baseline_model_id),
        "propensity": one.propensity,
        "caller": plain(one.caller),
        "expected_tier": plain(one.expected_tier),
        "keep_nothing": int(one.keep_nothing),
        "quality": one.quality,
        "verdict": one.verdict,
    }


def _sums(settled: SettledOutcome) -> Row:
    attempts, answer, last = settled.attempts, settled.answer, settled.last
    used = [one.record.tokens for one in attempts if one.record.tokens is not None]
    price = settled.counterfactual_price
    record = last.record if last is not None else None
    return {
        "attempt_count": len(attempts),
        "failed_count": sum(1 for one in attempts if one.record.error_class),
        "final_tier": plain(last.tier) if last is not None else "",
        "final_model_id": plain(record.model_id) if record is not None else "",
        "highest_step": max((one.record.step_kind for one in attempts), default=0),
        "error_class": record.error_class if record is not None else 0,
        "refused": int(
            any(one.record.error_class == ErrorClass.CONTENT_POLICY for one in attempts)
        ),
        "input_tokens": sum(one.input for one in used),
        "cached_input_tokens": sum(one.cached_input for one in used),
        "cache_write_tokens": sum(one.cache_write for one in used),
        "output_tokens": sum(one.output for one in used),
        "reasoning_tokens": sum(one.reasoning for one in used),
        "answer_cost_nano_usd": answer.cost_nano_usd if answer is not None else 0,
        "unsuccessful_cost_nano_usd": sum(
            one.cost_nano_usd or 0 for one in attempts if one is not answer
        ),
        "unpriced_count": sum(1 for one in attempts if one.cost_nano_usd is None),
        "counterfactual_nano_usd": settled.counterfactual_nano_usd,
        "counterfactual_price_id": price_id(price) if price is not None else None,
        "latency_us": record.duration_us if record is not None else None,
        "waited_us": sum(one.record.duration_us or 0 for one in attempts),
        "first_token_us": record.first_token_us if record is not None else None,
        "other_model": _flag(last.is_another_model) if last is not None else None,
    }


def attempt_rows(number: int, settled: SettledOutcome) -> Iterator[Row]:
    """Yields the rows of `attempts` for the outcome of a number."""
    for position, one in enumerate(settled.attempts):
        yield {"outcome_row": number, "position": position, **_attempt_row(one)}


def _attempt_row(settled: SettledAttempt) -> Row:
    one, tokens = settled.record, settled.record.tokens
    return {
        "model_id": plain(one.model_id),
        "provider_id": plain(one.provider_id),
        "served_model_name": plain(one.served_model_name),
        "tier": plain(settled.tier),
        "step_kind": one.step_kind,
        "error_class": one.error_class,
        "started_ms": one.started_ms,
        "duration_us": one.duration_us,
        "first_token_us": one.first_token_us,
        "input_tokens": tokens.input if tokens is not None else None,
        "cached_input_tokens": tokens.cached_input if tokens is not None else None,
        "cache_write_tokens": tokens.cache_write if tokens is not None else None,
        "output_tokens": tokens.output if tokens is not None else None,
        "reasoning_tokens": tokens.reasoning if tokens is not None else None,
        "stated_cost_nano_usd": one.stated_cost_nano_usd,
        "computed_cost_nano_usd": settled.computed_cost_nano_usd,
        "cost_nano_usd": settled.cost_nano_usd,
        "price_basis": int(settled.basis),
        "price_id": price_id(settled.price) if settled.price is not None else None,
        "other_model": _flag(settled.is_another_model),
        "provider_request_id": plain(one.provider_request_id),
        "validator": plain(one.validator),
        "partial": int(one.partial),
    }


def prices_of(settled: SettledOutcome) -> Iterator[ResolvedPrice]:
    """Yields the prices that an outcome's rows name."""
    for one in settled.attempts:
        if one.price is not None:
            yield one.price
    if settled.counterfactual_price is not None:
        yield settled.counterfactual_price


def catalog_row(catalog: CatalogRecord, now_ms: int) -> Row:
    """Returns a row of `catalogs`."""
    return {
        "revision": catalog.revision,
        "catalog": catalog.catalog,
        "encoder_id": catalog.encoder_id,
        "scorer_id": catalog.scorer_id,
        "tiers": json.dumps(catalog.tiers),
        "baseline_model_id": catalog.baseline_model_id,
        "models": catalog_json(catalog),
        "first_served_ms": now_ms,
    }


def price_row(key: str, price: ResolvedPrice) -> Row:
    """Returns a row of `prices`."""
    return {
        "price_id": key,
        "bands": json.dumps(bands_of(price)),
        "per_call": price.per_call,
        "source": price.source,
        "source_date": price.source_date.isoformat() if price.source_date is not None else None,
    }


def _finite(value: float | None) -> float | None:
    """Returns a number that can be summed: a catalog without utterances scores minus infinity."""
    return value if value is not None and math.isfinite(value) else None


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
