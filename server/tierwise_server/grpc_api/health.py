"""The standard health service, with streams that end when the server does.

In place of the one that comes with gRPC: there an open `Watch` holds up the stop for the grace
period, one watcher that leaves cuts off the others of its name, and one that reads nothing keeps
every change of status waiting.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Context = grpc.aio.ServicerContext[Any, Any]

Status = health_pb2.HealthCheckResponse

MAX_WATCHES: Final = 1000
"""Open streams; more are refused, so that they don't take up the places of calls."""


class HealthServicer(health_pb2_grpc.HealthServicer):
    """`grpc.health.v1.Health`. Belongs to one event loop."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {"": Status.NOT_SERVING}
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._is_closing = False
        self._watches = 0

    def set(self, service: str, status: int) -> None:
        """Sets what is told of a service; no effect once the server is stopping."""
        if not self._is_stopping:
            self._statuses[service] = status
            self._tell()

    def enter_shutdown(self) -> None:
        """Says NOT_SERVING by every name, for good."""
        self._is_stopping = True
        self._statuses = dict.fromkeys(self._statuses, Status.NOT_SERVING)
        self._tell()

    def end_watches(self) -> None:
        """Ends all streams, and any that begins later, once each has told the last status."""
        self._is_closing = True
        self._tell()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Returns the status of a service."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return Status(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yields the status of a service, and each other one that it gets."""
        if self._watches >= MAX_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watches are open")
        self._watches += 1
        try:
            told = None
            while True:
                changed = self._changed
                status = self._statuses.get(request.service, Status.SERVICE_UNKNOWN)
                if status != told:
                    told = status
                    yield Status(status=status)
                elif self._is_closing:
                    return
                else:
                    await changed.wait()
        finally:
            self._watches -= 1

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
