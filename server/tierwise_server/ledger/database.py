"""Opens a ledger's database and brings its tables up to date.

SQLite keeps a write-ahead log and syncs it at every commit (`synchronous=FULL`): what was committed
survives a kill of the process and a loss of power. PostgreSQL does the same by its own defaults.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from tierwise_server.ledger.errors import LedgerSchemaError

BUSY_TIMEOUT_S: Final = 5
"""Seconds to wait for another writer of a SQLite file, or for a lock of PostgreSQL."""

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_S: Final = 15

NEWEST_SCHEMA: Final = "0001"
"""Revision of the newest migration, named here so that a start need not load Alembic to find that
there is nothing to do."""

_MIGRATION_LOCK: Final = 7_469_177_243_185
"""Number of the advisory lock that migrations hold: any fixed one."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Opens a database, creating or migrating its tables where that is needed.

    Raises:
        LedgerSchemaError: A newer release has written it.
        sqlalchemy.exc.SQLAlchemyError: It cannot be reached or written.
        OSError: The folder of a SQLite file cannot be made.
    """
    engine = connect(url)
    try:
        with engine.begin() as connection:
            if _version(connection) != NEWEST_SCHEMA:
                _migrate(connection)
            # Shows at once whether the database can be written: a full disk and a read-only file
            # can be opened.
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except BaseException:
        engine.dispose()
        raise
    return engine


def connect(url: str) -> Engine:
    """Returns an engine for a URL: one connection, whose transactions are there to write."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    seconds = 1000
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        # Positional, as SQLite's are.
        paramstyle="format",
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": STATEMENT_TIMEOUT_S * seconds,
            "application_name": "tierwise",
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S * seconds}"
            f" -c lock_timeout={BUSY_TIMEOUT_S * seconds}",
        },
    )


def _sqlite(url: URL) -> Engine:
    if url.database and not url.database.startswith((":memory:", "file:")):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # Otherwise the driver begins transactions by itself, and only some of them.
        sqlite: Any = connection
        sqlite.isolation_level = None
        _keep_log(sqlite)
        sqlite.execute("PRAGMA synchronous=FULL")
        sqlite.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that begins as a reader may find that it cannot become a writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _keep_log(connection: sqlite3.Connection) -> None:
    """Has a file keep a write-ahead log.

    The one statement for which SQLite does not wait for others by itself.
    """
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _version(connection: Connection) -> str | None:
    """Returns the revision of the tables; None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _migrate(connection: Connection) -> None:
    """Applies the migrations that are missing, in the transaction of the connection.

    Of several servers that start at once, one migrates and the others wait for it: SQLite has one
    writer anyhow, PostgreSQL gets a lock.
    """
    # Loading Alembic costs a quarter of a second, which no other start has to pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK}
        )
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    version = _version(connection)
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise LedgerSchemaError(
            f"the ledger was written by a newer release (its tables are at {version}, this release"
            f" knows them up to {NEWEST_SCHEMA}): run that release, or name another database with"
            " --ledger"
        )
    command.upgrade(config, "head")
