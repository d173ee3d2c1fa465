"""Which waiting job is next: callers take turns by the time that their jobs take.

Start-time fair queueing (Goyal, Vin and Cheng 1996): each caller's queue carries a tag, the encoder
time that it was given so far; the lowest tag is next, and a caller that comes anew begins at the
tag of now. So a caller gets its share however much others have waiting, and one alone gets all.

A caller's short and long jobs wait apart, so that lanes may be kept for short ones, and so that its
own long jobs are not in their way either.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the queue has to know of a job."""

    @property
    def caller(self) -> str:
        """Who asks."""

    @property
    def is_short(self) -> bool:
        """Whether it may be taken where only short jobs are."""

    @property
    def cost_s(self) -> float:
        """Estimated time on a lane."""


_Job = TypeVar("_Job", bound=Waiting)


@dataclass(slots=True, eq=False)
class _Flow(Generic[_Job]):
    """The waiting jobs of one caller, of one kind."""

    tag: float
    jobs: deque[_Job] = field(default_factory=deque)
    work_s: float = 0.0
    """Estimated time of all of them."""
    is_listed: bool = False
    """Whether a heap has it."""


class FairQueue(Generic[_Job]):
    """Jobs that wait. Not thread-safe."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, bool], _Flow[_Job]] = {}
        self._heaps: dict[bool, list[tuple[float, int, _Flow[_Job]]]] = {True: [], False: []}
        """Flows with jobs by tag, the short ones under True. One that lost its jobs goes late."""
        self._now = 0.0
        """Tag of the job that was taken last."""
        self._numbers = itertools.count()
        self._count = 0

    def __len__(self) -> int:
        """Returns how many jobs wait."""
        return self._count

    def __iter__(self) -> Iterator[_Job]:
        """Yields the jobs, caller by caller."""
        return (job for flow in self._flows.values() for job in flow.jobs)

    def push(self, job: _Job) -> None:
        """Has a job wait behind its caller's others of its kind."""
        key = (job.caller, job.is_short)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(self._now)
        flow.jobs.append(job)
        flow.work_s += job.cost_s
        self._count += 1
        if not flow.is_listed:
            flow.tag = max(flow.tag, self._now)
            flow.is_listed = True
            heap = self._heaps[job.is_short]
            heapq.heappush(heap, (flow.tag, next(self._numbers), flow))

    def head(self, *, short: bool) -> _Job | None:
        """Returns the job of one kind that is next; None when none waits."""
        heap = self._heaps[short]
        while heap:
            flow = heap[0][2]
            if flow.jobs:
                return flow.jobs[0]
            heapq.heappop(heap)
            flow.is_listed = False
        return None

    def take(self, *, short_only: bool = False) -> _Job | None:
        """Returns the job that is next, and takes it out; None when none may be taken.

        Args:
            short_only: Leaves long jobs where they are.
        """
        short, long = self.head(short=True), self.head(short=False)
        if short is None and (long is None or short_only):
            return None
        heaps = self._heaps
        is_short = long is None or (
            short is not None and (short_only or heaps[True][0] < heaps[False][0])
        )
        heap = heaps[is_short]
        tag, _, flow = heap[0]
        job = flow.jobs.popleft()
        self._now = max(self._now, tag)
        flow.tag = tag + job.cost_s
        flow.work_s -= job.cost_s
        if flow.jobs:
            heapq.heapreplace(heap, (flow.tag, next(self._numbers), flow))
        else:
            heapq.heappop(heap)
            flow.is_listed = False
        self._forget_one()
        return job

    def remove(self, job: _Job) -> None:
        """Takes out a job that nobody wants any more.

        Raises:
            ValueError: It does not wait.
        """
        flow = self._flows.get((job.caller, job.is_short))
        if flow is None:
            raise ValueError("the job does not wait")
        flow.jobs.remove(job)
        flow.work_s -= job.cost_s
        self._forget_one()

    def work_before(self, caller: str, *, short: bool, long_only: bool = False) -> float:
        """Returns the time of the jobs that would be taken before a new one.

        Args:
            caller: Who would ask.
            short: Whether the new job would be short.
            long_only: Leaves short jobs out, where they have a lane of their own.
        """
        own = self._flows.get((caller, short))
        tag = self._now
        if own is not None:
            tag = max(tag, own.tag) + own.work_s
        return sum(
            min(flow.work_s, max(0.0, tag - flow.tag)) if flow is not own else flow.work_s
            for (_, is_short), flow in self._flows.items()
            if flow.jobs and not (long_only and is_short)
        )

    def clear(self) -> list[_Job]:
        """Takes out all jobs, and returns them."""
        jobs = list(self)
        self.__init__()  # type: ignore[misc]
        return jobs

    def _forget_one(self) -> None:
        """Counts a job that has gone, and forgets callers whose turn is over."""
        self._count -= 1
        if not self._count:
            # Who takes turns with nobody has nothing to make up for.
            self._flows.clear()
            for heap in self._heaps.values():
                heap.clear()
            self._now = 0.0
        elif len(self._flows) > 2 * self._count + 16:
            self._flows = {
                key: flow
                for key, flow in self._flows.items()
                if flow.is_listed or flow.tag > self._now
            }
