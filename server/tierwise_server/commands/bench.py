"""`tierwise bench`: measures models on sample prompts of each task, before anything is routed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tierwise.providers.registry import ProviderRegistry
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.estimate import Estimate, estimates
from tierwise_server.benching.findings import (
    Findings,
    find,
)
from tierwise_server.benching.proposal import apply, propose
from tierwise_server.benching.rendering import bench_json, bench_page, bench_text
from tierwise_server.benching.run_file import RunFile
from tierwise_server.benching.running import BenchPlan, RunEnd
from tierwise_server.benching.sample_files import shipped_sets
from tierwise_server.benching.scoring import qualities
from tierwise_server.benching.session import (
    carry_out,
    check_before,
    evidence,
    make_plan,
    settings_of,
)
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.loader import parse_catalog, read_catalog_files
from tierwise_server.commands.bench_options import LIST, bench_options, bench_parser
from tierwise_server.evidence.writing import FaultyEvidenceError, append_rows
from tierwise_server.reporting.output import write_output
from tierwise_server.reporting.table import Table
from tierwise_server.reporting.table_text import table_lines
from tierwise_server.reporting.wording import UNKNOWN, count, places_for, usd

MISUSE: Final = 2
DECLINED: Final = 1

RENDERERS: Final[Mapping[str, Callable[[Findings], str]]] = {
    "table": bench_text,
    "json": bench_json,
    "html": bench_page,
}


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status.

    1 when the person says no, or the run is not whole; 2 when it can't be made.
    """
    arguments = bench_parser().parse_args(argv)
    if arguments.samples == [LIST]:
        for name, description in shipped_sets().items():
            print(f"{name:<20} {description}")
        return 0
    try:
        return _bench(arguments)
    except (BenchError, CatalogInvalidError, FaultyEvidenceError) as error:
        print(f"tierwise bench: {error}", file=sys.stderr)
        return MISUSE
    except KeyboardInterrupt:
        print("\ntierwise bench: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _bench(arguments: argparse.Namespace) -> int:
    wants_proposal = arguments.propose or arguments.apply
    if wants_proposal and arguments.output is None and arguments.format not in {None, "table"}:
        raise BenchError("a proposal goes to standard output: give the report a file with --output")
    folder = Path(arguments.catalog)
    files = read_catalog_files(folder)
    catalog = parse_catalog(files)
    options = bench_options(arguments)
    plan = make_plan(options, catalog)
    registry = ProviderRegistry({})
    with RunFile(arguments.run, settings_of(plan, options.functions)) as run:
        expected = estimates(plan, run)
        end = RunEnd()
        if expected:
            check_before(plan, registry, cap_nano_usd=options.cap_nano_usd)
            _show_estimate(expected, run, options.cap_nano_usd)
            if not arguments.yes and not _confirmed():
                print("tierwise bench: nothing was called", file=sys.stderr)
                return DECLINED
            calls = sum(one.calls for one in expected)
            with _Bar(calls) as progress:
                end = carry_out(plan, run, registry, options, progress)
        quality_of = qualities(plan, run.state, options.functions)
        found = find(
            plan,
            run.state,
            quality_of,
            bar=arguments.bar,
            confidence=arguments.confidence,
            seed=arguments.seed,
            given_up=end.given_up,
            is_stopped=end.cap_reached,
        )
        if arguments.evidence is not None:
            _write_evidence(arguments.evidence, plan, run, quality_of)
    _show(found, arguments)
    if wants_proposal:
        proposal = propose(found, catalog, files)
        sys.stdout.write(
            proposal.diff() or "The files say so already: there is nothing to change.\n"
        )
        for line in proposal.left:
            print(line)
        if arguments.apply and proposal.after:
            apply(proposal, folder)
            print(f"changed: {', '.join(proposal.after)}")
    is_whole = all(one.is_complete for one in found.cells.values())
    return 0 if is_whole and not end.cap_reached else DECLINED


def _show_estimate(expected: Sequence[Estimate], run: RunFile, cap_nano_usd: int | None) -> None:
    likely = sum(one.likely_nano_usd or 0 for one in expected)
    most = sum(one.most_nano_usd or 0 for one in expected)
    places = places_for(most)

    def amount(nano_usd: int | None) -> str:
        return UNKNOWN if nano_usd is None else usd(nano_usd, places)

    rows = [
        (
            one.model,
            one.role,
            count(one.calls),
            amount(one.likely_nano_usd),
            amount(one.most_nano_usd),
        )
        for one in expected
    ]
    calls = sum(one.calls for one in expected)
    rows.append(("in all", "", count(calls), amount(likely), amount(most)))
    notes = []
    if run.state.spent_nano_usd:
        spent = run.state.spent_nano_usd
        notes.append(f"Spent by this run so far: {usd(spent, places_for(spent))}.")
    if cap_nano_usd is None:
        notes.append("There is no cap.")
    else:
        left = cap_nano_usd - run.state.spent_nano_usd
        notes.append(f"The run stops before it costs more than {usd(cap_nano_usd, 2)}.")
        if likely > left:
            notes.append("That is likely to be before its end: raise --max-cost, or take less.")
    table = Table(
        id="estimate",
        title="What the run will cost",
        headings=("model", "role", "calls", "likely", "at most"),
        rows=tuple(rows),
        notes=tuple(notes),
        word_columns=2,
    )
    print("\n".join((table.title, *table_lines(table))), file=sys.stderr)


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise BenchError("nobody is there to be asked: say --yes to start")
    print("Start? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


class _Bar:
    """A progress bar, where somebody sees it."""

    def __init__(self, calls: int) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - only a run needs it

        self._bar: Any = tqdm(
            total=calls, unit="call", file=sys.stderr, disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, calls: int, spent_nano_usd: int) -> None:
        """Moves the bar on."""
        self._bar.set_postfix_str(usd(spent_nano_usd, places_for(spent_nano_usd)), refresh=False)
        self._bar.update(calls)


def _write_evidence(
    path: Path, plan: BenchPlan, run: RunFile, quality_of: Mapping[tuple[str, str], float]
) -> None:
    try:
        added = append_rows(path, evidence(plan, run, quality_of))
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error
    print(f"{added} rows of evidence added to {path}", file=sys.stderr)


def _show(found: Findings, arguments: argparse.Namespace) -> None:
    output: Path | None = arguments.output
    ending = output.suffix.removeprefix(".") if output is not None else ""
    chosen = arguments.format or (ending if ending in RENDERERS else "table")
    text = RENDERERS[chosen](found)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        write_output(output, text)
    except OSError as error:
        raise BenchError(f"cannot write {output}: {error.strerror}") from error
