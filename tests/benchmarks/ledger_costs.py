"""Holds the ledger's costs against an independent computation, on recorded traffic.

    python tests/benchmarks/ledger_costs.py DATA_FOLDER

Every recorded answer that names its usage goes the way of a report: the client's adapter reads it,
the client's reporting makes the message, the server's intake the record, and the ledger prices it.
Beside that, code that shares nothing with any of these reads the tokens, and computes the cost in
fractions: by made-up prices with bands, cached input, cache writes and parts of a nano-dollar, and,
where the price list has the model that answered, by the list's own calculator.
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import wire
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price
from harness import Bar, BenchmarkError, report, run_program
from wire_records import ExpectedUsage, Record, records

from tierwise.answers import Answer
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, RouterlessCause, StepKind
from tierwise.providers.base import HttpReply, Provider
from tierwise.providers.registry import KNOWN
from tierwise.reporting.outcome import Outcome, outcome_message
from tierwise_server.grpc_api.outcome_checks import TimeFrame
from tierwise_server.grpc_api.outcomes import read_outcome
from tierwise_server.ledger.pricing import PriceBook, SettledAttempt
from tierwise_server.ledger.records import CatalogModel, CatalogRecord, OutcomeRecord
from tierwise_server.planning.prices import PriceBand, ResolvedPrice

MADE_UP = {
    "whole": ResolvedPrice(
        bands=(PriceBand(input=150_000_000, output=600_000_000, cached_input=75_000_000),),
        source="made up",
    ),
    "parts of a nano-dollar": ResolvedPrice(
        bands=(
            PriceBand(
                input=37_500_001,
                output=150_333_337,
                cached_input=3_750_019,
                cache_write=46_875_013,
            ),
        ),
        per_call=7,
        source="made up",
    ),
    "no price of cached input": ResolvedPrice(
        bands=(PriceBand(input=1_234_567, output=7_654_321),), source="made up"
    ),
    "bands": ResolvedPrice(
        bands=(
            PriceBand(input=1_111_111, output=9_999_999, cached_input=333_333),
            PriceBand(
                above_input_tokens=100, input=2_222_223, output=19_999_999, cached_input=666_667
            ),
            PriceBand(
                above_input_tokens=1_000, input=4_444_447, output=39_999_997, cache_write=5_555_557
            ),
        ),
        per_call=1_000_003,
        source="made up",
    ),
}
"""Prices that bring out every part of the computation, by what they are about."""

_MILLION = 1_000_000


class Case(NamedTuple):
    """One recorded answer."""

    name: str
    expected: ExpectedUsage
    answer: Answer
    provider_id: str


def main() -> int:
    """Reads the command line, compares all costs and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data_folder", type=Path)
    cases = list(read_cases(parser.parse_args().data_folder))
    if not cases:
        raise BenchmarkError("the folder holds no recorded usage")
    misses: list[str] = []
    compared: Counter[str] = Counter()
    for case in cases:
        for name, price in MADE_UP.items():
            compared[name] += 1
            got = settled(case, price).cost_nano_usd
            wanted = stated(case)
            if wanted is None:
                wanted = rounded_up_from_half(by_fractions(case.expected, price))
            if got != wanted:
                misses.append(f"{case.name}, {name}: {got}, and not {wanted}")
        kind, wanted_ones = by_the_list(case)
        compared[kind] += 1
        got = settled(case, None).cost_nano_usd
        if got not in wanted_ones:
            misses.append(f"{case.name}, {kind}: {got}, and not {wanted_ones}")
    report(
        [Bar(name="costs_that_differ", value=len(misses), limit=0)],
        {
            "usage_objects": len(cases),
            "by_provider": dict(Counter(one.name.partition("/")[0] for one in cases)),
            "compared": dict(compared),
            "with_cached_input": sum(1 for one in cases if one.expected.cached_input_tokens),
            "with_reasoning": sum(1 for one in cases if one.expected.reasoning_tokens),
            "with_cache_writes": sum(1 for one in cases if one.expected.cache_write_tokens),
            "misses": misses,
        },
    )
    return 1 if misses else 0


def read_cases(folder: Path) -> list[Case]:
    """Returns the recorded answers that name their usage."""
    cases: list[Case] = []
    for name, form in wire._formats():
        if not (folder / name).is_dir() or name in wire.LEFT_OUT:
            continue
        provider_id = wire.PROVIDER_IDS.get(name, name)
        for record in records(folder, name):
            expected = form.expected(record)
            answer = read_answer(record, KNOWN[provider_id].provider)
            if expected.usage is not None and isinstance(answer, Answer):
                cases.append(Case(record.name, expected.usage, answer, provider_id))
    return cases


def read_answer(record: Record, provider: Provider) -> object:
    """Returns what the client's adapter makes of a recorded response."""
    if record.kind == "stream":
        return wire._streamed(record, provider, [record.body.encode()])
    return wire._unary(
        provider,
        HttpReply(status=record.status, headers=record.headers, content=record.body.encode()),
    )


def settled(case: Case, price: ResolvedPrice | None) -> SettledAttempt:
    """Returns a report's attempt with its cost: by a catalog's price, or by the list's."""
    answer = case.answer
    attempt = Attempt(
        model_id="model",
        provider_id=case.provider_id,
        step_kind=StepKind.FIRST,
        start_time=NOW,
        duration_s=1.0,
        usage=answer.usage,
        cost_nano_usd=answer.cost_nano_usd,
        stated_cost=answer.cost_nano_usd is not None,
        served_model=answer.served_model,
    )
    decision = Decision(
        decision_id="decision", tier_id="tier", routerless_cause=RouterlessCause.UNAVAILABLE
    )
    message = outcome_message(
        Outcome(outcome_id="outcome", decision=decision, attempts=(attempt,), end_time=NOW)
    )
    record = read_outcome(message, TimeFrame(now_ms=time.time_ns() // _MILLION))
    if not isinstance(record, OutcomeRecord):
        raise BenchmarkError(f"{case.name}: the report is rejected: {record}")
    if price is None:
        return LISTED.settle(record).attempts[0]
    book = PriceBook()
    model = CatalogModel(provider=case.provider_id, name="model", tier="tier", price=price)
    book.put_in_service(
        CatalogRecord(
            revision="r",
            catalog="default",
            encoder_id="",
            scorer_id="",
            tiers=("tier",),
            baseline_model_id="model",
            models={"model": model},
        )
    )
    return book.settle(record).attempts[0]


def stated(case: Case) -> int | None:
    """Returns the cost that the provider states."""
    return case.answer.cost_nano_usd


def by_fractions(usage: ExpectedUsage, price: ResolvedPrice) -> Fraction:
    """Returns what a call costs in nano-dollars, from what the recording says."""
    applying = [one for one in price.bands if usage.input_tokens > one.above_input_tokens]
    band = applying[-1] if applying else price.bands[0]
    cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
    rate = band.cached_input if band.cached_input is not None else band.input
    write_rate = band.cache_write if band.cache_write is not None else band.input
    return (
        Fraction(band.input, _MILLION) * (usage.input_tokens - cached - written)
        + Fraction(rate, _MILLION) * cached
        + Fraction(write_rate, _MILLION) * written
        + Fraction(band.output, _MILLION) * usage.output_tokens
        + price.per_call
    )


def by_the_list(case: Case) -> tuple[str, set[int | None]]:
    """Returns what the price list's own calculator says, in nano-dollars, and how it knows.

    More than one amount where the price depends on the hour: the ledger knows one price a day.
    """
    if stated(case) is not None:
        return "stated by the provider", {stated(case)}
    usage = case.expected
    tokens = ListedUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens or 0,
        cache_write_tokens=usage.cache_write_tokens or 0,
        output_tokens=usage.output_tokens,
    )
    costs: set[int | None] = set()
    for hour in range(24):
        try:
            found = calc_price(
                tokens,
                case.answer.served_model,
                provider_id=case.provider_id,
                genai_request_timestamp=NOW.replace(hour=hour),
            )
        except (LookupError, ValueError):
            return "unpriced", {None}
        if found.model_price.input_mtok is None or found.model_price.output_mtok is None:
            # The calculator counts what it has no price for as nothing.
            return "unpriced", {None}
        costs.add(rounded_up_from_half(Fraction(Decimal(found.total_price)) * 10**9))
    return ("price list" if len(costs) == 1 else "price list, by the hour"), costs


def rounded_up_from_half(amount: Fraction) -> int:
    """Returns the nearest whole number, of two the higher."""
    return math.floor(amount + Fraction(1, 2))


NOW = datetime.datetime.now(datetime.UTC)
LISTED = PriceBook()
"""Knows no catalog, so it asks the list."""


if __name__ == "__main__":
    run_program(main)
