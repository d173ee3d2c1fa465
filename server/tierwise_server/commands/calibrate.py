"""`tierwise calibrate`: fits thresholds and confidence to labelled prompts, by an objective."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tierwise_server.calibration.binding import settings_hash, utterances_hash
from tierwise_server.calibration.document import calibration_text
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.fit import Fit, Fitting
from tierwise_server.calibration.objective import (
    DEFAULT_LEVEL,
    AsItIs,
    Granularity,
    LimitedShare,
    LimitedUnderRouting,
    MostAccurate,
    Objective,
)
from tierwise_server.calibration.rows import check_labels, subject_of
from tierwise_server.calibration.validate import Validation, validate
from tierwise_server.catalog.calibration import Binding, Calibration, Subject
from tierwise_server.catalog.calibration_file import CALIBRATION_FILE
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.files import CatalogFiles, read_catalog_files
from tierwise_server.catalog.loader import parse_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.rewriting import (
    EditedMeanwhileError,
    replace_content,
    unified_diff,
)
from tierwise_server.commands.calibration_report import figures_of, report_lines
from tierwise_server.commands.calibration_rows import LabelledData, read_questions, read_rows
from tierwise_server.commands.local import open_parts
from tierwise_server.parts import ServeError
from tierwise_server.questions import LabelledFileError
from tierwise_server.settings import environment_settings
from tierwise_server.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A calibration with what it is worth, before it is written."""

    calibration: Calibration
    fitted: Fit
    validation: Validation
    data: LabelledData
    files: CatalogFiles
    """The catalog's files, from before anything was fitted."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when it refuses, or `--check` finds fault."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.file is not None and arguments.evidence:
        parser.error("give a file or --evidence, not both")
    folder = Path(arguments.catalog)
    try:
        if arguments.check:
            return _check(folder)
        done = calibrate(folder, arguments.file, arguments)
        return _offer(folder, done, arguments)
    except (
        ServeError,
        LabelledFileError,
        CalibrationError,
        EditedMeanwhileError,
        CatalogInvalidError,
        OSError,
    ) as error:
        print(f"tierwise calibrate: {error}", file=sys.stderr)
        return 1


def calibrate(folder: Path, file: Path | None, arguments: argparse.Namespace) -> Calibrated:
    """Fits a calibration, and finds out what it is worth.

    Raises:
        ServeError: The encoder or the catalog does not load.
        LabelledFileError: The file cannot be read.
        CalibrationError: The data does not allow what was asked for.
    """
    files = read_catalog_files(folder)
    with open_parts(str(folder)) as (parts, _):
        snapshot = next(iter(parts.catalogs.values())).snapshot
        catalog = replace(snapshot.catalog, calibration=None, stale_bounds=())
        objective = _objective(arguments, catalog)
        threads = environment_settings().lane_count
        asked = read_questions(file, catalog, from_evidence=arguments.evidence)
        data = read_rows(asked, snapshot, catalog, parts.encoder, threads)
    subject = Subject.TIER if file is None else subject_of([one.label for one in data.rows])
    if arguments.of:
        subject = Subject(arguments.of)
    check_labels(data.rows, subject, catalog)
    fitting = Fitting(catalog, data.rows, objective, subject, arguments.out_of_scope_share)
    fitted = fitting.fit()
    validation = validate(fitting, fitted)
    calibration = fitted.calibration(
        str(objective),
        _binding(snapshot, catalog, data, with_thresholds=fitted.threshold is None),
        figures_of(validation),
    )
    return Calibrated(
        calibration=calibration, fitted=fitted, validation=validation, data=data, files=files
    )


def _binding(
    snapshot: Snapshot, catalog: Catalog, data: LabelledData, *, with_thresholds: bool
) -> Binding:
    return Binding(
        encoder=snapshot.encoder_id,
        scorer=snapshot.scorer.scorer_id,
        utterances=utterances_hash(catalog),
        settings=settings_hash(catalog, with_thresholds=with_thresholds),
        data_source=data.asked.source,
        data=data.asked.hash,
        row_count=len(data.rows),
    )


def _offer(folder: Path, done: Calibrated, arguments: argparse.Namespace) -> int:
    """Shows what changes, and writes it when a person says so."""
    before = done.files.content.get(CALIBRATION_FILE)
    after = calibration_text(done.calibration, before)
    # What is written has to load, and to be what was fitted.
    written = parse_catalog(CatalogFiles(content={**done.files.content, CALIBRATION_FILE: after}))
    if written.calibration is None or written.calibration.id != done.calibration.id:
        raise CalibrationError("the calibration cannot be written down as it is")
    diff = unified_diff(before, after, CALIBRATION_FILE)
    agreed = arguments.yes
    if not arguments.json:
        lines = report_lines(
            done.calibration,
            done.fitted,
            done.validation,
            done.data,
            share_stated=arguments.out_of_scope_share is not None,
        )
        print("\n".join(lines))
        print(f"\n{diff}" if diff else "\nNothing changes.")
        agreed = bool(diff) and (agreed or _asked(f"Write {folder / CALIBRATION_FILE}? [y/N] "))
    if diff and agreed:
        _write(folder, done.files, before, after)
    if arguments.json:
        record = {**_record(done), "diff": diff, "written": bool(diff) and agreed}
        print(json.dumps(record, ensure_ascii=False))
    elif agreed:
        print(f"written: calibration {done.calibration.id}")
    return 0


def _write(folder: Path, files: CatalogFiles, before: bytes | None, after: bytes) -> None:
    """Writes the calibration, unless any file of the catalog was edited since it was read."""
    if read_catalog_files(folder).content_hash != files.content_hash:
        raise EditedMeanwhileError(folder)
    replace_content(folder / CALIBRATION_FILE, before, after)


def _record(done: Calibrated) -> dict[str, object]:
    calibration = done.calibration
    return {
        "calibration_id": calibration.id,
        "objective": calibration.objective,
        "of": calibration.subject,
        "thresholds": {
            "all": calibration.threshold,
            "tiers": dict(calibration.tier_thresholds),
            "tasks": dict(calibration.task_thresholds),
        },
        "dial": calibration.dial,
        "confidence": None if calibration.curve is None else asdict(calibration.curve),
        "row_count": len(done.data.rows),
        "left_out_count": done.data.left_out_count,
        "untold_count": done.data.asked.untold_count,
        "validation": {
            **asdict(done.validation),
            "risk_coverage": [point._asdict() for point in done.validation.risk_coverage],
        },
    }


def _asked(question: str) -> bool:
    """Returns whether a person agrees; without one, nobody does."""
    if not sys.stdin.isatty():
        print("not written: --yes writes it")
        return False
    print(question, end="", flush=True)
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}


def _check(folder: Path) -> int:
    """Says how a catalog stands to its calibration."""
    with open_parts(str(folder)) as (parts, _):
        catalog = next(iter(parts.catalogs.values())).snapshot.catalog
    if catalog.calibration is None:
        print(f"{folder}: not calibrated; decisions carry no confidence")
        return 0
    if not catalog.stale_bounds:
        print(f"{folder}: calibration {catalog.calibration.id} is current")
        return 0
    changed = ", ".join(catalog.stale_bounds)
    print(
        f"{folder}/{CALIBRATION_FILE}:1: stale-calibration: calibration {catalog.calibration.id}"
        f" was fitted before {changed} changed. Run `tierwise calibrate --catalog {folder}`."
    )
    return 1


def _objective(arguments: argparse.Namespace, catalog: Catalog) -> Objective:
    level = arguments.confidence_level
    if arguments.keep_thresholds:
        return AsItIs()
    if arguments.max_under_routed is not None:
        tier, limit = _known_tier(arguments.max_under_routed, catalog)
        if catalog.tier_by_id[catalog.tiers[0].id].id == tier:
            raise CalibrationError(f"nothing lies below {tier}, the cheapest tier")
        return LimitedUnderRouting(tier=tier, limit=limit, level=level)
    if arguments.max_share is not None:
        tier, limit = _known_tier(arguments.max_share, catalog)
        if catalog.tiers[0].id == tier:
            raise CalibrationError(f"all calls are on {tier}, the cheapest tier, or above")
        return LimitedShare(tier=tier, limit=limit, level=level)
    return MostAccurate(granularity=Granularity(arguments.per))


def _known_tier(limit: tuple[str, float], catalog: Catalog) -> tuple[str, float]:
    if limit[0] not in {tier.id for tier in catalog.tiers}:
        tiers = ", ".join(tier.id for tier in catalog.tiers)
        raise CalibrationError(f"there is no tier {limit[0]!r}; the catalog has {tiers}")
    return limit


def _limit(text: str) -> tuple[str, float]:
    tier, _, share = text.partition("=")
    return tier, _share(share)


def _share(text: str) -> float:
    value = float(text.rstrip("%")) / (100.0 if text.endswith("%") else 1.0)
    if not 0.0 < value < 1.0:
        raise ValueError(text)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise calibrate",
        description="Fits thresholds and a confidence curve to labelled prompts, by an objective,"
        " cross-validates them, shows what changes and writes calibration.yaml into the catalog's"
        " folder. Without an objective: the thresholds with the most right decisions.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="JSONL file of `text` and `label` (a tier, a task, or `oos`); default: the cases.",
    )
    parser.add_argument("--catalog", default="utterances", help="Folder; default: utterances.")
    parser.add_argument(
        "--evidence",
        action="store_true",
        help="Use the catalog's evidence: a prompt needs the cheapest tier whose answers"
        " reach the bar of the learned layer.",
    )
    objective = parser.add_mutually_exclusive_group()
    objective.add_argument(
        "--max-under-routed",
        type=_limit,
        metavar="TIER=SHARE",
        help="At most this share of the prompts that need the tier goes below it; then as cheap as"
        " can be. Example: premium=2%%.",
    )
    objective.add_argument(
        "--max-share",
        type=_limit,
        metavar="TIER=SHARE",
        help="At most this share of calls goes to the tier or above; then as good as can be."
        " Example: premium=14%%.",
    )
    objective.add_argument(
        "--keep-thresholds", action="store_true", help="Fit the confidence only."
    )
    objective.add_argument(
        "--per",
        choices=[str(one) for one in Granularity],
        default=str(Granularity.CATALOG),
        help="What has a threshold of its own, where there are 30 labels; default: catalog.",
    )
    parser.add_argument(
        "--confidence-level",
        type=_share,
        default=DEFAULT_LEVEL,
        metavar="SHARE",
        help="Confidence with which a limit is to hold; default: 0.95.",
    )
    parser.add_argument(
        "--of",
        choices=[str(one) for one in Subject],
        help="What is to be right; default: the task where all labels of a file are tasks, else the"
        " tier.",
    )
    parser.add_argument(
        "--out-of-scope-share",
        type=_share,
        metavar="SHARE",
        help="Share of real prompts that nothing is for; default: that of the labels.",
    )
    parser.add_argument("--yes", "--write", action="store_true", help="Write without asking.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="Fit nothing; say whether the calibration is current, with exit status 1 if not.",
    )
    return parser
