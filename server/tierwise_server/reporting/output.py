"""Writes a report into a file."""

from __future__ import annotations

import secrets
from pathlib import Path


def write_output(path: Path, text: str) -> None:
    """Writes a file, which has all of the text or stays as it was.

    Raises:
        OSError: It can't be written.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a pipe or a device
        return
    beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
