"""Reads the calls that were judged, with their report or later, and tells equal prompts.

Calls are of the same prompt when their decisions carry the same `prompt_id` in their metadata;
without one, when the ledger keeps prompts and theirs are equal; else when they belong to the same
decision, as a call does that an application makes on another model for comparison.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, exists, func, or_, select

from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.ledger.records import Origin
from tierwise_server.ledger.schema import decisions, outcomes, prompts
from tierwise_server.reporting.conditions import AnyRow, AnySelect, decided_in_period, in_period
from tierwise_server.reporting.rows import JudgedCall, Period

PROMPT_ID: Final = "prompt_id"
"""Key of a decision's metadata by which an application says that prompts are the same."""

_POSITIVE: Final = 1
_NEGATIVE: Final = 2
_GRADES: Final = {_POSITIVE: 1.0, _NEGATIVE: 0.0}
"""What a verdict counts as where no quality was given."""

_IDS_AT_ONCE: Final = 500


def judged_calls(engine: Engine, period: Period) -> tuple[JudgedCall, ...]:
    """Returns the judged calls of a period. Of several judgements of a call, the last counts.

    A judgement that came later is of the first call that was reported for its decision.
    """
    with engine.connect() as connection:
        found = {row.id: row for row in connection.execute(_with_their_report(period))}
        judged_later: dict[int, AnyRow] = {}
        for row in connection.execute(_later(period)):
            judged_later.setdefault(row.later_id, row)
        found |= {row.id: row for row in judged_later.values()}
        decided = [row.decision_id for row in found.values()]
        keys = _texts(connection, decided) | _stated(connection, period) if found else {}
    judged = (_judged_call(found[number], keys) for number in sorted(found))
    return tuple(one for one in judged if one is not None)


def callless_judgements(engine: Engine, period: Period) -> int:
    """Returns how many judgements of a period are of decisions of which no call is kept."""
    call, later = outcomes.alias("call"), outcomes.c
    has_call = exists().where(call.c.decision_id == later.decision_id, call.c.attempt_count > 0)
    query = select(func.count()).where(
        later.attempt_count == 0,
        later.recorded_ms >= period.since_ms,
        later.recorded_ms < period.until_ms,
        ~has_call,
    )
    with engine.connect() as connection:
        return connection.execute(query).scalar_one()


def _with_their_report(period: Period) -> AnySelect:
    call = outcomes.c
    judged = or_(call.quality.is_not(None), call.verdict != 0)
    return _calls(call.quality, call.verdict).where(in_period(period), judged)


def _later(period: Period) -> AnySelect:
    later = outcomes.alias("later")
    return (
        _calls(later.c.quality, later.c.verdict, later.c.id.label("later_id"))
        .select_from(later.join(outcomes, outcomes.c.decision_id == later.c.decision_id))
        .where(later.c.attempt_count == 0, in_period(period))
        .order_by(later.c.id, outcomes.c.id)
    )


def _calls(quality: Any, verdict: Any, *others: Any) -> AnySelect:  # noqa: ANN401 - columns of a table or of its alias
    call = outcomes.c
    return select(
        call.id,
        call.decision_id,
        call.decided_ms,
        call.tier,
        call.final_tier,
        call.origin,
        call.kind,
        call.unpriced_count,
        call.answer_cost_nano_usd,
        call.unsuccessful_cost_nano_usd,
        quality.label("quality"),
        verdict.label("verdict"),
        *others,
    )


def _texts(connection: Connection, decision_ids: Sequence[str]) -> dict[str, str]:
    """Returns a hash of the prompt by decision, where it is kept."""
    if connection.scalar(select(prompts.c.decision_id).limit(1)) is None:
        return {}
    keys: dict[str, str] = {}
    for start in range(0, len(decision_ids), _IDS_AT_ONCE):
        asked = decision_ids[start : start + _IDS_AT_ONCE]
        query = select(prompts.c.decision_id, prompts.c.text)
        for decision_id, text in connection.execute(query.where(prompts.c.decision_id.in_(asked))):
            digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            keys[decision_id] = f"text {digest}"
    return keys


def _stated(connection: Connection, period: Period) -> dict[str, str]:
    """Returns what applications say of their prompts, by decision."""
    query = select(decisions.c.decision_id, decisions.c.metadata).where(
        decided_in_period(decisions.c.decision_id, period),
        decisions.c.metadata.contains(f'"{PROMPT_ID}"', autoescape=True),
    )
    keys: dict[str, str] = {}
    for decision_id, metadata in connection.execute(query):
        if stated := json.loads(metadata).get(PROMPT_ID):
            keys[decision_id] = f"stated {stated}"
    return keys


def _judged_call(row: AnyRow, keys: Mapping[str, str]) -> JudgedCall | None:
    (
        _,
        decision_id,
        decided_ms,
        tier,
        final_tier,
        origin,
        kind,
        unpriced,
        answer,
        unsuccessful,
        quality,
        verdict,
        *_,
    ) = row
    grade = quality if quality is not None else _GRADES.get(verdict)
    if grade is None:
        return None
    return JudgedCall(
        prompt_key=keys.get(decision_id, decision_id),
        decided_ms=decided_ms,
        tier=tier,
        final_tier=final_tier,
        free=origin == Origin.ROUTER and kind != DecisionKind.PINNED,
        grade=grade,
        cost_nano_usd=None if unpriced or answer is None else answer + unsuccessful,
    )
