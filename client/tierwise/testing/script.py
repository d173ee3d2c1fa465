"""What is to be answered to whom: scripts, standing replies, rate limits. Safe across threads."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import Dialect, RateState
from tierwise.testing.replies import Answerer, Reply


@dataclass(slots=True)
class RateLimit:
    """At most so many requests in any so many seconds."""

    requests: int
    per_s: float
    accepted: deque[float] = field(default_factory=deque)
    """When the requests that still count came, oldest first."""

    def take(self, now: float) -> tuple[bool, RateState]:
        """Counts a request if there is room, and returns whether there was and what is left."""
        while self.accepted and self.accepted[0] <= now - self.per_s:
            self.accepted.popleft()
        room = len(self.accepted) < self.requests
        if room:
            self.accepted.append(now)
        reset_s = self.accepted[0] + self.per_s - now if self.accepted else self.per_s
        remaining = self.requests - len(self.accepted)
        return room, RateState(limit=self.requests, remaining=remaining, reset_s=reset_s)


class Script:
    """Chooses the reply to each call. Keys are provider and model, where None stands for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, str | None], deque[Answerer]] = defaultdict(deque)
        self._standing: dict[tuple[str, str | None], Answerer] = {}
        self._limits: dict[str, RateLimit] = {}

    def append(self, provider: str, model: str | None, replies: tuple[Answerer, ...]) -> None:
        """Adds replies, to be given once each, in order."""
        with self._lock:
            self._queues[provider, model].extend(replies)

    def set_standing(self, provider: str, model: str | None, reply: Answerer) -> None:
        """Sets what is answered when no scripted reply is left."""
        with self._lock:
            self._standing[provider, model] = reply

    def set_limit(self, provider: str, limit: RateLimit) -> None:
        """Sets or replaces a provider's rate limit."""
        with self._lock:
            self._limits[provider] = limit

    def take_rate(self, provider: str) -> tuple[bool, RateState] | None:
        """Counts a request against the provider's rate limit. None where it has none."""
        with self._lock:
            limit = self._limits.get(provider)
            return None if limit is None else limit.take(time.monotonic())

    def next_reply(self, call: ReceivedCall, dialect: Dialect) -> Reply:
        """Returns the reply to a call: scripted, standing, or an echo of what the user said."""
        keys = ((call.provider, call.model), (call.provider, None))
        with self._lock:
            chosen: Answerer | None = None
            for key in keys:
                if self._queues.get(key):
                    chosen = self._queues[key].popleft()
                    break
            if chosen is None:
                chosen = next((self._standing[key] for key in keys if key in self._standing), None)
        if chosen is None:
            return Reply.text(f"You said: {dialect.prompt(call.body).last_user_text}")
        return chosen if isinstance(chosen, Reply) else chosen(call)


def wait_s(state: RateState) -> float:
    """Returns the wait that a refused caller is told, in seconds: whole ones from one on."""
    return math.ceil(state.reset_s) if state.reset_s > 1 else math.ceil(state.reset_s * 1000) / 1000
