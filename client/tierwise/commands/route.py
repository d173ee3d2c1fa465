"""`tierwise route`: decides which tier should answer a prompt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tierwise.commands.render import decision_lines
from tierwise.commands.router import add_server_options, open_router
from tierwise.commands.routing_options import add_routing_options, print_json, routing_input
from tierwise.v1.routing_service_pb2 import RoutePromptRequest


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="tierwise route", description="Decides which tier should answer a prompt."
    )
    add_routing_options(parser)
    add_server_options(parser, required=False)
    arguments = parser.parse_args(argv)
    request = RoutePromptRequest(input=routing_input(arguments))
    with open_router(arguments) as router:
        response = router.route(request)
    if arguments.json:
        print_json(response)
    else:
        print("\n".join(decision_lines(response.decision)))
    return 0
