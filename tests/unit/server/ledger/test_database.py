"""Tables are made and brought up to date, by one server of several that start at once."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from tierwise_server.ledger.database import MIGRATIONS, NEWEST_SCHEMA, connect, open_database
from tierwise_server.ledger.errors import LedgerSchemaError
from tierwise_server.ledger.schema import metadata


def test_migrations_end_in_the_tables_that_the_code_uses(url: str) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_the_newest_schema_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST_SCHEMA


def test_servers_that_start_at_once_do_not_get_in_each_others_way(url: str) -> None:
    faults: list[Exception] = []
    together = threading.Barrier(6, timeout=30)

    def start() -> None:
        together.wait()
        try:
            open_database(url).dispose()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert faults == []
    engine = open_database(url)
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [
            NEWEST_SCHEMA
        ]
    engine.dispose()


def test_a_newer_releases_database_is_left_alone(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerSchemaError, match=r"newer release .*9999.* --ledger"):
        open_database(url)


def test_a_database_that_is_up_to_date_is_opened_without_loading_alembic(sqlite_url: str) -> None:
    open_database(sqlite_url).dispose()
    program = (
        "import sys; from tierwise_server.ledger.database import open_database;"
        f"open_database({sqlite_url!r}).dispose(); print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_a_sqlite_file_is_synced_at_every_commit(sqlite_url: str) -> None:
    engine = connect(sqlite_url)
    with engine.connect() as connection:
        values = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()
    full = 2
    assert values == ["wal", full, 1]
