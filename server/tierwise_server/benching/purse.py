"""Holds the cap on what a run may cost, whatever is under way at the same time."""

from __future__ import annotations

import asyncio


class CapReachedError(Exception):
    """A further call could cost more than is left."""


class Purse:
    """Money that is spent, and that calls under way may still cost. For one event loop.

    Each call sets aside the most that it can cost before it is sent, so that the sum of what was
    spent and what is under way never exceeds the cap.
    """

    def __init__(self, cap_nano_usd: int | None, spent_nano_usd: int = 0) -> None:
        """Makes a purse.

        Args:
            cap_nano_usd: Most that may be spent. None means no cap.
            spent_nano_usd: What earlier parts of the run have spent.
        """
        self._cap = cap_nano_usd
        self._changed = asyncio.Condition()
        self.spent_nano_usd = spent_nano_usd
        self._aside = 0

    async def set_aside(self, most_nano_usd: int) -> None:
        """Sets an amount aside, after waiting for calls under way where that may help.

        Raises:
            CapReachedError: It does not fit, and nothing is under way that could leave some over.
        """
        async with self._changed:
            while self._cap is not None:
                if self.spent_nano_usd + self._aside + most_nano_usd <= self._cap:
                    break
                if not self._aside:
                    raise CapReachedError
                await self._changed.wait()
            self._aside += most_nano_usd

    async def settle(self, most_nano_usd: int, cost_nano_usd: int) -> None:
        """Books what a call cost, and gives back the rest of what was set aside for it."""
        async with self._changed:
            self._aside -= most_nano_usd
            self.spent_nano_usd += cost_nano_usd
            self._changed.notify_all()
