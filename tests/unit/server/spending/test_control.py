"""What callers spend and reserve: exact, once each, and never more than was under way."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise_server.catalog.ids import Location, TierId
from tierwise_server.catalog.limits import AtLimit, Period, SpendLimit
from tierwise_server.ledger.pricing import SettledAttempt, SettledOutcome
from tierwise_server.ledger.records import AttemptRecord, Origin, OutcomeRecord, PriceBasis
from tierwise_server.spending.control import (
    RESERVATION_S,
    Account,
    Reservation,
    Spend,
    SpendControl,
)
from tierwise_server.spending.errors import SpendLimitReachedError

DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def limit(
    nano_usd: int,
    caller: str = "bot",
    per: Period = Period.DAY,
    at_limit: AtLimit = AtLimit.REFUSE,
) -> SpendLimit:
    return SpendLimit(
        caller=caller,
        per=per,
        nano_usd=nano_usd,
        at_limit=at_limit,
        tier=TierId("budget") if at_limit is AtLimit.CAP else None,
        location=Location(file="limits.yaml", line=2),
    )


def outcome(
    *costs: int | None,
    decision_id: str = "d",
    caller: str = "bot",
    decided_ms: int = NOON_MS,
    catalog: str = "default",
) -> SettledOutcome:
    """Returns an outcome whose attempts had these costs; None stands for an unknown one."""
    return SettledOutcome(
        record=OutcomeRecord(
            outcome_id="o",
            origin=Origin.ROUTER,
            decision_id=decision_id,
            decided_ms=decided_ms,
            recorded_ms=decided_ms,
            catalog=catalog,
            caller=caller,
        ),
        attempts=tuple(
            SettledAttempt(
                record=AttemptRecord(model_id="m"),
                tier="budget",
                basis=PriceBasis.UNPRICED if cost is None else PriceBasis.STATED,
                price=None,
                computed_cost_nano_usd=None,
                cost_nano_usd=cost,
                is_another_model=None,
            )
            for cost in costs
        ),
        answer=None,
        counterfactual_price=None,
        counterfactual_nano_usd=None,
    )


@dataclass
class Books:
    """A control, its clocks, and the ledger that it asks: all that was ever reported."""

    ledger: bool = True
    now_ms: int = NOON_MS
    now_s: float = 50.0
    reported: list[SettledOutcome] = field(default_factory=list)
    asked: list[tuple[Account, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Makes the control."""
        self.control = SpendControl(
            self._ask if self.ledger else None,
            now_ms=lambda: self.now_ms,
            clock=lambda: self.now_s,
        )

    def _ask(self, account: Account, since_ms: int, until_ms: int) -> None:
        self.asked.append((account, since_ms, until_ms))

    def answer(self) -> None:
        """Answers what was asked, as the ledger does between two batches."""
        for account, since_ms, until_ms in self.asked:
            self.control.load(account, since_ms, self.truth(account, since_ms, until_ms))
        self.asked.clear()

    def truth(self, account: Account, since_ms: int, until_ms: int) -> Spend:
        """Returns what an account spent, by all reports."""
        costs = [
            attempt.cost_nano_usd
            for one in self.reported
            if since_ms <= one.record.decided_ms < until_ms
            and account.caller in ("", one.record.caller)
            for attempt in one.attempts
        ]
        return Spend(sum(cost for cost in costs if cost is not None), costs.count(None))

    def settle(self, *outcomes: SettledOutcome) -> None:
        """Has outcomes written and counted."""
        self.reported += outcomes
        self.control.settle(outcomes)

    def decide(self, estimate: int, decision_id: str = "d", caller: str = "bot") -> Reservation:
        """Decides as the router does; refused where a limit refuses it."""
        self.control.admit("default", caller)
        reservation = self.control.reserve("default", caller, estimate)
        assert reservation is not None
        self.control.confirm(reservation, decision_id)
        return reservation

    def figures(self, per: Period = Period.DAY, caller: str = "bot") -> tuple[int, int, int]:
        """Returns what an account spent, reserved, and what of it is unpriced."""
        (state,) = [
            one
            for one in self.control.states()
            if (one.account.per, one.account.caller) == (per, caller)
        ]
        return state.spent_nano_usd, state.reserved_nano_usd, state.unpriced_attempts


@pytest.fixture
def books() -> Books:
    found = Books()
    found.control.use("default", [limit(100)])
    found.answer()
    return found


def test_callers_without_a_limit_are_not_limited(books: Books) -> None:
    assert not books.control.standing("default", "other").is_limited
    assert not books.control.standing("elsewhere", "bot").is_limited
    assert books.control.reserve("default", "other", 5) is None


def test_a_limit_is_reached_by_what_was_spent_and_what_is_reserved(books: Books) -> None:
    books.decide(60, "a")
    books.decide(60, "b")
    with pytest.raises(SpendLimitReachedError) as caught:
        books.decide(60, "c")
    assert "limits.yaml:2" in str(caught.value)
    assert caught.value.reset_time.timestamp() * 1000 == NOON_MS + DAY_MS // 2
    books.settle(outcome(10, 5, decision_id="a"))
    assert books.figures() == (15, 60, 0)
    books.decide(60, "c")


def test_a_reservation_ends_with_its_outcome_its_release_or_its_time(books: Books) -> None:
    books.decide(100, "a")
    books.settle(outcome(1, decision_id="a"), outcome(2, decision_id="a"))
    assert books.figures() == (3, 0, 0)
    released = books.decide(100, "b")
    books.control.release(released)
    books.control.release(released)
    assert books.figures() == (3, 0, 0)
    books.decide(100, "c")
    books.now_s += RESERVATION_S
    assert books.figures() == (3, 0, 0)
    # An outcome that comes later counts all the same.
    books.settle(outcome(7, decision_id="c"))
    assert books.figures() == (10, 0, 0)


def test_a_judgement_alone_ends_no_reservation(books: Books) -> None:
    books.decide(40, "a")
    books.settle(outcome(decision_id="a"))
    assert books.figures() == (0, 40, 0)


def test_calls_of_unknown_cost_are_a_figure_of_their_own(books: Books) -> None:
    books.settle(outcome(None, 5, None))
    assert books.figures() == (5, 0, 2)


def test_each_period_counts_by_itself_and_by_when_it_was_decided(books: Books) -> None:
    books.settle(outcome(100))
    with pytest.raises(SpendLimitReachedError):
        books.decide(1)
    books.now_ms = NOON_MS + DAY_MS // 2
    books.decide(1, "tomorrow")
    books.settle(outcome(30, decided_ms=books.now_ms - 1))
    assert books.figures() == (0, 1, 0)
    books.answer()
    assert books.figures() == (0, 1, 0)
    books.now_ms -= 1
    assert books.figures() == (130, 0, 0)


def test_several_limits_hold_at_once(books: Books) -> None:
    books.control.use(
        "default",
        [
            limit(50, at_limit=AtLimit.WARN),
            limit(80, at_limit=AtLimit.CAP),
            limit(90, caller="", per=Period.MONTH),
        ],
    )
    books.answer()
    books.settle(outcome(50))
    standing = books.control.standing("default", "bot")
    assert [one.limit.at_limit for one in standing.reached] == [AtLimit.WARN]
    assert standing.is_bound
    assert not books.control.standing("default", "other").reached
    books.settle(outcome(40, caller="other"))
    assert books.control.standing("default", "other").refusal is not None
    assert books.control.standing("default", "bot").refusal is not None


def test_what_was_spent_before_comes_from_the_ledger_and_is_not_counted_twice() -> None:
    books = Books()
    books.reported.append(outcome(40))
    books.control.use("default", [limit(100)])
    books.settle(outcome(20))
    assert books.figures() == (20, 0, 0)
    assert not books.control.wait_until_known(0)
    books.answer()
    assert books.control.wait_until_known(0)
    assert books.figures() == (60, 0, 0)
    books.settle(outcome(5))
    books.control.ask_again()
    books.answer()
    assert books.figures() == (65, 0, 0)


def test_without_a_ledger_accounts_count_from_the_start() -> None:
    books = Books(ledger=False)
    books.control.use("default", [limit(100)])
    assert books.control.wait_until_known(0)
    books.settle(outcome(20))
    assert books.figures() == (20, 0, 0)


def test_a_reload_keeps_what_is_known_and_asks_for_what_is_new(books: Books) -> None:
    books.settle(outcome(20))
    books.decide(7)
    books.control.use("default", [limit(500), limit(900, per=Period.MONTH)])
    assert [one[0].per for one in books.asked] == [Period.MONTH]
    books.answer()
    assert books.figures() == (20, 7, 0)
    assert books.figures(Period.MONTH) == (20, 0, 0)
    books.control.use("default", [])
    assert list(books.control.states()) == []
    assert not books.control.standing("default", "bot").is_limited


amounts = st.integers(0, 60)
events = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), amounts),
        st.tuples(st.just("report"), amounts),
        st.tuples(st.just("abandon"), st.integers(0, 5)),
        st.tuples(st.just("clock"), st.integers(-2 * DAY_MS, 2 * DAY_MS)),
        st.tuples(st.just("wait"), st.integers(0, int(RESERVATION_S))),
        st.tuples(st.just("answer"), st.just(0)),
        st.tuples(st.just("again"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(events, st.booleans())
def test_figures_are_those_of_the_reports_whatever_the_clock_does(
    steps: list[tuple[str, int]], promptly: bool
) -> None:
    books = Books()
    books.control.use("default", [limit(10**9), limit(10**9, caller="", per=Period.MONTH)])
    open_decisions: list[tuple[str, int]] = []
    names = _names()
    for kind, number in steps:
        if kind == "decide":
            open_decisions.append((next(names), books.now_ms))
            books.decide(number, open_decisions[-1][0])
        elif kind == "report" and open_decisions:
            name, decided_ms = open_decisions.pop()
            books.settle(outcome(number, decision_id=name, decided_ms=decided_ms))
        elif kind == "clock":
            books.now_ms = max(0, books.now_ms + number)
        elif kind == "wait":
            books.now_s += number
        elif kind == "again":
            books.control.ask_again()
        if kind == "answer" or promptly:
            books.answer()
    list(books.control.states())  # the periods of now
    books.answer()
    for per, caller in ((Period.DAY, "bot"), (Period.MONTH, "")):
        spent, reserved, _ = books.figures(per, caller)
        account = Account("default", caller, per)
        start_ms = _start(per, books.now_ms)
        assert spent == books.truth(account, start_ms, _end(per, start_ms)).nano_usd
        assert reserved >= 0


@settings(max_examples=300)
@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(st.sampled_from(["decide", "report"]), amounts, st.integers(0, 100)), max_size=80
    ),
)
def test_reported_cost_never_exceeds_the_limit_and_what_was_under_way(
    most: int, steps: list[tuple[str, int, int]]
) -> None:
    books = Books()
    books.control.use("default", [limit(most)])
    books.answer()
    under_way: dict[str, int] = {}
    names = _names()
    spent = 0
    for kind, estimate, actual_share in steps:
        if kind == "decide":
            name = next(names)
            before = spent + sum(under_way.values())
            try:
                books.decide(estimate, name)
            except SpendLimitReachedError:
                assert before >= most
            else:
                assert before < most
                under_way[name] = estimate
                assert spent + sum(under_way.values()) < most + estimate
        elif under_way:
            name = next(iter(under_way))
            # Calls cost what was estimated or less.
            cost = under_way.pop(name) * actual_share // 100
            books.settle(outcome(cost, decision_id=name))
            spent += cost
        assert books.figures()[:2] == (spent, sum(under_way.values()))
    assert spent < most + 60


def _names() -> Iterator[str]:
    return (f"d{number}" for number in itertools.count())


def _start(per: Period, time_ms: int) -> int:
    day = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).date()
    first = day.replace(day=1) if per is Period.MONTH else day
    return (first - datetime.date(1970, 1, 1)).days * DAY_MS


def _end(per: Period, start_ms: int) -> int:
    if per is Period.DAY:
        return start_ms + DAY_MS
    return _start(per, start_ms + 31 * DAY_MS)
