"""`tierwise verdicts`: calls as a file for people to judge, and what they say of them."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tierwise.commands.router import add_server_options, open_remote
from tierwise.v1.outcome_pb2 import Outcome, Verdict
from tierwise.v1.routing_service_pb2 import OutcomeStatus, ReportOutcomesRequest
from tierwise_server.ledger.unjudged import calls_to_judge
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.output import write_output
from tierwise_server.settings import default_ledger, environment_variable

MISUSE: Final = 2
FAULTS_SHOWN: Final = 20
AT_ONCE: Final = 500
"""Outcomes of one call."""

_VERDICTS: Final = {
    "good": Verdict.VERDICT_POSITIVE,
    "bad": Verdict.VERDICT_NEGATIVE,
}
_ID_CHARACTERS: Final = 32


class VerdictsError(Exception):
    """The command can't be carried out; each line of the message says what is wrong and where."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 for rejected verdicts, 2 for misuse."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (VerdictsError, ReportError) as error:
        print(f"tierwise verdicts: {error}", file=sys.stderr)
    except OSError as error:
        print(f"tierwise verdicts: {error.filename}: {error.strerror}", file=sys.stderr)
    return MISUSE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise verdicts",
        description="Writes answered calls into a JSONL file for people to judge, and reports what"
        " they filled in: `verdict`, which is good or bad, or `quality` from 0 to 1.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    export = actions.add_parser("export", help="Write calls without a judgement, in random order.")
    export.add_argument("--ledger", metavar="URL", help="As in `tierwise report`.")
    export.add_argument("--since", metavar="DATE", help="First day in UTC, as 2026-01-31.")
    export.add_argument("--limit", type=int, default=100, metavar="COUNT", help="Default: 100.")
    export.add_argument("--task", metavar="NAME", help="Of one task only.")
    export.add_argument("--tier", metavar="NAME", help="Decided for one tier only.")
    export.add_argument("--judged-too", action="store_true", help="Also those that were judged.")
    export.add_argument("--output", type=Path, metavar="FILE", help="Default: standard output.")
    export.set_defaults(run=_export)
    imported = actions.add_parser("import", help="Report the judgements of a file.")
    imported.add_argument("file", type=Path, help="JSONL file as `export` writes it.")
    add_server_options(imported, required=True)
    imported.set_defaults(run=_import)
    return parser


def _export(arguments: argparse.Namespace) -> int:
    url = arguments.ledger or os.environ.get(environment_variable("ledger")) or default_ledger()
    with opened_ledger(url) as engine:
        calls = calls_to_judge(
            engine, since_ms=_since_ms(arguments.since), judged_too=arguments.judged_too
        )
        chosen = list(
            islice(
                (
                    one
                    for one in calls
                    if arguments.task in {None, one.task} and arguments.tier in {None, one.tier}
                ),
                arguments.limit,
            )
        )
    text = "".join(
        json.dumps({**one._asdict(), "verdict": "", "quality": None}, ensure_ascii=False) + "\n"
        for one in chosen
    )
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        write_output(arguments.output, text)
    without = sum(one.prompt is None for one in chosen)
    note = f", {without} without their prompt (serve with --keep-prompts)" if without else ""
    print(f"{len(chosen)} calls{note}", file=sys.stderr)
    return 0


def _since_ms(since: str | None) -> int:
    if since is None:
        return 0
    try:
        day = datetime.datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise VerdictsError(f"--since takes a date as 2026-01-31, not {since!r}") from error
    return int(day.timestamp() * 1000)


def _import(arguments: argparse.Namespace) -> int:
    lines = arguments.file.read_text(encoding="utf-8-sig").split("\n")
    faults: list[str] = []
    judged: dict[int, Outcome] = {}
    unfilled = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            outcome = judgement_of(line)
        except VerdictsError as error:
            faults.append(f"{arguments.file}:{number}: {error}")
            continue
        if outcome is None:
            unfilled += 1
        else:
            judged[number] = outcome
    if faults:
        more = [f"and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else []
        raise VerdictsError("\n".join(["nothing was reported:", *faults[:FAULTS_SHOWN], *more]))
    counts: Counter[str] = Counter()
    with open_remote(arguments.server, arguments.timeout) as router:
        for piece in _pieces(list(judged.items())):
            response = router.report(ReportOutcomesRequest(outcomes=[one for _, one in piece]))
            for (number, _), result in zip(piece, response.results, strict=True):
                counts[OutcomeStatus.Name(result.status)] += 1
                for violation in result.violations:
                    where = f"{arguments.file}:{number}"
                    print(f"{where}: {violation.field}: {violation.description}", file=sys.stderr)
    print(
        f"{counts['OUTCOME_STATUS_ACCEPTED']} judgements reported,"
        f" {counts['OUTCOME_STATUS_DUPLICATE']} known already,"
        f" {counts['OUTCOME_STATUS_REJECTED']} rejected, {unfilled} not filled in"
    )
    return 1 if counts["OUTCOME_STATUS_REJECTED"] else 0


def _pieces(items: list[tuple[int, Outcome]]) -> Iterator[list[tuple[int, Outcome]]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def judgement_of(line: str) -> Outcome | None:
    """Returns the judgement of a line; None where nobody filled it in.

    Its id is made of what it says, so that a file can be reported again: only what changed counts.

    Raises:
        VerdictsError: The line cannot be read; says why.
    """
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise VerdictsError("is not JSON; write one object a line") from error
    if not isinstance(row, dict) or not isinstance(row.get("decision_id"), str):
        raise VerdictsError("needs `decision_id`, as it was exported")
    verdict, quality = row.get("verdict") or "", row.get("quality")
    if verdict and verdict not in _VERDICTS:
        raise VerdictsError(f"`verdict` is good or bad, not {verdict!r}")
    is_number = isinstance(quality, int | float) and not isinstance(quality, bool)
    if quality is not None and not (is_number and 0.0 <= quality <= 1.0):
        raise VerdictsError(f"`quality` is a number from 0 to 1, not {quality!r}")
    if not verdict and quality is None:
        return None
    said = json.dumps([row["decision_id"], verdict, quality, row.get("judge")])
    outcome = Outcome(
        outcome_id=f"verdict-{hashlib.sha256(said.encode()).hexdigest()[:_ID_CHARACTERS]}",
        decision_id=row["decision_id"],
        verdict=_VERDICTS.get(verdict, Verdict.VERDICT_UNSPECIFIED),
    )
    if quality is not None:
        outcome.quality = quality
    return outcome
