"""Owns writing files of evidence, in one step that a reader never sees half done."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from tierwise_server.evidence.rows import EvidenceRow, RowFault, line_of, read_rows


class FaultyEvidenceError(Exception):
    """A file of evidence that cannot be added to, since it is not whole itself."""

    def __init__(self, path: Path, faults: tuple[RowFault, ...]) -> None:
        super().__init__(f"{path} has {len(faults)} faults; the first: {faults[0]}")
        self.path = path
        self.faults = faults


def write_rows(path: Path, rows: Iterable[EvidenceRow]) -> None:
    """Replaces a file, or makes it and its folder. Blocks on the disk.

    Raises:
        OSError: It cannot be written; what was there before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        _replace(path, rows)


def append_rows(path: Path, rows: Iterable[EvidenceRow]) -> int:
    """Adds rows to a file, or makes it; rows that are there already are left out.

    The whole file is written anew beside the old one and takes its place at once, so that neither
    a crash nor a reader ever meets half a row. Writers wait for each other.

    Returns:
        How many rows were new.

    Raises:
        FaultyEvidenceError: The file holds what is no evidence; nothing is written.
        OSError: It cannot be written; what was there before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        before: list[EvidenceRow] = []
        if path.exists():
            reading = read_rows(path.read_bytes(), str(path))
            if reading.faults:
                raise FaultyEvidenceError(path, reading.faults)
            before = list(reading.rows)
        # By what would be written, since an embedding is written with fewer digits.
        known = set(map(line_of, before))
        added = {line: row for row in rows if (line := line_of(row)) not in known}
        if added:
            _replace(path, [*before, *added.values()])
        return len(added)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder's evidence; ends with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, rows: Iterable[EvidenceRow]) -> None:
    # A dot name, which a catalog passes over; made by `open`, so that it gets the usual mode.
    beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line_of(row)}\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
