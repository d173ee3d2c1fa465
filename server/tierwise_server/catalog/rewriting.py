"""Writes a file that people edit as well: shows what changes, and never over what they did."""

import difflib
import os
import tempfile
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
    # A link is followed, so that it stays one.
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
        Path(name).chmod(mode)
        _check_unchanged(target, before)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check_unchanged(path: Path, before: bytes | None) -> None:
    if content_of(path) != before:
        raise EditedMeanwhileError(path)
