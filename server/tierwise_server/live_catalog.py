"""One catalog folder in service: the snapshot that decides, and how it stands to the files.

A reload reads the files, embeds what changed and fits the scorer on a thread of its own, then swaps
one reference. Faulty files change nothing but the status.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tierwise_server import memory
from tierwise_server.catalog.calibration import Bound
from tierwise_server.catalog.evidence_files import EvidenceReadings
from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.catalog.loader import (
    CatalogFiles,
    Documents,
    parse_catalog,
    read_catalog_files,
)
from tierwise_server.learned import Learned
from tierwise_server.snapshot import (
    Snapshot,
    build_snapshot,
    embedded_texts,
    evidence_texts,
)

logger = logging.getLogger(__name__)

MAX_LOGGED_FAULTS = 10
"""Faults that one log line names; `GetCatalogStatus` has them all."""

_Result = TypeVar("_Result")

EmbedUtterances = Callable[[Sequence[str]], NDArray[np.float32]]
"""Returns a unit vector for each text; blocking, and cheap for texts that it has seen before."""


SelfTest = Callable[[Snapshot], Fault | None]
"""Returns what is wrong with a snapshot that loads; None when it may go into service."""


class FaultyCatalogError(Exception):
    """A catalog whose files do not load."""

    def __init__(self, catalog: str, faults: tuple[Fault, ...]) -> None:
        count = f"{len(faults)} fault{'' if len(faults) == 1 else 's'}"
        super().__init__(f"the files of catalog {catalog!r} have {count}")
        self.catalog = catalog
        self.faults = faults


class RevisionMismatchError(Exception):
    """Another revision is in service than the caller expects."""

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(f"revision {actual} is in service, not {expected}")
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogStatus:
    """How the snapshot in service stands to the files."""

    check_time: datetime.datetime
    """When the files were last read, in UTC."""
    faults: tuple[Fault, ...] = ()
    """What is wrong with the files; empty when they are what is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What a reload did, or would do."""

    before: Snapshot
    after: Snapshot


class LiveCatalog:
    """A catalog folder that is served, and reloaded when its files change.

    Belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        embed: EmbedUtterances,
        encoder_id: str,
        embed_evidence: EmbedUtterances | None = None,
        self_test: SelfTest | None = None,
    ) -> None:
        """Loads the folder, blocking.

        Args:
            name: Of the catalog.
            folder: With its files.
            embed: Embeds utterances.
            encoder_id: The encoder that does so.
            embed_evidence: Embeds the prompts of evidence, which are many and change at other
                times; by default `embed`.
            self_test: What a snapshot has to pass. The first one is in service all the same where
                it fails, since there is no other, but the catalog is not ready.

        Raises:
            CatalogInvalidError: With every fault of the files.
        """
        self.name = name
        self.folder = folder
        self._embed = embed
        self._embed_evidence = embed_evidence or embed
        self._encoder_id = encoder_id
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"reload-{name}")
        self._listeners: list[CheckListener] = []
        self._documents: Documents = {}
        self._evidence: EvidenceReadings = {}
        self._learned: Learned | None = None
        files = read_catalog_files(folder)
        self._snapshot = self._build(files)
        self._served_hash = files.content_hash
        self._faulty_hash: str | None = None
        self._self_test = self_test
        fault = self_test(self._snapshot) if self_test is not None else None
        self._is_ready = fault is None
        self._status = CatalogStatus(check_time=self._snapshot.load_time)
        if fault is not None:
            self._faulty_hash = files.content_hash
            self._status = CatalogStatus(check_time=self._snapshot.load_time, faults=(fault,))
            logger.error(
                "the catalog fails its self-test and is not ready",
                extra={
                    "catalog": name,
                    "revision": self._snapshot.revision,
                    "faults": [str(fault)],
                },
            )
        self._warn_if_stale(())

    @property
    def snapshot(self) -> Snapshot:
        """What is in service. Read it once for each request."""
        return self._snapshot

    @property
    def status(self) -> CatalogStatus:
        """How the snapshot stands to the files."""
        return self._status

    @property
    def content_hash(self) -> str:
        """Hash of the files that the snapshot was made of."""
        return self._served_hash

    @property
    def is_ready(self) -> bool:
        """Whether what is in service has passed the self-test, where there is one."""
        return self._is_ready

    def on_check(self, listener: CheckListener) -> None:
        """Has a function called after each look at changed files."""
        self._listeners.append(listener)

    async def reload(self, *, validate_only: bool = False, expected_revision: str = "") -> Reload:
        """Reads the files and puts them into service.

        Args:
            validate_only: Says what would change, and changes nothing.
            expected_revision: Revision that has to be in service; empty skips the check.

        Raises:
            FaultyCatalogError: With every fault; the snapshot in service stays.
            RevisionMismatchError: Another revision is in service.
        """
        async with self._lock:
            before = self._snapshot
            if expected_revision and expected_revision != before.revision:
                raise RevisionMismatchError(expected=expected_revision, actual=before.revision)
            files = await self._read()
            if not validate_only:
                await self._put_into_service(files)
                if self._status.faults:
                    raise FaultyCatalogError(self.name, self._status.faults)
                return Reload(before=before, after=self._snapshot)
            try:
                after = await self._off_loop(lambda: self._tested(files))
            except CatalogInvalidError as error:
                raise FaultyCatalogError(self.name, error.faults) from error
            return Reload(before=before, after=after)

    async def check_files(self) -> None:
        """Puts changed files into service; faulty ones change the status only."""
        async with self._lock:
            files = await self._read()
            if files.content_hash == self._faulty_hash:
                self._note(self._status.faults)
            elif files.content_hash != self._served_hash or self._status.faults:
                await self._put_into_service(files)
            else:
                self._note(())

    def close(self) -> None:
        """Ends the thread; a reload under way is finished first."""
        self._thread.shutdown(wait=True)

    async def _read(self) -> CatalogFiles:
        return await self._off_loop(lambda: read_catalog_files(self.folder))

    async def _put_into_service(self, files: CatalogFiles) -> None:
        """Serves the files, or notes their faults."""
        started = time.perf_counter()
        try:
            snapshot = await self._off_loop(lambda: self._tested(files))
        except CatalogInvalidError as error:
            self._faulty_hash = files.content_hash
            self._note(error.faults)
        else:
            self._served_hash, self._faulty_hash = files.content_hash, None
            self._is_ready = True
            if snapshot.revision != self._snapshot.revision:
                logger.info(
                    "catalog in service",
                    extra={"catalog": self.name, "revision": snapshot.revision},
                )
            stale_before = self._snapshot.catalog.stale_bounds
            # Also where the revision is the same: the lines of the utterances may have moved.
            self._snapshot = snapshot
            self._warn_if_stale(stale_before)
            self._note(())
        for listener in self._listeners:
            listener(self, time.perf_counter() - started)
        # Of the shipped catalog, each load leaves some 50 MB behind otherwise.
        await self._off_loop(memory.give_back)

    def _note(self, faults: Sequence[Fault]) -> None:
        """Records how the files stand; logs faults once, not at every look."""
        if faults and tuple(faults) != self._status.faults:
            logger.error(
                "catalog files are faulty; the revision before stays in service",
                extra={
                    "catalog": self.name,
                    "revision": self._snapshot.revision,
                    "faults": [str(fault) for fault in faults[:MAX_LOGGED_FAULTS]],
                    "fault_count": len(faults),
                },
            )
        now = datetime.datetime.now(datetime.UTC)
        self._status = CatalogStatus(check_time=now, faults=tuple(faults))

    def _warn_if_stale(self, before: Sequence[Bound]) -> None:
        """Logs what the calibration no longer fits, when that is news."""
        catalog = self._snapshot.catalog
        if catalog.stale_bounds and tuple(before) != catalog.stale_bounds:
            logger.warning(
                "the catalog's calibration is stale; run `tierwise calibrate`",
                extra={
                    "catalog": self.name,
                    "revision": self._snapshot.revision,
                    "changed": [str(bound) for bound in catalog.stale_bounds],
                    "policy": str(catalog.stale_calibration),
                },
            )

    def _tested(self, files: CatalogFiles) -> Snapshot:
        snapshot = self._build(files)
        fault = self._self_test(snapshot) if self._self_test is not None else None
        if fault is not None:
            raise CatalogInvalidError([fault])
        return snapshot

    def _build(self, files: CatalogFiles) -> Snapshot:
        catalog = parse_catalog(files, self._documents, self._evidence)
        vectors = self._embed(embedded_texts(catalog))
        prompts = evidence_texts(catalog)
        snapshot = build_snapshot(
            catalog,
            vectors,
            self._encoder_id,
            evidence_vectors=self._embed_evidence(prompts) if prompts else None,
            before=self._learned,
        )
        self._learned = snapshot.learned
        return snapshot

    async def _off_loop(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


CheckListener = Callable[[LiveCatalog, float], None]
"""Is told of a catalog whose files were loaded, or were found faulty, and the seconds it took."""
