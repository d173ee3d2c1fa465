"""Owns reading structure: mappings with known keys, and lists.

A reader takes a node and returns a value. It returns None exactly when it has added a fault or the
node is broken already, so that a file's reader can go on and find the other faults.
"""

import re
from collections.abc import Callable, Collection, Hashable
from typing import Final, TypeAlias, TypeVar

from tierwise_server.catalog.document import Broken, Entry, Listing, Mapping, Node, Scalar
from tierwise_server.catalog.faults import (
    FaultRule,
    FileFaults,
    did_you_mean_or_all,
    quoted,
)
from tierwise_server.catalog.ids import ID_PATTERN

T = TypeVar("T")
Reader: TypeAlias = Callable[[Node, FileFaults], T | None]

MAX_LIST_LENGTH: Final = 1000
"""Most items of a list, where its reader sets no other limit."""

_ID: Final = re.compile(ID_PATTERN)
_QUOTE_ADVICE: Final = "Put the text in quotes if it {}."


class Record:
    """A mapping whose keys are checked; its values are read one by one."""

    __slots__ = ("_entries", "_faults", "_node")

    def __init__(self, node: Mapping, faults: FileFaults) -> None:
        self._node = node
        self._faults = faults
        self._entries = {entry.key.text: entry for entry in node.entries}

    @property
    def node(self) -> Mapping:
        """The mapping itself, for faults of the whole."""
        return self._node

    def has(self, key: str) -> bool:
        """Returns whether the key is there, whatever its value."""
        return key in self._entries

    def key(self, key: str) -> Scalar | Mapping:
        """Returns the place of a key, or of the mapping where the key is absent."""
        entry = self._entries.get(key)
        return self._node if entry is None else entry.key

    def value(self, key: str) -> Node | None:
        """Returns a value as it stands, or None where the key is absent."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def read(self, key: str, reader: Reader[T]) -> T | None:
        """Returns a value, or None where the key is absent or the value has a fault."""
        entry = self._entries.get(key)
        return None if entry is None else reader(entry.value, self._faults)


def read_record(
    node: Node,
    faults: FileFaults,
    *,
    what: str,
    required: Collection[str] = (),
    optional: Collection[str] = (),
) -> Record | None:
    """Returns the record of a mapping after checking its keys.

    Args:
        node: Node that has to be a mapping.
        faults: Log of the file.
        what: Name of the thing with its article, "a task" for example.
        required: Keys that must be there.
        optional: Keys that may be there.
    """
    entries = mapping_entries(node, faults, what=what)
    if entries is None or not isinstance(node, Mapping):
        return None
    present = {entry.key.text for entry in entries}
    known = {*required, *optional}
    for entry in entries:
        if entry.key.text not in known:
            faults.add(
                entry.key,
                FaultRule.UNKNOWN_KEY,
                f"Unknown key {quoted(entry.key.text)} in {what}.",
                did_you_mean_or_all(entry.key.text, known - present) if known - present else "",
            )
    for key in required:
        if key not in present:
            faults.add(
                node, FaultRule.MISSING_KEY, f"Key `{key}` is missing in {what}.", f"Add `{key}:`."
            )
    return Record(node, faults)


def mapping_entries(node: Node, faults: FileFaults, *, what: str) -> tuple[Entry, ...] | None:
    """Returns the entries of a mapping with free keys."""
    if isinstance(node, Mapping):
        return node.entries
    refuse_type(node, faults, f"{what} has to be a mapping of keys to values")
    return None


def listing(
    item: Reader[T],
    *,
    most: int = MAX_LIST_LENGTH,
    key: Callable[[T], Hashable] | None = None,
) -> Reader[tuple[T, ...]]:
    """Returns a reader of a list that is not empty.

    Args:
        item: Reader of each item. Items with faults are left out of the result.
        most: Most items.
        key: What makes two items the same, which is a fault. None allows repetition.
    """

    def read(node: Node, faults: FileFaults) -> tuple[T, ...] | None:
        nodes = list_items(node, faults)
        if nodes is None:
            return None
        if not nodes:
            faults.add(node, FaultRule.EMPTY_LIST, "The list is empty.", "Fill or remove it.")
            return None
        if len(nodes) > most:
            faults.add(
                nodes[most],
                FaultRule.LIST_TOO_LONG,
                f"The list has {len(nodes)} items; the limit is {most}.",
            )
            return None
        values: list[T] = []
        lines: dict[Hashable, int] = {}
        for one in nodes:
            value = item(one, faults)
            if value is None:
                continue
            if key is not None:
                identity = key(value)
                if identity in lines:
                    faults.add(
                        one,
                        FaultRule.DUPLICATE_ITEM,
                        f"The same item is already on line {lines[identity]}.",
                        "Remove one of the two.",
                    )
                    continue
                lines[identity] = one.line
            values.append(value)
        return tuple(values)

    return read


def list_items(node: Node, faults: FileFaults) -> tuple[Node, ...] | None:
    """Returns the items of a list as they stand."""
    if isinstance(node, Listing):
        return node.items
    refuse_type(node, faults, "Here has to be a list")
    return None


def refuse_type(node: Node, faults: FileFaults, expectation: str) -> None:
    """Adds a fault for a node of the wrong type, unless its fault is reported already.

    Args:
        node: The node.
        faults: Log of the file.
        expectation: What had to be there, "Here has to be a list" for example.
    """
    match node:
        case Broken():
            return
        case Scalar():
            found = "nothing" if node.is_plain and not node.text else f"{quoted(node.text)}"
            advice = f"Write [{node.text}]." if _is_listable(node, expectation) else ""
        case Listing():
            found = "a list"
            advice = _QUOTE_ADVICE.format("starts with a bracket") if "text" in expectation else ""
        case Mapping():
            found = "a mapping"
            advice = _QUOTE_ADVICE.format("holds a colon") if "text" in expectation else ""
    capital = expectation[:1].upper() + expectation[1:]
    faults.add(node, FaultRule.WRONG_TYPE, f"{capital}, not {found}.", advice)


def _is_listable(node: Scalar, expectation: str) -> bool:
    return "a list" in expectation and bool(_ID.fullmatch(node.text))
