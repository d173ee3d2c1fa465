"""Reads calls of a ledger for a person to judge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, exists, select

from tierwise_server.ledger.records import Origin
from tierwise_server.ledger.schema import outcomes, prompts


class CallToJudge(NamedTuple):
    """An answered call, as a person is shown it."""

    decision_id: str
    tier: str
    """As decided."""
    task: str
    model: str
    """That gave the answer."""
    catalog_revision: str
    prompt: str | None
    """None where it is not kept."""


def calls_to_judge(
    engine: Engine, *, since_ms: int = 0, judged_too: bool = False
) -> Iterator[CallToJudge]:
    """Yields the answered calls of a ledger, each decision once, in an order fixed by chance.

    The first ones of it are therefore a fair sample. Calls of which nothing may be kept are left
    out: there is nothing to judge them by.

    Args:
        engine: Of the ledger.
        since_ms: Decisions from this time on, in milliseconds since 1970.
        judged_too: Whether to give those that have a judgement as well.
    """
    call = outcomes.c
    query: Select[Any] = (
        select(
            call.decision_id,
            call.tier,
            call.task,
            call.final_model_id,
            call.catalog_revision,
            prompts.c.text,
        )
        .outerjoin_from(outcomes, prompts, prompts.c.decision_id == call.decision_id)
        .where(
            call.decided_ms >= since_ms,
            call.attempt_count > 0,
            call.error_class == 0,
            call.origin == Origin.ROUTER,
            call.keep_nothing == 0,
        )
        .order_by(call.id)
    )
    if not judged_too:
        other = outcomes.alias("other")
        judged = exists().where(
            other.c.decision_id == call.decision_id,
            (other.c.quality.is_not(None)) | (other.c.verdict != 0),
        )
        query = query.where(~judged)
    found: dict[str, CallToJudge] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            found.setdefault(row.decision_id, CallToJudge(*row))
    yield from sorted(found.values(), key=lambda one: _place(one.decision_id))


def _place(decision_id: str) -> bytes:
    return hashlib.blake2b(decision_id.encode(), digest_size=8).digest()
