"""Which share of the chats goes up a tier, over a sliding window."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from tierwise.budget import Budget

_BUCKETS: Final = 60
"""Parts that the window is counted in; old ones are forgotten one at a time."""


class EscalationGuard:
    """Counts chats and escalations over a sliding window. Thread-safe."""

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self._share = budget.escalation_share
        self._free = budget.free_escalations
        self._bucket_s = budget.window_s / _BUCKETS
        self._clock = clock
        self._lock = threading.Lock()
        self._chats = [0] * _BUCKETS
        self._escalations = [0] * _BUCKETS
        self._bucket = 0

    def chat_begins(self) -> None:
        """Counts a chat."""
        with self._lock:
            self._chats[self._now()] += 1

    def may_escalate(self) -> bool:
        """Returns whether one more chat may go up, and counts it if so."""
        with self._lock:
            at = self._now()
            if self._share == 0:
                return False
            if self._share is not None:
                allowed = max(self._free, self._share * sum(self._chats))
                if sum(self._escalations) + 1 > allowed:
                    return False
            self._escalations[at] += 1
            return True

    def _now(self) -> int:
        """Returns the position of the current bucket, those that time has passed emptied."""
        bucket = int(self._clock() / self._bucket_s)
        for passed in range(max(self._bucket + 1, bucket - _BUCKETS + 1), bucket + 1):
            self._chats[passed % _BUCKETS] = self._escalations[passed % _BUCKETS] = 0
        self._bucket = max(bucket, self._bucket)
        return self._bucket % _BUCKETS
