"""Writes batches into a ledger's database, each in one transaction, and deletes what is too old."""

from __future__ import annotations

import datetime
import importlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, Table, delete, func, select, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from tierwise_server.ledger import rows, schema
from tierwise_server.ledger.database import open_database
from tierwise_server.ledger.errors import LedgerSchemaError
from tierwise_server.ledger.pricing import (
    PriceBook,
    SettledOutcome,
    band_of,
    models_from_json,
    price_id,
)
from tierwise_server.ledger.records import CatalogRecord, DecisionRecord, OutcomeRecord
from tierwise_server.planning.prices import ResolvedPrice

_TRIES: Final = 3
"""Times that a batch is tried when the connection broke or another server wrote one of its outcomes
meanwhile. A batch that was committed all the same is not written twice: its rows are known by their
ids."""

_IDS: Final = 500
"""Ids that one query asks for."""


_ROWS: Final = 64
"""Most rows of one statement: a power of two, with fewer values than any database's limit."""


class Written(NamedTuple):
    """What became of the outcomes of a batch."""

    fresh: list[bool]
    """Of each outcome, whether it was not there before."""
    settled: list[SettledOutcome]
    """Those that were not, with their costs."""


class _RacedError(Exception):
    """Another server wrote an outcome of the batch since it was looked for."""


class _Insert:
    """Inserts rows into a table, passing over those whose key is there already.

    Many rows in one statement: what the library does for each row takes longer than the database,
    and SQLite's driver waits for the interpreter's lock after each statement, which on a busy
    server costs milliseconds.
    """

    def __init__(self, engine: Engine, table: Table) -> None:
        # Only the dialect in use: the other one is 2 MB of code.
        dialect: Any = importlib.import_module(f"sqlalchemy.dialects.{engine.dialect.name}")
        insert = dialect.insert(table)
        compiled = insert.on_conflict_do_nothing().compile(dialect=engine.dialect)
        self._start, self._row, self._end = _split_at_row(str(compiled))
        self._values = itemgetter(*compiled.positiontup)

    def add(self, connection: Connection, rows: Iterable[rows.Row]) -> int:
        """Inserts rows and returns how many were new."""
        waiting = iter(rows)
        added = 0
        while chunk := list(map(self._values, islice(waiting, _ROWS))):
            # In sizes that are powers of two, so that there are few statements to prepare.
            while chunk:
                size = 1 << (len(chunk).bit_length() - 1)
                added += self._add(connection, chunk[:size])
                chunk = chunk[size:]
        return added

    def _add(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> int:
        statement = self._start + ", ".join([self._row] * len(rows)) + self._end
        values = tuple(chain.from_iterable(rows))
        return connection.exec_driver_sql(statement, values).rowcount


def _split_at_row(statement: str) -> tuple[str, str, str]:
    """Returns what is before, what is, and what is behind the one row of an insert."""
    start, keyword, rest = statement.partition(" VALUES ")
    row, closing, end = rest.partition(")")
    return start + keyword, row + closing, end


class LedgerStore:
    """A ledger's database, opened for writing. Belongs to one thread."""

    def __init__(self, url: str, prices: PriceBook) -> None:
        """Opens the database.

        Raises:
            LedgerSchemaError: A newer release has written it.
            sqlalchemy.exc.SQLAlchemyError: It cannot be reached or written.
        """
        self._prices = prices
        self._written_prices: set[str] = set()
        self._unconfirmed_prices: set[str] = set()
        self._engine: Engine = open_database(url)
        self._decisions = _Insert(self._engine, schema.decisions)
        self._prompts = _Insert(self._engine, schema.prompts)
        self._outcomes = _Insert(self._engine, schema.outcomes)
        self._attempts = _Insert(self._engine, schema.attempts)
        self._price_rows = _Insert(self._engine, schema.prices)
        self._catalogs = _Insert(self._engine, schema.catalogs)

    def close(self) -> None:
        """Closes the connection."""
        self._engine.dispose()

    def read(self, question: Callable[[Connection], None]) -> None:
        """Has something read from the database.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: It cannot be reached.
        """
        with self._engine.connect() as connection:
            question(connection)

    def write(
        self,
        *,
        catalogs: Sequence[CatalogRecord] = (),
        decisions: Sequence[DecisionRecord] = (),
        outcomes: Sequence[OutcomeRecord] = (),
    ) -> Written:
        """Writes a batch and returns once it is on disk.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: Nothing of it was written, or the connection broke when
                it was being committed.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._unconfirmed_prices.clear()
                with self._engine.begin() as connection:
                    self._write_catalogs(connection, catalogs)
                    self._write_decisions(connection, decisions)
                    written = self._write_outcomes(connection, outcomes)
            except _RacedError:
                if not left:
                    raise
            except DBAPIError as error:
                if not (left and error.connection_invalidated):
                    raise
            else:
                self._written_prices |= self._unconfirmed_prices
                return written
        raise AssertionError

    def delete_before(self, time_ms: int, limit: int) -> int:
        """Deletes up to so many of the decisions and of the outcomes that are older than a time.

        Returns:
            How many it deleted of the more numerous ones; below `limit` when none are left.
        """
        decisions, outcomes, prompts = schema.decisions, schema.outcomes, schema.prompts
        # Ids of decisions begin with their time, which saves an index by it.
        old_decisions = (
            select(decisions.c.decision_id)
            .where(decisions.c.decision_id < f"{max(0, time_ms):012x}")
            .order_by(decisions.c.decision_id)
            .limit(limit)
        )
        old_outcomes = (
            select(outcomes.c.id)
            .where(outcomes.c.decided_ms < time_ms)
            .order_by(outcomes.c.decided_ms)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            ids = connection.scalars(old_decisions).all()
            connection.execute(delete(prompts).where(prompts.c.decision_id.in_(ids)))
            connection.execute(delete(decisions).where(decisions.c.decision_id.in_(ids)))
            numbers = connection.scalars(old_outcomes).all()
            connection.execute(delete(outcomes).where(outcomes.c.id.in_(numbers)))
        return max(len(ids), len(numbers))

    def _write_catalogs(self, connection: Connection, catalogs: Sequence[CatalogRecord]) -> None:
        for one in catalogs:
            prices = {model.price for model in one.models.values() if model.price is not None}
            self._write_prices(connection, prices)
        now_ms = time.time_ns() // 1_000_000
        self._catalogs.add(connection, (rows.catalog_row(one, now_ms) for one in catalogs))

    def _write_decisions(self, connection: Connection, decisions: Sequence[DecisionRecord]) -> None:
        self._decisions.add(connection, map(rows.decision_row, decisions))
        self._prompts.add(
            connection, (rows.prompt_row(one) for one in decisions if one.prompt is not None)
        )

    def _write_outcomes(self, connection: Connection, outcomes: Sequence[OutcomeRecord]) -> Written:
        if not outcomes:
            return Written(fresh=[], settled=[])
        self._recall(connection, self._prices.unknown_revisions(outcomes))
        first: dict[str, int] = {}
        for position, one in enumerate(outcomes):
            first.setdefault(one.outcome_id, position)
        known = _known_outcomes(connection, list(first))
        # In one order everywhere, so that servers that write the same outcomes at once wait for
        # each other, and not in a circle.
        new = [
            self._prices.settle(outcomes[first[outcome_id]])
            for outcome_id in sorted(first)
            if outcome_id not in known
        ]
        numbers = _next_numbers(connection, len(new))
        added = self._outcomes.add(connection, map(rows.outcome_row, numbers, new))
        if added != len(new):
            raise _RacedError
        self._write_prices(connection, {price for one in new for price in rows.prices_of(one)})
        self._attempts.add(
            connection,
            (
                row
                for number, one in zip(numbers, new, strict=True)
                for row in rows.attempt_rows(number, one)
            ),
        )
        fresh = [
            first[one.outcome_id] == position and one.outcome_id not in known
            for position, one in enumerate(outcomes)
        ]
        return Written(fresh=fresh, settled=new)

    def _write_prices(self, connection: Connection, prices: set[ResolvedPrice]) -> None:
        by_id = {price_id(one): one for one in prices}
        new = sorted(by_id.keys() - self._written_prices)
        self._price_rows.add(connection, (rows.price_row(key, by_id[key]) for key in new))
        self._unconfirmed_prices.update(new)

    def _recall(self, connection: Connection, revisions: set[str]) -> None:
        """Reads what earlier servers noted of catalog revisions."""
        if not revisions:
            return
        catalogs = schema.catalogs
        found = connection.execute(select(catalogs).where(catalogs.c.revision.in_(revisions)))
        for row in found.all():
            named = [entry[3] for entry in json.loads(row.models).values() if entry[3]]
            prices = _read_prices(connection, named)
            self._prices.remember(
                CatalogRecord(
                    revision=row.revision,
                    catalog=row.catalog,
                    encoder_id=row.encoder_id,
                    scorer_id=row.scorer_id,
                    tiers=tuple(json.loads(row.tiers)),
                    baseline_model_id=row.baseline_model_id,
                    models=models_from_json(row.models, prices.__getitem__),
                )
            )


def is_fault_of_row(error: Exception) -> bool:
    """Returns whether a batch failed for what is in it, and not for the state of the database."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return not isinstance(error, SQLAlchemyError | OSError) or isinstance(error, StatementError)


def shown(error: Exception) -> str:
    """Returns what went wrong in one line, without any value that was to be written."""
    if isinstance(error, DBAPIError):
        return f"{type(error.orig).__name__}: {error.orig}".partition("\n")[0]
    if isinstance(error, LedgerSchemaError):
        return str(error)
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    # The message of any other may quote what was to be written.
    return type(error).__name__


def _known_outcomes(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Returns those of the outcomes that are there already."""
    column = schema.outcomes.c.outcome_id
    known: set[str] = set()
    for start in range(0, len(ids), _IDS):
        asked = ids[start : start + _IDS]
        known.update(connection.scalars(select(column).where(column.in_(asked))))
    return known


def _next_numbers(connection: Connection, count: int) -> Sequence[int]:
    """Returns the numbers of new rows of `outcomes`."""
    if connection.dialect.name == "postgresql":
        query = text(
            "SELECT nextval(pg_get_serial_sequence('outcomes', 'id'))"
            " FROM generate_series(1, :count)"
        )
        return connection.scalars(query, {"count": count}).all()
    # Nobody else writes before this transaction ends.
    last = connection.scalar(select(func.max(schema.outcomes.c.id))) or 0
    return range(last + 1, last + 1 + count)


def _read_prices(connection: Connection, ids: Sequence[str]) -> Mapping[str, ResolvedPrice]:
    prices = schema.prices
    found = connection.execute(select(prices).where(prices.c.price_id.in_(ids)))
    return {
        row.price_id: ResolvedPrice(
            bands=tuple(map(band_of, json.loads(row.bands))),
            per_call=row.per_call,
            source=row.source,
            source_date=row.source_date and datetime.date.fromisoformat(row.source_date),
        )
        for row in found.all()
    }
