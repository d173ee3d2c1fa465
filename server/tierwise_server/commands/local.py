"""A router in this process, for commands that ask no server."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tierwise.errors import ConfigurationError, RouterError
from tierwise.v1.routing_service_pb2 import (
    ExplainDecisionRequest,
    ExplainDecisionResponse,
    RoutePromptRequest,
    RoutePromptResponse,
)
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.grpc_api.boundary import CallContext
from tierwise_server.grpc_api.errors import FAILURES, failure_of
from tierwise_server.grpc_api.servicers import RouterSlot, RoutingServicer
from tierwise_server.parts import Parts, ServeError, load_parts
from tierwise_server.router import Router
from tierwise_server.settings import environment_settings
from tierwise_server.telemetry import Telemetry

_Response = TypeVar("_Response")


class LocalRouter:
    """Answers `route` and `explain` as a server would, without one."""

    def __init__(self, router: Router, runner: asyncio.Runner) -> None:
        slot = RouterSlot()
        slot.router = router
        self._servicer = RoutingServicer(slot, Telemetry())
        self._runner = runner

    def route(self, request: RoutePromptRequest) -> RoutePromptResponse:
        """Decides for one prompt."""
        return self._run(self._servicer.RoutePrompt(request, _NoCall()))

    def explain(self, request: ExplainDecisionRequest) -> ExplainDecisionResponse:
        """Decides and shows the evidence."""
        return self._run(self._servicer.ExplainDecision(request, _NoCall()))

    def _run(self, answer: Coroutine[Any, Any, _Response]) -> _Response:
        try:
            return self._runner.run(answer)
        except tuple(FAILURES) as error:
            failure = failure_of(error)
            raise RouterError(
                failure.message,
                code=failure.code,
                reason=failure.reason,
                metadata=failure.metadata,
            ) from error


class _NoCall(CallContext):
    """Stands for a call that nobody waits for with a clock."""

    def time_remaining(self) -> float | None:
        """Returns None: there is no deadline."""
        return None


@contextmanager
def open_local_router(catalog: str) -> Iterator[LocalRouter]:
    """Opens a router on a catalog folder, for as long as the context lasts."""
    try:
        with open_parts(catalog) as (parts, runner), open_router(parts, runner) as router:
            yield LocalRouter(router, runner)
    except ServeError as error:
        raise ConfigurationError(str(error)) from error


@contextmanager
def open_parts(catalog: str) -> Iterator[tuple[Parts, asyncio.Runner]]:
    """Loads encoder and catalog for as long as the context lasts."""
    parts = load_parts(dataclasses.replace(environment_settings(), catalog=(catalog,)))
    with asyncio.Runner() as runner:
        try:
            yield parts, runner
        finally:
            for live in parts.catalogs.values():
                live.close()


@contextmanager
def open_router(parts: Parts, runner: asyncio.Runner) -> Iterator[Router]:
    """Makes a router of loaded parts, for as long as the context lasts."""
    lanes = EncodingLanes(
        parts.encoder, lane_count=environment_settings().lane_count, queue_limit=1_000_000
    )
    try:
        yield Router(
            parts.catalogs,
            lanes,
            PromptCache(0),
            encoder_id=parts.encoder.encoder_id,
            dimensions=parts.encoder.dimensions,
        )
    finally:
        runner.run(lanes.close())
