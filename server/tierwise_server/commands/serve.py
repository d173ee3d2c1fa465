"""`tierwise serve`: runs the routing service."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop

from tierwise_server.grpc_api.app import RoutingServer
from tierwise_server.parts import ServeError
from tierwise_server.settings import Settings, read_settings, settings_parser
from tierwise_server.telemetry import configure_logging

SWITCH_INTERVAL_S = 0.0005
"""How long a lane may keep the interpreter's lock while the event loop waits for it. Python's 5 ms
is longer than most calls take, and each call waits for the lock several times."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    settings = read_settings(
        settings_parser("tierwise serve", "Runs the routing service until SIGTERM or SIGINT."), argv
    )
    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        # A call is a dozen turns of the event loop: this one takes a tenth off cached calls.
        uvloop.run(_serve(settings))
    except ServeError as error:
        print(f"tierwise serve: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    server = RoutingServer(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.ask_to_stop)
    starting = asyncio.ensure_future(server.start())
    stopping = asyncio.ensure_future(server.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            print(f"tierwise: serving on port {server.port}", flush=True)
            await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await server.stop()
