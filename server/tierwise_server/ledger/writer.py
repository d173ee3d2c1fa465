"""The thread that writes: opens the database, commits batches, and tries again after trouble."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from tierwise_server.ledger.errors import LedgerUnavailableError
from tierwise_server.ledger.pricing import PriceBook, SettledOutcome
from tierwise_server.ledger.records import CatalogRecord, DecisionRecord, OutcomeRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tierwise_server.ledger.store import LedgerStore, Written

logger = logging.getLogger(__name__)

LINGER_S: Final = 0.004
"""Seconds that a report waits for others: bringing a batch to disk takes about as long."""

FLUSH_S: Final = 0.5
"""Seconds between writes of decisions, which nobody waits for."""

FLUSH_AT: Final = 500
"""Waiting decisions that are written at once."""

BATCH: Final = 2_000
"""Most decisions, and about the most outcomes, of one transaction: some tenths of a second."""

RETRY_AFTER_S: Final = 5.0
"""Longest pause between tries to reach the database, and when refused outcomes are worth another
try."""

FIRST_PAUSE_S: Final = 0.5

DELETE_EVERY_S: Final = 600.0
DELETE_BATCH: Final = 500
DELETE_PAUSE_S: Final = 0.05
"""Between deletions of a batch, which take some milliseconds each."""

_CREDENTIALS: Final = re.compile("//[^/]*@")

_DAY_MS: Final = 86_400_000


class LedgerObserver(Protocol):
    """Counts what the ledger does. Called from the writer's thread and from the event loop."""

    def ledger_wrote(self, decisions: int, outcomes: int, seconds: float) -> None:
        """Counts a batch that was written."""

    def outcomes_settled(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Counts what outcomes that were not there before tell."""

    def ledger_dropped(self, decisions: int) -> None:
        """Counts decisions that were lost."""

    def ledger_available(self, available: bool) -> None:
        """Notes whether the database takes anything."""


@dataclass(slots=True, kw_only=True, eq=False)
class Report:
    """Outcomes whose caller waits until they are on disk."""

    outcomes: Sequence[OutcomeRecord]
    answer: asyncio.Future[list[bool]]
    """Which of the outcomes were new."""
    answered: bool = False
    """Whether the writer is done with it. Only the event loop touches this."""


Question = Callable[["Connection"], None]
"""Reads what it needs to know."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiting:
    """What waits to be written. The event loop appends, the writer takes from the other end."""

    decisions: deque[DecisionRecord] = field(default_factory=deque)
    reports: deque[Report] = field(default_factory=deque)
    catalogs: deque[CatalogRecord] = field(default_factory=deque)
    questions: deque[Question] = field(default_factory=deque)


Answer = tuple[Report, list[bool] | Exception]
"""A report, and which of its outcomes were new or why nothing is known to be recorded."""

StatusListener = Callable[[str], None]
"""Is told why the database takes nothing; the empty text when it does."""


class LedgerWriter:
    """Writes what waits, until it is closed. One thread runs `run`; the rest is for others."""

    def __init__(
        self,
        url: str,
        waiting: Waiting,
        observer: LedgerObserver,
        *,
        retention_days: int,
        on_status: StatusListener,
        on_answers: Callable[[Sequence[Answer]], None],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._url = url
        self._waiting = waiting
        self._observer = observer
        self._retention_days = retention_days
        self._now_ms = now_ms
        self._start_ms, self._start_s = now_ms(), time.monotonic()
        self._on_status = on_status
        self._on_answers = on_answers
        self._prices = PriceBook()
        self._in_service: dict[str, CatalogRecord] = {}
        self._unwritten_catalogs: list[CatalogRecord] = []
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._pause_s = FIRST_PAUSE_S
        self._next_flush = self._next_deletion = 0.0
        self._problem: str | None = None
        self.written_prompt_characters = 0
        """Characters of prompts that no longer wait."""

    def wake(self) -> None:
        """Has what waits written now."""
        self._wake.set()

    def close(self) -> None:
        """Makes `run` write what waits and return."""
        self._closing.set()
        self._wake.set()

    def run(self) -> None:
        """Writes until closed, and comes back after trouble by itself."""
        while True:
            try:
                with contextlib.closing(self._open()) as store:
                    self._serve(store)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, routing goes on
                self._suffer(error)
            if self._closing.wait(self._pause_s):
                self._lose()
                break
            self._pause_s = min(self._pause_s * 2, RETRY_AFTER_S)
        self._refuse_waiting()

    def _open(self) -> LedgerStore:
        # Here rather than at the top: the import costs 0.2 s and 20 MB, which a server without a
        # ledger saves, and a server with one spends beside what else it loads.
        from tierwise_server.ledger.store import LedgerStore  # noqa: PLC0415

        store = LedgerStore(self._url, self._prices)
        # It may be another database than before.
        self._unwritten_catalogs = list(self._in_service.values())
        return store

    def _serve(self, store: LedgerStore) -> None:
        """Writes what comes in; returns when the ledger is closed and nothing waits.

        Raises:
            Exception: The database takes nothing any more.
        """
        # Before anything else: it shows that the database can be written.
        self._next_flush = 0.0
        while True:
            closing = self._closing.is_set()
            self._answer_questions(store)
            wrote = self._write_waiting(store)
            self._recover()
            if wrote:
                continue
            if closing:
                return
            pause = FLUSH_S
            if self._delete_old(store):
                pause = DELETE_PAUSE_S
            self._wake.wait(pause)
            self._wake.clear()

    def _write_waiting(self, store: LedgerStore) -> bool:
        """Writes one batch; returns False when nothing is due."""
        waiting, now = self._waiting, time.monotonic()
        due = now >= self._next_flush or len(waiting.decisions) >= FLUSH_AT
        if due or self._closing.is_set():
            decisions = list(islice(waiting.decisions, BATCH))
            self._next_flush = now + FLUSH_S
        else:
            decisions = []
        if self._waiting.reports:
            # Others that report at the same time share the transaction.
            self._closing.wait(LINGER_S)
        self._take_catalogs()
        catalogs = self._unwritten_catalogs
        reports = self._take_reports()
        if not (decisions or catalogs or reports):
            return False
        try:
            self._write(store, catalogs, decisions, reports)
            self._unwritten_catalogs = []
        except Exception:
            self._refuse(reports)
            raise
        return True

    def _answer_questions(self, store: LedgerStore) -> None:
        questions = self._waiting.questions
        while questions:
            # One that the database fails is put again once it is back.
            store.read(questions[0])
            questions.popleft()

    def _take_catalogs(self) -> None:
        while self._waiting.catalogs:
            one = self._waiting.catalogs.popleft()
            self._in_service[one.catalog] = one
            self._prices.put_in_service(one)
            self._unwritten_catalogs.append(one)

    def _take_reports(self) -> list[Report]:
        taken: list[Report] = []
        count = 0
        while self._waiting.reports and count < BATCH:
            taken.append(self._waiting.reports.popleft())
            count += len(taken[-1].outcomes)
        return taken

    def _write(
        self,
        store: LedgerStore,
        catalogs: Sequence[CatalogRecord],
        decisions: Sequence[DecisionRecord],
        reports: Sequence[Report],
    ) -> None:
        """Writes a batch as one transaction, or its members apart where one of them is refused."""
        from tierwise_server.ledger.store import is_fault_of_row  # noqa: PLC0415 - see _open

        started = time.perf_counter()
        outcomes = [outcome for report in reports for outcome in report.outcomes]
        try:
            written = store.write(catalogs=catalogs, decisions=decisions, outcomes=outcomes)
        except Exception as error:
            if not is_fault_of_row(error):
                raise
            self._write_apart(store, catalogs, decisions, reports)
            return
        self._forget(decisions)
        answers: list[Answer] = []
        start = 0
        for report in reports:
            end = start + len(report.outcomes)
            answers.append((report, written.fresh[start:end]))
            start = end
        self._on_answers(answers)
        self._observer.ledger_wrote(len(decisions), len(outcomes), time.perf_counter() - started)
        self._observer.outcomes_settled(written.settled)

    def _write_apart(
        self,
        store: LedgerStore,
        catalogs: Sequence[CatalogRecord],
        decisions: Sequence[DecisionRecord],
        reports: Sequence[Report],
    ) -> None:
        """Writes each member of a batch in a transaction of its own, without the faulty ones.

        Nothing faulty should get this far, so each one is logged.
        """
        from tierwise_server.ledger.store import is_fault_of_row, shown  # noqa: PLC0415 - as above

        def attempt(write: Callable[[], Written]) -> Written | Exception:
            try:
                return write()
            except Exception as error:
                if not is_fault_of_row(error):
                    raise
                logger.error("the ledger refused an entry", extra={"reason": shown(error)})  # noqa: TRY400 - the traceback may hold its values
                return error

        for catalog in catalogs:
            attempt(lambda catalog=catalog: store.write(catalogs=[catalog]))  # type: ignore[misc]
        for decision in decisions:
            written = attempt(lambda decision=decision: store.write(decisions=[decision]))  # type: ignore[misc]
            self._forget((decision,))
            if isinstance(written, Exception):
                self._observer.ledger_dropped(1)
            else:
                self._observer.ledger_wrote(1, 0, 0.0)
        for report in reports:
            written = attempt(lambda report=report: store.write(outcomes=report.outcomes))  # type: ignore[misc]
            if isinstance(written, Exception):
                self._on_answers([(report, written)])
            else:
                self._on_answers([(report, written.fresh)])
                self._observer.outcomes_settled(written.settled)

    def _forget(self, decisions: Sequence[DecisionRecord]) -> None:
        """Takes what was written from what waits."""
        for one in decisions:
            self._waiting.decisions.popleft()
            if one.prompt is not None:
                self.written_prompt_characters += len(one.prompt)

    def _delete_old(self, store: LedgerStore) -> bool:
        """Deletes a batch of what is older than the retention; returns whether more may be."""
        now = time.monotonic()
        if not self._retention_days or now < self._next_deletion:
            return False
        # A clock that is set forward by mistake must not delete what is not old.
        passed_ms = self._start_ms + int((now - self._start_s) * 1000)
        before_ms = min(self._now_ms(), passed_ms) - self._retention_days * _DAY_MS
        if store.delete_before(before_ms, DELETE_BATCH) == DELETE_BATCH:
            return True
        self._next_deletion = now + DELETE_EVERY_S
        return False

    def _recover(self) -> None:
        """Says that the database takes what it is given, where that is news."""
        self._pause_s = FIRST_PAUSE_S
        if self._problem == "":
            return
        if self._problem is not None:
            logger.info("the ledger is available again")
        self._problem = ""
        self._observer.ledger_available(True)
        self._on_status("")

    def _suffer(self, error: Exception) -> None:
        """Says that the database takes nothing, where that is news, and refuses who waits."""
        problem = _shown(error)
        if self._problem != problem:
            logger.error(
                "the ledger is unavailable; routing goes on, decisions wait in memory and outcomes"
                " are refused",
                extra={
                    "reason": problem,
                    "ledger": _CREDENTIALS.sub("//", self._url.partition("?")[0]),
                    "queued_decisions": len(self._waiting.decisions),
                },
            )
        self._problem = problem
        self._observer.ledger_available(False)
        self._on_status(problem)
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        refused: list[Report] = []
        while self._waiting.reports:
            refused.append(self._waiting.reports.popleft())
        self._refuse(refused)

    def _refuse(self, reports: Sequence[Report]) -> None:
        self._on_answers([(one, LedgerUnavailableError(RETRY_AFTER_S)) for one in reports])

    def _lose(self) -> None:
        """Counts what waits when the time is up."""
        count = len(self._waiting.decisions)
        if count:
            logger.error("decisions were lost", extra={"count": count, "reason": self._problem})
            self._observer.ledger_dropped(count)


def _shown(error: Exception) -> str:
    try:
        from tierwise_server.ledger.store import shown  # noqa: PLC0415 - as above
    except ImportError:
        return repr(error)
    return shown(error)
