"""A report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from tierwise_server.reporting.prose import closing_notes, heading, nothing_found
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.table import Table
from tierwise_server.reporting.tables import report_tables

WIDTH: Final = 100
"""Characters of a line of prose; tables are as wide as they need to be."""


def render_terminal(report: Report) -> str:
    """Returns the report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from map(_printable, heading(report))
    empty = nothing_found(report)
    if empty is not None:
        yield empty
        return
    for table in report_tables(report):
        yield ""
        yield table.title
        yield from _table_lines(table)
    yield ""
    for note in closing_notes(report):
        yield from textwrap.wrap(_printable(note), WIDTH)


def _table_lines(table: Table) -> Iterator[str]:
    if table.rows:
        rows = [tuple(map(_printable, row)) for row in (table.headings, *table.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield _line(row, widths, table.word_columns)
    for note in table.notes:
        yield from textwrap.wrap(
            _printable(note), WIDTH, initial_indent="  ", subsequent_indent="  "
        )


def _line(row: Sequence[str], widths: Sequence[int], word_columns: int) -> str:
    cells = (
        cell.ljust(width) if position < word_columns else cell.rjust(width)
        for position, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  " + "  ".join(cells).rstrip()


def _printable(text: str) -> str:
    """Returns text that does nothing to a terminal: labels come from callers and providers."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
