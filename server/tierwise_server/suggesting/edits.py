"""Writes additions into a catalog's tier files, and touches nothing else in them.

Lines are put where the parser says that a task's utterances end, so that comments, quotes and line
breaks stay as they are; a writer that prints the file anew would join or break lists elsewhere.
What was written is parsed before it takes the file's place, and a file that changed meanwhile is
left alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tierwise_server.catalog.document import (
    Entry,
    Listing,
    Node,
    Scalar,
    other_kind,
    read_document,
)
from tierwise_server.catalog.document import Mapping as MappingNode
from tierwise_server.catalog.faults import FaultLog
from tierwise_server.catalog.files import CatalogFiles
from tierwise_server.catalog.loader import parse_catalog
from tierwise_server.catalog.tier_files import tier_file
from tierwise_server.suggesting.case_bench import Addition
from tierwise_server.suggesting.errors import SuggestError


def edited(files: CatalogFiles, additions: Sequence[Addition]) -> Mapping[str, bytes]:
    """Returns the new content of each file that additions go to.

    Raises:
        SuggestError: A file has not the form of one utterance a line.
        CatalogInvalidError: The catalog would have a fault.
    """
    changed: dict[str, bytes] = {}
    for one in additions:
        name = tier_file(one.tier)
        before = changed.get(name, files.content[name])
        changed[name] = _with_addition(before, name, one)
    if changed:
        parse_catalog(CatalogFiles(content={**files.content, **changed}))
    return changed


def write(folder: Path, files: CatalogFiles, changed: Mapping[str, bytes]) -> None:
    """Puts new contents in the place of files, each in one step.

    Raises:
        SuggestError: A file is not what it was when it was read; nothing was written.
        OSError: A file cannot be written.
    """
    for name in changed:
        if (folder / name).read_bytes() != files.content[name]:
            raise SuggestError(f"{folder / name} was changed meanwhile; run the command again")
    aside: list[tuple[Path, Path]] = []
    try:
        for name, content in changed.items():
            path = Path(os.path.realpath(folder / name))
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
            aside.append((Path(temporary), path))
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(path.stat().st_mode & 0o777)
        for temporary_path, path in aside:
            temporary_path.replace(path)
    finally:
        for temporary_path, _ in aside:
            temporary_path.unlink(missing_ok=True)


def _with_addition(content: bytes, name: str, one: Addition) -> bytes:
    log = FaultLog()
    node = read_document(content, log.in_file(name))
    tasks = _entry(node, "tasks")
    if tasks is None or not isinstance(tasks.value, MappingNode):
        raise SuggestError(f"{name} has no tasks to add to")
    text = content.decode()
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    task = _entry(tasks.value, one.task)
    if task is None:
        return _with_task(lines, tasks.value, one, end)
    utterances = _entry(task.value, "utterances")
    listing = utterances.value if utterances is not None else None
    last = listing.items[-1] if isinstance(listing, Listing) and listing.items else None
    if not isinstance(last, Scalar) or not isinstance(listing, Listing):
        raise SuggestError(f"{name}: task {one.task} has no list of utterances to add to")
    dash = lines[last.line - 1][: last.column - 1]
    if dash.strip() != "-":
        raise SuggestError(
            f"{name}:{last.line}: the utterances of {one.task} stand in one line; put each on a"
            " line of its own"
        )
    place = _last_line(lines, last.line - 1, len(dash) - len(dash.lstrip()))
    return _inserted(lines, place + 1, [f"{dash}{_quoted(one.text)}"], end)


def _with_task(lines: list[str], tasks: MappingNode, one: Addition, end: str) -> bytes:
    """Returns the file with a task more behind the others."""
    indent = tasks.entries[0].key.column - 1
    pad, last = " " * indent, tasks.entries[-1].key.line - 1
    place = _last_line(lines, last, indent)
    return _inserted(
        lines,
        place + 1,
        [
            f"{pad}{_key(one.task)}:",
            f"{pad}  description: {_quoted(one.description)}",
            f"{pad}  utterances:",
            f"{pad}    - {_quoted(one.text)}",
        ],
        end,
    )


def _last_line(lines: Sequence[str], start: int, indent: int) -> int:
    """Returns the last line of what begins on a line: all that is indented further."""
    last = start
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            break
        last = number
    return last


def _inserted(lines: list[str], place: int, added: Sequence[str], end: str) -> bytes:
    if place and not lines[place - 1].endswith("\n"):
        lines[place - 1] += end
    return "".join([*lines[:place], *(line + end for line in added), *lines[place:]]).encode()


def _key(task: str) -> str:
    """Returns a task's id as a key: in quotes where YAML would take it for something else."""
    return _quoted(task) if other_kind(Scalar(task, 1, 1, is_plain=True)) else task


def _quoted(text: str) -> str:
    """Returns a text in double quotes, which YAML reads as JSON does."""
    escaped = json.dumps(text, ensure_ascii=False)
    # YAML takes these for line ends.
    for character in ("\u0085", "\u2028", "\u2029"):
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return escaped


def _entry(node: Node | None, key: str) -> Entry | None:
    entries = node.entries if isinstance(node, MappingNode) else ()
    return next((one for one in entries if one.key.text == key), None)
