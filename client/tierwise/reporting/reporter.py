"""Hands outcomes to the router in the background: one thread for each process that reports."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from tierwise.reporting.delivery import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    Delivery,
    Pause,
    Rejection,
    ReportingStub,
    deliver,
    is_invalid,
    pause_after,
    said,
)
from tierwise.reporting.forking import tell_of_forks
from tierwise.reporting.outcome import Judgement, Outcome, outcome_message
from tierwise.reporting.spool import Batch, Spool
from tierwise.reporting.throttle import Throttle

LINGER_S = 0.5
"""How long outcomes wait for company; on disk they are safe."""
IDLE_S = 60.0
"""How often to look for what a process that died has left."""
FLUSH_RETRY_S = 0.25
EXIT_TIMEOUT_S = 2.0
"""How long a process that ends without `close` is held up at most, if outcomes are left."""
FORK_WAIT_S = 1.0
"""How long a fork waits for a call of gRPC to end: within one, gRPC cannot make itself ready for a
fork, and the child could not call."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingStatus:
    """How reporting goes. Counts are those of this process, since it began to report."""

    pending: int
    """Waiting in the spool; those of other processes that share it included."""
    delivered: int
    duplicates: int
    """Which the router had already, as after a report whose answer was lost."""
    rejected: int
    """Dropped because the router rejected them; the log names each with the reason."""
    lost: int
    """Refused because the spool was full."""
    durable: bool
    """Whether all that is pending would survive the end of this process."""


class Reporter:
    """Takes outcomes and delivers them, however long that takes. For any thread.

    Nothing is done at the first sight of an outcome but to write it to the spool. After a fork the
    child has a thread and a connection of its own.
    """

    def __init__(
        self,
        open_stub: Callable[[], ReportingStub],
        spool: Spool,
        *,
        on_loss: Callable[[Outcome | Judgement], None] | None = None,
    ) -> None:
        """Starts to deliver what an earlier process left in the spool.

        Args:
            open_stub: Returns a stub of a synchronous channel. Called once in each process, on the
                reporting thread; in a forked process it must return one of another channel.
            spool: Where outcomes wait. The reporter closes it.
            on_loss: Called with each outcome that is lost, on the thread that reports it.
        """
        self._open_stub = open_stub
        self._spool = spool
        self._on_loss = on_loss
        self._loss_warnings = Throttle()
        self._failure_warnings = Throttle()
        self._inherited: list[ReportingStub] = []
        self._start()
        tell_of_forks(self)
        atexit.register(_close_at_exit, weakref.ref(self))
        if spool.has_file:
            with self._condition:
                self._ensure_thread()

    def _start(self) -> None:
        self._condition = threading.Condition()
        self._calling = threading.Lock()
        self._held_for_fork = False
        self._thread: threading.Thread | None = None
        self._stub: ReportingStub | None = None
        self._news = False
        self._hurry = False
        self._closing = False
        self._failures = 0
        self._most = MAX_BATCH
        self._delivered = 0
        self._duplicates = 0
        self._rejected = 0
        self._lost = 0

    @property
    def status(self) -> ReportingStatus:
        """How reporting goes at this moment."""
        pending, durable = self._spool.count(), self._spool.durable
        with self._condition:
            return ReportingStatus(
                pending=pending,
                delivered=self._delivered,
                duplicates=self._duplicates,
                rejected=self._rejected,
                lost=self._lost,
                durable=durable,
            )

    @property
    def running(self) -> bool:
        """Whether this process has a thread that delivers, and has not closed it."""
        return self._thread is not None and not self._closing

    def report(self, outcome: Outcome | Judgement) -> None:
        """Takes an outcome. Returns at once, and never raises."""
        try:
            message = outcome_message(outcome).SerializeToString()
        except Exception:
            # A mistake in this library must not cost the caller the answer.
            _logger.exception("outcome %s cannot be reported", outcome.outcome_id)
            self._lose(outcome)
            return
        if not self._spool.append(message):
            self._warn_of_loss()
            self._lose(outcome)
            return
        with self._condition:
            # Once is enough, and spares the thread from waking at every outcome while it lingers.
            if not self._news:
                self._news = True
                self._ensure_thread()
                self._condition.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until what was reported before is delivered or rejected.

        Returns:
            Whether it is. What is left stays in the spool and is tried on.
        """
        end = time.monotonic() + timeout_s
        mark = self._spool.mark()
        while self._spool.holds(mark):
            left_s = end - time.monotonic()
            if left_s <= 0 or self._closing:
                return False
            with self._condition:
                self._hurry = True
                self._ensure_thread()
                self._condition.notify_all()
                self._condition.wait(min(left_s, FLUSH_RETRY_S))
        return True

    def close(self, timeout_s: float) -> bool:
        """Flushes and ends the thread. What is reported afterwards waits for a later process.

        Returns:
            Whether everything was delivered; the rest is left on disk.
        """
        end = time.monotonic() + timeout_s
        done = self.flush(timeout_s)
        with self._condition:
            self._closing = True
            thread = self._thread
            self._condition.notify_all()
        if thread is not None:
            # One that is within a call ends with it, and closes the spool then.
            thread.join(max(end - time.monotonic(), 0.1))
        self._spool.close()
        return done

    def _ensure_thread(self) -> None:
        """Starts the thread if there is none. The condition is held."""
        if self._thread is not None or self._closing:
            return
        thread = threading.Thread(target=self._run, name="tierwise-reporting", daemon=True)
        with contextlib.suppress(RuntimeError):  # The interpreter is ending: a later process sends.
            thread.start()
            self._thread = thread

    def _lose(self, outcome: Outcome | Judgement) -> None:
        with self._condition:
            self._lost += 1
        if self._on_loss is not None:
            try:
                self._on_loss(outcome)
            except Exception:
                _logger.exception("the function that is told of lost outcomes failed")

    def _warn_of_loss(self) -> None:
        if self._loss_warnings.due():
            _logger.warning(
                "outcomes are lost, %d before this one: the spool is full, because the router has "
                "not taken any for long",
                self._lost,
            )

    # The thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            pause = self._deliver_all()
            self._spool.checkpoint()
            if not self._wait(pause):
                self._spool.close()
                return

    def _wait(self, pause: Pause | None) -> bool:
        """Waits until there is something to do. Returns False when the reporter is closed."""
        with self._condition:
            self._condition.notify_all()
            if pause is not None and pause.asked:
                self._condition.wait_for(lambda: self._closing, pause.seconds)
            elif pause is not None:
                self._condition.wait_for(lambda: self._closing or self._hurry, pause.seconds)
            else:
                self._wait_for_news()
            self._hurry = False
            return not self._closing

    def _wait_for_news(self) -> None:
        wait_s = self._spool.wait_s()
        self._condition.wait_for(
            lambda: self._news or self._closing or self._hurry,
            IDLE_S if wait_s is None else min(wait_s, IDLE_S),
        )
        if self._news:
            self._condition.wait_for(lambda: self._closing or self._hurry, LINGER_S)
        self._news = False

    def _deliver_all(self) -> Pause | None:
        """Sends until nothing is left to send. Returns how long to wait after a failure."""
        while not self._closing:
            batch = self._spool.take(most=self._most, most_bytes=MAX_BATCH_BYTES)
            if batch is None:
                break
            try:
                delivery = self._send(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, outcomes must wait for better times
                self._spool.give_back(batch)
                self._failures += 1
                self._warn_of_failure(error)
                return pause_after(error, self._failures)
            if delivery is None:
                self._spool.give_back(batch)
            else:
                self._spool.remove(batch)
                self._count(delivery)
        return None

    def _send(self, batch: Batch) -> Delivery | None:
        """Returns what became of the outcomes; None when fewer are to be sent at once."""
        messages = [row.message for row in batch.rows]
        try:
            with self._calling:
                if self._stub is None:
                    self._stub = self._open_stub()
                delivery = deliver(self._stub, messages)
        except grpc.RpcError as error:
            if not is_invalid(error):
                raise
            if len(messages) > 1:
                # Down to the one that is at fault.
                self._most = len(messages) // 2
                return None
            delivery = Delivery(rejected=[Rejection("?", said(error))])
        self._failures = 0
        self._most = min(2 * self._most, MAX_BATCH)
        return delivery

    def _count(self, delivery: Delivery) -> None:
        for one in delivery.rejected:
            _logger.warning(
                "an outcome is dropped, because the router rejected it: %s: %s",
                one.outcome_id, one.reason,
            )  # fmt: skip
        with self._condition:
            self._delivered += delivery.accepted
            self._duplicates += delivery.duplicates
            self._rejected += len(delivery.rejected)
            self._condition.notify_all()

    def _warn_of_failure(self, error: Exception) -> None:
        if self._failure_warnings.due():
            _logger.warning(
                "outcomes wait in the spool, because the router does not take them: %s", said(error)
            )

    # Forks -------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Waits a moment for a call to end."""
        self._held_for_fork = self._calling.acquire(timeout=FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._held_for_fork:
            self._calling.release()

    def after_fork_in_child(self) -> None:
        """Starts anew; the parent's thread and connection stay with the parent."""
        if self._stub is not None:
            # Kept, because closing the parent's channel here could wait for its threads.
            self._inherited.append(self._stub)
        self._start()


def _close_at_exit(reference: weakref.ref[Reporter]) -> None:
    reporter = reference()
    if reporter is not None and reporter.running:
        reporter.close(EXIT_TIMEOUT_S)
