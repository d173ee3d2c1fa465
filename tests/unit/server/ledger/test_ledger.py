"""The ledger under load and in trouble: nothing blocks, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from tests.conftest import eventually
from tests.unit.server.ledger.conftest import Counts, catalog, decision, outcome
from tests.unit.server.ledger.postgres import fresh_database
from tests.unit.server.ledger.reading import LedgerReader

from tierwise_server.ledger.errors import LedgerQueueFullError, LedgerUnavailableError
from tierwise_server.ledger.ledger import PROMPT_LIMIT, Ledger

CLOSE_S = 20.0
RECOVERY_S = 15.0


@contextlib.asynccontextmanager
async def running(url: str, counts: Counts | None = None, **limits: int) -> AsyncIterator[Ledger]:
    """Runs a ledger that has tried its database."""
    ledger = Ledger(url, counts or Counts(), **limits)
    ledger.start()
    await ledger.wait_until_tried(30.0)
    ledger.note_catalog(catalog())
    try:
        yield ledger
    finally:
        await ledger.close(CLOSE_S)


def path_of(url: str) -> str:
    database = make_url(url).database
    assert database is not None
    return database


async def test_what_is_reported_is_there_when_the_answer_comes(url: str) -> None:
    counts = Counts()
    async with running(url, counts) as ledger:
        assert await ledger.report([outcome("a"), outcome("b"), outcome("a")]) == [
            True,
            True,
            False,
        ]
        with LedgerReader(url) as reader:
            assert reader.outcome_count() == 2
        assert await ledger.report([outcome("b")]) == [False]
    assert counts.settled == ["a", "b"]


async def test_callers_at_once_share_transactions(url: str) -> None:
    counts = Counts()
    async with running(url, counts) as ledger:
        reports = [ledger.report([outcome(f"o-{number}")]) for number in range(200)]
        assert await asyncio.gather(*reports) == [[True]] * 200
    assert counts.outcomes == 200
    assert counts.batches < 50


async def test_decisions_are_written_without_anyone_waiting(url: str) -> None:
    counts = Counts()
    async with running(url, counts) as ledger:
        for number in range(1200):
            ledger.record_decision(decision(number))
        await eventually(lambda: _true(counts.decisions == 1200), what="writing")
        assert ledger.queued_decisions == 0


async def test_closing_writes_what_waits(url: str) -> None:
    async with running(url) as ledger:
        for number in range(3000):
            ledger.record_decision(decision(number))
    with LedgerReader(url) as reader:
        assert reader.decision_count() == 3000


async def test_too_many_decisions_are_counted_and_dropped(sqlite_url: str) -> None:
    counts = Counts()
    async with running(sqlite_url, counts, decision_limit=10) as ledger:
        with locked(path_of(sqlite_url)):
            for number in range(25):
                ledger.record_decision(decision(number))
            assert (ledger.queued_decisions, counts.dropped) == (10, 15)
    assert counts.decisions == 10


async def test_too_many_characters_of_prompts_leave_the_decisions(sqlite_url: str) -> None:
    async with running(sqlite_url) as ledger:
        with locked(path_of(sqlite_url)):
            prompt = "x" * (PROMPT_LIMIT // 2)
            for number in range(3):
                ledger.record_decision(decision(number, prompt=prompt))
    with LedgerReader(sqlite_url) as reader:
        assert reader.decision_count() == 3
        kept = [reader.prompt(decision(number).decision_id) for number in range(3)]
    assert [text is None for text in kept] == [False, False, True]


async def test_a_full_queue_refuses_outcomes(sqlite_url: str) -> None:
    async with running(sqlite_url, outcome_limit=10) as ledger:
        with locked(path_of(sqlite_url)):
            first = asyncio.ensure_future(
                ledger.report([outcome(f"o-{number}") for number in range(8)])
            )
            await asyncio.sleep(0)
            with pytest.raises(LedgerQueueFullError) as caught:
                await ledger.report([outcome("p"), outcome("q"), outcome("r")])
            assert caught.value.queue_limit == 10
        assert await first == [True] * 8
        assert ledger.queued_outcomes == 0
        assert await ledger.report([outcome("p")]) == [True]


# Trouble -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Holds the write lock of a SQLite file, as a backup or a shell may."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def full_disk(path: str) -> Iterator[None]:
    """Lets no file of this process grow beyond what the database has, as on a full disk."""
    size = sum(one.stat().st_size for one in Path(path).parent.glob(f"{Path(path).name}*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(size, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def suffer_and_recover(
    ledger: Ledger, counts: Counts, trouble: contextlib.AbstractContextManager[None]
) -> str:
    """Takes a ledger through trouble; returns what it said of it."""
    assert await ledger.report([outcome("before")]) == [True]
    with trouble:
        ledger.record_decision(decision(1))
        with pytest.raises(LedgerUnavailableError):
            await ledger.report([outcome("within")])
        await eventually(lambda: _true(bool(ledger.problem)), what="noticing")
        problem = ledger.problem or ""
        with pytest.raises(LedgerUnavailableError) as caught:
            # Refused at the first step: nothing is waited for.
            ledger.report([outcome("within")]).send(None)
        assert caught.value.retry_after_s > 0
        ledger.record_decision(decision(2))
        assert ledger.queued_decisions >= 1
    await eventually(lambda: _true(ledger.problem == ""), within_s=RECOVERY_S, what="recovery")
    assert len(await ledger.report([outcome("within"), outcome("after")])) == 2
    await eventually(lambda: _true(counts.decisions == 2), what="writing")
    assert counts.available == [True, False, True]
    return problem


async def test_a_locked_file_is_come_back_from(sqlite_url: str) -> None:
    counts = Counts()
    async with running(sqlite_url, counts) as ledger:
        problem = await suffer_and_recover(ledger, counts, locked(path_of(sqlite_url)))
    assert "locked" in problem
    check(sqlite_url)


async def test_a_full_disk_is_come_back_from(sqlite_url: str) -> None:
    counts = Counts()
    async with running(sqlite_url, counts) as ledger:
        problem = await suffer_and_recover(ledger, counts, full_disk(path_of(sqlite_url)))
    assert problem
    check(sqlite_url)


def check(url: str) -> None:
    """Holds a ledger to what `suffer_and_recover` has put into it."""
    with LedgerReader(url) as reader:
        assert (reader.outcome_count(), reader.decision_count()) == (3, 2)
        assert reader.attempt_count() == 3


class Proxy:
    """Stands between the ledger and PostgreSQL, so that a test can cut the line."""

    def __init__(self, server: str) -> None:
        parsed = make_url(server)
        self._target = (parsed.host or "127.0.0.1", parsed.port or 5432)
        self._listener: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        """Takes connections, on the same port every time."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Breaks every connection and takes no more."""
        assert self._listener is not None
        self._listener.close()
        for one in self._lines:
            one.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._lines |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._lines -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_postgresql_that_goes_away_is_come_back_to(postgres: str) -> None:
    with fresh_database(postgres) as direct:
        proxy = Proxy(direct)
        await proxy.open()
        through = make_url(direct).set(host="127.0.0.1", port=proxy.port)
        counts = Counts()
        async with running(through.render_as_string(hide_password=False), counts) as ledger:
            assert await ledger.report([outcome("before")]) == [True]
            await proxy.cut()
            ledger.record_decision(decision(1))
            with pytest.raises(LedgerUnavailableError):
                await ledger.report([outcome("within")])
            await eventually(lambda: _true(bool(ledger.problem)), what="noticing")
            ledger.record_decision(decision(2))
            await proxy.open()
            await eventually(
                lambda: _true(ledger.problem == ""), within_s=RECOVERY_S, what="recovery"
            )
            assert len(await ledger.report([outcome("within"), outcome("after")])) == 2
            await eventually(lambda: _true(counts.decisions == 2), what="writing")
        await proxy.cut()
        check(direct)


async def test_a_read_only_file_leaves_decisions_waiting(sqlite_url: str) -> None:
    async with running(sqlite_url) as ledger:
        assert await ledger.report([outcome("a")]) == [True]
    counts = Counts()
    read_only = f"sqlite:///file:{path_of(sqlite_url)}?mode=ro&uri=true"
    async with running(read_only, counts) as ledger:
        assert "readonly" in (ledger.problem or "")
        with pytest.raises(LedgerUnavailableError):
            await ledger.report([outcome("b")])
        ledger.record_decision(decision(1))
        assert ledger.queued_decisions == 1
    assert (counts.available, counts.dropped) == ([False], 1)


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with running(f"sqlite:///{tmp_path}/file/ledger.sqlite3") as ledger:
        assert "file" in (ledger.problem or "")


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_text("not a database, but long enough to be one " * 100)
    async with running(f"sqlite:///{tmp_path}/ledger.sqlite3") as ledger:
        assert "not a database" in (ledger.problem or "")


async def test_an_entry_that_the_database_refuses_holds_up_no_other(url: str) -> None:
    counts = Counts()
    async with running(url, counts) as ledger:
        for number, kind in enumerate((1, 2**80, 2)):
            ledger.record_decision(decision(number, kind=kind))
        results = await asyncio.gather(
            ledger.report([outcome("a")]),
            ledger.report([outcome("b", kind=2**80)]),
            ledger.report([outcome("c")]),
            return_exceptions=True,
        )
        assert (results[0], results[2]) == ([True], [True])
        assert isinstance(results[1], Exception)
        await eventually(lambda: _true(counts.decisions == 2), what="writing")
        assert counts.dropped == 1
        assert ledger.problem == ""


DAY_MS = 86_400_000


async def test_a_clock_that_jumps_ahead_deletes_nothing_that_is_not_old(url: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    counts = Counts()
    async with running(url, counts, retention_days=1) as ledger:
        writer = ledger._writer
        ledger.record_decision(decision(1, time_ms=now_ms))
        ledger.record_decision(decision(2, time_ms=now_ms - 3 * DAY_MS))
        await eventually(lambda: _true(counts.decisions == 2), what="writing")
        writer._now_ms = lambda: now_ms + 400 * DAY_MS
        writer._next_deletion = 0.0
        writer.wake()

        async def has_deleted() -> bool:
            return writer._next_deletion > 0.0

        await eventually(has_deleted, what="a look for old decisions")
    with LedgerReader(url) as reader:
        assert reader.decision_count() == 1


async def _true(value: bool) -> bool:
    return value
