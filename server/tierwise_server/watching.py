"""Notices edits of catalog files, however they are made.

Any event below a catalog's folder, or beside it, only means "compare the content": editors,
`git checkout` and symlink swaps (as Kubernetes does them for config maps) all look different, and
some name no file that the catalog has. A look every so often covers what no event tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

import watchfiles

logger = logging.getLogger(__name__)

DEBOUNCE_MS = 100
"""Events this close together are one look: an editor's save is several of them."""


class Watched(Protocol):
    """A folder whose content counts."""

    name: str
    folder: Path

    async def check_files(self) -> None:
        """Takes over what the folder holds now."""


async def keep_current(live: Watched, *, interval_s: float, stop: asyncio.Event) -> None:
    """Puts edits of a catalog's files into service until told to stop.

    Args:
        live: The catalog.
        interval_s: Seconds after which the files are looked at without an event.
        stop: Ends the watch.
    """
    while not stop.is_set():
        watched = _identity(live.folder)
        if watched is None:
            # The folder is gone, or was swapped between two looks. It may come back.
            await _look(live)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=min(1.0, interval_s))
            continue
        # Set, since an edit may have come between the last look and this watch.
        edited = asyncio.Event()
        edited.set()
        watchers = [asyncio.create_task(_watch(live.folder.resolve(), edited, recursive=True))]
        if live.folder.is_symlink():
            # Swapping the link is an event of the folder that holds it.
            watchers.append(
                asyncio.create_task(_watch(live.folder.parent, edited, recursive=False))
            )
        watchers.append(asyncio.create_task(_set_with(stop, edited)))
        try:
            await asyncio.sleep(0)  # lets the watchers begin before the first look
            while not (stop.is_set() or watchers[0].done() or _identity(live.folder) != watched):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(edited.wait(), timeout=interval_s)
                edited.clear()
                if not stop.is_set():
                    await _look(live)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)


async def _look(live: Watched) -> None:
    """Compares the content; whatever goes wrong, the next look comes."""
    try:
        await live.check_files()
    except Exception:
        # Not the files' fault, or it would be in the status: a full disk, a bug of ours.
        logger.exception("looking at the catalog files failed", extra={"catalog": live.name})


def _identity(folder: Path) -> tuple[Path, int, int] | None:
    """Returns what tells one folder from another of its name; None while there is none."""
    try:
        real = folder.resolve(strict=True)
        status = real.stat()
    except OSError:
        return None
    return real, status.st_dev, status.st_ino


async def _watch(folder: Path, edited: asyncio.Event, *, recursive: bool) -> None:
    """Sets the event at each change below a folder; returns once the folder itself is deleted.

    A folder that is made anew at once may get the identity of the one before, but not its watch.
    """
    try:
        async for changes in watchfiles.awatch(
            folder,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=20,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            edited.set()
            if (watchfiles.Change.deleted, str(folder)) in changes:
                return
    except (OSError, RuntimeError) as error:
        # Gone meanwhile, or the system has no more watches to give: the clock still looks.
        logger.warning(
            "cannot watch a catalog folder; it is looked at by the clock",
            extra={"folder": str(folder), "error": str(error)},
        )
        await asyncio.get_running_loop().create_future()


async def _set_with(first: asyncio.Event, second: asyncio.Event) -> None:
    await first.wait()
    second.set()
