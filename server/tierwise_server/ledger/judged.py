"""Reads the judged calls of a ledger as evidence, where their prompts were kept."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Engine, Row, Select, select

from tierwise_server.evidence.rows import EvidenceRow, EvidenceSource
from tierwise_server.ledger.schema import outcomes, prompts

_GRADES: Final = {1: 1.0, 2: 0.0}
"""What a verdict (positive, negative) counts as where no quality was given."""


def judged_evidence(engine: Engine, *, since_ms: int = 0) -> Iterator[EvidenceRow]:
    """Yields a row for each judged call that was answered, in the order of the calls.

    Of several judgements of a call the last counts; one that came later is of the first call that
    was reported for its decision, as in the report. The model is the one that gave the answer in
    the end. Answers that a validator rejected on the way are left out: those that it let pass have
    no label, so models would look worse than they are.

    Args:
        engine: Of the ledger.
        since_ms: Decisions from this time on, in milliseconds since 1970.
    """
    table = outcomes.c
    query: Select[Any] = (
        select(
            table.decision_id,
            table.task,
            table.final_model_id,
            table.final_tier,
            table.attempt_count,
            table.error_class,
            table.quality,
            table.verdict,
            table.recorded_ms,
            prompts.c.text,
        )
        .join(prompts, prompts.c.decision_id == table.decision_id)
        .where(table.decided_ms >= since_ms)
        .order_by(table.id)
    )
    calls: dict[int, Row[Any]] = {}
    first_of: dict[str, int] = {}
    grades: dict[int, tuple[float, int]] = {}
    with engine.connect() as connection:
        for place, row in enumerate(connection.execute(query)):
            if row.attempt_count > 0:
                calls[place] = row
                first_of.setdefault(row.decision_id, place)
                judged = place
            else:
                judged = first_of.get(row.decision_id, -1)
            grade = row.quality if row.quality is not None else _GRADES.get(row.verdict)
            if judged >= 0 and grade is not None:
                grades[judged] = float(grade), row.recorded_ms
    for place in sorted(grades):
        call = calls[place]
        if call.error_class == 0 and call.text.strip() and (call.final_model_id or call.final_tier):
            yield _row(call, *grades[place])


def _row(call: Row[Any], grade: float, recorded_ms: int) -> EvidenceRow:
    return EvidenceRow(
        prompt=call.text,
        task=call.task,
        model=call.final_model_id,
        tier=call.final_tier,
        quality=min(max(grade, 0.0), 1.0),
        source=EvidenceSource.OUTCOME,
        time=datetime.datetime.fromtimestamp(recorded_ms / 1000, tz=datetime.UTC),
    )
