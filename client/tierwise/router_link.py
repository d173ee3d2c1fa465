"""The channel to the router, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc

from tierwise.errors import client_closed, router_error
from tierwise.execution.effects import AskRouter
from tierwise.router_channel import RouterAccess
from tierwise.v1.routing_service_pb2 import (
    ExplainDecisionRequest,
    ExplainDecisionResponse,
    RoutePromptResponse,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

if TYPE_CHECKING:
    # The types alone: there is one class for both kinds of channel.
    from tierwise.v1.routing_service_pb2_grpc import RoutingServiceAsyncStub

T = TypeVar("T")

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Replicas that say NOT_SERVING, since they start or stop, get no calls.
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "tierwise.v1.RoutingService"}],
            # All within the call's deadline. Only what no router has answered: a refusal is an
            # answer, and to repeat it at once would make an overload worse. CANCELLED is what gRPC
            # makes of a call that reaches a server which has just begun to close.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.05s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}
"""How calls go to the replicas that the router's address stands for: in turns, and to another one
where one is gone."""

_OPTIONS = (
    # After an outage the router is tried again soon, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name, how long one try may take: a far router or a busy machine needs more than
    # the wait between tries (https://github.com/grpc/grpc/issues/33423).
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
)


class RouterLink:
    """A channel that calls wait on."""

    def __init__(self, access: RouterAccess) -> None:
        self._channel = access.channel(_OPTIONS)
        self.stub = RoutingServiceStub(self._channel)
        self._closed = False

    def ask(self, effect: AskRouter) -> RoutePromptResponse:
        """Has a prompt routed."""
        with self._failures():
            return self.stub.RoutePrompt(
                effect.request, timeout=effect.timeout_s, metadata=effect.metadata
            )

    def explain(self, request: ExplainDecisionRequest, timeout_s: float) -> ExplainDecisionResponse:
        """Has a decision explained."""
        with self._failures():
            return self.stub.ExplainDecision(request, timeout=timeout_s)

    def close(self) -> None:
        """Closes the channel."""
        self._closed = True
        self._channel.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise router_error(error) from error
        except ValueError:
            if self._closed:
                raise client_closed() from None
            raise


class AsyncRouterLink:
    """A channel that tasks wait on. Belongs to the event loop that it is made in."""

    def __init__(self, access: RouterAccess) -> None:
        self._channel = access.async_channel(_OPTIONS)
        self._stub: RoutingServiceAsyncStub = RoutingServiceStub(self._channel)
        self._closed = False

    async def ask(self, effect: AskRouter) -> RoutePromptResponse:
        """Has a prompt routed."""
        return await self._answered(
            self._stub.RoutePrompt(
                effect.request, timeout=effect.timeout_s, metadata=effect.metadata
            )
        )

    async def explain(
        self, request: ExplainDecisionRequest, timeout_s: float
    ) -> ExplainDecisionResponse:
        """Has a decision explained."""
        return await self._answered(self._stub.ExplainDecision(request, timeout=timeout_s))

    async def close(self) -> None:
        """Closes the channel. Calls under way fail."""
        self._closed = True
        await self._channel.close()

    async def _answered(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.RpcError as error:
            raise router_error(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                # With a channel, gRPC cancels its calls, and so the wait of tasks that nobody
                # has cancelled.
                raise client_closed() from None
            raise
