"""The file of a spool: a queue in SQLite that several processes append to and take from.

Rows are taken under a lease, so that one process sends them and another does so when that one has
died. Appending costs some 20 microseconds: in WAL mode with `synchronous=NORMAL` a commit waits for
no disk, which a crash of the process survives; a crash of the machine may lose the last moments.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OPEN_TIMEOUT_S = 1.0
BUSY_TIMEOUT_MS = 50
"""How long to wait for another process's write; an event loop may be waiting along."""
BACKSTOP_PAGES = 4000
"""Pages of the write-ahead log at which an append itself empties it: when no sender has for long.
Of 4 KiB; an append takes three."""

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS outcome (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    message BLOB NOT NULL,
    lease_owner INTEGER NOT NULL DEFAULT 0,
    lease_end REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS total (
    id INTEGER PRIMARY KEY CHECK (id = 1), outcomes INTEGER NOT NULL, bytes INTEGER NOT NULL
);
INSERT OR IGNORE INTO total VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS outcome_added AFTER INSERT ON outcome BEGIN
    UPDATE total SET outcomes = outcomes + 1, bytes = bytes + length(NEW.message);
END;
CREATE TRIGGER IF NOT EXISTS outcome_gone AFTER DELETE ON outcome BEGIN
    UPDATE total SET outcomes = outcomes - 1, bytes = bytes - length(OLD.message);
END;
COMMIT;
"""

_APPEND = """
INSERT INTO outcome (message)
SELECT :message FROM total
WHERE outcomes < :most_outcomes AND bytes + length(:message) <= :most_bytes
"""

# A lease that ends later than any that is given now dates from before the clock was set back.
_FREE = """
SELECT sequence, message FROM outcome
WHERE lease_end <= :now OR lease_end > :now + :lease_s
ORDER BY sequence LIMIT :most
"""

_LEASE = """
UPDATE outcome SET lease_owner = :owner, lease_end = :now + :lease_s
WHERE sequence BETWEEN :first AND :last AND (lease_end <= :now OR lease_end > :now + :lease_s)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An outcome in the queue."""

    sequence: int
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who takes rows, and from when for how long."""

    owner: int
    now: float
    """Seconds since 1970: the clock that processes share."""
    lease_s: float


class SpoolFile:
    """A connection to the file, which is made where it is missing. For one thread at a time.

    Every method raises `sqlite3.Error` where the file cannot be used.

    Raises:
        OSError: The file or its folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here, so that no one else may read who asked for what.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(
            path, timeout=OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
        if run("SELECT 1 FROM sqlite_master WHERE name = 'outcome_gone'").fetchone() is None:
            self._connection.executescript(_SCHEMA)
        run(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def append(self, message: bytes, *, most_outcomes: int, most_bytes: int) -> bool:
        """Adds an outcome at the end. Returns False when it has no place within the bounds."""
        values = {"message": message, "most_outcomes": most_outcomes, "most_bytes": most_bytes}
        return self._connection.execute(_APPEND, values).rowcount == 1

    def take(self, lease: Lease, *, most: int, most_bytes: int) -> list[Row]:
        """Returns the oldest rows that nobody holds, which the owner now does.

        That is at least one, if there is any, even where it is larger than `most_bytes`.
        """
        values = {"owner": lease.owner, "now": lease.now, "lease_s": lease.lease_s}
        rows: list[Row] = []
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            size = 0
            for sequence, message in self._connection.execute(_FREE, {**values, "most": most}):
                size += len(message)
                if rows and size > most_bytes:
                    break
                rows.append(Row(sequence, message))
            if rows:
                span = {"first": rows[0].sequence, "last": rows[-1].sequence}
                self._connection.execute(_LEASE, {**values, **span})
        return rows

    def remove(self, rows: Sequence[Row], owner: int) -> None:
        """Removes rows that the owner took, but those that another has taken since."""
        self._connection.execute(
            "DELETE FROM outcome WHERE sequence BETWEEN ? AND ? AND lease_owner = ?",
            (rows[0].sequence, rows[-1].sequence, owner),
        )

    def give_back(self, rows: Sequence[Row], owner: int) -> None:
        """Ends the lease of rows that the owner took."""
        self._connection.execute(
            "UPDATE outcome SET lease_owner = 0, lease_end = 0"
            " WHERE sequence BETWEEN ? AND ? AND lease_owner = ?",
            (rows[0].sequence, rows[-1].sequence, owner),
        )

    def count(self) -> int:
        """Returns how many outcomes there are, leased ones included."""
        return int(self._connection.execute("SELECT outcomes FROM total").fetchone()[0])

    def last_sequence(self) -> int:
        """Returns the number of the newest outcome; 0 when there is none."""
        return int(
            self._connection.execute("SELECT ifnull(max(sequence), 0) FROM outcome").fetchone()[0]
        )

    def first_sequence(self) -> int | None:
        """Returns the number of the oldest outcome; None when there is none."""
        number = self._connection.execute("SELECT min(sequence) FROM outcome").fetchone()[0]
        return None if number is None else int(number)

    def next_lease_end(self) -> float | None:
        """Returns when the first lease runs out; None when nothing is leased."""
        moment = self._connection.execute(
            "SELECT min(lease_end) FROM outcome WHERE lease_end > 0"
        ).fetchone()[0]
        return None if moment is None else float(moment)

    def checkpoint(self) -> None:
        """Moves what the write-ahead log holds into the file.

        Waits for the disk, but not for others' writes, nor do those wait for it.
        """
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def is_busy(error: sqlite3.Error) -> bool:
    """Returns whether another process was writing; nothing is wrong with the file."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    # Extended codes have the kind in the lowest byte.
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
