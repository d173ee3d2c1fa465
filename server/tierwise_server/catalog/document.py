"""Owns reading one YAML file into plain nodes that know their line.

Reads the events of PyYAML's C parser one by one, so that depth and size are bounded before anything
is built. Of YAML it admits mappings, lists and scalars; anchors, aliases, tags, merge keys and
further documents are faults, since a file for people needs none of them and a hostile one might.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import yaml

from tierwise_server.catalog.faults import FaultRule, FileFaults, quoted

MAX_DEPTH: Final = 16
"""Deepest nesting of a file. The formats need five."""

MAX_VALUES: Final = 250_000
"""Most scalars, lists and mappings in one file."""


class Spot(NamedTuple):
    """A place in a file, counted from 1."""

    line: int
    column: int


FILE_START: Final = Spot(1, 1)
"""Where faults of a whole file are reported."""


class Scalar(NamedTuple):
    """A single value as written."""

    text: str
    line: int
    column: int
    is_plain: bool
    """Whether it stands without quotes, so that YAML may take it for a number or the like."""


class Listing(NamedTuple):
    """A list."""

    items: "tuple[Node, ...]"
    line: int
    column: int


class Entry(NamedTuple):
    """One key of a mapping and its value."""

    key: Scalar
    value: "Node"


class Mapping(NamedTuple):
    """A mapping. Its keys are text and differ from each other."""

    entries: tuple[Entry, ...]
    line: int
    column: int


class Broken(NamedTuple):
    """A value whose fault is already reported; readers pass over it."""

    line: int
    column: int


Node = Scalar | Listing | Mapping | Broken

# YAML 1.1, as PyYAML reads it: candidates by first character, each with its pattern.
_IMPLICIT = cast(
    "dict[str, list[tuple[str, re.Pattern[str]]]]", yaml.SafeLoader.yaml_implicit_resolvers
)
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
_KINDS: Final = {
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:value": "a default key",
    _MERGE_TAG: "a merge key",
}
# The parser counts these as line ends and editors don't, so they would shift every line after.
_FOREIGN_LINE_END: Final = re.compile("[\u0085\u2028\u2029]")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def other_kind(scalar: Scalar) -> str:
    """Returns what YAML takes an unquoted scalar for ("a number"), or "" if that is text."""
    if not scalar.is_plain:
        return ""
    for tag, pattern in _IMPLICIT.get(scalar.text[:1], ()):
        if pattern.match(scalar.text):
            return _KINDS.get(tag, "")
    return ""


def read_document(content: bytes, faults: FileFaults) -> Node | None:
    """Returns the top node of a file, or None when the file can't be read at all."""
    text = _decoded(content.removeprefix(_BYTE_ORDER_MARK), faults)
    if text is None:
        return None
    try:
        return _Composer(yaml.CSafeLoader(text), faults).document()
    except _StoppedError:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = Spot(mark.line + 1, mark.column + 1) if mark else FILE_START
        problem = error.problem or error.context or "not YAML"
        faults.add(spot, FaultRule.SYNTAX, f"Not YAML: {problem}.", _syntax_advice(text, spot))
    except yaml.reader.ReaderError as error:
        # Its position counts bytes of what the parser reads, which is UTF-8 again.
        before = text.encode()[: error.position].decode(errors="ignore")
        faults.add(
            _spot_after(before),
            FaultRule.INVALID_CHARACTER,
            f"Control character U+{error.character:04X}.",
            "Remove it.",
        )
    return None


class _StoppedError(Exception):
    """Reading the file ends here; the fault is reported."""


class _Composer:
    """Builds nodes from parser events."""

    def __init__(self, loader: yaml.CSafeLoader, faults: FileFaults) -> None:
        self._next = cast("Callable[[], yaml.Event]", loader.get_event)
        self._faults = faults
        self._value_count = 0

    def document(self) -> Node | None:
        """Returns the only document of the stream."""
        self._next()  # Start of the stream.
        if isinstance(self._next(), yaml.StreamEndEvent):
            self._faults.add(
                FILE_START, FaultRule.EMPTY_FILE, "The file holds nothing.", "Fill or remove it."
            )
            return None
        node = self._node(self._next(), depth=1)
        self._next()  # End of the document.
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._faults.add(
                _spot(after),
                FaultRule.SEVERAL_DOCUMENTS,
                "A second document starts here.",
                "Keep one document in a file; remove the `---`.",
            )
            return None
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._value_count += 1
        line, column = _spot(event)
        if self._value_count > MAX_VALUES:
            self._stop(event, FaultRule.TOO_MANY_VALUES, f"More than {MAX_VALUES} values.")
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor is None and event.tag is None:
                return Scalar(event.value, line, column, event.implicit[0])
            self._refuse_properties(event)
            return Broken(line, column)
        if isinstance(event, yaml.AliasEvent):
            self._refuse_alias(event)
            return Broken(line, column)
        if depth >= MAX_DEPTH:
            self._stop(event, FaultRule.TOO_DEEP, f"Nested deeper than {MAX_DEPTH} levels.")
        is_refused = self._refuse_properties(cast("yaml.CollectionStartEvent", event))
        # Read even when refused: the parser has to get past it.
        if isinstance(event, yaml.SequenceStartEvent):
            node: Node = Listing(self._items(depth), line, column)
        else:
            node = Mapping(self._entries(depth), line, column)
        return Broken(line, column) if is_refused else node

    def _items(self, depth: int) -> tuple[Node, ...]:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return tuple(items)

    def _entries(self, depth: int) -> tuple[Entry, ...]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if not isinstance(key, Scalar) or not self._is_text_key(key):
                if isinstance(key, Listing | Mapping):
                    self._faults.add(key, FaultRule.KEY_NOT_TEXT, "A key has to be a text.")
                continue
            if key.text in entries:
                first = entries[key.text].key.line
                self._faults.add(
                    key,
                    FaultRule.DUPLICATE_KEY,
                    f"Key {quoted(key.text)} is already on line {first}.",
                    "Keep one of the two.",
                )
                continue
            entries[key.text] = Entry(key, value)
        return tuple(entries.values())

    def _is_text_key(self, key: Scalar) -> bool:
        kind = other_kind(key)
        if not kind:
            return True
        if kind == _KINDS[_MERGE_TAG]:
            self._faults.add(
                key, FaultRule.MERGE_KEY, "Merge keys are not allowed.", "Write the keys out."
            )
        else:
            self._faults.add(
                key,
                FaultRule.KEY_NOT_TEXT,
                f"YAML takes the key {quoted(key.text)} for {kind}.",
                f'Write "{key.text}" in quotes.' if key.text else "Write a key before the colon.",
            )
        return False

    def _refuse_properties(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> bool:
        """Reports anchor and tag; returns whether there was one."""
        if event.anchor is not None:
            self._refuse_alias(event)
        if event.tag is not None:
            message = f"Tag {quoted(event.tag)} is not allowed."
            self._faults.add(_spot(event), FaultRule.TAG, message, "Remove it.")
        return event.anchor is not None or event.tag is not None

    def _refuse_alias(self, event: yaml.NodeEvent) -> None:
        self._faults.add(
            _spot(event),
            FaultRule.ALIAS,
            f"Anchors and aliases ({quoted(str(event.anchor))}) are not allowed.",
            "Write the value out, or put the text in quotes if it starts with & or *.",
        )

    def _stop(self, event: yaml.Event, rule: FaultRule, message: str) -> None:
        self._faults.add(_spot(event), rule, message)
        raise _StoppedError


def _decoded(content: bytes, faults: FileFaults) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        faults.add(
            _spot_after(content[: error.start].decode(errors="replace")),
            FaultRule.INVALID_ENCODING,
            f"Byte 0x{content[error.start]:02X} is not UTF-8.",
            "Save the file as UTF-8.",
        )
        return None
    if found := _FOREIGN_LINE_END.search(text):
        faults.add(
            _spot_after(text[: found.start()]),
            FaultRule.INVALID_CHARACTER,
            f"Line separator U+{ord(found.group()):04X}.",
            f'Use a plain line end, or write "\\u{ord(found.group()):04X}" in double quotes.',
        )
        return None
    return text


def _spot(event: yaml.Event) -> Spot:
    mark = cast("yaml.Mark", event.start_mark)  # The parser always sets it.
    return Spot(mark.line + 1, mark.column + 1)


def _spot_after(text: str) -> Spot:
    before = text.replace("\r\n", "\n").replace("\r", "\n")
    return Spot(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _syntax_advice(text: str, spot: Spot) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    line = lines[spot.line - 1] if spot.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "Indent with spaces, not with tabs."
    if line[spot.column - 1 : spot.column] in {"@", "`", "%", ":"}:
        return "Put the text in quotes."
    return "Check quotes, brackets and indentation here and on the line above."
