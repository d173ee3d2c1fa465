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

import watchfiles

from tierwise_server.live_catalog import LiveCatalog

logger = logging.getLogger(__name__)

DEBOUNCE_MS = 100
"""Events this close together are one look: an editor's save is several of them."""


async def keep_current(live: LiveCatalog, *, interval_s: float, stop: asyncio.Event) -> None:
    """Puts edits of a catalog's files into service until told to stop.

    Args:
        live: The catalog.
        interval_s: Seconds after which the files are looked at without an event.
        stop: Ends the watch.
    """
    while not stop.is_set():
        edited = asyncio.Event()
        real = live.folder.resolve()
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(_watch(real, edited, recursive=True))]
            if live.folder.is_symlink():
                # Swapping the link is an event of the folder that holds it.
                watchers.append(
                    group.create_task(_watch(live.folder.parent, edited, recursive=False))
                )
            stopping = group.create_task(_set_with(stop, edited))
            while not stop.is_set() and live.folder.resolve() == real:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(edited.wait(), timeout=interval_s)
                edited.clear()
                if not stop.is_set():
                    await live.check_files()
            for task in (*watchers, stopping):
                task.cancel()


async def _watch(folder: Path, edited: asyncio.Event, *, recursive: bool) -> None:
    """Sets the event at each change below a folder, for as long as the folder is there."""
    try:
        async for _ in watchfiles.awatch(
            folder,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=20,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            edited.set()
    except FileNotFoundError:
        # It may come back under the same name; the looks by the clock will see it.
        logger.warning("catalog folder is gone", extra={"folder": str(folder)})


async def _set_with(first: asyncio.Event, second: asyncio.Event) -> None:
    await first.wait()
    second.set()
