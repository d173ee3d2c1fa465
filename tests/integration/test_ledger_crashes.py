"""What was acknowledged is stored once, whichever side is killed and whenever."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conftest import LIKE, MODELS, REPOSITORY, ServeProcess, StartServe, write_catalog
from tests.unit.server.ledger import crash_client
from tests.unit.server.ledger.crash_client import BATCH
from tests.unit.server.ledger.postgres import fresh_database, postgres_server
from tests.unit.server.ledger.reading import LedgerReader

from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    RoutePromptRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

KILLS = 6
CALL_TIMEOUT_S = 5.0
PROGRESS_S = 30.0
LIFE_S = (0.05, 0.6)
"""How long a server lives once it has acknowledged something."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite3"
        return
    with postgres_server() as server, fresh_database(server) as name:
        yield name


def test_what_was_acknowledged_is_stored_once(
    start_serve: StartServe, url: str, tmp_path: Path
) -> None:
    crash(start_serve, url, tmp_path, KILLS)
    acknowledged: dict[str, int] = {}
    for line in (tmp_path / "acknowledged").read_text().splitlines():
        outcome_id, attempts = line.split()
        assert outcome_id not in acknowledged
        acknowledged[outcome_id] = int(attempts)
    assert len(acknowledged) > KILLS * BATCH
    with LedgerReader(url) as reader:
        stored = reader.outcome_count()
        for outcome_id, attempts in acknowledged.items():
            row = reader.outcome(outcome_id)
            assert row is not None
            assert row.attempt_count == attempts
            assert len(reader.attempts(outcome_id)) == attempts
    # Beyond them, only what a client or server was killed over.
    assert len(acknowledged) <= stored <= len(acknowledged) + 2 * (KILLS + 1) * BATCH


def crash(start_serve: StartServe, url: str, folder: Path, kills: int) -> None:
    """Has a client report while server and client are killed in turns."""
    catalog = write_catalog(folder / "catalog", models=MODELS)
    chance = random.Random(7)  # noqa: S311 - repeatable, not secret
    port_file, log = folder / "port", folder / "acknowledged"
    log.touch()
    token = ""
    reporter: subprocess.Popen[bytes] | None = None
    try:
        for number in range(kills):
            server = start_serve("--catalog", str(catalog.path), "--ledger", url)
            port = server.port()
            aside = folder / "port.new"
            aside.write_text(str(port))
            aside.replace(port_file)
            token = token or decide(port)
            if reporter is None:
                reporter = start_client(port_file, token, log)
            let_live(server, log, chance.uniform(*LIFE_S))
            if number % 3 == 1:
                reporter.kill()
                reporter.wait()
                reporter = None
            server.process.kill()
            server.process.wait()
    finally:
        if reporter is not None:
            reporter.kill()
            reporter.wait()


def let_live(server: ServeProcess, log: Path, seconds: float) -> None:
    """Returns when a server has acknowledged something and served for some time more."""
    before = log.stat().st_size
    end = time.monotonic() + PROGRESS_S
    while log.stat().st_size == before:
        assert time.monotonic() < end, "nothing is acknowledged any more"
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(seconds)


def decide(port: int) -> str:
    """Returns the token of a decision."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["budget"]))
        response = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S)
        return str(response.decision.decision_token)


def start_client(port_file: Path, token: str, acknowledged: Path) -> subprocess.Popen[bytes]:
    """Starts a client in a process of its own."""
    words = (sys.executable, "-m", crash_client.__name__, str(port_file), token, str(acknowledged))
    return subprocess.Popen(words, cwd=REPOSITORY)
