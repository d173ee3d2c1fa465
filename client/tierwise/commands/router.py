"""Where `route` and `explain` find a router: on a server, or in this process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Protocol

import grpc

from tierwise.errors import ConfigurationError, router_error
from tierwise.router_channel import RouterAccess, router_address
from tierwise.v1.catalog_service_pb2 import (
    GetCandidateStatusRequest,
    GetCandidateStatusResponse,
    ReloadCatalogRequest,
    ReloadCatalogResponse,
)
from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tierwise.v1.routing_service_pb2 import (
    ExplainDecisionRequest,
    ExplainDecisionResponse,
    ReportOutcomesRequest,
    ReportOutcomesResponse,
    RoutePromptRequest,
    RoutePromptResponse,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub


class Router(Protocol):
    """What the commands ask of a router. Failures are `tierwise.errors.TierwiseError`."""

    def route(self, request: RoutePromptRequest) -> RoutePromptResponse:
        """Decides for one prompt."""

    def explain(self, request: ExplainDecisionRequest) -> ExplainDecisionResponse:
        """Decides and shows the evidence."""


class RemoteRouter:
    """A router on a server, over gRPC."""

    def __init__(self, channel: grpc.Channel, timeout_s: float) -> None:
        self._routing = RoutingServiceStub(channel)
        self._catalog = CatalogServiceStub(channel)
        self._timeout_s = timeout_s

    def route(self, request: RoutePromptRequest) -> RoutePromptResponse:
        """Decides for one prompt."""
        try:
            return self._routing.RoutePrompt(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise router_error(error) from error

    def explain(self, request: ExplainDecisionRequest) -> ExplainDecisionResponse:
        """Decides and shows the evidence."""
        try:
            return self._routing.ExplainDecision(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise router_error(error) from error

    def reload(self, request: ReloadCatalogRequest) -> ReloadCatalogResponse:
        """Makes the server read its catalog files again."""
        try:
            return self._catalog.ReloadCatalog(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise router_error(error) from error

    def report(self, request: ReportOutcomesRequest) -> ReportOutcomesResponse:
        """Reports what became of decisions."""
        try:
            return self._routing.ReportOutcomes(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise router_error(error) from error

    def candidate_status(self, request: GetCandidateStatusRequest) -> GetCandidateStatusResponse:
        """Returns how a catalog's candidate compares."""
        try:
            return self._catalog.GetCandidateStatus(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise router_error(error) from error


def add_server_options(
    parser: argparse.ArgumentParser,
    *,
    required: bool,
    otherwise: str = "Without a server, the decision is made in this process.",
    several: bool = False,
    timeout_s: float = 30,
) -> None:
    """Adds the options that say where the router is.

    Args:
        parser: What they are added to.
        required: Whether a server has to be named.
        otherwise: What happens without one, where that is allowed.
        several: Whether the option may be repeated; `servers_of` then has what was given.
        timeout_s: Deadline of a call where none is given, in seconds.
    """
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        action="append" if several else "store",
        # To a default `append` would add.
        default=None if several else os.environ.get("TIERWISE_SERVER"),
        required=required and "TIERWISE_SERVER" not in os.environ,
        help="Server to ask; by default TIERWISE_SERVER."
        + (" Repeat it for each replica." if several else "")
        + ("" if required else f" {otherwise}")
        + " The variables TIERWISE_SERVER_CA, TIERWISE_CLIENT_CERTIFICATE and TIERWISE_CLIENT_KEY"
        " are for TLS, TIERWISE_TOKEN is a bearer token.",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=float(timeout_s),
        metavar="SECONDS",
        help=f"Deadline; default {timeout_s:g}.",
    )


def servers_of(arguments: argparse.Namespace) -> list[str]:
    """Returns the servers that were named, by options or else by the environment."""
    return arguments.server or [os.environ["TIERWISE_SERVER"]]


@contextmanager
def open_remote(server: str, timeout_s: float) -> Iterator[RemoteRouter]:
    """Connects to a server for as long as the context lasts.

    Raises:
        ConfigurationError: The address has no port, or the set-up of TLS or the token is wrong.
    """
    with RouterAccess.of(router_address(server)).channel() as channel:
        yield RemoteRouter(channel, timeout_s)


@contextmanager
def open_router(arguments: argparse.Namespace) -> Iterator[Router]:
    """Opens the router that the options name."""
    if arguments.server:
        with open_remote(arguments.server, arguments.timeout) as router:
            yield router
        return
    for entry in entry_points(group="tierwise.local_router"):
        try:
            opener = entry.load()
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"without --server it needs {error.name}: pip install 'tierwise[server]'"
            ) from error
        with opener(arguments.catalog or "utterances") as router:
            yield router
        return
    raise ConfigurationError(
        "without --server it needs the server package: pip install 'tierwise[server]'"
    )
