"""Chats go on when the router does not: down, slow, not ready, and back again."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import LIKE, CatalogFolder, StartServe, write_catalog
from tests.integration.client.conftest import MODELS, World

from tierwise import (
    ChatResponse,
    ConfigurationError,
    Model,
    RouterError,
    RouterlessCause,
    RouterlessDefaults,
    RoutingOptions,
)
from tierwise.testing import ProviderServer, Reply

LOCAL = Model(model_id="stand-in", provider_id="openai", upstream_name="stand-in-1", tier_id="mid")


@pytest.fixture
def catalog_with_models(tmp_path: Path) -> CatalogFolder:
    return write_catalog(tmp_path / "catalog", models=MODELS)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def world_at(port: int, providers: ProviderServer, spool: Path) -> World:
    return World(router=f"127.0.0.1:{port}", providers=providers, spool=spool)


def outcome_ids(ledger: Path) -> list[str]:
    """Returns the id of every outcome that a ledger holds."""
    with closing(sqlite3.connect(ledger)) as connection:
        return [one for (one,) in connection.execute("SELECT outcome_id FROM outcomes")]


def test_a_killed_router_fails_no_call_and_every_outcome_arrives_once_it_is_back(
    start_serve: StartServe,
    catalog_with_models: CatalogFolder,
    providers: ProviderServer,
    tmp_path: Path,
) -> None:
    calls, callers = 10_000, 16
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite3"
    flags = ("--catalog", str(catalog_with_models.path), "--ledger", ledger)
    served = start_serve(*flags)
    port = served.port()
    world = world_at(port, providers, tmp_path / "spool.db")
    with world.client(router_timeout_s=0.25, report_outcomes=True) as client:

        def ask(number: int) -> ChatResponse:
            if number == calls // 4:
                served.process.kill()
                served.process.wait()
            return client.chat(f"{LIKE['budget']} {number}")

        with ThreadPoolExecutor(callers) as pool:
            responses = list(pool.map(ask, range(calls)))
        causes = [one.decision.routerless_cause for one in responses]
        routerless = sum(cause is not None for cause in causes)
        again = start_serve(*flags, "--listen", f"127.0.0.1:{port}")
        assert again.port() == port
        assert client.flush(60)
        status = client.status
        last = client.chat(LIKE["budget"])
        assert last.decision.routerless_cause is None
    again.end()
    assert routerless > 0
    assert causes[-1] is RouterlessCause.UNAVAILABLE
    assert len(providers.calls) == calls + 1
    assert status.routerless_decisions == routerless
    assert status.reporting.lost == status.reporting.rejected == 0
    assert status.reporting.delivered + status.reporting.duplicates >= calls
    # Once each, though what the first server took without saying so was sent again.
    kept = outcome_ids(tmp_path / "ledger.sqlite3")
    assert sorted(kept) == sorted(one.outcome_id for one in (*responses, last))


def test_a_router_that_is_slow_costs_its_deadline_and_no_more(
    silent_port: int, providers: ProviderServer, tmp_path: Path
) -> None:
    world = world_at(silent_port, providers, tmp_path / "spool.db")
    defaults = RouterlessDefaults(models=(LOCAL,))
    with world.client(router_timeout_s=0.1, routerless=defaults) as client:
        responses = [client.chat("hello") for _ in range(6)]
    assert {one.decision.routerless_cause for one in responses} == {RouterlessCause.TIMEOUT}
    assert [one.model_id for one in responses] == ["stand-in"] * 6
    assert len(providers.calls) == 6


def test_without_any_plan_or_model_the_error_says_what_to_configure(
    providers: ProviderServer, tmp_path: Path
) -> None:
    world = world_at(free_port(), providers, tmp_path / "spool.db")
    with (
        world.client(router_timeout_s=0.1) as client,
        pytest.raises(ConfigurationError, match="RouterlessDefaults") as caught,
    ):
        client.chat("hello")
    assert isinstance(caught.value.__cause__, RouterError)


async def test_limits_hold_without_the_router_as_well(
    start_serve: StartServe,
    catalog_with_models: CatalogFolder,
    providers: ProviderServer,
    tmp_path: Path,
) -> None:
    served = start_serve("--catalog", str(catalog_with_models.path))
    world = world_at(served.port(), providers, tmp_path / "spool.db")
    async with world.async_client() as client:
        await client.chat(LIKE["budget"])
        await client.chat(LIKE["premium"])
        await asyncio.to_thread(served.end)
        ours = await client.chat(LIKE["mid"], RoutingOptions(required_labels={"region": "eu"}))
        pinned = await client.chat(LIKE["mid"], RoutingOptions(tier="premium"))
        with pytest.raises(ConfigurationError, match="keeps the request's limits"):
            await client.chat(LIKE["mid"], RoutingOptions(required_labels={"region": "asia"}))
    assert (ours.model_id, pinned.model_id) == ("gpt-small", "claude-big")
    assert ours.decision.routerless_cause is not None


def test_a_request_that_the_router_refuses_is_an_error_not_an_outage(world: World) -> None:
    world.providers.script("openai", Reply.text("never"))
    with world.client() as client, pytest.raises(RouterError) as caught:
        client.chat("hello", RoutingOptions(tier="platinum"))
    assert "platinum" in str(caught.value)
    assert world.providers.calls == ()
