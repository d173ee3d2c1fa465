"""`tierwise explain`: decides, and shows what the decision rests on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tierwise.commands.render import decision_lines, explanation_lines
from tierwise.commands.router import add_server_options, open_router
from tierwise.commands.routing_options import add_routing_options, print_json, routing_input
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="tierwise explain",
        description="Decides as `tierwise route` does, and shows the evidence: scores, nearest"
        " utterances with file and line, rules that hold, and what would flip the decision.",
    )
    add_routing_options(parser)
    parser.add_argument(
        "--tasks", type=int, default=3, metavar="N", help="Tasks to show; default 3."
    )
    parser.add_argument(
        "--expected-revision", default="", help="Fail unless this revision is in service."
    )
    add_server_options(parser, required=False)
    arguments = parser.parse_args(argv)
    request = ExplainDecisionRequest(
        input=routing_input(arguments),
        task_limit=arguments.tasks,
        expected_revision=arguments.expected_revision,
    )
    with open_router(arguments) as router:
        response = router.explain(request)
    if arguments.json:
        print_json(response)
    else:
        print("\n".join(decision_lines(response.decision)))
        print("\n".join(explanation_lines(response.explanation)))
    return 0
