"""`tierwise suggest`: proposes utterances and tasks from prompts that were asked."""

from __future__ import annotations

import argparse
import datetime
import difflib
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.files import CatalogFiles
from tierwise_server.catalog.loader import parse_catalog, read_catalog_files
from tierwise_server.catalog.model import Catalog
from tierwise_server.encoder.utterance_store import UtteranceEmbedder, UtteranceStore
from tierwise_server.parts import ServeError, load_encoder
from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.rows import Period
from tierwise_server.settings import default_ledger, environment_settings, environment_variable
from tierwise_server.suggesting.case_bench import CaseBench
from tierwise_server.suggesting.edits import edited, write
from tierwise_server.suggesting.errors import SuggestError
from tierwise_server.suggesting.logged import LoggedPrompt, read_logged
from tierwise_server.suggesting.mining import mined
from tierwise_server.suggesting.propose import Effect, Limits, Proposal, Proposing, effect_of

DEFAULT_DAYS = 30
ID_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """The files as they were read, the catalog in them, and how it decides its cases."""

    folder: Path
    files: CatalogFiles
    catalog: Catalog
    bench: CaseBench
    embedders: tuple[UtteranceEmbedder, UtteranceEmbedder, UtteranceEmbedder]
    """Of utterances, of cases, and of logged prompts."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when nothing can be proposed or written."""
    arguments = _parser().parse_args(argv)
    try:
        session = _opened(arguments.catalog)
        logged = _logged(arguments, session.catalog)
        proposals = _proposals(session, logged, arguments)
        if arguments.json:
            print(json.dumps([_as_json(n, one) for n, one in enumerate(proposals, start=1)]))
        else:
            _print(session, logged, proposals)
        accepted = _accepted(arguments, proposals)
        if accepted:
            _apply(session, accepted, gate=arguments.gate)
    except (CatalogInvalidError, ReportError, ServeError, SuggestError, OSError) as error:
        print(f"tierwise suggest: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise suggest",
        description="Proposes utterances and tasks from prompts that were asked: those of a ledger"
        " that went wrong or were unclear, or those of a JSONL file of `text` and, where known,"
        " `label` (a tier or a task). Each proposal comes with its measured effect on the"
        " catalog's cases. Files change only with --accept, --apply, or an answer on a terminal."
        " Proposals are users' own words: read them before you accept them.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="JSONL file; default: the ledger.")
    parser.add_argument(
        "--catalog", type=Path, default=Path("utterances"), help="Folder; default: utterances."
    )
    parser.add_argument(
        "--ledger",
        metavar="URL",
        help=f"Ledger that keeps prompts. Default: {environment_variable('ledger')}, else the file"
        " that `tierwise serve` keeps by default.",
    )
    parser.add_argument(
        "--days", type=int, default=DEFAULT_DAYS, help=f"Days to look back; {DEFAULT_DAYS}."
    )
    limits = Limits()
    for name, default, what in (
        ("--limit", limits.utterances, "Most utterances to propose"),
        ("--per-task", limits.per_task, "Most utterances for one task"),
        ("--new-tasks", limits.new_tasks, "Most new tasks"),
    ):
        parser.add_argument(name, type=int, default=default, help=f"{what}; default: {default}.")
    parser.add_argument("--json", action="store_true", help="Print one JSON list.")
    parser.add_argument(
        "--accept",
        metavar="N,M",
        help="Write these proposals into the files, by number or id. Ids stay the same when other"
        " prompts are logged meanwhile, numbers may not.",
    )
    parser.add_argument("--apply", action="store_true", help="Write all of them.")
    parser.add_argument(
        "--gate",
        type=float,
        nargs="?",
        const=0.0,
        metavar="SHARE",
        help="Write nothing when more than this share of the cases that are right would become"
        " wrong; without a number: when any would.",
    )
    return parser


def _opened(folder: Path) -> _Session:
    files = read_catalog_files(folder)
    catalog = parse_catalog(files)
    settings = environment_settings()
    encoder = load_encoder(settings)
    store = Path(settings.cache_path) / "vectors"
    utterances, cases, logged = (
        UtteranceEmbedder(
            UtteranceStore(store / name, encoder.encoder_id), encoder, threads=settings.lane_count
        )
        for name in ("default", "default-cases", "default-logged")
    )
    return _Session(
        folder=folder,
        files=files,
        catalog=catalog,
        bench=CaseBench(catalog, utterances.embed, cases.embed),
        embedders=(utterances, cases, logged),
    )


def _logged(arguments: argparse.Namespace, catalog: Catalog) -> list[LoggedPrompt]:
    if arguments.file is not None:
        found = read_logged(arguments.file, catalog)
    else:
        today = datetime.datetime.now(datetime.UTC).date()
        since = today - datetime.timedelta(days=max(0, arguments.days - 1))
        url = arguments.ledger or os.environ.get(environment_variable("ledger"))
        found = mined(url or default_ledger(), catalog, Period(since=since, until=today))
    return list({one.text: one for one in found}.values())


def _proposals(
    session: _Session, logged: Sequence[LoggedPrompt], arguments: argparse.Namespace
) -> list[Proposal]:
    texts = [one.text for one in logged]
    for text, vector in zip(texts, session.embedders[2].embed(texts), strict=True):
        session.bench.know(text, vector)
    limits = Limits(
        utterances=arguments.limit, per_task=arguments.per_task, new_tasks=arguments.new_tasks
    )
    return list(Proposing(session.bench, logged, limits).proposals())


def _accepted(arguments: argparse.Namespace, proposals: Sequence[Proposal]) -> list[Proposal]:
    if arguments.apply:
        return list(proposals)
    if arguments.accept is not None:
        return _chosen(arguments.accept, proposals)
    if arguments.json or not proposals or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return []
    answer = input("accept which (numbers, `all`, or nothing)? ").strip()
    return list(proposals) if answer == "all" else _chosen(answer, proposals)


def _chosen(text: str, proposals: Sequence[Proposal]) -> list[Proposal]:
    by_name = {str(number): one for number, one in enumerate(proposals, start=1)}
    by_name |= {_id(one): one for one in proposals}
    names = [name for name in text.replace(",", " ").split() if name]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise SuggestError(f"there is no proposal {', '.join(unknown)}; nothing was written")
    return list({_id(by_name[name]): by_name[name] for name in names}.values())


def _apply(session: _Session, accepted: Sequence[Proposal], *, gate: float | None) -> None:
    """Writes proposals into the files, unless the gate holds them back."""
    changed = edited(session.files, [one for each in accepted for one in each.additions])
    content = {**session.files.content, **changed}
    after = parse_catalog(CatalogFiles(content=content))
    embed, embed_cases, _ = (one.embed for one in session.embedders)
    bench = CaseBench(after, embed, embed_cases)
    cases = len(session.catalog.cases)
    before = session.bench.before[:cases]
    effect = effect_of(bench, before, bench.before)
    print(
        f"together: {len(effect.fixed)} cases fixed, {len(effect.broken)} broken,"
        f" {effect.disturbed} disturbed",
        file=sys.stderr,
    )
    right = sum(one.right for one in before)
    if gate is not None and len(effect.broken) > gate * right:
        raise SuggestError(
            f"{len(effect.broken)} of {right} right cases would become wrong, more than the gate of"
            f" {gate:.1%} allows: {', '.join(effect.broken[:10])}; nothing was written"
        )
    write(session.folder, session.files, changed)
    for name, new in changed.items():
        old = session.files.content[name].decode().splitlines()
        diff = difflib.unified_diff(old, new.decode().splitlines(), name, name, n=0, lineterm="")
        print("\n".join(diff), file=sys.stderr)


def _print(
    session: _Session, logged: Sequence[LoggedPrompt], proposals: Sequence[Proposal]
) -> None:
    unlabelled = sum(not one.tier for one in logged)
    print(
        f"{len(logged)} prompts, {unlabelled} of them without a tier or task;"
        f" {len(session.catalog.cases)} cases to measure on"
    )
    for number, one in enumerate(proposals, start=1):
        first = one.additions[0]
        kind = "new task " if one.is_new_task else ""
        print(f"\n{number}. [{_id(one)}] {kind}{first.tier}/{first.task}: {one.why}")
        for addition in one.additions:
            print(f"     + {json.dumps(addition.text, ensure_ascii=False)}")
        print(f"     {_effect(one.effect)}")
        print(f"     nearest: {one.nearest}")
    if not proposals:
        print("nothing to propose: no labelled prompt helps the cases, and no group has no place")


def _effect(effect: Effect) -> str:
    broken = f" ({', '.join(effect.broken[:5])})" if effect.broken else ""
    return (
        f"cases: {len(effect.fixed)} fixed, {len(effect.broken)} broken{broken},"
        f" {effect.disturbed} disturbed; other logged prompts: {effect.logged_fixed} fixed,"
        f" {effect.logged_broken} broken"
    )


def _id(proposal: Proposal) -> str:
    """Returns what names a proposal in any run: a hash of what it adds."""
    content = json.dumps([[one.tier, one.task, one.text] for one in proposal.additions])
    # Begins with a letter, so that it is never taken for a number.
    return f"s{hashlib.sha256(content.encode()).hexdigest()[:ID_DIGITS]}"


def _as_json(number: int, proposal: Proposal) -> dict[str, object]:
    return {"number": number, "id": _id(proposal), "new_task": proposal.is_new_task} | asdict(
        proposal
    )
