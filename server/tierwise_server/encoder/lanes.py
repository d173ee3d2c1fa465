"""Encodes off the event loop: a few threads behind one bounded, fair queue.

Each lane takes one text at a time, and a lone request never waits for company. Callers take turns
(see `fair_queue`); while others send short texts, long ones leave one lane to them; and what would
be done after its deadline is refused at once, by what the work ahead is estimated to take.

Locks and `call_soon_threadsafe` instead of an executor: the way there and back is about 65 µs
shorter.

Of idle lanes, the one that was busy last goes first. An inference drives everything else out of a
core's caches, so lanes that take turns would have the event loop find them cold on every core: with
one caller on two cores, that took 0.2 ms of a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tierwise_server.encoder.encode_times import SHORT_BYTES, EncodeTimes, read_bytes
from tierwise_server.encoder.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tierwise_server.encoder.base import TextEncoder

SHORT_LANE_S: Final = 1.0
"""How long after a short text the lane for such is kept free of other callers' long ones."""

CAUTION: Final = 2.0
"""What the estimated wait is multiplied by before a job is admitted. A queue that may be as long as
the deadline is so under any lasting overload, and then half of what was admitted is late; at half
that length it keeps the lanes just as busy."""

_WEIGHT: Final = 0.1
_MAX_WAIT_FACTOR: Final = 4.0
_LEAST_WAIT_S: Final = 0.002
"""Waits up to this say nothing of how good the estimates are."""


class QueueFullError(Exception):
    """All lanes are busy and the queue is full."""

    def __init__(self, *, retry_after_s: float, queue_limit: int) -> None:
        super().__init__(
            f"the encoding queue of {queue_limit} is full; retry after {retry_after_s:.3f} s"
        )
        self.retry_after_s = retry_after_s
        """When the jobs ahead are likely to be done."""
        self.queue_limit = queue_limit
        """How many jobs may wait."""


class TooLateError(Exception):
    """The work ahead is likely to take longer than the caller waits."""

    def __init__(self, *, retry_after_s: float, queue_limit: int) -> None:
        super().__init__(
            f"the answer would come after the deadline; retry after {retry_after_s:.3f} s"
        )
        self.retry_after_s = retry_after_s
        """When an equal call would be answered in time, if nobody else came."""
        self.queue_limit = queue_limit
        """How many jobs may wait."""


class DeadlinePassedError(Exception):
    """The caller's deadline passed before a lane was free."""


class LanesClosedError(Exception):
    """The lanes are closed, or were before the job's turn came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """A vector and what it took."""

    vector: NDArray[np.float32]
    queue_s: float
    """From the call to the start of encoding."""

    encode_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    text: str
    caller: str
    deadline: float | None
    length: int
    """About how many bytes of it the encoder reads."""
    is_short: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Encoding]
    called_at: float = field(default_factory=time.monotonic)
    cost_s: float = 0.0
    """Estimated time on a lane."""
    expected_wait_s: float = 0.0
    """Estimated time in the queue, before it is corrected by how such estimates turned out."""
    done_at: float = 0.0

    def finish(self, outcome: Encoding | Exception) -> None:
        """Hands the outcome to the waiting caller. Runs in any thread."""
        self.done_at = time.monotonic()
        # A loop that is closed has no caller left.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Encoding | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class EncodingLanes:
    """`lane_count` threads that encode, and a queue of at most `queue_limit` waiting jobs."""

    def __init__(self, encoder: TextEncoder, *, lane_count: int, queue_limit: int) -> None:
        if lane_count < 1:
            raise ValueError(f"lane_count must be at least 1: {lane_count}")
        if queue_limit < 0:
            raise ValueError(f"queue_limit must not be negative: {queue_limit}")
        self._encoder = encoder
        self._queue_limit = queue_limit
        self._capacity = lane_count + queue_limit
        self._lock = threading.Lock()
        # All below is guarded by `_lock`.
        self._idle: list[threading.Lock] = []
        """Bells of the lanes that wait for a job, the one that was busy last at the end."""
        self._queue: FairQueue[_Job] = FairQueue()
        self._busy = 0
        self._busy_long = 0
        self._running_s = 0.0
        """Estimated time of what the lanes are at."""
        self._times = EncodeTimes()
        self._short_callers: list[tuple[str, float]] = []
        """The last two callers with short texts, and when, the latest first."""
        self._wait_factor = 1.0
        """Mean of waits by what they were estimated to be."""
        self._loop_lag_s = 0.0
        """Mean time from the end of an inference until its caller goes on."""
        self._closed = False
        self._lanes = [
            threading.Thread(target=self._run_lane, name=f"encoding-lane-{number}", daemon=True)
            for number in range(lane_count)
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def queue_depth(self) -> int:
        """How many jobs no lane has taken up yet."""
        return len(self._queue)

    async def encode(
        self, text: str, deadline: float | None = None, *, caller: str = ""
    ) -> Encoding:
        """Encodes `text` when it is the caller's turn.

        Cancelling the call takes the job out of the queue; once a lane has begun, the inference
        runs to its end and the vector is dropped.

        Args:
            text: Any text.
            deadline: On the clock of `time.monotonic`; None waits as long as it takes.
            caller: Who asks, to share the lanes by.

        Raises:
            QueueFullError: Too many jobs are waiting already.
            TooLateError: The jobs ahead are likely to take longer than until the deadline.
            DeadlinePassedError: The deadline passed before a lane took up the job.
            LanesClosedError: The lanes are closed, or were before the job's turn came.
        """
        loop = asyncio.get_running_loop()
        length = read_bytes(text)
        job = _Job(
            text=text,
            caller=caller,
            deadline=deadline,
            length=length,
            is_short=length <= SHORT_BYTES,
            loop=loop,
            future=loop.create_future(),
        )
        self._enqueue(job)
        try:
            encoding = await job.future
        except asyncio.CancelledError:
            with self._lock, contextlib.suppress(ValueError):
                self._queue.remove(job)
                self._note_wait(job, time.monotonic() - job.called_at, has_ended=False)
            raise
        self._loop_lag_s += _WEIGHT * (time.monotonic() - job.done_at - self._loop_lag_s)
        return encoding

    def check_deadline(self, texts: Sequence[str], deadline: float, *, caller: str = "") -> None:
        """Refuses texts that together are likely to be done after the deadline.

        Raises:
            TooLateError: They are.
        """
        with self._lock:
            lengths = [read_bytes(text) for text in texts]
            cost_s = sum(map(self._times.of, lengths))
            is_short = max(lengths, default=0) <= SHORT_BYTES
            wait_s = self._expected_wait(caller, is_short=is_short)
            self._check(deadline, wait_s, cost_s / len(self._lanes))

    async def close(self, drain_s: float = 5.0) -> None:
        """Takes no more jobs, and returns when the lanes have ended.

        Args:
            drain_s: How long waiting jobs may still be taken up; those left after it fail with
                `LanesClosedError`. An inference that has begun is not interrupted.
        """
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().release()
        if not await asyncio.to_thread(self._join, drain_s):
            with self._lock:
                dropped = self._queue.clear()
            for job in dropped:
                job.finish(LanesClosedError("The lanes were closed before the job's turn."))
            await asyncio.to_thread(self._join, None)

    def _enqueue(self, job: _Job) -> None:
        if job.deadline is not None and job.deadline <= job.called_at:
            raise DeadlinePassedError("The deadline had passed before the call.")
        with self._lock:
            if self._closed:
                raise LanesClosedError("The lanes are closed.")
            job.cost_s = self._times.of(job.length)
            if not self._idle or self._queue:
                self._admit(job)
            if job.is_short:
                self._note_short(job)
            self._queue.push(job)
            if self._idle and (job.is_short or not self._is_short_only(job.caller)):
                self._idle.pop().release()

    def _admit(self, job: _Job) -> None:
        """Refuses a job that there is no room for, or no time."""
        pending = len(self._queue) + self._busy
        wait_s = self._expected_wait(job.caller, is_short=job.is_short)
        if pending >= self._capacity:
            raise QueueFullError(
                retry_after_s=max(wait_s, job.cost_s), queue_limit=self._queue_limit
            )
        job.expected_wait_s = wait_s
        if job.deadline is not None and wait_s > 0.0:
            self._check(job.deadline, wait_s, job.cost_s)

    def _check(self, deadline: float, wait_s: float, cost_s: float) -> None:
        # The loop's lag twice: before an answer is on its way, others have their turn.
        needed_s = CAUTION * wait_s * self._wait_factor + cost_s + 2 * self._loop_lag_s
        late_s = time.monotonic() + needed_s - deadline
        if late_s > 0.0:
            raise TooLateError(retry_after_s=late_s, queue_limit=self._queue_limit)

    def _expected_wait(self, caller: str, *, is_short: bool) -> float:
        """Returns the estimated time until a lane would take up a new job."""
        lanes = len(self._lanes)
        if self._idle and not self._queue:
            return 0.0
        kept = not is_short and self._is_kept_from(caller)
        ahead_s = self._queue.work_before(caller, short=is_short, long_only=kept)
        # Of what is under way, half is likely to be done.
        return (ahead_s + self._running_s / 2) / (lanes - 1 if kept else lanes)

    def _note_short(self, job: _Job) -> None:
        others = [one for one in self._short_callers if one[0] != job.caller]
        self._short_callers = [(job.caller, job.called_at), *others[:1]]

    def _is_kept_from(self, caller: str) -> bool:
        """Returns whether a lane is kept free of a caller's long texts.

        Calls without a name may be anybody's.
        """
        if len(self._lanes) == 1 or not self._short_callers or self._closed:
            return False
        oldest = time.monotonic() - SHORT_LANE_S
        return any(
            at > oldest and (other != caller or not caller) for other, at in self._short_callers
        )

    def _is_short_only(self, caller: str) -> bool:
        """Returns whether no lane may take up a caller's long texts now."""
        return self._busy_long >= len(self._lanes) - 1 and self._is_kept_from(caller)

    def _join(self, timeout_s: float | None) -> bool:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(lane.is_alive() for lane in self._lanes)

    def _run_lane(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while (job := self._take(bell)) is not None:
            started_at = time.monotonic()
            outcome = self._encode(job, started_at)
            self._settle_lane(job, outcome)
            if outcome is not None:
                job.finish(outcome)

    def _take(self, bell: threading.Lock) -> _Job | None:
        """Returns the next job; None when there are to be no more. The bell is the lane's own."""
        while True:
            with self._lock:
                job = self._next_job()
                if job is not None:
                    return job
                if self._closed:
                    return None
                self._idle.append(bell)
            # Until it is released by whoever has news. Another lane may have been faster.
            bell.acquire()

    def _next_job(self) -> _Job | None:
        if not self._queue:
            return None
        long = self._queue.head(short=False)
        job = self._queue.take(short_only=long is not None and self._is_short_only(long.caller))
        if job is None:
            return None
        self._busy += 1
        self._busy_long += not job.is_short
        self._running_s += job.cost_s
        if self._idle:
            # A lane that was kept for short texts may be needed for them no more.
            long = self._queue.head(short=False)
            if long is not None and not self._is_short_only(long.caller):
                self._idle.pop().release()
        return job

    def _encode(self, job: _Job, started_at: float) -> Encoding | Exception | None:
        if job.future.cancelled():
            return None
        if job.deadline is not None and job.deadline <= started_at:
            return DeadlinePassedError("The deadline passed in the encoding queue.")
        try:
            vector = self._encoder.encode(job.text)
        except Exception as error:  # noqa: BLE001 (raised again in the caller's task)
            return error
        return Encoding(
            vector=vector,
            queue_s=started_at - job.called_at,
            encode_s=time.monotonic() - started_at,
        )

    def _settle_lane(self, job: _Job, outcome: Encoding | Exception | None) -> None:
        with self._lock:
            self._busy -= 1
            self._busy_long -= not job.is_short
            self._running_s = self._running_s - job.cost_s if self._busy else 0.0
            if isinstance(outcome, Encoding):
                self._times.note(job.length, outcome.encode_s)
                self._note_wait(job, outcome.queue_s, has_ended=True)

    def _note_wait(self, job: _Job, seconds: float, *, has_ended: bool) -> None:
        """Takes into account how good an estimate was, also of who gave up before its turn."""
        if job.expected_wait_s > _LEAST_WAIT_S:
            factor = min(_MAX_WAIT_FACTOR, seconds / job.expected_wait_s)
            if has_ended or factor > self._wait_factor:
                self._wait_factor += _WEIGHT * (factor - self._wait_factor)
