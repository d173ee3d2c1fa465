"""Keeps outcomes until the router has them: on disk, and in memory where the disk fails.

The spool is bounded. When it is full, the newest outcome is refused and the caller is told so: what
was once taken stays until it is delivered, so that the books have one gap with a known beginning
and end, and nothing is lost in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tierwise.reporting.forking import tell_of_forks
from tierwise.reporting.spool_file import Lease, Row, SpoolFile, is_busy
from tierwise.reporting.throttle import Throttle

MAX_OUTCOMES = 100_000
MAX_BYTES = 64 * 1024 * 1024
LEASE_S = 30.0
"""Longer than a call to the router may take; outcomes of a process that died wait that long."""
RETRY_FILE_S = 60.0
BUSY_RETRY_S = 0.1
CLOSE_TIMEOUT_S = 1.0

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Outcomes that were taken to be sent."""

    rows: tuple[Row, ...]
    on_disk: bool


def default_spool_path(address: str) -> Path | None:
    """Returns where outcomes for the router at an address are kept; on a local disk, please.

    That is `tierwise/` in `$XDG_STATE_HOME`, by default `~/.local/state`. None, with a warning,
    when the user has no home folder.
    """
    # A relative path in the variable is to be ignored, says the XDG base directory specification.
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            _logger.warning(
                "outcomes are kept in memory only, and lost when this process ends before the "
                "router has them: there is no home folder. Set XDG_STATE_HOME, or name a file."
            )
            return None
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", address).strip("-.")[:60]
    digest = hashlib.sha256(address.encode(errors="replace")).hexdigest()[:8]
    return state / "tierwise" / f"outcomes-{readable}-{digest}.sqlite3"


class Spool:
    """A bounded queue of serialized outcomes. For any thread; processes may share the file.

    Nothing here raises: where the file cannot be used, outcomes are kept in memory, a warning says
    so, and the file is tried again every minute.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_outcomes: int = MAX_OUTCOMES,
        max_bytes: int = MAX_BYTES,
        lease_s: float = LEASE_S,
    ) -> None:
        """Opens nothing yet.

        Args:
            path: File to keep outcomes in. None keeps them in memory alone.
            max_outcomes: How many there may be, on disk and again in memory.
            max_bytes: How large they may be together, likewise.
            lease_s: For how long outcomes that were taken are held back from other processes.
        """
        self._path = path
        self._max_outcomes = max_outcomes
        self._max_bytes = max_bytes
        self._lease_s = lease_s
        self._warnings = Throttle()
        self._start()
        tell_of_forks(self)

    def _start(self) -> None:
        # Re-entrant, because a signal handler may report while its own thread is in here.
        self._lock = threading.RLock()
        # Apart, so that no append waits while the disk is waited for.
        self._checkpoint_lock = threading.RLock()
        self._file: SpoolFile | None = None
        self._retry_at = 0.0
        self._memory: deque[Row] = deque()
        self._memory_bytes = 0
        self._memory_sequence = 0
        self._owner = secrets.randbits(62) + 1

    @property
    def has_file(self) -> bool:
        """Whether there is a file, which may hold outcomes of an earlier process."""
        with contextlib.suppress(OSError):
            return self._path is not None and self._path.exists()
        return False

    @property
    def durable(self) -> bool:
        """Whether everything reported so far that is not delivered is on disk."""
        with self._lock:
            return self._usable and not self._memory

    def append(self, message: bytes) -> bool:
        """Adds an outcome. Returns False when it was refused, because the spool is full."""
        with self._lock:
            added = self._append_to_file(message)
            if added is not None:
                return added
            if len(self._memory) >= self._max_outcomes:
                return False
            if self._memory_bytes + len(message) > self._max_bytes:
                return False
            self._memory_sequence += 1
            self._memory.append(Row(self._memory_sequence, message))
            self._memory_bytes += len(message)
            return True

    def take(self, *, most: int, most_bytes: int) -> Batch | None:
        """Returns the oldest outcomes that no process is sending. None when there are none.

        To be followed by `remove` or `give_back`, before the next.
        """
        with self._lock:
            self._move_to_file()
            rows = self._on_file(
                lambda file: file.take(self._lease(), most=most, most_bytes=most_bytes)
            )
            if rows:
                return Batch(tuple(rows), on_disk=True)
            size = 0
            chosen: list[Row] = []
            for row in self._memory:
                size += len(row.message)
                if len(chosen) == most or (chosen and size > most_bytes):
                    break
                chosen.append(row)
            return Batch(tuple(chosen), on_disk=False) if chosen else None

    def remove(self, batch: Batch) -> None:
        """Removes outcomes that were taken: the router has them, or never will."""
        with self._lock:
            if batch.on_disk:
                self._on_file(lambda file: file.remove(batch.rows, self._owner))
                return
            while self._memory and self._memory[0].sequence <= batch.rows[-1].sequence:
                self._memory_bytes -= len(self._memory.popleft().message)

    def give_back(self, batch: Batch) -> None:
        """Makes outcomes that were taken available again."""
        if batch.on_disk:
            with self._lock:
                self._on_file(lambda file: file.give_back(batch.rows, self._owner))

    def count(self) -> int:
        """Returns how many outcomes are kept, those of other processes that share the file too."""
        with self._lock:
            return len(self._memory) + (self._on_file(SpoolFile.count) or 0)

    def mark(self) -> tuple[int, int]:
        """Returns how far the spool is filled, for `holds`."""
        with self._lock:
            return self._on_file(SpoolFile.last_sequence) or 0, self._memory_sequence

    def holds(self, mark: tuple[int, int]) -> bool:
        """Returns whether something is left of what was there at a mark."""
        with self._lock:
            if self._memory and self._memory[0].sequence <= mark[1]:
                return True
            first = self._on_file(SpoolFile.first_sequence)
            return first is not None and first <= mark[0]

    def wait_s(self) -> float | None:
        """Returns how long until outcomes that were not to be had may be.

        None when there are none, so far as this process can know.
        """
        with self._lock:
            file = self._opened()
            if file is None:
                return BUSY_RETRY_S if self._usable else None
            end = self._on_file(SpoolFile.next_lease_end)
            left = self._on_file(SpoolFile.first_sequence) is not None
        if end is None:
            return BUSY_RETRY_S if left else None
        # The clock may have been set back since.
        return min(max(end - time.time(), BUSY_RETRY_S), self._lease_s)

    def checkpoint(self) -> None:
        """Does in the background what would hold up an append one day: waits for the disk."""
        with self._checkpoint_lock:
            if self._file is None or self._path is None:
                return
            try:
                file = SpoolFile(self._path)
            except (OSError, sqlite3.Error):
                return  # The next append finds out, and says so.
            with contextlib.closing(file), contextlib.suppress(sqlite3.Error):
                file.checkpoint()

    def close(self) -> None:
        """Closes the file, which a later call would open again.

        What others' writes kept from getting there is given a last chance, of a second.
        """
        end = time.monotonic() + CLOSE_TIMEOUT_S
        with self._checkpoint_lock, self._lock:
            while not self._move_to_file() and self._usable and time.monotonic() < end:
                pass
            self._close_file()

    # Opening -----------------------------------------------------------------------------------

    def _opened(self) -> SpoolFile | None:
        if self._file is None and self._path is not None and time.monotonic() >= self._retry_at:
            try:
                self._file = SpoolFile(self._path)
            except (OSError, sqlite3.Error) as error:
                self._failed(error)
            else:
                self._retry_at = 0.0
        return self._file

    def _on_file(self, work: Callable[[SpoolFile], _T]) -> _T | None:
        """Returns what comes of work on the file; None when it cannot be used right now."""
        file = self._opened()
        if file is None:
            return None
        try:
            return work(file)
        except sqlite3.Error as error:
            self._failed(error)
            return None

    def _failed(self, error: OSError | sqlite3.Error) -> None:
        if isinstance(error, sqlite3.Error) and is_busy(error):
            return
        self._close_file()
        self._retry_at = time.monotonic() + RETRY_FILE_S
        if self._warnings.due():
            _logger.warning(
                "outcomes are kept in memory only, and lost when this process ends before the "
                "router has them: the spool %s cannot be used: %s: %s. Make its folder writable, "
                "move the file away if it is damaged, or name another one.",
                self._path, type(error).__name__, error,
            )  # fmt: skip

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _append_to_file(self, message: bytes) -> bool | None:
        """Returns whether there was room; None when the file cannot be used right now."""
        return self._on_file(
            lambda file: file.append(
                message, most_outcomes=self._max_outcomes, most_bytes=self._max_bytes
            )
        )

    def _move_to_file(self) -> bool:
        """Moves what had to be kept in memory to the file, as far as there is room.

        Returns:
            False when the rest can be tried again.
        """
        while self._memory:
            added = self._append_to_file(self._memory[0].message)
            if not added:
                return added is not None
            self._memory_bytes -= len(self._memory.popleft().message)
        return True

    @property
    def _usable(self) -> bool:
        """Whether nothing is known to be wrong with the file; another may be writing."""
        return self._path is not None and self._retry_at == 0.0

    def _lease(self) -> Lease:
        return Lease(owner=self._owner, now=time.time(), lease_s=self._lease_s)

    # Forks -------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Closes the file: SQLite forbids even closing a connection in another process."""
        self._checkpoint_lock.acquire()
        self._lock.acquire()
        self._close_file()

    def after_fork_in_parent(self) -> None:
        """Goes on; the file is opened again when it is needed."""
        self._lock.release()
        self._checkpoint_lock.release()

    def after_fork_in_child(self) -> None:
        """Starts empty: what the parent keeps in memory is the parent's to send."""
        self._start()
