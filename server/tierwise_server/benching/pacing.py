"""Keeps the calls of one model within what its provider lets the account use in a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.registry import RateLimits

WINDOW_S: Final = 60.0


@dataclass(slots=True)
class Slot:
    """One call that counts towards the limits."""

    time: float
    tokens: int


class Pacer:
    """Lets calls through so that no 60 seconds have more of them, or of tokens, than the limits.

    A sliding window and no bucket: a bucket lets through up to twice its rate in the first minute.
    Callers get through in the order in which they came. For one event loop.
    """

    def __init__(
        self,
        limits: RateLimits,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._slots: deque[Slot] = deque()

    async def enter(self, tokens: int) -> Slot:
        """Waits until a call may be sent, and counts it.

        Args:
            tokens: Expected tokens of input and output. A call of more than the limit is let
                through once nothing else counts.
        """
        async with self._turn:
            while wait := self._wait(tokens):
                await self._sleep(wait)
            slot = Slot(self._clock(), tokens)
            self._slots.append(slot)
            return slot

    def settle(self, slot: Slot, tokens: int) -> None:
        """Puts the tokens that a call really used in the place of those expected."""
        slot.tokens = tokens

    def _wait(self, tokens: int) -> float:
        """Returns how long to wait before looking again; 0 when the call may be sent."""
        now = self._clock()
        while self._slots and self._slots[0].time <= now - WINDOW_S:
            self._slots.popleft()
        if not self._slots:
            return 0.0
        most_requests = self._limits.requests_per_minute
        most_tokens = self._limits.tokens_per_minute
        used = sum(one.tokens for one in self._slots)
        too_many = most_requests is not None and len(self._slots) >= most_requests
        too_much = most_tokens is not None and used + tokens > most_tokens
        if not too_many and not too_much:
            return 0.0
        return max(self._slots[0].time + WINDOW_S - now, 0.001)
