"""`tierwise health`: asks a server how it is, as probes do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2

from tierwise.commands.router import add_server_options
from tierwise.errors import router_error
from tierwise.router_channel import RouterAccess

CATALOG_SERVICE = "tierwise.v1.RoutingService/{}"

Status = health_pb2.HealthCheckResponse


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 0 only for SERVING."""
    parser = argparse.ArgumentParser(
        prog="tierwise health",
        description="Asks a server for its health; succeeds when it says SERVING.",
    )
    add_server_options(parser, required=True, timeout_s=2)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--catalog", default="", help="Ask for one catalog, by its name.")
    what.add_argument(
        "--service", default="", help="Ask for a name of the health service: `tierwise.ledger`."
    )
    parser.add_argument(
        "--tls-name",
        default="",
        metavar="HOST",
        help="Name that the server's certificate must be for, where --server is another one, as a"
        " probe beside the server has it.",
    )
    arguments = parser.parse_args(argv)
    service = CATALOG_SERVICE.format(arguments.catalog) if arguments.catalog else arguments.service
    options = (("grpc.ssl_target_name_override", arguments.tls_name),) if arguments.tls_name else ()
    with RouterAccess.of(arguments.server).channel(options) as channel:
        status = _status(channel, service, arguments.timeout)
    print(status)
    return 0 if status == Status.ServingStatus.Name(Status.SERVING) else 1


def _status(channel: grpc.Channel, service: str, timeout_s: float) -> str:
    """Returns what the server says of a service, by the name of the protocol's value."""
    check = channel.unary_unary(
        f"/{health.SERVICE_NAME}/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=Status.FromString,
    )
    try:
        answer = check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return Status.ServingStatus.Name(Status.SERVICE_UNKNOWN)
        raise router_error(error) from error
    return Status.ServingStatus.Name(answer.status)
