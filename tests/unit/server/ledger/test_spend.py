"""What a caller spent, to the last digit, on every database; and questions between batches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from sqlalchemy import Connection
from tests.unit.server.ledger.conftest import NOW_MS, attempt, catalog, outcome

from tierwise_server.feedback import Feedback
from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.ledger.ledger import Ledger
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.spend import spend_between
from tierwise_server.ledger.store import LedgerStore
from tierwise_server.spending.control import SpendControl
from tierwise_server.telemetry import Telemetry

HUGE = 10**15
WAIT_S = 20.0


def sums(found: list[tuple[int, int]], **changes: object) -> Callable[[Connection], None]:
    """Returns a question that adds what was spent to a list."""
    asked = {
        "catalogs": {"default", ""},
        "caller": "",
        "since_ms": NOW_MS,
        "until_ms": NOW_MS + 1000,
        **changes,
    }
    return lambda connection: found.append(spend_between(connection, **asked))  # type: ignore[arg-type]


def telling(event: asyncio.Event) -> Callable[[Connection], None]:
    """Returns a question that asks nothing, and says when it was put."""
    loop = asyncio.get_running_loop()

    def tell(_: Connection) -> None:
        loop.call_soon_threadsafe(event.set)

    return tell


def test_sums_are_exact_and_by_catalog_caller_and_time(url: str) -> None:
    def spent(number: int, *costs: int | None, **changes: object) -> object:
        attempts = [
            attempt(tokens=None, stated_cost_nano_usd=cost)
            if cost is not None
            else attempt("unheard-of", tokens=None)
            for cost in costs
        ]
        fields = {"catalog": "default", "caller": "bot", "decided_ms": NOW_MS, **changes}
        return outcome(f"o{number}", *attempts, **fields)

    prices = PriceBook()
    prices.put_in_service(catalog())
    rows = [
        *(spent(number, HUGE - 1, 3) for number in range(20)),
        spent(20, None, 7),
        spent(21, 11, catalog="", caller="other"),
        spent(22, 1000, catalog="elsewhere"),
        spent(23, 1000, decided_ms=NOW_MS - 1),
        spent(24, 1000, decided_ms=NOW_MS + 1000),
    ]
    found: list[tuple[int, int]] = []
    with contextlib.closing(LedgerStore(url, prices)) as store:
        store.write(outcomes=rows)  # type: ignore[arg-type]
        store.read(sums(found))
        store.read(sums(found, caller="bot"))
        store.read(sums(found, caller="nobody"))
    of_bot = 20 * (HUGE + 2) + 7
    assert found == [(of_bot + 11, 1), (of_bot, 1), (0, 0)]


async def test_a_question_is_answered_after_what_was_reported_before(sqlite_url: str) -> None:
    telemetry = Telemetry()
    ledger = Ledger(sqlite_url, Feedback(telemetry, FleetMonitor(), SpendControl()))
    ledger.start()
    try:
        ledger.note_catalog(catalog())
        found: list[tuple[int, int]] = []
        for number in range(5):
            reported = outcome(
                f"o{number}",
                attempt(tokens=None, stated_cost_nano_usd=10),
                catalog="default",
                decided_ms=NOW_MS,
            )
            await ledger.report([reported])
            answered = asyncio.Event()
            ledger.ask(sums(found))
            ledger.ask(telling(answered))
            await asyncio.wait_for(answered.wait(), WAIT_S)
        assert found == [(10 * (number + 1), 0) for number in range(5)]
    finally:
        await ledger.close(WAIT_S)
