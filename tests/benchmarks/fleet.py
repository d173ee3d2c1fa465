"""Times what outcomes cost the server beside writing them: health, views and spend.

`python tests/benchmarks/fleet.py` prints, as JSON, microseconds of process time: of an outcome
observed and counted, of making the view of a large fleet anew, and of what limits add to a
decision of a caller that has some and of one that has none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from planning import make_catalog, make_model

from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.limits import AtLimit, Period, SpendLimit
from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.records import AttemptRecord, Origin, OutcomeRecord, RateHeadroom
from tierwise_server.planning.prices import resolve_prices
from tierwise_server.planning.registry import build_registry
from tierwise_server.spending.control import SpendControl

BOT: Final = "billing-bot"
CATALOG: Final = "default"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=int, default=100, help="models in the registry")
    parser.add_argument("--outcomes", type=int, default=50_000, help="outcomes to take")
    arguments = parser.parse_args(argv)
    random_numbers = random.Random(20261122)  # noqa: S311 - no secret
    catalog = make_catalog([make_model(one, random_numbers) for one in range(arguments.models)])
    monitor = FleetMonitor()
    day = datetime.date(2026, 11, 22)
    monitor.use(CATALOG, build_registry(catalog, resolve_prices(catalog.models, day)))
    outcomes = [
        make_outcome(number, f"model-{number % arguments.models}", random_numbers)
        for number in range(arguments.outcomes)
    ]
    prices = PriceBook()
    settled = [prices.settle(one) for one in outcomes]
    spending = SpendControl()
    spending.use(CATALOG, [make_limit(caller, per) for caller in (BOT, "") for per in Period])
    unlimited = SpendControl()

    def decide(control: SpendControl) -> Callable[[int], object]:
        def run(number: int) -> object:
            control.admit(CATALOG, BOT)
            control.standing(CATALOG, BOT)
            held = control.reserve(CATALOG, BOT, 1000)
            if held is not None:
                control.confirm(held, f"d{number}")
            return held

        return run

    rounds = arguments.outcomes
    figures = {
        "observe_an_outcome": measure(lambda at: monitor.observe([outcomes[at]]), rounds),
        "make_the_view_anew": measure(lambda _: monitor.refresh(), 200),
        "decide_with_four_limits": measure(decide(spending), rounds),
        "decide_without_limits": measure(decide(unlimited), rounds),
        "count_an_outcome": measure(lambda at: spending.settle([settled[at]]), rounds),
    }
    print(json.dumps({"models": arguments.models, "microseconds": figures}, indent=2))
    return 0


def measure(work: Callable[[int], object], rounds: int) -> float:
    """Returns the process time of one call in microseconds."""
    started = time.process_time()
    for number in range(rounds):
        work(number)
    return round((time.process_time() - started) / rounds * 1e6, 2)


def make_outcome(number: int, model_id: str, random_numbers: random.Random) -> OutcomeRecord:
    """Returns an outcome of one call."""
    now_ms = time.time_ns() // 1_000_000
    return OutcomeRecord(
        outcome_id=f"o{number}",
        origin=Origin.ROUTER,
        decision_id=f"d{number}",
        decided_ms=now_ms,
        recorded_ms=now_ms,
        catalog=CATALOG,
        caller=BOT,
        attempts=(
            AttemptRecord(
                model_id=model_id,
                error_class=3 if random_numbers.random() < 0.02 else 0,
                duration_us=random_numbers.randint(200_000, 20_000_000),
                first_token_us=random_numbers.randint(100_000, 2_000_000),
                tokens=Tokens(input=random_numbers.randint(10, 5000), output=300),
                stated_cost_nano_usd=random_numbers.randint(0, 10**7),
                headroom=RateHeadroom(random_numbers.randint(0, 500), 10**5, 30.0),
            ),
        ),
    )


def make_limit(caller: str, per: Period) -> SpendLimit:
    """Returns a limit that is never reached."""
    return SpendLimit(
        caller=caller,
        per=per,
        nano_usd=10**18,
        at_limit=AtLimit.REFUSE,
        tier=None,
        location=Location(file="limits.yaml", line=2),
    )


if __name__ == "__main__":
    sys.exit(main())
