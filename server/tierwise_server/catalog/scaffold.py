"""Owns writing a small commented catalog for a new user to edit."""

from importlib.resources import files
from pathlib import Path
from typing import Final

_STARTER: Final = files("tierwise_server.catalog").joinpath("starter")
_NAMES: Final = (
    "catalog.yaml",
    "rules.yaml",
    "tiers/budget.yaml",
    "tiers/mid.yaml",
    "tiers/premium.yaml",
    "cases/basics.yaml",
)


class FolderNotEmptyError(Exception):
    """The folder holds something already, which writing could spoil."""


def write_scaffold(folder: Path) -> list[Path]:
    """Writes the starter catalog into a folder that is empty or not there yet.

    Returns:
        The files that were written.

    Raises:
        FolderNotEmptyError: The folder holds something; nothing was written.
        OSError: The folder or a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FolderNotEmptyError(f"{folder} is not empty; name a new folder")
    written = []
    for name in _NAMES:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        # "x": a file that appeared meanwhile is not overwritten.
        with path.open("x", encoding="utf-8") as file:
            file.write(_STARTER.joinpath(name).read_text(encoding="utf-8"))
        written.append(path)
    return written
