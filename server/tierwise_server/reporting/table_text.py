"""Tables and prose as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from tierwise_server.reporting.table import Table

WIDTH: Final = 100
"""Characters of a line of prose; tables are as wide as they need to be."""


def table_lines(table: Table) -> Iterator[str]:
    """Yields the lines of a table without its title: rows, then notes."""
    if table.rows:
        rows = [tuple(map(printable, row)) for row in (table.headings, *table.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield _line(row, widths, table.word_columns)
    for note in table.notes:
        yield from textwrap.wrap(
            printable(note), WIDTH, initial_indent="  ", subsequent_indent="  "
        )


def _line(row: Sequence[str], widths: Sequence[int], word_columns: int) -> str:
    cells = (
        cell.ljust(width) if position < word_columns else cell.rjust(width)
        for position, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  " + "  ".join(cells).rstrip()


def printable(text: str) -> str:
    """Returns text that does nothing to a terminal: labels come from callers and providers."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
