"""`tierwise reload`: makes a server read its catalog files again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tierwise.commands.router import add_server_options, open_remote
from tierwise.commands.routing_options import print_json
from tierwise.v1.catalog_service_pb2 import ReloadCatalogRequest, TaskChangeKind


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="tierwise reload",
        description="Makes a server read its catalog files again; faulty files change nothing.",
    )
    add_server_options(parser, required=True)
    parser.add_argument("--catalog", default="", help="Name of the catalog; default: the default.")
    parser.add_argument(
        "--validate-only",
        action="store_true",
        help="Check and show the changes; serve nothing new.",
    )
    parser.add_argument(
        "--expected-revision", default="", help="Fail unless this revision is in service."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args(argv)
    request = ReloadCatalogRequest(
        catalog=arguments.catalog,
        validate_only=arguments.validate_only,
        expected_revision=arguments.expected_revision,
    )
    with open_remote(arguments.server, arguments.timeout) as router:
        response = router.reload(request)
    if arguments.json:
        print_json(response)
        return 0
    state = "unchanged" if response.previous_revision == response.catalog.revision else "changed"
    verb = "would serve" if arguments.validate_only else "serves"
    print(
        f"{verb} catalog {response.catalog.name} at revision {response.catalog.revision}"
        f" ({state}, {response.catalog.utterance_count} utterances)"
    )
    for change in response.task_changes:
        kind = TaskChangeKind.Name(change.kind).removeprefix("TASK_CHANGE_KIND_").lower()
        print(
            f"  {change.task_id}: {kind}, +{change.added_utterance_count}"
            f" -{change.removed_utterance_count} utterances"
        )
    return 0
