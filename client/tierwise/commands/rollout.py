"""`tierwise rollout`: shows which revision each replica serves, until all serve the same."""

from __future__ import annotations

import argparse
import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import grpc

from tierwise.commands.render import counted
from tierwise.commands.router import add_server_options, servers_of
from tierwise.errors import ConfigurationError, router_error
from tierwise.router_channel import Options, RouterAccess
from tierwise.v1.catalog_service_pb2 import CatalogState, GetCatalogStatusRequest
from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub

PAUSE_S = 0.5
_DNS = "dns:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica says of a catalog."""

    address: str
    revision: str = ""
    """Empty when it did not answer."""
    is_current: bool = False
    """Whether that is what its files say."""
    problem: str = ""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 0 when all replicas serve one revision."""
    parser = argparse.ArgumentParser(
        prog="tierwise rollout",
        description="Shows which revision of a catalog each replica serves. Succeeds when all"
        " answer, serve the same one, and that is what their files say.",
    )
    add_server_options(parser, required=True, several=True, timeout_s=5)
    parser.add_argument("--catalog", default="", help="Name of the catalog; default: the default.")
    parser.add_argument(
        "--revision", default="", help="Revision that all must serve; without it, any same one."
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="How long to go on asking until it is so; default 0.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args(argv)
    end = time.monotonic() + arguments.wait
    while True:
        replicas = [
            _ask(address, options, arguments.catalog, arguments.timeout)
            for server in servers_of(arguments)
            for address, options in _addresses(server)
        ]
        done = _has_converged(replicas, arguments.revision)
        left = end - time.monotonic()
        if done or left <= 0:
            break
        time.sleep(min(PAUSE_S, left))
    if arguments.json:
        print(json.dumps({"converged": done, "replicas": [asdict(one) for one in replicas]}))
    else:
        for one in replicas:
            print(f"{one.address:<24} {one.revision or '-':<18} {_state(one)}")
        revisions = {one.revision for one in replicas}
        print(
            f"{'converged' if done else 'not converged'}: {counted(len(replicas), 'replica')},"
            f" {counted(len(revisions - {''}), 'revision')}"
        )
    return 0 if done else 1


def _addresses(server: str) -> Iterator[tuple[str, Options]]:
    """Yields the replicas that a server's name stands for, and how each proves to be it.

    Names after `dns:///` are looked up each time, so that replicas which come and go are seen.

    Raises:
        ConfigurationError: The name cannot be found.
    """
    if not server.startswith(_DNS):
        yield server, ()
        return
    host, _, port = server.removeprefix(_DNS).rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"--server {server}: no such name and port: {error}") from error
    for ip in sorted({str(place[0]) for *_, place in found}):
        yield (
            f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}",
            (("grpc.ssl_target_name_override", host),),
        )


def _ask(address: str, options: Options, catalog: str, timeout_s: float) -> Replica:
    request = GetCatalogStatusRequest(catalog=catalog)
    with RouterAccess.of(address).channel(options) as channel:
        try:
            status = CatalogServiceStub(channel).GetCatalogStatus(request, timeout=timeout_s)
        except grpc.RpcError as error:
            failure = router_error(error)
            return Replica(address=address, problem=f"{failure.code.name}: {failure}")
    count = len(status.faults)
    first = f"{status.faults[0].source_file}:{status.faults[0].source_line}" if count else ""
    return Replica(
        address=address,
        revision=status.revision,
        is_current=status.state == CatalogState.CATALOG_STATE_CURRENT,
        problem=f"its files have {counted(count, 'fault')}, the first in {first}" if count else "",
    )


def _has_converged(replicas: Sequence[Replica], wanted: str) -> bool:
    revisions = {one.revision for one in replicas}
    return (
        all(one.is_current for one in replicas)
        and len(revisions) == 1
        and wanted in {"", *revisions}
    )


def _state(replica: Replica) -> str:
    return replica.problem or ("as in its files" if replica.is_current else "not as in its files")
