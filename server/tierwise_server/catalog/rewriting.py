"""Writes a file that people edit as well: shows what changes, and never over what they did."""

import difflib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class EditedMeanwhileError(Exception):
    """A file is no longer what it was when its new content was made."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was edited meanwhile; nothing is written: run the command again")
        self.path = path


def content_of(path: Path) -> bytes | None:
    """Returns what a file holds; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def unified_diff(before: bytes | None, after: bytes, name: str) -> str:
    """Returns what changes, as `diff -u` shows it; empty where nothing does."""
    old = (before or b"").decode(errors="replace").splitlines(keepends=True)
    new = after.decode(errors="replace").splitlines(keepends=True)
    source = f"a/{name}" if before is not None else "/dev/null"
    return "".join(difflib.unified_diff(old, new, source, f"b/{name}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """New content of a file."""

    path: Path
    before: bytes | None
    """What it held when `after` was made; None where there was none."""
    after: bytes


def replace_content(path: Path, before: bytes | None, after: bytes) -> None:
    """Puts new content in place at once: a reader sees the old or the new, never a part.

    Args:
        path: The file.
        before: What it held when `after` was made; None where there was none.
        after: What it is to hold.

    Raises:
        EditedMeanwhileError: It holds something else by now.
        OSError: It cannot be written; it is as it was.
    """
    replace_contents([Rewrite(path=path, before=before, after=after)])


def replace_contents(rewrites: Sequence[Rewrite]) -> None:
    """Puts new contents in place, in order and each at once, once all of them are on the disk.

    Raises:
        EditedMeanwhileError: A file holds something else by now; none is replaced.
        OSError: A file cannot be written; none is replaced, unless replacing itself fails.
    """
    beside: list[tuple[Path, Path]] = []
    try:
        for one in rewrites:
            # A link is followed, so that it stays one.
            target = Path(os.path.realpath(one.path))
            beside.append((_written_beside(target, one.after), target))
        for one in rewrites:
            if content_of(one.path) != one.before:
                raise EditedMeanwhileError(one.path)
        for written, target in beside:
            written.replace(target)
    finally:
        for written, _ in beside:
            written.unlink(missing_ok=True)


def _written_beside(target: Path, content: bytes) -> Path:
    """Writes content onto the disk beside a file, with the permissions of that."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
        Path(name).chmod(mode)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
