"""A report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tierwise_server.reporting.prose import closing_notes, heading, nothing_found
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.table_text import WIDTH, printable, table_lines
from tierwise_server.reporting.tables import report_tables


def render_terminal(report: Report) -> str:
    """Returns the report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from map(printable, heading(report))
    empty = nothing_found(report)
    if empty is not None:
        yield empty
        return
    for table in report_tables(report):
        yield ""
        yield table.title
        yield from table_lines(table)
    yield ""
    for note in closing_notes(report):
        yield from textwrap.wrap(printable(note), WIDTH)
