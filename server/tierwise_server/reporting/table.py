"""A table of a report, as text: what the terminal and the page show alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALERT: Final = "ALERT"
"""Cell that says that a rate means trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its title. The first columns hold words, the others numbers."""

    id: str
    title: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    """Whole sentences below it."""
    word_columns: int = 1
    total: bool = False
    """Whether the last row sums up the others."""
