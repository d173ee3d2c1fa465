"""Asks a ledger for the rows of a report. Reads only, on SQLite and PostgreSQL alike.

The database sums, over groups so fine that every breakdown is a sum of them, and lists the times of
each group as one text, from which quantiles are exact. Amounts are summed as whole dollars and the
rest of them, so that no sum leaves the 64 bits of SQLite. The scan is cut by row numbers and runs
on several connections at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)

from tierwise_server.ledger.records import Origin
from tierwise_server.ledger.schema import attempts, catalogs, decisions, outcomes, prices
from tierwise_server.planning.plan import StepKind
from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.conditions import (
    AnyRow,
    AnySelect,
    decided_in_period,
    in_period,
)
from tierwise_server.reporting.database import SCAN_THREADS
from tierwise_server.reporting.judgements import callless_judgements, judged_calls
from tierwise_server.reporting.rows import (
    DAY_MS,
    CallGroup,
    DecisionGroup,
    LedgerFacts,
    LedgerRows,
    Period,
    ServedOther,
    UnpricedModel,
)

_AMOUNTS: Final = ("answer_cost_nano_usd", "unsuccessful_cost_nano_usd", "counterfactual_nano_usd")
_PLAIN: Final = CallGroup._fields.index("answer_nano_usd")
"""Columns of a row of calls before its amounts."""


def read_rows(engine: Engine, period: Period) -> LedgerRows:
    """Returns all that a report on a period is made of."""
    with ThreadPoolExecutor(max_workers=SCAN_THREADS) as threads:
        decided = threads.submit(_rows, engine, _decisions_query(period))
        scans = [
            threads.submit(_rows, engine, _calls_query(period, first, last))
            for first, last in _slices(engine, period)
        ]
        facts = _facts(engine)
        judged = judged_calls(engine, period)
        callless = callless_judgements(engine, period)
        calls = tuple(_call_group(row) for scan in scans for row in scan.result())
        decision_groups = tuple(_decision_group(row) for row in decided.result())
    return LedgerRows(
        facts=facts,
        calls=calls,
        decisions=decision_groups,
        routerless_causes=_routerless_causes(engine, period, calls),
        served_other=_served_other(engine, period, calls),
        unpriced=_unpriced(engine, period, calls),
        judged=judged,
        callless_judgements=callless,
    )


def _rows(engine: Engine, query: AnySelect) -> Sequence[AnyRow]:
    with engine.connect() as connection:
        return connection.execute(query).all()


def _slices(engine: Engine, period: Period) -> list[tuple[int, int]]:
    """Returns the first and last row number of equal parts of the table that hold the period."""
    query = select(func.min(outcomes.c.id), func.max(outcomes.c.id)).where(
        outcomes.c.decided_ms >= period.since_ms, outcomes.c.decided_ms < period.until_ms
    )
    first, last = _rows(engine, query)[0]
    if first is None:
        return []
    size = -(-(last - first + 1) // SCAN_THREADS)
    return [(start, min(start + size - 1, last)) for start in range(first, last + 1, size)]


def _calls_query(period: Period, first: int, last: int) -> AnySelect:
    table = outcomes.c
    keys = (
        table.decided_ms // literal(DAY_MS, literal_execute=True),
        table.tier,
        table.final_tier,
        table.task,
        table.final_model_id,
        table.caller,
        and_(table.unpriced_count == 0, table.counterfactual_nano_usd.is_not(None)),
    )
    figures: list[ColumnElement[Any]] = [
        func.count(),
        _number_of(table.origin == Origin.ROUTERLESS),
        _number_of(table.error_class != 0),
        _number_of(table.highest_step == StepKind.ALTERNATE),
        _number_of(table.highest_step == StepKind.ESCALATION),
        _number_of(table.refused != 0),
        _number_of(table.other_model == 1),
        _number_of(table.unpriced_count > 0),
        _sum(table.input_tokens),
        _sum(table.output_tokens),
    ]
    dollar = literal(NANO_USD_PER_USD, literal_execute=True)
    for name in _AMOUNTS:
        figures += (_sum(table[name] // dollar), _sum(table[name] % dollar))
    answered_us = case((table.error_class == 0, table.latency_us))
    return (
        select(*keys, *figures, _listed(answered_us))
        .where(table.id >= first, table.id <= last, in_period(period))
        .group_by(*keys)
    )


def _decisions_query(period: Period) -> AnySelect:
    table = decisions.c
    keys = (table.tier, table.expected_tier, table.kind)
    return (
        select(*keys, func.count(), _listed(table.total_us))
        .where(decided_in_period(table.decision_id, period))
        .group_by(*keys)
    )


def _number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL sums in decimals.
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _listed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.aggregate_strings(cast(column, Text), ",")


def _call_group(row: AnyRow) -> CallGroup:
    values = tuple(row)
    pairs = values[_PLAIN:-1]
    amounts = (
        dollars * NANO_USD_PER_USD + rest
        for dollars, rest in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return CallGroup._make((*values[:_PLAIN], *amounts, _times(values[-1])))


def _decision_group(row: AnyRow) -> DecisionGroup:
    return DecisionGroup._make((*row[:-1], _times(row[-1])))


def _times(listed: str | None) -> tuple[int, ...]:
    return tuple(map(int, listed.split(","))) if listed else ()


def _facts(engine: Engine) -> LedgerFacts:
    # One query each: of both together, SQLite would read the whole index.
    kept = outcomes.c.decided_ms
    ids = decisions.c.decision_id
    with engine.connect() as connection:
        first, last = (connection.scalar(select(one(kept))) for one in (func.min, func.max))
        decided = [connection.scalar(select(one(ids))) for one in (func.min, func.max)]
        served = connection.execute(
            select(catalogs.c.tiers, catalogs.c.baseline_model_id).order_by(
                catalogs.c.first_served_ms.desc(), catalogs.c.revision
            )
        ).all()
        sources = connection.execute(
            select(prices.c.source, func.coalesce(prices.c.source_date, "")).distinct()
        ).all()
    times = [int(one[:12], 16) for one in decided if one is not None]
    times += [one for one in (first, last) if one is not None]
    return LedgerFacts(
        first_ms=min(times, default=None),
        last_ms=max(times, default=None),
        tiers=tuple(json.loads(served[0].tiers)) if served else (),
        baselines=tuple(dict.fromkeys(one.baseline_model_id for one in served)),
        price_sources=tuple(sorted((source, date) for source, date in sources)),
    )


def _routerless_causes(
    engine: Engine, period: Period, calls: Sequence[CallGroup]
) -> tuple[tuple[int, int], ...]:
    if not any(one.routerless for one in calls):
        return ()
    cause = outcomes.c.routerless_cause
    query = (
        select(cause, func.count())
        .where(in_period(period), outcomes.c.origin == Origin.ROUTERLESS)
        .group_by(cause)
        .order_by(cause)
    )
    return tuple((number, count) for number, count in _rows(engine, query))


def _served_other(
    engine: Engine, period: Period, calls: Sequence[CallGroup]
) -> tuple[ServedOther, ...]:
    if not any(one.other_models for one in calls):
        return ()
    # The attempt that gave the answer is the last one that succeeded; those before it failed.
    keys = (attempts.c.model_id, attempts.c.served_model_name)
    query = (
        select(*keys, func.count(outcomes.c.id.distinct()))
        .join(outcomes, outcomes.c.id == attempts.c.outcome_row)
        .where(
            in_period(period),
            outcomes.c.other_model == 1,
            attempts.c.other_model == 1,
            attempts.c.model_id == outcomes.c.final_model_id,
            or_(attempts.c.error_class == 0, outcomes.c.error_class != 0),
        )
        .group_by(*keys)
        .order_by(func.count().desc(), *keys)
    )
    return tuple(ServedOther(*row) for row in _rows(engine, query))


def _unpriced(
    engine: Engine, period: Period, calls: Sequence[CallGroup]
) -> tuple[UnpricedModel, ...]:
    if not any(one.unpriced_calls for one in calls):
        return ()
    table = attempts.c
    query = (
        select(table.model_id, func.count(), _sum(table.input_tokens), _sum(table.output_tokens))
        .join(outcomes, outcomes.c.id == table.outcome_row)
        .where(in_period(period), outcomes.c.unpriced_count > 0, table.cost_nano_usd.is_(None))
        .group_by(table.model_id)
        .order_by(func.count().desc(), table.model_id)
    )
    return tuple(UnpricedModel(*row) for row in _rows(engine, query))
