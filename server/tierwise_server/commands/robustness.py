"""`tierwise robustness`: how steady a catalog's decisions are under changes that mean nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.parts import ServeError
from tierwise_server.robustness.measure import Steadiness, steadiness
from tierwise_server.routing import Query

PHRASES_EACH = 2
"""Injected phrases that each prompt is tried with, unless all are asked for."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: with --strict, 1 where a limit is passed."""
    arguments = _parser().parse_args(argv)
    try:
        with open_parts(arguments.catalog) as (parts, runner), open_router(parts, runner) as router:
            catalog = next(iter(parts.catalogs.values())).snapshot.catalog

            def decide(queries: Sequence[Query]) -> list[str]:
                routed = runner.run(router.route_all(queries, path="prompts"))
                return [str(one.verdict.tier.id) for one in routed]

            each = None if arguments.all else PHRASES_EACH
            found = [one for one in steadiness(catalog, decide, phrases_each=each) if one.count > 0]
    except ServeError as error:
        print(f"tierwise robustness: {error}", file=sys.stderr)
        return 1
    if not found:
        print("tierwise robustness: no cases; add some under cases/", file=sys.stderr)
        return 1
    print(json.dumps([_as_json(one) for one in found]) if arguments.json else _table(found))
    return 1 if arguments.strict and not all(one.met for one in found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise robustness",
        description="Changes a catalog's cases in ways that should not matter, and counts how many"
        " go to another tier: typos, a greeting, upper case, the paraphrases of paraphrases.yaml,"
        " and phrases that ask for the dearest tier. Also counts translations that go below the"
        " default tier.",
    )
    parser.add_argument("--catalog", default="utterances", help="Folder; default: utterances.")
    parser.add_argument("--json", action="store_true", help="Print one JSON list.")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"Try each prompt with every injected phrase, not with {PHRASES_EACH} of a kind.",
    )
    parser.add_argument(
        "--strict", action="store_true", help="Exit with 1 where a limit is passed."
    )
    return parser


def _as_json(one: Steadiness) -> dict[str, object]:
    return {
        "name": one.name,
        "count": one.count,
        "failures": one.failures,
        "share": round(one.share, 4),
        "limit": one.limit,
        "met": one.met,
    }


def _table(found: Sequence[Steadiness]) -> str:
    width = max(len(one.name) for one in found)
    return "\n".join(
        f"{one.name:<{width}}  {one.share:7.2%} of {one.count:>5}  at most {one.limit:.0%}"
        f"{'' if one.met else ': MISSED'}"
        for one in found
    )
