"""What is written is there once, with its price, until it is too old."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.server.ledger.conftest import (
    NOW_MS,
    attempt,
    catalog,
    decision,
    outcome,
    price,
)
from tests.unit.server.ledger.reading import LedgerReader

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.records import CatalogModel, Origin, PriceBasis
from tierwise_server.ledger.store import LedgerStore
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import StepKind

DAY_MS = 86_400_000
SMALL_COST = 210_000
BIG_COST = 7_500_000


@pytest.fixture
def store(url: str) -> Iterator[LedgerStore]:
    with contextlib.closing(opened(url)) as store:
        yield store


@pytest.fixture
def reader(url: str, store: LedgerStore) -> Iterator[LedgerReader]:
    with LedgerReader(url) as reader:
        yield reader


def opened(url: str) -> LedgerStore:
    prices = PriceBook()
    prices.put_in_service(catalog())
    return LedgerStore(url, prices)


def test_an_outcome_is_written_once(store: LedgerStore, reader: LedgerReader) -> None:
    assert store.write(outcomes=[outcome("a"), outcome("b")]).fresh == [True, True]
    other = outcome("a", attempt("big"), attempt("big"))
    assert store.write(outcomes=[other, outcome("c"), other]).fresh == [False, True, False]
    assert reader.outcome_count() == 3
    assert [one.model_id for one in reader.attempts("a")] == ["small"]


def test_a_repeat_within_a_batch_is_written_once(store: LedgerStore, reader: LedgerReader) -> None:
    batch = [outcome("b"), outcome("a"), outcome("b"), outcome("a", attempt("big"))]
    assert store.write(outcomes=batch).fresh == [True, True, False, False]
    assert [one.model_id for one in reader.attempts("a")] == ["small"]


def test_servers_that_write_the_same_outcomes_at_once_write_them_once(url: str) -> None:
    batch = [outcome(f"o-{number}", attempt(), attempt("big")) for number in range(300)]
    orders = [batch, batch[::-1], batch[150:] + batch[:150]]
    results: list[list[bool]] = []
    together = threading.Barrier(len(orders), timeout=30)

    def write(order: list) -> None:  # type: ignore[type-arg]
        with contextlib.closing(opened(url)) as store:
            together.wait()
            results.append(store.write(outcomes=order).fresh)

    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(map(sum, results)) == len(batch)
    with LedgerReader(url) as reader:
        assert reader.outcome_count() == len(batch)
        assert reader.attempt_count() == 2 * len(batch)
        assert {len(reader.attempts(one.outcome_id)) for one in batch} == {2}


def test_an_outcome_sums_up_its_attempts(store: LedgerStore, reader: LedgerReader) -> None:
    limited = attempt(
        tokens=None, error_class=ErrorClass.RATE_LIMITED, step_kind=StepKind.FIRST, duration_us=50
    )
    rejected = attempt(
        step_kind=StepKind.ALTERNATE,
        error_class=ErrorClass.REJECTED_BY_VALIDATOR,
        duration_us=1000,
        validator="length",
        stated_cost_nano_usd=77,
    )
    answer = attempt(
        "big",
        step_kind=StepKind.ESCALATION,
        duration_us=2000,
        first_token_us=300,
        served_model_name="big-1-mini",
        provider_id="anthropic",
        provider_request_id="req-1",
        started_ms=NOW_MS,
        tokens=Tokens(input=1000, cached_input=10, cache_write=5, output=100, reasoning=20),
    )
    store.write(outcomes=[outcome("a", limited, rejected, answer, quality=0.5, verdict=1)])
    row = reader.outcome("a")
    assert row is not None
    assert {name: row._mapping[name] for name in SUMMED} == SUMMED
    assert [one.cost_nano_usd for one in reader.attempts("a")] == [0, 77, BIG_COST]
    assert [one.computed_cost_nano_usd for one in reader.attempts("a")] == [
        None,
        SMALL_COST,
        BIG_COST,
    ]
    assert [one.price_basis for one in reader.attempts("a")] == [
        PriceBasis.UNBILLED,
        PriceBasis.STATED,
        PriceBasis.DECISION,
    ]
    assert reader.attempts("a")[2].bands == "[[0, 5000000000, 25000000000, null]]"


SUMMED = {
    "tier": "budget",
    "final_tier": "premium",
    "final_model_id": "big",
    "attempt_count": 3,
    "failed_count": 2,
    "highest_step": 3,
    "error_class": 0,
    "refused": 0,
    "input_tokens": 2000,
    "cached_input_tokens": 10,
    "cache_write_tokens": 5,
    "output_tokens": 200,
    "reasoning_tokens": 20,
    "answer_cost_nano_usd": BIG_COST,
    "unsuccessful_cost_nano_usd": 77,
    "unpriced_count": 0,
    "counterfactual_nano_usd": BIG_COST,
    "latency_us": 2000,
    "waited_us": 3050,
    "first_token_us": 300,
    "other_model": 1,
    "quality": 0.5,
    "verdict": 1,
}


def test_the_price_at_the_decision_outlives_the_server(url: str) -> None:
    with contextlib.closing(opened(url)) as store:
        store.write(catalogs=[catalog()])
    dear = CatalogModel(provider="p", name="n", tier="budget", price=price(10**12, 10**12))
    prices = PriceBook()
    prices.put_in_service(catalog("r2", models={"small": dear}))
    with contextlib.closing(LedgerStore(url, prices)) as store, LedgerReader(url) as reader:
        store.write(outcomes=[outcome("a")])
        (row,) = reader.attempts("a")
        assert (row.cost_nano_usd, row.price_basis) == (SMALL_COST, PriceBasis.DECISION)
        found = reader.outcome("a")
        assert found is not None
        assert found.counterfactual_nano_usd == BIG_COST


def test_a_decision_is_written_once_with_its_prompt(
    store: LedgerStore, reader: LedgerReader
) -> None:
    kept = decision(1, prompt="who goes there", metadata={"a": "b"}, score=0.25, task="chat")
    store.write(decisions=[kept, decision(2)])
    store.write(decisions=[kept])
    assert reader.decision_count() == 2
    row = reader.decision(kept.decision_id)
    assert row is not None
    assert (row.decided_ms, row.encoding_us, row.total_us) == (NOW_MS, 1000, 1500)
    assert (row.score, row.task, row.metadata) == (0.25, "chat", '{"a": "b"}')
    assert reader.prompt(kept.decision_id) == "who goes there"
    assert reader.prompt(decision(2).decision_id) is None


def test_a_later_judgement_is_found_by_its_decision(
    store: LedgerStore, reader: LedgerReader
) -> None:
    def judged(outcome_id: str, quality: float) -> bool:
        late = outcome(
            outcome_id, origin=Origin.LATER, decision_id="of-a", quality=quality, verdict=2
        )
        return store.write(outcomes=[replace(late, attempts=())]).fresh[0]

    assert judged("early", 0.1)  # before the call itself is reported
    store.write(outcomes=[outcome("a")])
    assert judged("late", 0.9)
    assert not judged("late", 0.2)
    assert [(one.outcome_id, one.quality) for one in reader.judgements("of-a")] == [
        ("early", 0.1),
        ("late", 0.9),
    ]
    assert reader.attempt_count() == 1


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\U0001f9d1", "'; DROP TABLE outcomes; --"])
def test_no_text_is_too_odd(store: LedgerStore, reader: LedgerReader, text: str) -> None:
    store.write(
        outcomes=[outcome("a", attempt(text), caller=text, tier=text, decision_id=text)],
        decisions=[decision(1, caller=text, prompt=text, task_tag=text, metadata={text: text})],
    )
    row = reader.outcome("a")
    assert row is not None
    assert row.caller == text.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\ud800", "?")


def test_what_is_too_old_goes_in_small_batches(store: LedgerStore, reader: LedgerReader) -> None:
    old_ms = NOW_MS - 10 * DAY_MS
    store.write(
        decisions=[
            *(decision(number, time_ms=old_ms, prompt="x") for number in range(7)),
            decision(100, prompt="x"),
        ],
        outcomes=[
            *(outcome(f"old-{number}", decided_ms=old_ms) for number in range(12)),
            outcome("new"),
        ],
    )
    before = NOW_MS - 5 * DAY_MS
    assert [store.delete_before(before, 5) for _ in range(3)] == [5, 5, 2]
    assert store.delete_before(before, 5) == 0
    assert (reader.decision_count(), reader.outcome_count()) == (1, 1)
    assert len(reader.attempts("new")) == 1
    assert list(reader.attempts("old-0")) == []
    assert reader.prompt(decision(100).decision_id) == "x"
    assert reader.prompt(decision(0, time_ms=old_ms).decision_id) is None
    assert store.write(outcomes=[outcome("newer")]).fresh == [True]


@settings(max_examples=10)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=70), max_size=6))
def test_any_sequence_of_batches_leaves_each_outcome_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/l.sqlite3"
    seen: set[str] = set()
    with contextlib.closing(opened(url)) as store:
        for batch in batches:
            results = store.write(outcomes=[outcome(one) for one in batch]).fresh
            for name, fresh in zip(batch, results, strict=True):
                assert fresh is (name not in seen)
                seen.add(name)
    with LedgerReader(url) as reader:
        assert reader.outcome_count() == len(seen)
        assert reader.attempt_count() == len(seen)
