"""Which price an attempt gets, and what an outcome adds up to."""

from __future__ import annotations

import pytest
from tests.unit.server.ledger.conftest import CHEAP, DEAR, attempt, catalog, outcome, price

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import (
    MAX_COST_NANO_USD,
    PriceBook,
    catalog_json,
    models_from_json,
    price_id,
)
from tierwise_server.ledger.records import PriceBasis
from tierwise_server.planning.error_classes import ErrorClass

SMALL_COST = 150_000 + 60_000
"""Of 1,000 tokens of input and 100 of output on the cheap model."""
BIG_COST = 5_000_000 + 2_500_000


def book() -> PriceBook:
    prices = PriceBook()
    prices.put_in_service(catalog())
    return prices


def test_an_attempt_costs_what_the_catalog_said_at_the_decision() -> None:
    prices = book()
    dearer = catalog("r2", models={**catalog().models, "small": catalog().models["big"]})
    prices.put_in_service(dearer)
    (settled,) = prices.settle(outcome("x")).attempts
    assert (settled.cost_nano_usd, settled.basis) == (SMALL_COST, PriceBasis.DECISION)
    (later,) = prices.settle(outcome("x", catalog_revision="r2")).attempts
    assert later.cost_nano_usd == BIG_COST


def test_an_unknown_revision_gets_the_prices_in_service_and_says_so() -> None:
    (settled,) = book().settle(outcome("x", catalog_revision="elsewhere")).attempts
    assert (settled.cost_nano_usd, settled.basis) == (SMALL_COST, PriceBasis.IN_SERVICE)


def test_a_stated_cost_wins_and_the_computed_one_stays_beside_it() -> None:
    (settled,) = book().settle(outcome("x", attempt(stated_cost_nano_usd=7))).attempts
    assert (settled.cost_nano_usd, settled.basis) == (7, PriceBasis.STATED)
    assert (settled.computed_cost_nano_usd, settled.price) == (SMALL_COST, CHEAP)


def test_a_model_of_unknown_price_stays_unpriced_though_a_list_knows_the_name() -> None:
    used = attempt("own", provider_id="openai", served_model_name="gpt-4o")
    settled = book().settle(outcome("x", used))
    (one,) = settled.attempts
    assert (one.cost_nano_usd, one.basis, one.price) == (None, PriceBasis.UNPRICED, None)
    assert settled.counterfactual_nano_usd == BIG_COST


def test_a_model_that_the_catalog_does_not_have_gets_the_price_of_the_installed_list() -> None:
    used = attempt("gone", provider_id="openai", served_model_name="gpt-4o-2024-08-06")
    (settled,) = book().settle(outcome("x", used)).attempts
    assert settled.basis is PriceBasis.LIST
    assert settled.price is not None
    assert settled.price.source.startswith("genai-prices ")
    assert settled.price.source_date is not None
    assert settled.cost_nano_usd == 1000 * 2_500 + 100 * 10_000


@pytest.mark.parametrize(
    "used",
    [
        attempt("gone"),
        attempt("gone", provider_id="openai", served_model_name="no-such-model"),
        attempt("gone", provider_id="no-such-provider", served_model_name="gpt-4o"),
        attempt(tokens=None),
        attempt(tokens=None, error_class=ErrorClass.TIMEOUT),
        attempt(tokens=None, error_class=ErrorClass.CANCELLED),
        attempt(tokens=None, error_class=ErrorClass.CONNECTION, partial=True),
        attempt(tokens=None, error_class=-1),
    ],
    ids=range(8),
)
def test_what_is_not_known_is_unpriced_and_not_zero(used: object) -> None:
    (settled,) = book().settle(outcome("x", used)).attempts  # type: ignore[arg-type]
    assert (settled.cost_nano_usd, settled.basis) == (None, PriceBasis.UNPRICED)


def test_an_absurd_cost_is_unpriced() -> None:
    absurd = {"small": catalog().models["small"], "big": catalog().models["big"]}
    prices = PriceBook()
    prices.put_in_service(
        catalog(models={name: _at(one, MAX_COST_NANO_USD) for name, one in absurd.items()})
    )
    settled = prices.settle(outcome("x", attempt(tokens=Tokens(input=10**9, output=0))))
    assert settled.attempts[0].cost_nano_usd is None
    assert settled.counterfactual_nano_usd is None


def _at(model: object, rate: int) -> object:
    return type(model)(provider="p", name="n", tier="budget", price=price(rate, rate))  # type: ignore[call-arg]


def test_a_call_that_the_provider_refused_costs_nothing() -> None:
    refused = attempt(tokens=None, error_class=ErrorClass.RATE_LIMITED)
    (settled,) = book().settle(outcome("x", refused)).attempts
    assert (settled.cost_nano_usd, settled.basis) == (0, PriceBasis.UNBILLED)


def test_a_failure_with_usage_costs_what_it_used() -> None:
    failed = attempt(error_class=ErrorClass.REJECTED_BY_VALIDATOR)
    settled = book().settle(outcome("x", failed, attempt("big")))
    assert [one.cost_nano_usd for one in settled.attempts] == [SMALL_COST, BIG_COST]
    assert settled.answer is settled.attempts[1]
    assert settled.answer.tier == "premium"


def test_the_counterfactual_is_the_answers_call_on_the_baseline() -> None:
    settled = book().settle(outcome("x", attempt(error_class=2), attempt()))
    assert settled.counterfactual_nano_usd == BIG_COST
    assert settled.counterfactual_price == DEAR


def test_nothing_is_claimed_for_a_call_without_an_answer() -> None:
    settled = book().settle(outcome("x", attempt(error_class=ErrorClass.CONTENT_POLICY)))
    assert settled.answer is None
    assert settled.counterfactual_nano_usd == 0


def test_models_of_a_revision_survive_being_written_down() -> None:
    by_id = {price_id(one): one for one in (CHEAP, DEAR)}
    assert models_from_json(catalog_json(catalog()), by_id.__getitem__) == catalog().models


def test_prices_that_differ_in_anything_have_ids_of_their_own() -> None:
    variants = (CHEAP, DEAR, price(150_000_000, 600_000_000, 1), price(150_000_000, 600_000_000, 0))
    assert len({price_id(one) for one in (*variants, price(1, 2), price(1, 2, source="list"))}) == 6
