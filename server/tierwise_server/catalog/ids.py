"""Owns the ids of the catalog's things and the place in a file that each thing comes from."""

from dataclasses import dataclass
from typing import Final, NewType

TierId = NewType("TierId", str)
"""Id of a tier, as listed in `catalog.yaml`."""

TaskId = NewType("TaskId", str)
"""Id of a task, unique over all tiers."""

ModelId = NewType("ModelId", str)
"""Id of a model, unique in `models.yaml`."""

ID_PATTERN: Final = r"[a-z][a-z0-9-]*"
"""What every id looks like in full."""

MAX_ID_LENGTH: Final = 64
"""Longest id in characters."""

RESERVED_IDS: Final = frozenset({"none", "oos"})
"""Labels that stand for "matches nothing" in cases, so neither a tier nor a task may take them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Place that a part of the catalog was read from."""

    file: str
    """Path inside the catalog folder, with forward slashes."""
    line: int
    """Line in the file, counted from 1."""

    def __str__(self) -> str:
        """Returns the form that editors and terminals make clickable, `file:line`."""
        return f"{self.file}:{self.line}"
