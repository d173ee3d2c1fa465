"""A real PostgreSQL server for tests: one that is named or answers, else one of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

VARIABLE = "TIERWISE_TEST_POSTGRES_URL"
LOCAL_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
TIMEOUT_S = 60


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Yields the URL of a server on which databases may be made."""
    if named := os.environ.get(VARIABLE):
        yield named
    elif _answers(LOCAL_URL):
        yield LOCAL_URL
    elif folder := _programs():
        with private_server(folder) as url:
            yield url
    else:
        message = (
            f"no PostgreSQL: name one with {VARIABLE}, or install it (apt-get install postgresql)"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@contextlib.contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Yields the URL of an empty database, which is dropped afterwards."""
    name = f"tierwise_test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextlib.contextmanager
def private_server(programs: Path) -> Iterator[str]:
    """Runs a server of its own, in a folder and on a port that nobody else has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not in pytest's folder, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="tierwise-postgres-"))
    data = folder / "data"
    # PostgreSQL refuses to run as root.
    user = _unprivileged() if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)

    def run(program: str, *words: str) -> None:
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        subprocess.run(
            [programs / program, "-D", data, *words],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            cwd=folder,
            **options,  # type: ignore[call-overload]
        )

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8")
        listen = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "--wait", f"--log={folder / 'log'}", f"--options={listen}", "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _programs() -> Path | None:
    """Returns the folder of the newest installed server programs."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((one.parent for one in found), key=lambda one: int(one.parent.name), default=None)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    message = "running as root, and there is no user postgres or nobody to run PostgreSQL as"
    raise RuntimeError(message)
