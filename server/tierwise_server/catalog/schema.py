"""Owns reading values out of nodes: each reader takes a node and returns a value or adds a fault.

A reader returns None exactly when it has added a fault or the node is broken already, so that a
file's reader can go on and find the other faults.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Hashable
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from tierwise_server.catalog.document import Broken, Entry, Listing, Mapping, Node, Scalar
from tierwise_server.catalog.document import other_kind as kind_besides_text
from tierwise_server.catalog.faults import (
    FaultRule,
    FileFaults,
    nearest_or_all,
    quoted,
)
from tierwise_server.catalog.ids import ID_PATTERN, MAX_ID_LENGTH
from tierwise_server.catalog.languages import LANGUAGE_CODES, intended_language

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Reader: TypeAlias = Callable[[Node, FileFaults], T | None]

MAX_LIST_LENGTH: Final = 1000
"""Most items of a list, where its reader sets no other limit."""

_ID: Final = re.compile(ID_PATTERN)
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+)?(?<=[0-9])")
_MAX_NUMBER_LENGTH: Final = 24
_QUOTE_ADVICE: Final = "Put the text in quotes if it {}."
# Line feed and tab are text; a byte order mark inside a text is an accident of copying.
_UNWANTED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


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
                nearest_or_all(entry.key.text, known - present) if known - present else "",
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
    _wrong_type(node, faults, f"{what} has to be a mapping of keys to values")
    return None


def text(*, most: int) -> Reader[str]:
    """Returns a reader of text, stripped of white space at both ends.

    Args:
        most: Longest text in characters.
    """

    def read(node: Node, faults: FileFaults) -> str | None:
        if not isinstance(node, Scalar):
            _wrong_type(node, faults, "Here has to be a text")
            return None
        if kind := kind_besides_text(node):
            _refuse_kind(node, faults, kind)
            return None
        stripped = node.text.strip()
        # Nearly every text ends here: all of it prints, and its first character is no mark.
        if len(stripped) <= most and stripped.isprintable() and stripped[:1].isalnum():
            return stripped
        if not any(map(_is_visible, stripped)):
            faults.add(node, FaultRule.EMPTY_TEXT, "The text is empty.", "Write it or remove it.")
            return None
        if len(stripped) > most:
            faults.add(
                node,
                FaultRule.TEXT_TOO_LONG,
                f"The text has {len(stripped)} characters; the limit is {most}.",
                "Shorten it.",
            )
            return None
        if unwanted := _UNWANTED.search(stripped):
            faults.add(
                node,
                FaultRule.INVALID_CHARACTER,
                f"The text holds the control character U+{ord(unwanted.group()):04X}.",
                "Remove it.",
            )
            return None
        return stripped

    return read


def scalar_text(*, most: int) -> Reader[Scalar]:
    """Returns a reader of text that keeps its place; the text is stripped."""
    read_text = text(most=most)

    def read(node: Node, faults: FileFaults) -> Scalar | None:
        value = read_text(node, faults)
        if value is None or not isinstance(node, Scalar):
            return None
        return node if value == node.text else node._replace(text=value)

    return read


def identifier(node: Node, faults: FileFaults) -> Scalar | None:
    """Reads an id and keeps its place, so that a dangling reference can be reported there."""
    found = scalar_text(most=MAX_LIST_LENGTH)(node, faults)
    if found is None:
        return None
    if len(found.text) <= MAX_ID_LENGTH and _ID.fullmatch(found.text):
        return found
    proposal = _id_like(found.text)
    faults.add(
        found,
        FaultRule.INVALID_ID,
        f"{quoted(found.text)} is not an id: small letters, digits and dashes, a letter first, "
        f"at most {MAX_ID_LENGTH} characters.",
        f"Write {quoted(proposal)}." if proposal else "",
    )
    return None


def decimal(*, least: str, most: str) -> Reader[Decimal]:
    """Returns a reader of a number, exactly as written, within inclusive bounds."""
    low, high = Decimal(least), Decimal(most)

    def read(node: Node, faults: FileFaults) -> Decimal | None:
        written = _number_text(node, faults, _DECIMAL, "a number such as 0.4")
        if written is None:
            return None
        value = Decimal(written)
        if low <= value <= high:
            return value
        faults.add(node, FaultRule.OUT_OF_RANGE, f"{written} is not between {least} and {most}.")
        return None

    return read


def number(*, least: str, most: str) -> Reader[float]:
    """Returns a reader of a floating-point number within inclusive bounds."""
    read_decimal = decimal(least=least, most=most)

    def read(node: Node, faults: FileFaults) -> float | None:
        value = read_decimal(node, faults)
        return None if value is None else float(value)

    return read


def integer(*, least: int, most: int) -> Reader[int]:
    """Returns a reader of a whole number within inclusive bounds."""

    def read(node: Node, faults: FileFaults) -> int | None:
        written = _number_text(node, faults, _INTEGER, "a whole number such as 1000")
        if written is None:
            return None
        value = int(written)
        if least <= value <= most:
            return value
        faults.add(node, FaultRule.OUT_OF_RANGE, f"{written} is not between {least} and {most}.")
        return None

    return read


def choice(members: type[E], rule: FaultRule = FaultRule.UNKNOWN_VALUE) -> Reader[E]:
    """Returns a reader of one of a closed set of words."""
    by_word = {str(member): member for member in members}
    read_text = text(most=MAX_LIST_LENGTH)

    def read(node: Node, faults: FileFaults) -> E | None:
        word = read_text(node, faults)
        if word is None:
            return None
        if word not in by_word:
            faults.add(node, rule, f"Unknown value {quoted(word)}.", nearest_or_all(word, by_word))
        return by_word.get(word)

    return read


def language(node: Node, faults: FileFaults) -> str | None:
    """Reads an ISO 639-1 code."""
    code = text(most=MAX_LIST_LENGTH)(node, faults)
    if code is None or code in LANGUAGE_CODES:
        return code
    meant = intended_language(code)
    faults.add(
        node,
        FaultRule.UNKNOWN_LANGUAGE,
        f"{quoted(code)} is not an ISO 639-1 code.",
        f"Write `{meant}`." if meant else "Use two small letters, such as `en`.",
    )
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
    _wrong_type(node, faults, "Here has to be a list")
    return None


def _number_text(node: Node, faults: FileFaults, form: re.Pattern[str], what: str) -> str | None:
    if not isinstance(node, Scalar):
        _wrong_type(node, faults, f"Here has to be {what}")
        return None
    written = node.text
    if node.is_plain and len(written) <= _MAX_NUMBER_LENGTH and form.fullmatch(written):
        return written
    meant = written.strip().replace("_", "").replace(",", ".")
    is_number = len(meant) <= _MAX_NUMBER_LENGTH and form.fullmatch(meant)
    faults.add(
        node,
        FaultRule.WRONG_TYPE,
        f"{quoted(written)} is not {what}.",
        f"Write {meant}." if is_number else "",
    )
    return None


def _wrong_type(node: Node, faults: FileFaults, expectation: str) -> None:
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


def _refuse_kind(node: Scalar, faults: FileFaults, kind: str) -> None:
    if not node.text:
        faults.add(node, FaultRule.EMPTY_TEXT, "The text is empty.", "Write it or remove it.")
        return
    faults.add(
        node,
        FaultRule.NOT_TEXT,
        f"YAML takes {quoted(node.text)} for {kind}, not for text.",
        f'Write "{node.text}" in quotes.' if len(node.text) <= _MAX_NUMBER_LENGTH else "Quote it.",
    )


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZC"


def _id_like(word: str) -> str:
    dashed = re.sub(r"[^a-z0-9]+", "-", word[:MAX_ID_LENGTH].casefold()).strip("-")
    return dashed if _ID.fullmatch(dashed) else ""
