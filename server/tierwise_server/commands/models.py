"""`tierwise models`: lists the models of a catalog with their prices and what they can do."""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.registry import Model, PriceSource
from tierwise_server.planning.prices import (
    NANO_USD_PER_USD,
    PriceFault,
    ResolvedPrice,
    resolve_prices,
)

HEADINGS = (
    "id",
    "tier",
    "provider",
    "name",
    "input",
    "output",
    "cached",
    "cache write",
    "call",
    "window",
    "price from",
    "of",
    "capabilities",
)
NUMBERS = frozenset({"input", "output", "cached", "cache write", "call", "window"})


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when the catalog or a price has a fault."""
    parser = argparse.ArgumentParser(
        prog="tierwise models",
        description="Lists the models of a catalog, cheapest tier first, with prices in USD for a"
        " million tokens (`call`: for each call), the source and the date of the price.",
    )
    parser.add_argument(
        "--catalog", type=Path, default=Path("utterances"), help="Folder; default: utterances."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args(argv)
    try:
        catalog = load_catalog(arguments.catalog)
    except CatalogInvalidError as error:
        print(error)
        return 1
    resolved = resolve_prices(catalog.models, datetime.datetime.now(datetime.UTC).date())
    models = sorted(catalog.models, key=lambda one: catalog.tier_by_id[one.tier].rank)
    priced = [(one, resolved.by_model.get(one.id)) for one in models]
    if arguments.json:
        print(
            json.dumps(
                {
                    "models": [_record(model, price) for model, price in priced],
                    "faults": [_fault(one) for one in resolved.faults],
                },
                ensure_ascii=False,
            )
        )
    else:
        print("\n".join(_table(catalog, priced)))
        for fault in resolved.faults:
            print(f"{arguments.catalog}/{fault.model.location}: {fault.message} {fault.suggestion}")
    return 1 if resolved.faults else 0


def _table(catalog: Catalog, priced: Sequence[tuple[Model, ResolvedPrice | None]]) -> list[str]:
    if not priced:
        return ["The catalog has no models: decisions carry a tier alone."]
    rows = [HEADINGS, *(_cells(model, price) for model, price in priced)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    counts = Counter(model.price_source for model, _ in priced)
    lines.append("")
    lines.append(
        f"{len(priced)} models in {len(catalog.tiers)} tiers; USD for a million tokens:"
        f" {counts[PriceSource.CATALOG]} prices from a dated list,"
        f" {counts[PriceSource.FILE]} stated in the catalog, {counts[PriceSource.UNKNOWN]} unknown;"
        " + marks a price that rises for long input"
    )
    return lines


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
        for cell, width, heading in zip(row, widths, HEADINGS, strict=True)
    )
    return "  ".join(cells).rstrip()


def _cells(model: Model, price: ResolvedPrice | None) -> tuple[str, ...]:
    amounts = ("unknown", "", "", "", "", "", "")
    if price is not None:
        base = price.base
        rises = "+" if len(price.bands) > 1 else ""
        amounts = (
            _usd(base.input) + rises,
            _usd(base.output) + rises,
            "" if base.cached_input is None else _usd(base.cached_input) + rises,
            "" if base.cache_write is None else _usd(base.cache_write) + rises,
            _usd(price.per_call) if price.per_call else "",
            price.source,
            price.source_date.isoformat() if price.source_date else "",
        )
    new_input, output, cached, written, per_call, source, date = amounts
    return (
        model.id,
        model.tier,
        model.provider,
        model.name,
        new_input,
        output,
        cached,
        written,
        per_call,
        f"{model.context_window:,}",
        source,
        date,
        ", ".join(sorted(model.capabilities)),
    )


def _record(model: Model, price: ResolvedPrice | None) -> dict[str, object]:
    return {
        "id": model.id,
        "tier": model.tier,
        "provider": model.provider,
        "name": model.name,
        "price": None if price is None else _price_record(price),
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": sorted(model.capabilities),
        "quality": model.quality,
        "labels": dict(model.labels),
    }


def _price_record(price: ResolvedPrice) -> dict[str, object]:
    return {
        "bands": [
            {
                "above_input_tokens": band.above_input_tokens,
                "input_nano_usd_per_million": band.input,
                "output_nano_usd_per_million": band.output,
                "cached_input_nano_usd_per_million": band.cached_input,
                "cache_write_nano_usd_per_million": band.cache_write,
            }
            for band in price.bands
        ],
        "call_nano_usd": price.per_call,
        "source": price.source,
        "source_date": price.source_date.isoformat() if price.source_date else None,
    }


def _fault(fault: PriceFault) -> dict[str, object]:
    return {
        "file": fault.model.location.file,
        "line": fault.model.location.line,
        "message": fault.message,
        "suggestion": fault.suggestion,
    }


def _usd(nano_usd: int) -> str:
    """Returns an amount in dollars with at least two digits after the point, and no zeros more."""
    whole, _, rest = f"{Decimal(nano_usd) / NANO_USD_PER_USD:f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"
