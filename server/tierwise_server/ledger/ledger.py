"""The ledger as the service sees it: decisions go in without an answer, outcomes with one.

Nothing here blocks. When the database takes nothing, decisions wait in memory up to a limit, beyond
which they are dropped and counted, and outcomes are refused, so that their clients keep them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from tierwise_server.ledger.errors import LedgerQueueFullError, LedgerUnavailableError
from tierwise_server.ledger.records import CatalogRecord, DecisionRecord, OutcomeRecord
from tierwise_server.ledger.writer import (
    FLUSH_AT,
    RETRY_AFTER_S,
    Answer,
    LedgerObserver,
    LedgerWriter,
    Question,
    Report,
    Waiting,
)

logger = logging.getLogger(__name__)

DECISION_LIMIT: Final = 20_000
"""Decisions that may wait, of about 1 KB each."""

OUTCOME_LIMIT: Final = 20_000
"""Outcomes that may wait, of about 2 KB each: those of some seconds."""

PROMPT_LIMIT: Final = 16_000_000
"""Characters of prompts that may wait; beyond, decisions are kept without their prompts."""

FULL_RETRY_AFTER_S: Final = 1.0


class Ledger:
    """Takes decisions and outcomes, and has them written. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        observer: LedgerObserver,
        *,
        retention_days: int = 0,
        decision_limit: int = DECISION_LIMIT,
        outcome_limit: int = OUTCOME_LIMIT,
    ) -> None:
        """Makes a ledger that is not started yet.

        Args:
            url: Of the database, `sqlite:///` or `postgresql://`.
            observer: Counts what happens.
            retention_days: Age at which rows are deleted. 0 keeps them for ever.
            decision_limit: Most decisions that wait to be written.
            outcome_limit: Most outcomes that wait to be written.
        """
        self._observer = observer
        self._decision_limit = decision_limit
        self._outcome_limit = outcome_limit
        self._waiting = Waiting()
        self._writer = LedgerWriter(
            url,
            self._waiting,
            observer,
            retention_days=retention_days,
            on_status=self._note_status,
            on_answers=self._pass_on,
        )
        self.retention_days = retention_days
        self.problem: str | None = None
        """Why the database takes nothing. Empty when it does, None until it was tried."""
        self.queued_outcomes = 0
        """Outcomes whose reports are not answered yet, those of callers that are gone included."""
        self._taken_prompt_characters = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tried = asyncio.Event()
        self._listeners: list[Callable[[Ledger], None]] = []

    @property
    def queued_decisions(self) -> int:
        """Decisions that wait to be written."""
        return len(self._waiting.decisions)

    def on_status(self, listener: Callable[[Ledger], None]) -> None:
        """Has a function called, in the event loop, when the database comes or goes."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Starts to open the database and to write."""
        self._loop = asyncio.get_running_loop()
        # Not to keep the process alive: a database that hangs must not hold up its end.
        self._thread = threading.Thread(target=self._writer.run, name="ledger", daemon=True)
        self._thread.start()

    async def wait_until_tried(self, timeout_s: float) -> None:
        """Returns when the database was opened or found unavailable, or when the time is up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Writes what waits and closes the database, for so long at most."""
        self._writer.close()
        thread = self._thread
        if thread is None:
            return
        await asyncio.get_running_loop().run_in_executor(None, thread.join, timeout_s)
        if thread.is_alive():
            logger.error(
                "the ledger could not be written in time",
                extra={"decisions": self.queued_decisions, "outcomes": self.queued_outcomes},
            )

    def note_catalog(self, catalog: CatalogRecord) -> None:
        """Takes what outcomes of a catalog's decisions are priced by, when it goes into service."""
        self._waiting.catalogs.append(catalog)
        self._writer.wake()

    def ask(self, question: Question) -> None:
        """Has a question put to the database from the writer's thread, when it can be reached.

        It is put between two batches: what was settled before is in the database, and what is not
        in it is settled later.
        """
        self._waiting.questions.append(question)
        self._writer.wake()

    def record_decision(self, decision: DecisionRecord) -> None:
        """Takes a decision; drops and counts it when too many wait."""
        waiting = self._waiting.decisions
        if len(waiting) >= self._decision_limit:
            self._observer.ledger_dropped(1)
            return
        if decision.prompt is not None:
            decision = self._within_prompt_limit(decision, len(decision.prompt))
        waiting.append(decision)
        if len(waiting) % FLUSH_AT == 0:
            self._writer.wake()

    async def report(self, outcomes: Sequence[OutcomeRecord]) -> list[bool]:
        """Records outcomes and returns, once they are on disk, which were not there before.

        Raises:
            LedgerUnavailableError: The database takes nothing. Nothing was recorded, or it is not
                known whether it was; to report it again does no harm.
            LedgerQueueFullError: Too many outcomes wait.
        """
        if self.problem:
            raise LedgerUnavailableError(RETRY_AFTER_S)
        if self.queued_outcomes + len(outcomes) > self._outcome_limit:
            raise LedgerQueueFullError(self._outcome_limit, FULL_RETRY_AFTER_S)
        report = Report(outcomes=outcomes, answer=asyncio.get_running_loop().create_future())
        self.queued_outcomes += len(outcomes)
        self._waiting.reports.append(report)
        self._writer.wake()
        return await report.answer

    def _within_prompt_limit(self, decision: DecisionRecord, characters: int) -> DecisionRecord:
        waiting = self._taken_prompt_characters - self._writer.written_prompt_characters
        if waiting + characters > PROMPT_LIMIT:
            return decision._replace(prompt=None)
        self._taken_prompt_characters += characters
        return decision

    def _note_status(self, problem: str) -> None:
        """Passes on, from the writer's thread, how the database stands."""

        def note() -> None:
            self.problem = problem
            self._tried.set()
            for listener in self._listeners:
                listener(self)

        self._in_loop(note)

    def _pass_on(self, answers: Sequence[Answer]) -> None:
        """Passes on, from the writer's thread, what callers wait for."""

        def settle() -> None:
            for report, answer in answers:
                if not report.answered:
                    report.answered = True
                    self.queued_outcomes -= len(report.outcomes)
                if report.answer.done():
                    continue  # the caller is gone
                if isinstance(answer, Exception):
                    report.answer.set_exception(answer)
                else:
                    report.answer.set_result(answer)

        if answers:
            self._in_loop(settle)

    def _in_loop(self, work: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(work)
