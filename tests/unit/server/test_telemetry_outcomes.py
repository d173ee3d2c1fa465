"""What outcomes add to the metrics, and money that stays exact."""

from __future__ import annotations

import datetime
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.records import (
    AttemptRecord,
    CatalogModel,
    CatalogRecord,
    Origin,
    OutcomeRecord,
)
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import StepKind
from tierwise_server.planning.prices import PriceBand, ResolvedPrice
from tierwise_server.telemetry.metrics import Metrics
from tierwise_server.telemetry.outcomes import OTHER, KnownNames, OutcomeCounting
from tierwise_server.telemetry.tallies import MoneyCounter

NOW_MS = int(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp() * 1000)
PRICE = ResolvedPrice(
    bands=(PriceBand(above_input_tokens=0, input=1_000, output=2_000, cached_input=None),),
    per_call=7,
    source="test",
    source_date=None,
)
CATALOG = CatalogRecord(
    revision="r1",
    catalog="main",
    encoder_id="e",
    scorer_id="s",
    tiers=("low", "high"),
    baseline_model_id="big",
    models={
        "small": CatalogModel(provider="openai", name="small-1", tier="low", price=PRICE),
        "big": CatalogModel(provider="openai", name="big-1", tier="high", price=PRICE),
    },
)


class Counted:
    """Metrics of a server with one catalog, and outcomes to count in them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.counting = OutcomeCounting(self.metrics)
        self.counting.know(
            "main",
            KnownNames(tiers=frozenset(CATALOG.tiers), models=frozenset(CATALOG.models)),
        )
        self.prices = PriceBook()
        self.prices.put_in_service(CATALOG)

    def outcome(self, *attempts: AttemptRecord, **fields: object) -> None:
        """Counts an outcome of a decision for the low tier."""
        values: dict[str, object] = {
            "outcome_id": "o",
            "origin": Origin.ROUTER,
            "decision_id": "d",
            "decided_ms": NOW_MS,
            "recorded_ms": NOW_MS,
            "catalog": "main",
            "catalog_revision": "r1",
            "tier": "low",
            "attempts": attempts,
            **fields,
        }
        self.counting.count([self.prices.settle(OutcomeRecord(**values))])  # type: ignore[arg-type]

    def value(self, name: str, **labels: str) -> float | None:
        """Returns a series' value."""
        return self.metrics.registry.get_sample_value(name, {"catalog": "main", **labels})


def attempt(
    model: str = "small",
    error: int = 0,
    step: int = StepKind.FIRST,
    tokens: Tokens | None = None,
) -> AttemptRecord:
    return AttemptRecord(model_id=model, step_kind=step, error_class=error, tokens=tokens)


TEN = Tokens(input=10, output=5)


def test_a_prompt_counts_by_the_farthest_step_it_took() -> None:
    counted = Counted()
    overloaded = ErrorClass.OVERLOADED
    counted.outcome(attempt(error=overloaded), attempt(tokens=TEN))
    counted.outcome(attempt(error=overloaded), attempt("big", step=StepKind.ALTERNATE, tokens=TEN))
    counted.outcome(
        attempt(error=overloaded),
        attempt("big", overloaded, StepKind.ESCALATION),
        attempt("small", overloaded, StepKind.ALTERNATE),
    )
    for fallback, ending in (
        ("none", "answered"),
        ("alternate", "answered"),
        ("escalation", "overloaded"),
    ):
        labels = {"tier": "low", "fallback": fallback, "ending": ending}
        assert counted.value("tierwise_prompts_total", **labels) == 1, fallback


def test_a_judgement_alone_is_no_prompt() -> None:
    counted = Counted()
    counted.outcome(origin=Origin.LATER, quality=1.0)
    assert b"tierwise_prompts_total{" not in exposition(counted.metrics)


def test_a_plan_that_was_not_followed_and_an_unknown_failure_are_other() -> None:
    counted = Counted()
    counted.outcome(attempt(error=-1, step=0))
    labels = {"tier": "low", "model": "small", "step": OTHER, "error_class": OTHER}
    assert counted.value("tierwise_attempts_total", **labels) == 1
    labels = {"tier": "low", "fallback": "none", "ending": OTHER}
    assert counted.value("tierwise_prompts_total", **labels) == 1


def test_the_empty_catalog_is_the_first_one() -> None:
    counted = Counted()
    counted.counting.know("second", KnownNames(tiers=frozenset(), models=frozenset()))
    counted.outcome(attempt(tokens=TEN), origin=Origin.ROUTERLESS, catalog="", routerless_cause=1)
    assert counted.value("tierwise_routerless_decisions_total", cause="unavailable") == 1


def test_a_model_that_left_the_catalog_is_other() -> None:
    counted = Counted()
    counted.counting.know("main", KnownNames(tiers=frozenset({"low"}), models=frozenset()))
    counted.outcome(attempt(tokens=TEN))
    labels = {"tier": "low", "model": OTHER, "step": "first", "error_class": "none"}
    assert counted.value("tierwise_attempts_total", **labels) == 1


def test_failed_attempts_are_paid_on_the_side_of_what_was_spent() -> None:
    counted = Counted()
    rejected = attempt(error=ErrorClass.REJECTED_BY_VALIDATOR, tokens=TEN)
    counted.outcome(rejected, attempt("big", step=StepKind.ESCALATION, tokens=TEN))
    one = 7  # of a call as such; 20,000 a million tokens round to nothing
    assert counted.metrics.cost.total("main", "low", "small", "unsuccessful") == one
    assert counted.metrics.cost.total("main", "high", "big", "answer") == one
    assert counted.metrics.compared_cost.total("main") == 2 * one
    assert counted.metrics.baseline_cost.total("main") == one


def test_what_has_no_price_is_on_neither_side() -> None:
    counted = Counted()
    counted.outcome(attempt("small"), attempt("big", tokens=TEN))
    assert counted.value("tierwise_unpriced_attempts_total", tier="low", model="small") == 1
    assert counted.metrics.compared_cost.total("main") == 0
    assert counted.metrics.baseline_cost.total("main") == 0


@given(
    st.integers(0, 1_000),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
)
def test_kinds_of_tokens_add_up_to_the_tokens(
    read: int, cached: int, written: int, output: int, reasoning: int
) -> None:
    counted = Counted()
    counted.outcome(
        attempt(
            tokens=Tokens(
                input=read,
                cached_input=cached,
                cache_write=written,
                output=output,
                reasoning=reasoning,
            )
        )
    )
    values = [
        counted.value("tierwise_tokens_total", tier="low", model="small", kind=kind) or 0
        for kind in ("input", "cached_input", "cache_write", "output", "reasoning")
    ]
    assert sum(values) == read + output
    assert min(values) >= 0


# Money --------------------------------------------------------------------------------------------


def exposition(metrics: Metrics) -> bytes:
    return generate_latest(metrics.registry)


def money() -> tuple[MoneyCounter, CollectorRegistry]:
    registry = CollectorRegistry()
    return MoneyCounter("cost_usd", "What it cost.", ("model",), registry), registry


@given(st.lists(st.integers(0, 10**15), max_size=50))
def test_a_sum_of_money_is_off_by_no_more_than_its_last_digit(amounts: list[int]) -> None:
    counter, registry = money()
    for amount in amounts:
        counter.add(amount, "a")
    exact = Fraction(sum(amounts), 10**9)
    shown = registry.get_sample_value("cost_usd_total", {"model": "a"}) or 0.0
    assert counter.total("a") == sum(amounts)
    assert abs(Fraction(shown) - exact) <= Fraction(math.ulp(float(exact))) / 2


def test_nano_dollars_count_however_much_there_is() -> None:
    counter, _ = money()
    counter.add(10**19, "a")
    for _ in range(1_000):
        counter.add(1, "a")
    assert counter.total("a") == 10**19 + 1_000


def test_threads_lose_no_money() -> None:
    counter, _ = money()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [counter.add(1, "a") for _ in range(2_000)])
    assert counter.total("a") == 16_000


def test_a_name_is_taken_once() -> None:
    _, registry = money()
    with pytest.raises(ValueError, match="Duplicated"):
        MoneyCounter("cost_usd", "Again.", (), registry)
