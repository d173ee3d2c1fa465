"""Reads single entries of a ledger, beside the server that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, Table, create_engine, func, make_url, select

from tierwise_server.ledger.schema import attempts, decisions, outcomes, prices, prompts


class LedgerReader:
    """A ledger, opened for reading. May be used by one thread at a time."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._engine = create_engine(
            f"sqlite:///file:{parsed.database}?mode=ro&uri=true"
            if parsed.get_backend_name() == "sqlite"
            else parsed.set(drivername="postgresql+psycopg")
        )

    def __enter__(self) -> LedgerReader:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the database."""
        self._engine.dispose()

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
            select(outcomes)
            .where(outcomes.c.decision_id == decision_id, judged)
            .order_by(outcomes.c.id)
        )

    def decision_count(self) -> int:
        """Returns the number of routers' decisions."""
        return self._count(decisions)

    def outcome_count(self) -> int:
        """Returns the number of reported outcomes, judgements alone included."""
        return self._count(outcomes)

    def attempt_count(self) -> int:
        """Returns the number of calls of models in all outcomes."""
        return self._count(attempts)

    def _first(self, query: Select[Any]) -> Row[Any] | None:
        with self._engine.connect() as connection:
            return connection.execute(query).first()

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _count(self, table: Table) -> int:
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()
