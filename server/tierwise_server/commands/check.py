"""`tierwise check`: reports what is wrong with a catalog's files, and what weakens them."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.encoder.utterance_store import UtteranceEmbedder, UtteranceStore
from tierwise_server.learned import catalog_need
from tierwise_server.linting.findings import Finding, LeftOut, Severity, in_order, of_fault
from tierwise_server.linting.formats import FORMATS, CheckReport, as_text
from tierwise_server.linting.lint import VECTOR_RULES, lint_texts, lint_vectors
from tierwise_server.parts import ServeError, load_encoder
from tierwise_server.settings import environment_settings
from tierwise_server.snapshot import price_models


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 for a fault, or with --strict a warning."""
    arguments = _parser().parse_args(argv)
    report = _checked(arguments.catalog, fast=arguments.fast)
    chosen = "json" if arguments.json else arguments.format
    if chosen == "text":
        print(as_text(report, notes=arguments.notes))
    else:
        print(FORMATS[chosen](report))
    failed = report.count(Severity.ERROR) > 0
    return 1 if failed or (arguments.strict and report.count(Severity.WARNING) > 0) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise check",
        description="Reports everything that is wrong with a catalog's files, and what weakens"
        " them: near duplicates across tiers, confusable tasks, cases that leak into utterances,"
        " tiers that length or case give away, thin tasks, dead utterances, missing languages."
        " Each with file, line and a suggestion.",
        epilog=f"Rules: {', '.join(LintRule)}. A catalog silences some with"
        " `lint: {ignore: [...]}` in catalog.yaml.",
    )
    parser.add_argument(
        "catalog",
        nargs="?",
        type=Path,
        default=Path("utterances"),
        help="Folder; default: utterances.",
    )
    parser.add_argument("--fast", action="store_true", help="Leave out what needs the encoder.")
    parser.add_argument("--strict", action="store_true", help="Exit with 1 for warnings too.")
    parser.add_argument("--notes", action="store_true", help="List notes, not only their number.")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="text",
        help="`github` and `sarif` are for code hosts. Default: text.",
    )
    parser.add_argument("--json", action="store_true", help="The same as --format json.")
    return parser


def _checked(folder: Path, *, fast: bool) -> CheckReport:
    try:
        catalog = load_catalog(folder)
        price_models(catalog, datetime.datetime.now(datetime.UTC).date())
    except CatalogInvalidError as error:
        return CheckReport(folder=str(folder), findings=[of_fault(one) for one in error.faults])
    by_vectors, left_out = ([], _left_out("--fast")) if fast else _by_vectors(catalog)
    findings = in_order([*lint_texts(catalog), *by_vectors], catalog.ignored_lint)
    return CheckReport(
        folder=str(folder), findings=findings, left_out=left_out, summary=_summary(catalog)
    )


def _by_vectors(catalog: Catalog) -> tuple[list[Finding], tuple[LeftOut, ...]]:
    settings = environment_settings()
    if not settings.encoder_path.exists():
        # Building one takes a minute; a check that was asked for its opinion should not.
        return [], _left_out(
            f"no encoder at {settings.encoder_path}; `tierwise encoder build` makes one"
        )
    try:
        encoder = load_encoder(settings)
    except ServeError as error:
        return [], _left_out(str(error))
    folder = Path(settings.cache_path) / "vectors"
    embedders = [
        UtteranceEmbedder(
            UtteranceStore(folder / name, encoder.encoder_id),
            encoder,
            threads=settings.lane_count,
        )
        for name in ("default", "default-cases")
    ]
    return lint_vectors(catalog, *(one.embed for one in embedders)), ()


def _left_out(reason: str) -> tuple[LeftOut, ...]:
    return (LeftOut(rules=VECTOR_RULES, reason=reason),)


def _summary(catalog: Catalog) -> str:
    tiers = ", ".join(f"{tier.id} ({len(tier.tasks)} tasks)" for tier in catalog.tiers)
    rules = len(catalog.rules.override) + len(catalog.rules.default)
    evidence = f"; {str(catalog_need(catalog)).removesuffix('.')}" if catalog.evidence else ""
    return (
        f"tiers {tiers}; {len(catalog.utterances)} utterances, {rules} rules,"
        f" {len(catalog.models)} models, {len(catalog.cases)} cases{evidence}"
    )
