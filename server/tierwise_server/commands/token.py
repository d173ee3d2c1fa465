"""`tierwise token`: makes a bearer token and the entry that admits it."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence

from tierwise_server.access.token_file import MAX_CALLER_LENGTH, TokenFileError, read_tokens
from tierwise_server.access.tokens import Scope, entry_of, new_token


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    arguments = _parser().parse_args(argv)
    token = new_token()
    expires = arguments.expires.isoformat() if arguments.expires else ""
    entry = entry_of(
        token, arguments.caller, arguments.scope or [Scope.ROUTE, Scope.REPORT], expires
    )
    try:
        read_tokens(f"tokens:\n{entry}\n".encode(), "entry")
    except TokenFileError as error:
        print(f"tierwise token: {error}", file=sys.stderr)
        return 2
    # The token alone, so that it can be piped into where it is kept.
    print(token)
    print(
        "The token above is shown this once. Its entry, for the list `tokens:` of the file that"
        f" --tokens names:\n{entry}",
        file=sys.stderr,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise token",
        description="Prints a new bearer token, and on standard error the entry that admits it.",
    )
    parser.add_argument(
        "--caller",
        required=True,
        metavar="NAME",
        help=f"Whose calls the token is for, at most {MAX_CALLER_LENGTH} characters.",
    )
    parser.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        metavar="SCOPE",
        help="What it may be used for: route, report or admin. Repeat it for several; default"
        " route and report.",
    )
    parser.add_argument(
        "--expires",
        type=datetime.date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="Last day on which it is good, in UTC; default never.",
    )
    return parser
