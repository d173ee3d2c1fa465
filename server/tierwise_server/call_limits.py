"""Holds callers to how many prompts they may send a second, and how many calls at a time.

A rate is a token bucket of one second's worth. A batch takes a token for each of its prompts and
may leave the bucket in debt, which later calls wait for: so a batch larger than a second's worth
passes as well, and the average holds. A call counts once, whatever is in it, towards those at a
time.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.limits import EACH_CALLER, CallLimit
from tierwise_server.deciding.errors import shown

MAX_CALLERS: Final = 10_000
"""Callers without a limit of their own that are told apart, of about 300 bytes each. Beyond, the
one that was away longest starts afresh."""

BUSY_RETRY_S: Final = 0.1
"""When to come back where all calls at a time are taken: nobody knows when one ends."""

_FREE: Final[AbstractContextManager[None]] = contextlib.nullcontext()


class CallLimitReachedError(Exception):
    """The caller calls more than it may."""

    def __init__(self, limit: CallLimit, caller: str, *, retry_after_s: float, what: str) -> None:
        whose = f"caller {shown(caller)}" if limit.caller else "all callers together"
        super().__init__(
            f"the limit of {what} for {whose} ({limit.location}) is reached;"
            f" retry after {retry_after_s:.3f} s"
        )
        self.caller = caller if limit.caller else ""
        self.limit = what
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class _Use:
    """How much of a limit is in use."""

    limit: CallLimit
    tokens: float
    at_s: float
    calls: int = 0

    def refill(self, now_s: float) -> None:
        rate = self.limit.per_second
        if rate is not None:
            most = max(1.0, rate)
            self.tokens = min(most, self.tokens + rate * (now_s - self.at_s))
        self.at_s = now_s

    def check(self, caller: str) -> None:
        rate, concurrent = self.limit.per_second, self.limit.concurrent
        if concurrent is not None and self.calls >= concurrent:
            raise CallLimitReachedError(
                self.limit,
                caller,
                retry_after_s=BUSY_RETRY_S,
                what=f"{concurrent} calls at a time",
            )
        if rate is not None and self.tokens < 1.0:
            raise CallLimitReachedError(
                self.limit,
                caller,
                retry_after_s=(1.0 - self.tokens) / rate,
                what=f"{rate:g} prompts a second",
            )


class CallControl:
    """Holds the callers of one server to their limits. Belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Makes a control without limits.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._limits: dict[str, Mapping[str, CallLimit]] = {}
        self._uses: dict[tuple[str, str], _Use] = {}
        """By catalog, and caller of the limit."""
        self._each: OrderedDict[tuple[str, str], _Use] = OrderedDict()
        """By catalog and caller, of those that have no limit of their own."""

    def use(self, catalog: str, limits: Sequence[CallLimit]) -> None:
        """Takes the limits that a catalog is served with. What is in use stays so."""
        by_caller = {one.caller: one for one in limits}
        if by_caller:
            self._limits[catalog] = by_caller
        else:
            self._limits.pop(catalog, None)
        for key, use in [*self._uses.items(), *self._each.items()]:
            if key[0] != catalog:
                continue
            mine = by_caller.get(EACH_CALLER if key in self._each else key[1])
            if mine is None:
                self._uses.pop(key, None)
                self._each.pop(key, None)
            else:
                use.limit = mine

    def entered(self, catalog: str, caller: str, prompts: int = 1) -> AbstractContextManager[None]:
        """Returns a context for one call.

        Args:
            catalog: Catalog that decides.
            caller: Who asks.
            prompts: How many prompts the call has of this caller.

        Raises:
            CallLimitReachedError: The caller calls more than it may.
        """
        limits = self._limits.get(catalog)
        if limits is None:
            return _FREE
        now_s = self._clock()
        uses = list(self._applying(limits, catalog, caller, now_s))
        for use in uses:
            use.refill(now_s)
            use.check(caller)
        return _counted(uses, prompts)

    def _applying(
        self, limits: Mapping[str, CallLimit], catalog: str, caller: str, now_s: float
    ) -> Iterator[_Use]:
        if caller and (own := limits.get(caller)) is not None and caller != EACH_CALLER:
            yield self._use_of(self._uses, (catalog, caller), own, now_s)
        elif (each := limits.get(EACH_CALLER)) is not None:
            yield self._use_of(self._each, (catalog, caller), each, now_s)
            self._each.move_to_end((catalog, caller))
            if len(self._each) > MAX_CALLERS:
                self._each.popitem(last=False)
        if (everybody := limits.get("")) is not None:
            yield self._use_of(self._uses, (catalog, ""), everybody, now_s)

    @staticmethod
    def _use_of(
        uses: dict[tuple[str, str], _Use], key: tuple[str, str], limit: CallLimit, now_s: float
    ) -> _Use:
        use = uses.get(key)
        if use is None:
            use = uses[key] = _Use(limit, max(1.0, limit.per_second or 0.0), now_s)
        return use


@contextlib.contextmanager
def _counted(uses: Sequence[_Use], prompts: int) -> Iterator[None]:
    for use in uses:
        use.tokens -= prompts
        use.calls += 1
    try:
        yield
    finally:
        for use in uses:
            use.calls -= 1
