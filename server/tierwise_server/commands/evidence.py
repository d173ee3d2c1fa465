"""`tierwise evidence`: how much evidence a catalog has, and where more comes from."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.evidence.rows import (
    KEYS,
    EvidenceRow,
    EvidenceSource,
    RowFault,
    line_of,
    read_rows,
    row_of,
)
from tierwise_server.evidence.writing import FaultyEvidenceError, append_rows, write_rows
from tierwise_server.learned import catalog_need
from tierwise_server.ledger.judged import judged_evidence
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.errors import ReportError
from tierwise_server.settings import default_ledger, environment_variable

MISUSE: Final = 2
FAULTS_SHOWN: Final = 20
DEFAULT_FILE: Final = "evidence/imported.jsonl"


class EvidenceError(Exception):
    """The command can't be carried out; each line of the message says what is wrong and where."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 2 when it can't be carried out."""
    arguments = _parser().parse_args(argv)
    actions = {
        "status": _print_status,
        "import": _import,
        "export": _export,
        "remove": _remove,
    }
    try:
        actions[arguments.action](arguments)
    except (EvidenceError, ReportError, FaultyEvidenceError) as error:
        print(f"tierwise evidence: {error}", file=sys.stderr)
        return MISUSE
    except CatalogInvalidError as error:
        print(f"tierwise evidence: {arguments.catalog}: {error.faults[0]}", file=sys.stderr)
        return MISUSE
    except OSError as error:
        print(f"tierwise evidence: {error.filename}: {error.strerror}", file=sys.stderr)
        return MISUSE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise evidence",
        description="Evidence says how good each model's answers to real prompts were; once a"
        " catalog has enough, it decides before the utterances do.",
    )
    actions = parser.add_subparsers(dest="action", required=True)

    status = actions.add_parser("status", help="Say how much there is and how much is missing.")
    status.add_argument("--json", action="store_true", help="Print one JSON object.")

    adding = actions.add_parser("import", help="Add rows of a JSONL file.")
    adding.add_argument("file", type=Path, help="JSONL file, one labelled outcome a line.")
    adding.add_argument(
        "--column",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=NAME",
        help=f"Name that the file has for a key ({', '.join(KEYS)}); repeat it. Other columns are"
        " left out once this is given.",
    )
    adding.add_argument(
        "--set",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=VALUE",
        help="Value of a key that the file has no column for, as model=small-fast; repeat it.",
    )
    adding.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="MOST",
        help="Quality that stands for the best, as 5 for one to five stars. Default: 1.",
    )
    adding.add_argument(
        "--to",
        metavar="FILE",
        default=DEFAULT_FILE,
        help=f"In the catalog; default: {DEFAULT_FILE}.",
    )

    export = actions.add_parser(
        "export", help="Write the judged calls of the ledger whose prompts it keeps."
    )
    export.add_argument("--ledger", metavar="URL", help="As of `tierwise report`.")
    export.add_argument("--since", metavar="DATE", help="First day in UTC, as 2026-01-31.")
    export.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="JSONL file to add to, as utterances/evidence/outcomes.jsonl. Default: print.",
    )

    remove = actions.add_parser("remove", help="Take out the rows of a model or a tier.")
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="ID")
    which.add_argument("--tier", metavar="ID")
    for action in (status, adding, remove):
        action.add_argument(
            "--catalog", type=Path, default=Path("utterances"), help="Folder; default: utterances."
        )
    return parser


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in KEYS or not value:
        raise argparse.ArgumentTypeError(f"give KEY=..., with a key of: {', '.join(KEYS)}")
    return key, value


def _print_status(arguments: argparse.Namespace) -> None:
    catalog = load_catalog(arguments.catalog)
    need = catalog_need(catalog)
    sources = Counter(str(row.source) for row in catalog.evidence)
    strange = sum(bool(row.task) and row.task not in catalog.task_by_id for row in catalog.evidence)
    if arguments.json:
        tiers = [asdict(tier) | {"missing_count": tier.missing_count} for tier in need.tiers]
        figures = asdict(need) | {"is_met": need.is_met, "tiers": tiers}
        print(json.dumps(figures | {"sources": sources, "unknown_task_count": strange}))
        return
    print(need)
    for tier in need.tiers:
        print(
            f"  {tier.tier:<12}{tier.prompt_count:>7} prompts of {tier.needed_count} needed"
            f"{f', {tier.missing_count} missing' if tier.missing_count else ''}"
        )
    for source, count in sorted(sources.items()):
        print(f"  from {source:<8}{count:>6} rows")
    if strange:
        print(f"  {strange} rows name a task that the catalog does not have; it is left out")


def _import(arguments: argparse.Namespace) -> None:
    catalog = load_catalog(arguments.catalog)
    rows, faults = _foreign_rows(arguments, datetime.datetime.now(datetime.UTC))
    faults += [fault for row in rows if (fault := _reference_fault(row, catalog)) is not None]
    _refuse(faults)
    path = arguments.catalog / arguments.to
    if (
        path.suffix != ".jsonl"
        or path.parent.resolve() != (arguments.catalog / "evidence").resolve()
    ):
        raise EvidenceError(f"--to {arguments.to}: evidence is kept in evidence/NAME.jsonl")
    added = append_rows(path, rows)
    print(f"{added} rows added to {path}, {len(rows) - added} were there already")
    print(catalog_need(load_catalog(arguments.catalog)))


def _foreign_rows(
    arguments: argparse.Namespace, now: datetime.datetime
) -> tuple[list[EvidenceRow], list[RowFault]]:
    """Returns the rows of a file with names of its own, and what is wrong with it."""
    columns, constants = dict(arguments.column), dict(arguments.set)
    if "quality" in constants:
        constants |= {"quality": _number(constants["quality"])}
    if not 0.0 < arguments.scale < float("inf"):
        raise EvidenceError(f"--scale {arguments.scale}: give a number above 0")
    # Without a time of its own, a row has that of the file.
    defaults = {"source": str(EvidenceSource.IMPORT), "time": _modified(arguments.file, now)}
    rows: list[EvidenceRow] = []
    faults: list[RowFault] = []
    for number, found in _objects(arguments.file, faults):
        mapped = {key: found.get(name) for key, name in columns.items()} if columns else found
        fields = {**defaults, **mapped, **constants}
        quality = fields.get("quality")
        if isinstance(quality, int | float):
            fields["quality"] = float(quality) / arguments.scale
        result = row_of(fields, file=str(arguments.file), line=number)
        if isinstance(result, EvidenceRow):
            rows.append(result)
        else:
            faults += result
    return rows, faults


def _objects(path: Path, faults: list[RowFault]) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield number, found
        else:
            message = "it is not an object of JSON in UTF-8; write one a line."
            faults.append(RowFault(file=str(path), line=number, key="", message=message))


def _modified(path: Path, now: datetime.datetime) -> str:
    """Returns when a file was last changed: importing it again adds nothing."""
    changed = datetime.datetime.fromtimestamp(path.stat().st_mtime, tz=datetime.UTC)
    return min(changed, now).replace(microsecond=0).isoformat()


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _reference_fault(row: EvidenceRow, catalog: Catalog) -> RowFault | None:
    if row.model and catalog.models and row.model not in catalog.model_by_id:
        key, message = "model", f"there is no model {row.model[:60]!r} in models.yaml."
    elif not (row.model and catalog.models) and row.tier not in catalog.tier_by_id:
        key, message = "tier", f"there is no tier {row.tier[:60]!r} in catalog.yaml."
    else:
        return None
    return RowFault(file=row.file, line=row.line, key=key, message=message)


def _export(arguments: argparse.Namespace) -> None:
    url = arguments.ledger or os.environ.get(environment_variable("ledger")) or default_ledger()
    since_ms = 0
    if arguments.since is not None:
        try:
            day = datetime.date.fromisoformat(arguments.since)
        except ValueError as error:
            raise EvidenceError(f"--since {arguments.since}: give a day as 2026-01-31") from error
        start = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
        since_ms = int(start.timestamp() * 1000)
    with opened_ledger(url) as engine:
        rows = list(judged_evidence(engine, since_ms=since_ms))
    if arguments.output is None:
        for row in rows:
            print(line_of(row))
    else:
        added = append_rows(arguments.output, rows)
        print(f"{added} rows added to {arguments.output}, {len(rows) - added} were there already")
    if not rows:
        print(
            "tierwise evidence: no judged call whose prompt is kept (`tierwise serve"
            " --keep-prompts on` keeps them, of callers that allow it)",
            file=sys.stderr,
        )


def _remove(arguments: argparse.Namespace) -> None:
    """Takes rows out of files that may make the catalog faulty, so it is not loaded."""
    paths = sorted((arguments.catalog / "evidence").glob("*.jsonl"))
    readings = {path: read_rows(path.read_bytes(), str(path)) for path in paths}
    _refuse([fault for reading in readings.values() for fault in reading.faults])
    total = 0
    for path, reading in readings.items():
        kept = [row for row in reading.rows if not _is_meant(row, arguments)]
        removed = len(reading.rows) - len(kept)
        if removed:
            write_rows(path, kept)
            print(f"{removed} rows removed from {path}")
        total += removed
    if not total:
        raise EvidenceError(f"no row of {arguments.model or arguments.tier} in {arguments.catalog}")


def _is_meant(row: EvidenceRow, arguments: argparse.Namespace) -> bool:
    if arguments.model is not None:
        return bool(row.model == arguments.model)
    return bool(row.tier == arguments.tier)


def _refuse(faults: Sequence[RowFault]) -> None:
    """Refuses what has faults, all of them named, and nothing done."""
    if not faults:
        return
    lines = [str(fault) for fault in sorted(faults)[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"and {len(faults) - FAULTS_SHOWN} more")
    raise EvidenceError("\n".join(("nothing was changed:", *lines)))
