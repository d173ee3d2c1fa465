"""`tierwise candidate`: shows how a candidate compares, and takes or drops it when told to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierwise.commands.router import add_server_options, open_remote
from tierwise.commands.routing_options import print_json
from tierwise.v1.catalog_service_pb2 import (
    CANDIDATE_STATE_COMPARED,
    GetCandidateStatusRequest,
    GetCandidateStatusResponse,
)
from tierwise_server.candidates.promotion import (
    Promotion,
    PromotionError,
    drop,
    look_at,
    promote,
)
from tierwise_server.catalog.difference import task_differences
from tierwise_server.commands.candidate_status import status_lines

MISUSE = 2


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when nothing was changed, 2 for misuse."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except PromotionError as error:
        print(f"tierwise candidate {arguments.action}: {error}", file=sys.stderr)
    except OSError as error:
        print(
            f"tierwise candidate {arguments.action}: {error.filename}: {error.strerror}; nothing"
            " was changed",
            file=sys.stderr,
        )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise candidate",
        description="Compares a candidate's files with those in service (`serve --candidate`), and"
        " puts them in their place or takes them away.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    status = actions.add_parser("status", help="How the decisions of both differ.")
    add_server_options(status, required=True)
    status.add_argument("--catalog", default="", help="Name of the catalog; default: the default.")
    status.add_argument("--json", action="store_true", help="Print one JSON object.")
    status.set_defaults(run=_status)
    taken = actions.add_parser(
        "promote",
        help="Put the candidate's files in the place of those in service.",
        description="Puts the candidate's files in the place of those in service, all in one step,"
        " and keeps those before beside them. Refuses when either folder is not what the server"
        " compared, or changes meanwhile.",
    )
    taken.add_argument("candidate", type=Path, help="Folder of the candidate.")
    taken.add_argument("live", type=Path, help="Folder that is served, or the link to it.")
    add_server_options(
        taken, required=False, otherwise="Without a server, no comparison is looked at."
    )
    taken.add_argument("--catalog", default="", help="Name of the catalog on the server.")
    taken.add_argument("--yes", action="store_true", help="Ask nothing.")
    taken.set_defaults(run=_promote)
    dropped = actions.add_parser("drop", help="Take the candidate's folder away; keep it beside.")
    dropped.add_argument("candidate", type=Path, help="Folder of the candidate.")
    dropped.add_argument("--yes", action="store_true", help="Ask nothing.")
    dropped.set_defaults(run=_drop)
    _add_compare(actions)
    return parser


def _add_compare(actions: Any) -> None:  # noqa: ANN401 - the library's private type
    compared = actions.add_parser(
        "compare",
        help="What calls cost and how good they were under both, from the ledger.",
        description="Compares two revisions that decided for callers at the same time (`serve"
        " --canary-share`): cost of a call and quality of judged answers, by task, with 95 %"
        " intervals.",
    )
    compared.add_argument(
        "revisions",
        nargs="*",
        metavar="LIVE CANDIDATE",
        help="Revisions to compare. Default: those that the server serves.",
    )
    compared.add_argument("--ledger", metavar="URL", help="As in `tierwise report`.")
    compared.add_argument("--since", metavar="DATE", help="First day in UTC, as 2026-01-31.")
    add_server_options(compared, required=False, otherwise="Without a server, name the revisions.")
    compared.add_argument("--catalog", default="", help="Name of the catalog on the server.")
    compared.add_argument("--json", action="store_true", help="Print one JSON object.")
    compared.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    # Here rather than at the top: the ledger is of no use to the other actions.
    from tierwise_server.commands import candidate_compare  # noqa: PLC0415

    revisions = tuple(arguments.revisions)
    if not revisions and arguments.server:
        response = _ask(arguments)
        revisions = tuple(filter(None, (response.revision, response.candidate_revision)))
    if len(revisions) != 2:  # noqa: PLR2004 - both sides
        raise PromotionError("name both revisions, or a server that has a candidate")
    return candidate_compare.run(
        *revisions, ledger=arguments.ledger, since=arguments.since, as_json=arguments.json
    )


def _ask(arguments: argparse.Namespace) -> GetCandidateStatusResponse:
    with open_remote(arguments.server, arguments.timeout) as router:
        return router.candidate_status(GetCandidateStatusRequest(catalog=arguments.catalog))


def _status(arguments: argparse.Namespace) -> int:
    response = _ask(arguments)
    if arguments.json:
        print_json(response)
    else:
        print("\n".join(status_lines(response)))
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    promotion = look_at(arguments.candidate, arguments.live)
    if arguments.server:
        response = _ask(arguments)
        _check_compared(promotion, response)
        print("\n".join(status_lines(response)))
    for name, change in promotion.changed_files().items():
        print(f"{change:<9}{name}")
    if promotion.live is not None:
        for one in task_differences(promotion.live, promotion.candidate):
            counts = f"+{one.added_utterance_count} -{one.removed_utterance_count} utterances"
            print(f"  {one.task}: {one.change}, {counts}")
    if not _agreed(arguments, f"put {arguments.candidate} in the place of {arguments.live}?"):
        return 1
    before = promote(promotion)
    print(f"{arguments.live} holds the candidate's files now; those before are in {before}")
    return 0


def _check_compared(promotion: Promotion, response: GetCandidateStatusResponse) -> None:
    """Refuses what is not the pair of folders that the server compares."""
    for fault in response.faults:
        raise PromotionError(
            f"the server refuses the candidate: {fault.source_file}:{fault.source_line}:"
            f" {fault.message}"
        )
    if response.state != CANDIDATE_STATE_COMPARED:
        raise PromotionError("the server compares no candidate; see `tierwise candidate status`")
    if response.candidate_content_hash != promotion.candidate_files.content_hash:
        raise PromotionError("the candidate's folder is not what the server compares")
    if response.content_hash != promotion.live_files.content_hash:
        raise PromotionError("the live folder is not what the server serves")


def _drop(arguments: argparse.Namespace) -> int:
    if not _agreed(arguments, f"take {arguments.candidate} away?"):
        return 1
    print(f"it is in {drop(arguments.candidate)} now")
    return 0


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise PromotionError("asks before it changes files: answer at a terminal, or give --yes")
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
