"""Reads files with one JSON object a line into the nodes that the readers of YAML take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tierwise_server.catalog.document import (
    FILE_START,
    Entry,
    Listing,
    Mapping,
    Node,
    Scalar,
    Spot,
)
from tierwise_server.catalog.faults import FaultRule, FileFaults, quoted


def json_line_nodes(content: bytes, faults: FileFaults) -> Iterator[Node]:
    """Yields the objects of a JSONL file as nodes that know their line."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            faults.add(
                Spot(number, 1), FaultRule.SYNTAX, "Not JSON in UTF-8.", "Write one object a line."
            )
            continue
        yield _json_node(pairs, number, faults)
    if not content.strip():
        faults.add(
            FILE_START, FaultRule.EMPTY_FILE, "The file holds nothing.", "Fill or remove it."
        )


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of an object, in order, repeated ones included."""


def _json_node(value: object, line: int, faults: FileFaults) -> Node:
    if isinstance(value, _Pairs):
        entries: dict[str, Entry] = {}
        for key, inner in value:
            name = Scalar(key, line, 1, False)
            if key in entries:
                message = f"Key {quoted(key)} is there twice."
                faults.add(name, FaultRule.DUPLICATE_KEY, message, "Keep one of the two.")
            entries[key] = Entry(name, _json_node(inner, line, faults))
        return Mapping(tuple(entries.values()), line, 1)
    if isinstance(value, list):
        return Listing(tuple(_json_node(one, line, faults) for one in value), line, 1)
    if isinstance(value, str):
        return Scalar(value, line, 1, False)
    return Scalar(_json_word(value), line, 1, True)


def _json_word(value: object) -> str:
    words = {None: "", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    # Never with an exponent, which the readers of numbers don't take.
    return f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
