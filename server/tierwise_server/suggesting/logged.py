"""Prompts that were asked, and what is known of where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tierwise_server.catalog.ids import TaskId, TierId
from tierwise_server.catalog.model import Catalog
from tierwise_server.suggesting.errors import SuggestError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPrompt:
    """One prompt."""

    text: str
    task: str = ""
    """Task that a person or a judge says it belongs to; empty where nobody did."""
    tier: str = ""
    """Tier likewise."""
    source: str
    """Where it comes from: file and line, or what the ledger says became of it."""


def read_logged(file: Path, catalog: Catalog) -> Iterator[LoggedPrompt]:
    """Yields the prompts of a JSONL file of `text` and, where known, `label` (a tier or a task).

    Raises:
        SuggestError: The file cannot be read, or a label is nothing that the catalog has.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SuggestError(f"{file}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _logged(line, f"{file}:{number}", catalog)


def _logged(line: str, source: str, catalog: Catalog) -> LoggedPrompt:
    try:
        row = json.loads(line)
        text, label = row["text"], row.get("label") or ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SuggestError(f"{source}: needs an object with `text`") from error
    if not (isinstance(text, str) and text.strip() and isinstance(label, str)):
        raise SuggestError(f"{source}: `text` and `label` must be text, and `text` not empty")
    task = catalog.task_by_id.get(TaskId(label))
    if task is not None:
        return LoggedPrompt(text=text.strip(), task=task.id, tier=task.tier, source=source)
    if label and TierId(label) not in catalog.tier_by_id:
        raise SuggestError(f"{source}: {label!r} is no tier or task of the catalog")
    return LoggedPrompt(text=text.strip(), tier=label, source=source)
