"""`tierwise check`: reports everything that is wrong with a catalog's files."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.snapshot import price_models


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when there is a fault."""
    parser = argparse.ArgumentParser(
        prog="tierwise check",
        description="Reports everything that is wrong with a catalog's files, each with file and"
        " line.",
    )
    parser.add_argument(
        "catalog",
        nargs="?",
        type=Path,
        default=Path("utterances"),
        help="Folder; default: utterances.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args(argv)
    faults: tuple[Fault, ...] = ()
    catalog: Catalog | None = None
    try:
        catalog = load_catalog(arguments.catalog)
        price_models(catalog, datetime.datetime.now(datetime.UTC).date())
    except CatalogInvalidError as error:
        catalog, faults = None, error.faults
    if arguments.json:
        print(json.dumps({"faults": [asdict(fault) for fault in faults]}, ensure_ascii=False))
    else:
        _print(arguments.catalog, catalog, faults)
    return 1 if faults else 0


def _print(folder: Path, catalog: Catalog | None, faults: Sequence[Fault]) -> None:
    for fault in faults:
        print(f"{folder}/{fault}" if fault.file != "." else f"{folder}: {fault.message}")
    if catalog is None:
        print(f"{len(faults)} fault{'s' if len(faults) != 1 else ''}")
        return
    tiers = ", ".join(f"{tier.id} ({len(tier.tasks)} tasks)" for tier in catalog.tiers)
    rules = len(catalog.rules.override) + len(catalog.rules.default)
    print(
        f"{folder}: no faults; tiers {tiers}; {len(catalog.utterances)} utterances, {rules} rules,"
        f" {len(catalog.models)} models, {len(catalog.cases)} cases"
    )
