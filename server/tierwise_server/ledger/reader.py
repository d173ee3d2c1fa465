"""Reads a ledger: single entries by their ids, and the sums that reports are made of.

Works beside the server that writes, and never changes anything. Amounts are summed as whole dollars
and the rest of them, so that no sum leaves the 64 bits of SQLite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    Table,
    and_,
    case,
    create_engine,
    func,
    literal,
    make_url,
    select,
)

from tierwise_server.ledger.schema import attempts, decisions, outcomes, prices, prompts
from tierwise_server.planning.plan import StepKind
from tierwise_server.planning.prices import NANO_USD_PER_USD

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTotals:
    """Sums over the calls that have everything in common that a report groups by.

    The groups are the finest there are, so every coarser one is a sum of them.
    """

    day: int
    """Days since 1970 in UTC."""
    origin: int
    catalog: str
    tier: str
    """As decided."""
    final_tier: str
    task: str
    model_id: str
    """That gave the answer, or failed last."""
    caller: str
    kind: int
    calls: int
    errors: int
    """Calls without an answer."""
    alternates: int
    """Calls that went as far as another model of the tier."""
    escalations: int
    refusals: int
    other_models: int
    """Calls that another model answered than the one asked for."""
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    latency_us: int
    unpriced_attempts: int
    answer_nano_usd: int
    """Known cost of the attempts that gave the answers."""
    unsuccessful_nano_usd: int
    """Known cost of the others."""
    compared_calls: int
    """Calls all of whose costs are known, that of the counterfactual included."""
    compared_answer_nano_usd: int
    compared_unsuccessful_nano_usd: int
    counterfactual_nano_usd: int


class LedgerReader:
    """A ledger, opened for reading. May be used by one thread at a time."""

    def __init__(self, url: str) -> None:
        """Takes the URL of the database; opens it with the first question.

        Raises:
            FileNotFoundError: There is no such SQLite file.
        """
        self._engine = _reading_engine(url)

    def close(self) -> None:
        """Closes the database."""
        self._engine.dispose()

    def __enter__(self) -> LedgerReader:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the database."""
        self.close()

    def decision(self, decision_id: str) -> Row[Any] | None:
        """Returns a router's decision."""
        return self._first(select(decisions).where(decisions.c.decision_id == decision_id))

    def prompt(self, decision_id: str) -> str | None:
        """Returns the prompt of a decision; None where it is not kept."""
        row = self._first(select(prompts.c.text).where(prompts.c.decision_id == decision_id))
        return None if row is None else str(row.text)

    def outcome(self, outcome_id: str) -> Row[Any] | None:
        """Returns a reported outcome."""
        return self._first(select(outcomes).where(outcomes.c.outcome_id == outcome_id))

    def attempts(self, outcome_id: str) -> Sequence[Row[Any]]:
        """Returns the attempts of an outcome, oldest first, each with its price."""
        return self._all(
            select(
                attempts, prices.c.bands, prices.c.per_call, prices.c.source, prices.c.source_date
            )
            .join(outcomes, outcomes.c.id == attempts.c.outcome_row)
            .outerjoin(prices, prices.c.price_id == attempts.c.price_id)
            .where(outcomes.c.outcome_id == outcome_id)
            .order_by(attempts.c.position)
        )

    def judgements(self, decision_id: str) -> Sequence[Row[Any]]:
        """Returns what was judged of a decision, with its call or later, oldest first."""
        judged = outcomes.c.quality.is_not(None) | (outcomes.c.verdict != 0)
        return self._all(
            select(
                outcomes.c.outcome_id,
                outcomes.c.recorded_ms,
                outcomes.c.quality,
                outcomes.c.verdict,
            )
            .where(outcomes.c.decision_id == decision_id, judged)
            .order_by(outcomes.c.id)
        )

    def decision_count(self) -> int:
        """Returns the number of routers' decisions."""
        return self._count(decisions)

    def outcome_count(self) -> int:
        """Returns the number of reported outcomes, judgements alone included."""
        return self._count(outcomes)

    def call_totals(self, since_ms: int, until_ms: int) -> Iterator[CallTotals]:
        """Yields the sums over the calls that were decided on from one time until another."""
        keys = {
            "day": outcomes.c.decided_ms // literal(DAY_MS, literal_execute=True),
            "origin": outcomes.c.origin,
            "catalog": outcomes.c.catalog,
            "tier": outcomes.c.tier,
            "final_tier": outcomes.c.final_tier,
            "task": outcomes.c.task,
            "model_id": outcomes.c.final_model_id,
            "caller": outcomes.c.caller,
            "kind": outcomes.c.kind,
        }
        figures = _figures()
        query = (
            select(*(column.label(name) for name, column in (keys | figures).items()))
            .where(
                outcomes.c.decided_ms >= since_ms,
                outcomes.c.decided_ms < until_ms,
                outcomes.c.attempt_count > 0,
            )
            .group_by(*keys.values())
        )
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                values = row._asdict()
                for name in _AMOUNTS:
                    dollars = int(values.pop(f"{name}_usd"))
                    values[name] = dollars * NANO_USD_PER_USD + int(values[name])
                for name in figures.keys() & values.keys():
                    values[name] = int(values[name])
                yield CallTotals(**values)

    def _first(self, query: Select[Any]) -> Row[Any] | None:
        with self._engine.connect() as connection:
            return connection.execute(query).first()

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _count(self, table: Table) -> int:
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()


_AMOUNTS: Final = (
    "answer_nano_usd",
    "unsuccessful_nano_usd",
    "compared_answer_nano_usd",
    "compared_unsuccessful_nano_usd",
    "counterfactual_nano_usd",
)


def _figures() -> dict[str, ColumnElement[Any]]:
    """Returns what is summed over a group of calls, by name."""
    table = outcomes.c
    compared = and_(table.unpriced_count == 0, table.counterfactual_nano_usd.is_not(None))
    answer, unsuccessful = table.answer_cost_nano_usd, table.unsuccessful_cost_nano_usd
    amounts = {
        "answer_nano_usd": answer,
        "unsuccessful_nano_usd": unsuccessful,
        "compared_answer_nano_usd": case((compared, answer), else_=0),
        "compared_unsuccessful_nano_usd": case((compared, unsuccessful), else_=0),
        "counterfactual_nano_usd": case((compared, table.counterfactual_nano_usd), else_=0),
    }
    figures: dict[str, ColumnElement[Any]] = {
        "calls": func.count(),
        "errors": _number_of(table.error_class != 0),
        "alternates": _number_of(table.highest_step == StepKind.ALTERNATE),
        "escalations": _number_of(table.highest_step == StepKind.ESCALATION),
        "refusals": func.sum(table.refused),
        "other_models": _number_of(table.other_model == 1),
        "input_tokens": func.sum(table.input_tokens),
        "cached_input_tokens": func.sum(table.cached_input_tokens),
        "cache_write_tokens": func.sum(table.cache_write_tokens),
        "output_tokens": func.sum(table.output_tokens),
        "reasoning_tokens": func.sum(table.reasoning_tokens),
        "latency_us": func.coalesce(func.sum(table.latency_us), 0),
        "unpriced_attempts": func.sum(table.unpriced_count),
        "compared_calls": _number_of(compared),
    }
    dollar = literal(NANO_USD_PER_USD, literal_execute=True)
    for name, amount in amounts.items():
        figures[f"{name}_usd"] = func.coalesce(func.sum(amount // dollar), 0)
        figures[name] = func.coalesce(func.sum(amount % dollar), 0)
    return figures


def _number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _reading_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed.set(drivername="postgresql+psycopg"), hide_parameters=True)
    if not Path(parsed.database or "").is_file():
        message = f"there is no ledger at {parsed.database}"
        raise FileNotFoundError(message)
    return create_engine(f"sqlite:///file:{parsed.database}?mode=ro&uri=true", hide_parameters=True)
