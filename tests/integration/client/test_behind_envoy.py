"""Replicas behind Envoy as its shipped configuration has it: killed and restarted under load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.benchmarks.envoy_proxy import Envoy, envoy_before
from tests.conftest import CALL_TIMEOUT_S, LIKE, ServeProcess, StartServe, eventually, write_catalog
from tests.integration.client.conftest import MODELS, World

from tierwise import AsyncClient, TierwiseError
from tierwise.testing import ProviderServer

REPLICAS = 3
CALLERS = 4


@dataclass
class Chats:
    """What callers of chats without a pause have seen."""

    answered: int = 0
    routerless: int = 0
    failures: list[str] = field(default_factory=list)

    async def more(self, count: int) -> None:
        """Returns once this many more chats were answered."""
        wanted = self.answered + count

        async def is_answered() -> bool:
            return self.answered >= wanted

        await eventually(is_answered, within_s=90, what=f"{count} chats")

    async def call_on(self, client: AsyncClient, number: int, ending: asyncio.Event) -> None:
        """Chats again and again."""
        count = 0
        while not ending.is_set():
            count += 1
            try:
                response = await client.chat(f"{LIKE['budget']} {number} {count}")
            except TierwiseError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                continue
            self.answered += 1
            self.routerless += response.decision.routerless_cause is not None


class Replicas:
    """Replicas of one catalog, each on a port that it keeps."""

    def __init__(self, start: StartServe, catalog: Path) -> None:
        self._start = start
        # Longer than Envoy needs to see that one is stopping.
        drain = ("--drain-delay-s", "3")
        self._flags = ("--catalog", str(catalog), "--encoder-threads", "1", *drain)
        self.processes = [start(*self._flags) for _ in range(REPLICAS)]
        self.ports = [one.port() for one in self.processes]

    async def start_again(self, number: int) -> None:
        """Starts a replica on the port that it had."""
        address = f"127.0.0.1:{self.ports[number]}"
        self.processes[number] = self._start("--listen", address, *self._flags)
        await asyncio.to_thread(self.processes[number].port)

    async def ended(self, number: int) -> int:
        """Returns the exit status of a replica."""
        process: ServeProcess = self.processes[number]
        return await asyncio.to_thread(process.process.wait, 60)


@pytest.fixture(scope="module")
def replicas(start_serve_once: StartServe, tmp_path_factory: pytest.TempPathFactory) -> Replicas:
    folder = tmp_path_factory.mktemp("catalog")
    return Replicas(start_serve_once, write_catalog(folder, models=MODELS).path)


@pytest.fixture(scope="module")
def envoy(replicas: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with envoy_before(replicas.ports, tmp_path_factory.mktemp("envoy")) as running:
        yield running


async def healthy(envoy: Envoy, count: int) -> None:
    """Returns once so many replicas get calls."""

    async def is_so() -> bool:
        return await asyncio.to_thread(envoy.healthy) == count

    await eventually(is_so, within_s=60, what=f"{count} healthy replicas")


@contextlib.asynccontextmanager
async def chatting(envoy: Envoy, providers: ProviderServer, folder: Path) -> AsyncIterator[Chats]:
    """Has callers chat for as long as the block runs."""
    world = World(router=f"127.0.0.1:{envoy.port}", providers=providers, spool=folder / "spool.db")
    chats, ending = Chats(), asyncio.Event()
    async with world.async_client(router_timeout_s=float(CALL_TIMEOUT_S)) as client:
        callers = [
            asyncio.create_task(chats.call_on(client, number, ending)) for number in range(CALLERS)
        ]
        try:
            yield chats
        finally:
            ending.set()
            await asyncio.gather(*callers)


async def test_a_killed_replica_fails_no_chat(
    envoy: Envoy, replicas: Replicas, providers: ProviderServer, tmp_path: Path
) -> None:
    await healthy(envoy, REPLICAS)
    async with chatting(envoy, providers, tmp_path) as chats:
        await chats.more(60)
        replicas.processes[0].process.kill()
        await replicas.ended(0)
        await healthy(envoy, REPLICAS - 1)
        await chats.more(60)
        await replicas.start_again(0)
        await healthy(envoy, REPLICAS)
        await chats.more(60)
    assert chats.failures == []
    assert chats.routerless < 0.01 * chats.answered


async def test_a_rolling_restart_fails_no_chat_and_all_replicas_get_calls(
    envoy: Envoy, replicas: Replicas, providers: ProviderServer, tmp_path: Path
) -> None:
    async with chatting(envoy, providers, tmp_path) as chats:
        for number in range(REPLICAS):
            await healthy(envoy, REPLICAS)
            await chats.more(30)
            replicas.processes[number].process.terminate()
            assert await replicas.ended(number) == 0
            await chats.more(30)
            await replicas.start_again(number)
        await healthy(envoy, REPLICAS)
        await chats.more(60)
    assert chats.failures == []
    assert chats.routerless < 0.01 * chats.answered
    assert "cluster.tierwise.upstream_rq_total" in envoy.statistics()
