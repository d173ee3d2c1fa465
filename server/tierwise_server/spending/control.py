"""Counts what callers spend, and what calls under way may come to.

An account is what one caller, or all of them, spend of one catalog, by the day or by the month. A
limit is reached when what was reported and what is reserved make up its amount. So that concurrent
calls do not overshoot it together, each decision reserves the estimated cost of its first call,
until its outcome is reported or `RESERVATION_S` are over.

What an account spent before this server began to count it is asked of the ledger. The answer has to
come from where settled outcomes come from, between two batches of them, so that nothing is counted
twice or left out.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from tierwise_server.catalog.limits import AtLimit, Period, SpendLimit
from tierwise_server.spending.errors import described
from tierwise_server.spending.periods import period_end_ms, period_start_ms
from tierwise_server.spending.standing import UNLIMITED, Reached, Standing, check

if TYPE_CHECKING:
    from tierwise_server.ledger.pricing import SettledOutcome

logger = logging.getLogger(__name__)

RESERVATION_S: Final = 600.0
"""How long a decision without an outcome counts: longer than a plan of four calls with their
retries takes."""

MAX_RESERVATIONS: Final = 100_000
"""Decisions without an outcome that are remembered, of about 300 bytes each; beyond, the oldest no
longer count."""

PERIODS_KEPT: Final = 3
"""Periods of an account that are kept: that of now, and those that a clock that jumps may lead back
to. Any other is asked of the ledger again."""


class Account(NamedTuple):
    """What limits count together."""

    catalog: str
    caller: str
    """Empty means all callers."""
    per: Period


class Spend(NamedTuple):
    """What was reported in a period."""

    nano_usd: int
    unpriced_attempts: int
    """Calls of unknown cost, which are in no sum."""


AskLedger = Callable[[Account, int, int], None]
"""Has what an account spent from one time until another handed to `SpendControl.load`."""


@dataclass(slots=True, eq=False)
class _Figures:
    """What an account spends in one period."""

    spent: int = 0
    reserved: int = 0
    unpriced: int = 0
    is_known: bool = False
    """Whether what was spent before this server began to count is in it."""
    said: set[SpendLimit] = field(default_factory=set)
    """Limits that the log has named as reached."""


@dataclass(slots=True, eq=False)
class Reservation:
    """What a decision reserves."""

    number: int
    nano_usd: int
    expiry_s: float
    figures: tuple[_Figures, ...]
    decision_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account in the present period, for people."""

    account: Account
    spent_nano_usd: int
    reserved_nano_usd: int
    unpriced_attempts: int
    limits: tuple[SpendLimit, ...]


class SpendControl:
    """Holds the callers of one server to their limits. Thread-safe."""

    def __init__(
        self,
        ask: AskLedger | None = None,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes a control without limits.

        Args:
            ask: Asks the ledger. None means that there is none, so that accounts count from now.
            now_ms: The time in milliseconds since 1970, which may jump.
            clock: Seconds that never go back.
        """
        self._ask = ask
        self._now_ms = now_ms
        self._clock = clock
        self._limits: Mapping[str, Mapping[str, tuple[SpendLimit, ...]]] = {}
        self._accounts: dict[Account, OrderedDict[int, _Figures]] = {}
        self._reservations: OrderedDict[int, Reservation] = OrderedDict()
        self._by_decision: dict[str, int] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.RLock())
        self._default = ""
        self.effects: dict[tuple[str, str, AtLimit], int] = {}
        """Decisions that a reached limit concerned, by catalog, the limit's caller and policy."""

    def use(self, catalog: str, limits: Sequence[SpendLimit]) -> None:
        """Takes the limits that a catalog is served with; the first catalog is the default.

        What is known of accounts that stay is kept.
        """
        by_caller: dict[str, list[SpendLimit]] = {}
        for one in limits:
            by_caller.setdefault(one.caller, []).append(one)
        shared = by_caller.get("", [])
        applying = {
            caller: (*own, *(shared if caller else ())) for caller, own in by_caller.items()
        }
        with self._changed:
            self._default = self._default or catalog
            self._limits = {**self._limits, catalog: applying}
            wanted = {_account(catalog, one) for one in limits}
            for account in [one for one in self._accounts if one.catalog == catalog]:
                if account not in wanted:
                    del self._accounts[account]
            for account in wanted:
                self._accounts.setdefault(account, OrderedDict())
                self._present(account)

    def admit(self, catalog: str, caller: str) -> None:
        """Refuses a call at once, before it costs anything, where a limit refuses it.

        Raises:
            SpendLimitReachedError: One does.
        """
        standing = self.standing(catalog, caller)
        if standing.refusal is not None:
            self.note(catalog, standing)
            check(standing)

    def standing(self, catalog: str, caller: str) -> Standing:
        """Returns how a caller stands now."""
        limits = self._applying(catalog, caller)
        if not limits:
            return UNLIMITED
        with self._changed:
            self._expire()
            reached = []
            for limit in limits:
                account = _account(catalog, limit)
                if account not in self._accounts:
                    continue  # the limits change at this moment
                start_ms, figures = self._present(account)
                if figures.spent + figures.reserved >= limit.nano_usd:
                    end_ms = period_end_ms(limit.per, start_ms)
                    reached.append(Reached(limit=limit, reset_ms=end_ms))
                    self._say(limit, figures)
        return Standing(
            is_limited=True,
            is_bound=any(limit.is_binding for limit in limits),
            reached=tuple(reached),
        )

    def note(self, catalog: str, standing: Standing) -> None:
        """Counts a decision, or a refusal, that reached limits concerned."""
        with self._changed:
            for one in standing.reached:
                key = (catalog, one.limit.caller, one.limit.at_limit)
                self.effects[key] = self.effects.get(key, 0) + 1

    def reserve(self, catalog: str, caller: str, nano_usd: int) -> Reservation | None:
        """Reserves the estimated cost of a call; None where no limit applies."""
        limits = self._applying(catalog, caller)
        if not limits:
            return None
        with self._changed:
            accounts = {_account(catalog, one) for one in limits} & self._accounts.keys()
            reservation = Reservation(
                number=next(self._numbers),
                nano_usd=nano_usd,
                expiry_s=self._clock() + RESERVATION_S,
                figures=tuple(self._present(account)[1] for account in accounts),
            )
            for figures in reservation.figures:
                figures.reserved += nano_usd
            self._reservations[reservation.number] = reservation
            if len(self._reservations) > MAX_RESERVATIONS:
                self.release(next(iter(self._reservations.values())))
        return reservation

    def confirm(self, reservation: Reservation, decision_id: str) -> None:
        """Has a reservation end with the outcome of a decision."""
        with self._changed:
            if reservation.number in self._reservations:
                reservation.decision_id = decision_id
                self._by_decision[decision_id] = reservation.number

    def release(self, reservation: Reservation) -> None:
        """Ends a reservation; one that has ended stays as it is."""
        with self._changed:
            if self._reservations.pop(reservation.number, None) is None:
                return
            self._by_decision.pop(reservation.decision_id, None)
            for figures in reservation.figures:
                figures.reserved -= reservation.nano_usd

    def settle(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Counts outcomes that were not reported before, in place of what they had reserved."""
        if not self._accounts:
            return
        for outcome in outcomes:
            if outcome.attempts:
                # One by one, since decisions wait for the same lock.
                with self._changed:
                    self._settle(outcome)

    def load(self, account: Account, start_ms: int, spend: Spend) -> None:
        """Takes what an account spent in a period, this server's own calls included.

        Called between two calls of `settle`, by what has told of every outcome that is in it.
        """
        with self._changed:
            periods = self._accounts.get(account)
            figures = None if periods is None else periods.get(start_ms)
            if figures is None:
                return
            figures.spent, figures.unpriced = spend
            figures.is_known = True
            self._changed.notify_all()

    def ask_again(self) -> None:
        """Asks the ledger for every account, as after it was away."""
        with self._changed:
            for account in self._accounts:
                start_ms, _ = self._present(account)
                self._ask_for(account, start_ms)

    def wait_until_known(self, timeout_s: float) -> bool:
        """Waits, blocking, for what accounts spent so far; returns whether all of it is known."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(self._present(one)[1].is_known for one in self._accounts), timeout_s
            )

    def states(self) -> Iterator[AccountState]:
        """Yields how each account stands."""
        with self._changed:
            self._expire()
            found = []
            for account in self._accounts:
                _, figures = self._present(account)
                own = self._limits[account.catalog].get(account.caller, ())
                found.append(
                    AccountState(
                        account=account,
                        spent_nano_usd=figures.spent,
                        reserved_nano_usd=figures.reserved,
                        unpriced_attempts=figures.unpriced,
                        limits=tuple(
                            one for one in own if _account(account.catalog, one) == account
                        ),
                    )
                )
        yield from found

    def _applying(self, catalog: str, caller: str) -> tuple[SpendLimit, ...]:
        by_caller = self._limits.get(catalog)
        if not by_caller:
            return ()
        own = by_caller.get(caller)
        return by_caller.get("", ()) if own is None else own

    def _present(self, account: Account) -> tuple[int, _Figures]:
        """Returns when the present period of an account began, and its figures."""
        start_ms = period_start_ms(account.per, self._now_ms())
        periods = self._accounts[account]
        figures = periods.get(start_ms)
        if figures is None:
            figures = periods[start_ms] = _Figures(is_known=self._ask is None)
            if len(periods) > PERIODS_KEPT:
                periods.popitem(last=False)
            self._ask_for(account, start_ms)
        return start_ms, figures

    def _ask_for(self, account: Account, start_ms: int) -> None:
        if self._ask is not None:
            self._ask(account, start_ms, period_end_ms(account.per, start_ms))

    def _settle(self, outcome: SettledOutcome) -> None:
        record = outcome.record
        number = self._by_decision.get(record.decision_id)
        if number is not None:
            self.release(self._reservations[number])
        costs = [one.cost_nano_usd for one in outcome.attempts]
        known = sum(one for one in costs if one is not None)
        catalog = record.catalog or self._default
        for caller in {record.caller, ""}:
            for per in Period:
                periods = self._accounts.get(Account(catalog, caller, per))
                # What belongs to a period that is not kept is in the ledger, if it is ever asked.
                start_ms = period_start_ms(per, record.decided_ms)
                figures = None if periods is None else periods.get(start_ms)
                if figures is not None:
                    figures.spent += known
                    figures.unpriced += costs.count(None)

    def _expire(self) -> None:
        now_s = self._clock()
        while self._reservations:
            oldest = next(iter(self._reservations.values()))
            if oldest.expiry_s > now_s:
                return
            self.release(oldest)

    def _say(self, limit: SpendLimit, figures: _Figures) -> None:
        """Logs that a limit is reached, once in a period."""
        if limit in figures.said:
            return
        figures.said.add(limit)
        logger.warning(
            "a spend limit is reached",
            extra={
                "limit": described(limit),
                "at_limit": str(limit.at_limit),
                "spent_nano_usd": figures.spent,
                "reserved_nano_usd": figures.reserved,
            },
        )


def _account(catalog: str, limit: SpendLimit) -> Account:
    return Account(catalog, limit.caller, limit.per)
