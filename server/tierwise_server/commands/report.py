"""`tierwise report`: what routing did, cost and saved, from the ledger."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tierwise_server.reporting.calls import DIMENSIONS
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.ledger_source import read_rows
from tierwise_server.reporting.output import write_output
from tierwise_server.reporting.render_data import render_csv, render_json
from tierwise_server.reporting.render_html import render_html
from tierwise_server.reporting.render_terminal import render_terminal
from tierwise_server.reporting.report import Report, ReportRequest, make_report
from tierwise_server.reporting.routing_cost import parse_routing_cost
from tierwise_server.reporting.rows import Period
from tierwise_server.settings import NO_LEDGER, default_ledger, environment_variable

MISUSE: Final = 2
DEFAULT_DAYS: Final = 30
_EPOCH: Final = datetime.date(1970, 1, 1)

RENDERERS: Final[Mapping[str, Callable[[Report], str]]] = {
    "table": render_terminal,
    "json": render_json,
    "csv": render_csv,
    "html": render_html,
}
SHORT: Final = ("tier", "task", "model")
"""Breakdowns of a table, unless others are asked for."""
LONG: Final = ("tier", "task", "model", "caller", "day")
"""Breakdowns of all else."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 2 when no report can be made."""
    arguments = _parser().parse_args(argv)
    try:
        text = _report(arguments)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            _write(arguments.output, text)
    except ReportError as error:
        print(f"tierwise report: {error}", file=sys.stderr)
        return MISUSE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise report",
        description="Reports what routing did, cost and saved, from the ledger: calls, tokens, cost"
        " and saving by day, tier, task, model or caller; shares and rates; whether the router"
        " beats chance, and whether routing pays at all.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--ledger",
        metavar="URL",
        help="Database of the ledger, `sqlite:///FILE` or `postgresql://HOST/DATABASE`. Default:"
        f" {environment_variable('ledger')}, else the file that `tierwise serve` keeps by default.",
    )
    parser.add_argument(
        "--since",
        metavar="DATE",
        help=f"First day in UTC, as 2026-01-31. Default: {DEFAULT_DAYS} days up to the last one.",
    )
    parser.add_argument("--until", metavar="DATE", help="Last day in UTC. Default: today.")
    parser.add_argument(
        "--by",
        nargs="+",
        choices=DIMENSIONS,
        metavar="WHAT",
        help=f"What to break down by: {', '.join(DIMENSIONS)}. Default: {', '.join(SHORT)} in a"
        f" table, {', '.join(LONG)} elsewhere.",
    )
    parser.add_argument(
        "--format",
        choices=tuple(RENDERERS),
        help="`table` for people, `json` and `csv` with exact amounts, `html` for one page with"
        " charts. Default: by the ending of the file, else `table`.",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="Default: standard output.")
    parser.add_argument(
        "--routing-cost",
        metavar="USD/UNIT",
        help="What routing costs, as 0.08/hour of the time that the router runs, or"
        " 0.000001/decision. Default: not counted.",
    )
    return parser


def _report(arguments: argparse.Namespace) -> str:
    now = datetime.datetime.now(datetime.UTC)
    chosen = arguments.format or _format_of(arguments.output)
    cost = arguments.routing_cost
    url = arguments.ledger or os.environ.get(environment_variable("ledger")) or default_ledger()
    request = ReportRequest(
        period=_period(arguments.since, arguments.until, now.date()),
        dimensions=tuple(dict.fromkeys(arguments.by or (SHORT if chosen == "table" else LONG))),
        routing_cost=parse_routing_cost(cost) if cost is not None else None,
        now=now,
        ledger=_shown(url),
    )
    with opened_ledger(url) as engine:
        rows = read_rows(engine, request.period)
    return RENDERERS[chosen](make_report(request, rows))


def _format_of(output: Path | None) -> str:
    ending = output.suffix.removeprefix(".") if output is not None else ""
    return ending if ending in RENDERERS else "table"


def _period(since: str | None, until: str | None, today: datetime.date) -> Period:
    last = _date("--until", until) if until is not None else today
    if since is not None:
        first = _date("--since", since)
    else:
        first = max(_EPOCH, last - datetime.timedelta(days=DEFAULT_DAYS - 1))
    if first > last:
        raise ReportError(f"--since {first} is after --until {last}")
    return Period(since=first, until=last)


def _date(flag: str, text: str) -> datetime.date:
    try:
        found = datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC).date()
    except ValueError:
        found = datetime.date.min
    if found < _EPOCH:
        raise ReportError(f"{flag} takes a date as 2026-01-31, not {text!r}")
    return found


def _shown(url: str) -> str:
    """Returns a ledger's URL without a password."""
    if url == NO_LEDGER:
        raise ReportError("no ledger is kept: name one with --ledger")
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        # Said by whoever opens it.
        return ""


def _write(path: Path, text: str) -> None:
    try:
        write_output(path, text)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror}") from error
