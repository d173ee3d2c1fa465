"""What failures may cost: the limit on one chat, and the share of chats that may escalate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tierwise.errors import InvalidRequestError

_BUCKETS: Final = 60
"""Parts that the window is counted in; old ones are forgotten one at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on spending. None means no limit."""

    max_cost_nano_usd: int | None = None
    """For all attempts of one chat together. An attempt whose estimate would go beyond what is left
    is not made; with a limit, nor is one of unknown price."""
    escalation_share: float | None = 0.2
    """Share of chats that may go up a tier, from 0 to 1, over the last `window_s` seconds."""
    window_s: float = 300.0
    free_escalations: int = 5
    """Escalations in a window that are always allowed, so that the first chats may escalate too."""

    def __post_init__(self) -> None:
        """Refuses limits that make no sense."""
        if self.max_cost_nano_usd is not None and self.max_cost_nano_usd < 0:
            raise InvalidRequestError(
                f"must be 0 or more, not {self.max_cost_nano_usd}", field="budget.max_cost_nano_usd"
            )
        if self.escalation_share is not None and not 0 <= self.escalation_share <= 1:
            raise InvalidRequestError(
                f"must be from 0 to 1, not {self.escalation_share}",
                field="budget.escalation_share",
            )
        if not self.window_s > 0:
            raise InvalidRequestError(
                f"must be above 0, not {self.window_s}", field="budget.window_s"
            )
        if self.free_escalations < 0:
            raise InvalidRequestError(
                f"must be 0 or more, not {self.free_escalations}", field="budget.free_escalations"
            )


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
