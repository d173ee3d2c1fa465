"""A candidate's folder: loaded while it is there, and no reason to stop while it is not."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable
from pathlib import Path

from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.live_catalog import LiveCatalog
from tierwise_server.snapshot import Snapshot

logger = logging.getLogger(__name__)


class Candidate:
    """A folder that may come, change and go. Watched like a catalog; belongs to one event loop."""

    def __init__(self, name: str, folder: Path, load: Callable[[], LiveCatalog]) -> None:
        """Loads the folder where it is there, blocking.

        Args:
            name: Of the catalog that it is a candidate for.
            folder: Where its files are, once there are some.
            load: Loads them, blocking; raises `CatalogInvalidError`.
        """
        self.name = name
        self.folder = folder
        self._load = load
        self._live: LiveCatalog | None = None
        self._faults: tuple[Fault, ...] = ()
        self._check_time = datetime.datetime.now(datetime.UTC)
        self._listeners: list[Callable[[], None]] = []
        if folder.is_dir():
            self._try_to_load()

    @property
    def snapshot(self) -> Snapshot | None:
        """What decides for the candidate; None while nothing can be loaded."""
        return self._live.snapshot if self._live is not None else None

    @property
    def content_hash(self) -> str:
        """Hash of the files that `snapshot` was made of; empty without one."""
        return self._live.content_hash if self._live is not None else ""

    @property
    def is_ready(self) -> bool:
        """Whether it has passed the self-test, where there is one, and may decide for callers."""
        return self._live is not None and self._live.is_ready

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the files."""
        return self._live.status.faults if self._live is not None else self._faults

    def on_change(self, listener: Callable[[], None]) -> None:
        """Has a function called after each look that changed something."""
        self._listeners.append(listener)

    async def check_files(self) -> None:
        """Takes over what the folder holds now."""
        before = self.snapshot
        is_there = await asyncio.to_thread(self.folder.is_dir)
        if not is_there:
            self._close()
        elif self._live is None:
            await asyncio.to_thread(self._try_to_load)
        else:
            await self._live.check_files()
        if self.snapshot is not before:
            for listener in self._listeners:
                listener()

    def close(self) -> None:
        """Ends what reads the files."""
        self._close()

    def _close(self) -> None:
        self._faults = ()
        if self._live is not None:
            self._live.close()
            self._live = None
            logger.info("candidate is gone", extra={"catalog": self.name})

    def _try_to_load(self) -> None:
        try:
            live = self._load()
        except CatalogInvalidError as error:
            if error.faults != self._faults:
                logger.warning(
                    "candidate files are faulty",
                    extra={
                        "catalog": self.name,
                        "faults": [str(error.faults[0])],
                        "fault_count": len(error.faults),
                    },
                )
            self._faults = error.faults
            return
        self._faults, self._live = (), live
        logger.info(
            "candidate loaded",
            extra={"catalog": self.name, "revision": live.snapshot.revision},
        )
