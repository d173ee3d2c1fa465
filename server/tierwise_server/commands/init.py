"""`tierwise init`: writes a small catalog to start from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tierwise_server.catalog.scaffold import FolderNotEmptyError, write_scaffold


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="tierwise init", description="Writes a small commented catalog to start from."
    )
    parser.add_argument("folder", type=Path, help="Folder that is empty or not there yet.")
    arguments = parser.parse_args(argv)
    try:
        written = write_scaffold(arguments.folder)
    except (FolderNotEmptyError, OSError) as error:
        print(f"tierwise init: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    print(f"next: edit them, then `tierwise check {arguments.folder}` and")
    print(f'  `tierwise route --catalog {arguments.folder} "your prompt"`')
    return 0
