"""A benchmark's report as text, as JSON, and as one page."""

from __future__ import annotations

import datetime
import json
import textwrap
from dataclasses import asdict
from typing import Any, Final

from tierwise_server.benching.charts import bench_charts
from tierwise_server.benching.findings import Findings
from tierwise_server.benching.tables import bench_tables, closing_notes, heading, headline
from tierwise_server.reporting.page import Page, render_page
from tierwise_server.reporting.table_text import WIDTH, printable, table_lines

FORMAT_VERSION: Final = 1
"""Rises when a field is removed or changes its meaning."""


def bench_text(found: Findings) -> str:
    """Returns the report for a terminal."""
    lines = [printable(line) for line in heading(found)]
    for table in bench_tables(found):
        lines += ["", table.title, *table_lines(table)]
    lines.append("")
    for note in closing_notes(found):
        lines += textwrap.wrap(printable(note), WIDTH)
    return "\n".join(lines) + "\n"


def bench_page(found: Findings) -> str:
    """Returns the report as a page that loads nothing."""
    return render_page(
        Page(
            name="Benchmark",
            title="Benchmark of models by task",
            heading=heading(found),
            headline=headline(found),
            tables=bench_tables(found),
            charts=bench_charts(found),
            notes=closing_notes(found),
            made_at=datetime.datetime.now(datetime.UTC),
        )
    )


def bench_json(found: Findings) -> str:
    """Returns one JSON object. Costs are nano-dollars, times seconds."""
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "bar": found.bar,
        "confidence": found.confidence,
        "seed": found.seed,
        "spent_nano_usd": found.spent_nano_usd,
        "is_stopped": found.is_stopped,
        "given_up": dict(found.given_up),
        "unpriced": list(found.unpriced),
        "choices": [asdict(one) for one in found.choices],
        "cells": [{**asdict(one), "is_complete": one.is_complete} for one in found.cells.values()],
        "overall": {model: asdict(one) for model, one in found.overall.items()},
        "policies": [asdict(one) for one in found.policies],
        "dominated": [asdict(one) for one in found.dominated],
        "judge": {"model": found.judge, **asdict(found.judged)} if found.judge else None,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
