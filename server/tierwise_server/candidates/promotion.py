"""Puts a candidate's files in the place of those in service, and takes a candidate away.

Whole folders are swapped, never single files: a server that reads meanwhile finds the files before
or those after, not a mixture. Nothing is deleted; what was there stays beside, under another name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.files import CatalogFiles, read_catalog_files
from tierwise_server.catalog.loader import parse_catalog
from tierwise_server.catalog.model import Catalog

HASH_DIGITS: Final = 12
"""Digits of a content hash in the names of folders."""

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


class PromotionError(Exception):
    """The files stay as they are; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What is to be swapped, as it was when it was looked at."""

    candidate_files: CatalogFiles
    candidate: Catalog
    live_folder: Path
    live_files: CatalogFiles
    live: Catalog | None
    """None where what is in service has faults."""

    def changed_files(self) -> dict[str, str]:
        """Returns what happens to each file that differs: added, changed or removed."""
        before, after = self.live_files.content, self.candidate_files.content
        found = {}
        for name in sorted(before.keys() | after.keys()):
            if name not in before:
                found[name] = "added"
            elif name not in after:
                found[name] = "removed"
            elif before[name] != after[name]:
                found[name] = "changed"
        return found


def look_at(candidate: Path, live: Path) -> Promotion:
    """Reads both folders.

    Raises:
        PromotionError: The candidate has faults, is the same, or is the very folder.
    """
    candidate_files, live_files = read_catalog_files(candidate), read_catalog_files(live)
    if not live.is_dir():
        raise PromotionError(f"{live} is no folder; give the one that the server serves")
    if candidate.resolve() == live.resolve():
        raise PromotionError(f"{candidate} and {live} are one folder")
    try:
        catalog = parse_catalog(candidate_files)
    except CatalogInvalidError as error:
        raise PromotionError(
            f"{candidate} has faults, the first: {error.faults[0]}"
            f" (`tierwise check {candidate}` lists all)"
        ) from error
    if candidate_files.content_hash == live_files.content_hash:
        raise PromotionError(f"{candidate} and {live} hold the same files already")
    before = None
    with contextlib.suppress(CatalogInvalidError):
        before = parse_catalog(live_files)
    return Promotion(
        candidate_files=candidate_files,
        candidate=catalog,
        live_folder=live,
        live_files=live_files,
        live=before,
    )


def promote(promotion: Promotion) -> Path:
    """Puts the candidate's files, as they were looked at, in the place of those in service.

    Files that are none of a catalog, such as a README, stay. Where the folder is a symbolic link,
    the link is swapped; else the folder is.

    Returns:
        Where the files before are now.

    Raises:
        PromotionError: The live files changed since they were looked at.
        OSError: A folder cannot be written or renamed.
    """
    link = promotion.live_folder
    folder = link.resolve()
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    try:
        _write_aside(promotion, folder, aside)
        if read_catalog_files(link).content_hash != promotion.live_files.content_hash:
            raise PromotionError(
                f"{link} changed meanwhile; compare the candidate with what is there now"
            )
        if link.is_symlink():
            return _swap_link(link, folder, aside, promotion.candidate_files)
        before = _free_name(folder, "before", promotion.live_files)
        if _exchange(aside, folder):
            aside.rename(before)
        else:
            _rename_both(aside, folder, before)
        return before
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def drop(candidate: Path) -> Path:
    """Takes a candidate's folder away from where it is tried, and returns where it is now.

    Raises:
        PromotionError: There is none.
        OSError: It cannot be renamed.
    """
    if not candidate.is_dir():
        raise PromotionError(f"{candidate} is no folder")
    dropped = _free_name(candidate, "dropped", read_catalog_files(candidate))
    candidate.rename(dropped)
    return dropped


def _write_aside(promotion: Promotion, folder: Path, aside: Path) -> None:
    replaced = {folder / name for name in promotion.live_files.content}

    def is_replaced(inside: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(inside) / name in replaced}

    shutil.copytree(folder, aside, symlinks=True, ignore=is_replaced)
    for name, content in promotion.candidate_files.content.items():
        path = aside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if read_catalog_files(aside).content_hash != promotion.candidate_files.content_hash:
        raise PromotionError(
            f"{folder} holds files beside those of its catalog that would be read with the"
            " candidate's; move them away"
        )


def _swap_link(link: Path, folder: Path, aside: Path, files: CatalogFiles) -> Path:
    # The folder that the link will lead to lies beside the one before.
    target = _free_name(folder, "promoted", files)
    aside.rename(target)
    new_link = link.with_name(f".{link.name}-{secrets.token_hex(8)}")
    new_link.symlink_to(target)
    new_link.replace(link)
    return folder


def _free_name(folder: Path, word: str, files: CatalogFiles) -> Path:
    base = f"{folder.name}.{word}-{files.content_hash[:HASH_DIGITS]}"
    path, number = folder.with_name(base), 2
    while path.exists():
        path, number = folder.with_name(f"{base}-{number}"), number + 1
    return path


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step; False where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return bool(call(*names, _RENAME_EXCHANGE) == 0)


def _rename_both(aside: Path, folder: Path, before: Path) -> None:
    """Swaps two names in two steps. A server that looks in between keeps what it has."""
    folder.rename(before)
    try:
        aside.rename(folder)
    except OSError:
        before.rename(folder)
        raise
