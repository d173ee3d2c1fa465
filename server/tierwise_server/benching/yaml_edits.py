"""Edits of YAML files that change nothing but what they are for.

Places come from the parser, and the text is cut there: comments, order, quotes and line breaks stay
as a person wrote them. Writers that print the whole file anew, ruamel.yaml among them, keep the
comments but not the line breaks inside lists and long texts, so that a diff of one line comes with
many that mean nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tierwise_server.benching.errors import BenchError
from tierwise_server.catalog.document import Entry, Listing, Mapping, Node, Scalar, read_document
from tierwise_server.catalog.faults import FaultLog

_KEY_INDENT = re.compile(r"[ ]*")


@dataclass(frozen=True, slots=True)
class _Insertion:
    line: int
    """Line, counted from 0."""
    column: int
    text: str
    replaced: int = 0
    """Characters that it takes the place of."""


def top_node(text: str, name: str) -> Mapping:
    """Returns a file's top mapping.

    Raises:
        BenchError: It is none.
    """
    log = FaultLog()
    node = read_document(text.encode(), log.in_file(name))
    if not isinstance(node, Mapping):
        raise BenchError(f"{name} can't be edited: {log.faults[0] if log.faults else 'no mapping'}")
    return node


def entry_of(node: Node, key: str) -> Entry | None:
    """Returns a key of a mapping with its value."""
    entries = node.entries if isinstance(node, Mapping) else ()
    return next((one for one in entries if one.key.text == key), None)


def with_values(text: str, name: str, key: str, values: dict[str, str], after: str) -> str:
    """Returns a list file's text with a key of some items set.

    Args:
        text: Text of a file whose one top key holds a list of mappings with an `id`.
        name: Its name.
        key: The key to set.
        values: What to set it to, by id, as YAML has it.
        after: Key that is in every item, behind which a new key is put.

    Raises:
        BenchError: The text has not that form.
    """
    top = top_node(text, name)
    listing = top.entries[0].value
    lines = text.splitlines(keepends=True)
    insertions = []
    for item in listing.items if isinstance(listing, Listing) else ():
        found = entry_of(item, "id")
        if found is None or not isinstance(found.value, Scalar) or found.value.text not in values:
            continue
        insertions.append(_insertion(item, key, values[found.value.text], after, lines, name))
    for one in sorted(insertions, key=lambda each: (each.line, each.column), reverse=True):
        line = lines[one.line]
        lines[one.line] = line[: one.column] + one.text + line[one.column + one.replaced :]
    return "".join(lines)


def with_tier_of_cases(text: str, name: str, task: str, tier: str) -> str:
    """Returns a case file's text with another tier for the cases of a task.

    Raises:
        BenchError: A tier stands in a form that is not edited.
    """
    log = FaultLog()
    node = read_document(text.encode(), log.in_file(name))
    lines = text.splitlines(keepends=True)
    for item in node.items if isinstance(node, Listing) else ():
        found, old = entry_of(item, "task"), entry_of(item, "tier")
        if found is None or not isinstance(found.value, Scalar) or found.value.text != task:
            continue
        if old is not None:
            one = _insertion(item, "tier", tier, "task", lines, name)
            line = lines[one.line]
            lines[one.line] = line[: one.column] + one.text + line[one.column + one.replaced :]
    return "".join(lines)


def _insertion(
    item: Node, key: str, value: str, after: str, lines: list[str], name: str
) -> _Insertion:
    present, before = entry_of(item, key), entry_of(item, after)
    if present is not None:
        old = present.value
        if isinstance(old, Scalar) and lines[old.line - 1].startswith(old.text, old.column - 1):
            return _Insertion(old.line - 1, old.column - 1, value, len(old.text))
    elif before is not None:
        anchor = before.value
        line = lines[anchor.line - 1]
        if lines[before.key.line - 1][: before.key.column - 1].strip(" -"):
            # Another key stands on the same line: a mapping in braces.
            if isinstance(anchor, Scalar) and line.startswith(anchor.text, anchor.column - 1):
                end = anchor.column - 1 + len(anchor.text)
                return _Insertion(anchor.line - 1, end, f", {key}: {value}")
        else:
            indent = " " * (before.key.column - 1)
            end = len(line.rstrip("\r\n"))
            return _Insertion(anchor.line - 1, end, f"{_line_end(line)}{indent}{key}: {value}")
    raise BenchError(f"{name}:{item.line}: `{key}` can't be set here; set it to {value} by hand")


def _line_end(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n"


def moved_entry(
    source: str, source_name: str, target: str, target_name: str, parent: str, key: str
) -> tuple[str, str]:
    """Returns two files' texts after a key of a mapping went from one to the end of the other's.

    Comments directly above the key go along.

    Args:
        source: Text of the file that has it.
        source_name: Its name.
        target: Text of the file that gets it.
        target_name: Its name.
        parent: Top key, in both files, of the mapping.
        key: The key.

    Raises:
        BenchError: A file has not the form of one key a line, or it is the only key.
    """
    start, end, indent = _block(source, source_name, parent, key)
    lines = source.splitlines(keepends=True)
    block = lines[start:end]
    last = entry_of(top_node(target, target_name), parent)
    keys = last.value.entries if last is not None and isinstance(last.value, Mapping) else ()
    if not keys:
        raise BenchError(f"{target_name} has no `{parent}` to add to; move {key!r} by hand")
    _, target_end, target_indent = _block(target, target_name, parent, keys[-1].key.text)
    target_lines = target.splitlines(keepends=True)
    if target_end and not target_lines[target_end - 1].endswith("\n"):
        target_lines[target_end - 1] += "\n"
    while block and not block[-1].strip():
        block.pop()
    if not block[-1].endswith("\n"):
        block[-1] += "\n"
    moved = [_indented(line, target_indent - indent) for line in block]
    return (
        "".join(lines[:start] + lines[end:]),
        "".join(target_lines[:target_end] + moved + target_lines[target_end:]),
    )


def _block(text: str, name: str, parent: str, key: str) -> tuple[int, int, int]:
    """Returns the first line of a key's block, that behind it, and its indentation."""
    top = top_node(text, name)
    holder = entry_of(top, parent)
    entries = (
        holder.value.entries if holder is not None and isinstance(holder.value, Mapping) else ()
    )
    position = next((n for n, one in enumerate(entries) if one.key.text == key), None)
    if position is None or len(entries) < 1:
        raise BenchError(f"{name} has no {key!r} under `{parent}`")
    lines = text.splitlines(keepends=True)
    found = entries[position].key
    if lines[found.line - 1][: found.column - 1].strip():
        raise BenchError(f"{name}:{found.line}: {key!r} is inside braces; move it by hand")
    start = _with_comments(lines, found.line - 1, found.column - 1)
    later = [one.key for one in (*entries, *top.entries) if one.key.line > found.line]
    end = len(lines)
    if later:
        following = min(later, key=lambda one: one.line)
        end = _with_comments(lines, following.line - 1, following.column - 1)
    return start, end, found.column - 1


def _with_comments(lines: list[str], start: int, indent: int) -> int:
    """Returns the first of the comment lines of the same indentation that stand right above."""
    prefix = " " * indent + "#"
    while start > 0 and lines[start - 1].startswith(prefix):
        start -= 1
    return start


def _indented(line: str, by: int) -> str:
    if not line.strip() or not by:
        return line
    return " " * by + line if by > 0 else line[min(-by, _indent(line)) :]


def _indent(line: str) -> int:
    found = _KEY_INDENT.match(line)
    return len(found[0]) if found else 0
