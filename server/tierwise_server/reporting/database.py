"""Opens a ledger for reading, or says in one line why that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from tierwise_server.ledger.database import CONNECT_TIMEOUT_S, NEWEST_SCHEMA
from tierwise_server.ledger.store import shown
from tierwise_server.reporting.errors import ReportError

SCAN_THREADS: Final = 2
"""Connections that read at once. Databases sort and sum outside the interpreter lock."""


@contextlib.contextmanager
def opened_ledger(url: str) -> Iterator[Engine]:
    """Yields an engine that can only read, of a ledger whose tables this release knows.

    Raises:
        ReportError: There is no ledger, it cannot be reached or read, or another release wrote it.
    """
    engine = _engine(url)
    try:
        _check_version(engine)
        yield engine
    except SQLAlchemyError as error:
        raise ReportError(f"the ledger cannot be read: {shown(error)}") from error
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # Without the value, which may hold a password.
        message = "the ledger's URL must be sqlite:///FILE or postgresql://HOST/DATABASE"
        raise ReportError(message) from error
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "").absolute()
        if not path.is_file():
            raise ReportError(f"there is no ledger at {path}; name it with --ledger")
        return create_engine(
            # Put together from its parts, since URLs are decoded when they are read.
            URL.create(
                "sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"}
            ),
            hide_parameters=True,
            pool_size=SCAN_THREADS,
        )
    if parsed.get_backend_name() != "postgresql":
        raise ReportError(f"a ledger is kept in SQLite or PostgreSQL, not {parsed.drivername}")
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=SCAN_THREADS,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "tierwise report",
            "options": "-c default_transaction_read_only=on",
        },
    )


def _check_version(engine: Engine) -> None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            raise ReportError("the database holds no ledger; name another one with --ledger")
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version != NEWEST_SCHEMA:
        raise ReportError(
            f"the ledger's tables are at version {version}, and this release reads"
            f" {NEWEST_SCHEMA}: run the release of the server that writes the ledger, or start the"
            " newer one, which brings the tables up to date"
        )
