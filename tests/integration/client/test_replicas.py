"""Several replicas behind one client: restarted and killed under load, no call fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, CatalogFolder, ServeProcess, StartServe, eventually

from tierwise.errors import RouterError
from tierwise.execution.effects import AskRouter
from tierwise.router_channel import RouterAccess
from tierwise.router_link import AsyncRouterLink
from tierwise.v1.catalog_service_pb2 import GetCatalogStatusRequest
from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest

CALLERS = 4


@dataclass
class Load:
    """What callers without a pause have seen."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)

    async def more(self, count: int) -> None:
        """Returns once this many more calls were answered."""
        wanted = self.answered + count

        async def is_answered() -> bool:
            return self.answered >= wanted

        await eventually(is_answered, within_s=60)


@contextlib.asynccontextmanager
async def loaded(ports: list[int]) -> AsyncIterator[Load]:
    """Calls replicas through the client's own channel for as long as the block runs."""
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    link = AsyncRouterLink(RouterAccess(address=address))
    load = Load()
    ending = asyncio.Event()

    async def call_on(number: int) -> None:
        count = 0
        while not ending.is_set():
            count += 1
            prompt = f"{LIKE['budget']} {number} {count}"
            request = RoutePromptRequest(input=RoutingInput(prompt=prompt))
            try:
                await link.ask(AskRouter(request=request, timeout_s=CALL_TIMEOUT_S))
                load.answered += 1
            except RouterError as error:
                load.failures.append(f"{error}")

    callers = [asyncio.create_task(call_on(number)) for number in range(CALLERS)]
    try:
        yield load
    finally:
        ending.set()
        await asyncio.gather(*callers)
        await link.close()


class Fleet:
    """Replicas of one catalog, each on a port that it keeps."""

    def __init__(self, start: StartServe, catalog: CatalogFolder) -> None:
        self._start = start
        self._flags = ("--catalog", str(catalog.path), "--encoder-threads", "1")
        self.processes: list[ServeProcess] = []
        self.ports: list[int] = []

    async def start(self, count: int) -> None:
        """Starts replicas on free ports."""
        self.processes = [self._start(*self._flags) for _ in range(count)]
        self.ports = [await asyncio.to_thread(one.port) for one in self.processes]

    async def start_again(self, number: int) -> None:
        """Starts a replica on the port that it had."""
        address = f"127.0.0.1:{self.ports[number]}"
        self.processes[number] = self._start("--listen", address, *self._flags)
        await asyncio.to_thread(self.processes[number].port)

    async def is_called(self, number: int) -> None:
        """Returns once a replica that was started again decides: its callers are connected."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.ports[number]}") as channel:
            stub: Any = CatalogServiceStub(channel)

            async def decides() -> bool:
                answer = await stub.GetCatalogStatus(
                    GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S
                )
                return bool(answer.decision_count > 0)

            await eventually(decides, within_s=60, what="a call of the replica")

    async def ended(self, number: int) -> int:
        """Returns the exit status of a replica."""
        return await asyncio.to_thread(self.processes[number].process.wait, 60)


@pytest.fixture
async def fleet(start_serve: StartServe, catalog: CatalogFolder) -> Fleet:
    fleet = Fleet(start_serve, catalog)
    await fleet.start(2)
    return fleet


async def test_a_rolling_restart_fails_no_call(fleet: Fleet) -> None:
    async with loaded(fleet.ports) as load:
        await load.more(50)
        for number in range(len(fleet.ports)):
            fleet.processes[number].process.terminate()
            assert await fleet.ended(number) == 0
            await load.more(50)
            await fleet.start_again(number)
            # As an operator waits for a new replica before the next one goes.
            await fleet.is_called(number)
            await load.more(50)
    assert load.failures == []


async def test_a_killed_replica_fails_no_call(fleet: Fleet) -> None:
    async with loaded(fleet.ports) as load:
        await load.more(50)
        fleet.processes[0].process.kill()
        await fleet.ended(0)
        await load.more(100)
        await fleet.start_again(0)
        await load.more(50)
    assert load.failures == []
