"""Costs are exact to the nano-dollar."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.answers import Answer, Usage
from tierwise.decisions import Price
from tierwise.money import answer_cost, usage_cost

PRICE = Price(
    input_nano_usd_per_million=150_000_000,
    output_nano_usd_per_million=600_000_000,
    cached_input_nano_usd_per_million=75_000_000,
    call_nano_usd=7,
)


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=50, reasoning_tokens=20)
    assert usage_cost(usage, PRICE) == 600 * 150 + 400 * 75 + 50 * 600 + 7


def test_cached_input_without_a_price_of_its_own_costs_as_much_as_other_input() -> None:
    price = Price(input_nano_usd_per_million=3_000_000, output_nano_usd_per_million=0)
    usage = Usage(input_tokens=100, cached_input_tokens=60)
    assert usage_cost(usage, price) == 300


def test_what_a_cache_takes_has_a_price_of_its_own_where_the_model_has_one() -> None:
    usage = Usage(input_tokens=100, cached_input_tokens=60, cache_write_tokens=30)
    price = Price(
        input_nano_usd_per_million=4_000_000,
        output_nano_usd_per_million=0,
        cached_input_nano_usd_per_million=1_000_000,
    )
    assert usage_cost(usage, price) == 60 * 1 + 40 * 4
    dearer = replace(price, cache_write_nano_usd_per_million=5_000_000)
    assert usage_cost(usage, dearer) == 60 * 1 + 30 * 5 + 10 * 4


def test_more_tokens_written_than_tokens_are_counted_once() -> None:
    price = Price(
        input_nano_usd_per_million=4_000_000,
        output_nano_usd_per_million=0,
        cache_write_nano_usd_per_million=5_000_000,
    )
    usage = Usage(input_tokens=10, cached_input_tokens=4, cache_write_tokens=1000)
    assert usage_cost(usage, price) == 4 * 4 + 6 * 5


def test_cached_input_that_is_free_costs_nothing() -> None:
    price = Price(
        input_nano_usd_per_million=3_000_000,
        output_nano_usd_per_million=0,
        cached_input_nano_usd_per_million=0,
    )
    assert usage_cost(Usage(input_tokens=100, cached_input_tokens=60), price) == 120


def test_more_cached_tokens_than_tokens_are_no_discount() -> None:
    usage = Usage(input_tokens=10, cached_input_tokens=1000)
    assert usage_cost(usage, PRICE) == 10 * 75 + 7


@pytest.mark.parametrize(("tokens", "cost"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2)])
def test_halves_are_rounded_up(tokens: int, cost: int) -> None:
    price = Price(input_nano_usd_per_million=250_000, output_nano_usd_per_million=0)
    assert usage_cost(Usage(input_tokens=tokens), price) == cost


counts = st.integers(0, 2**53)
prices = st.integers(0, 2**63 - 1)


@given(
    st.tuples(counts, counts, counts),
    st.builds(
        Price,
        input_nano_usd_per_million=prices,
        output_nano_usd_per_million=prices,
        cached_input_nano_usd_per_million=st.one_of(st.none(), prices),
        call_nano_usd=prices,
    ),
)
def test_the_cost_is_exact(tokens: tuple[int, int, int], price: Price) -> None:
    fresh, cached, output = tokens
    usage = Usage(input_tokens=fresh + cached, cached_input_tokens=cached, output_tokens=output)
    of_cached = price.cached_input_nano_usd_per_million
    if of_cached is None:
        of_cached = price.input_nano_usd_per_million
    exact = price.call_nano_usd + Fraction(
        fresh * price.input_nano_usd_per_million
        + cached * of_cached
        + output * price.output_nano_usd_per_million,
        1_000_000,
    )
    cost = usage_cost(usage, price)
    assert isinstance(cost, int)
    assert -Fraction(1, 2) < cost - exact <= Fraction(1, 2)


def test_what_the_provider_states_counts_before_what_is_computed() -> None:
    answer = Answer(usage=Usage(input_tokens=1000), cost_nano_usd=0)
    assert answer_cost(answer, PRICE) == 0
    assert answer_cost(Answer(cost_nano_usd=5), None) == 5


def test_what_is_not_known_is_not_nothing() -> None:
    assert answer_cost(None, PRICE) is None
    assert answer_cost(Answer(), PRICE) is None
    assert answer_cost(Answer(usage=Usage(input_tokens=10)), None) is None
    assert answer_cost(Answer(usage=Usage()), PRICE) == 7
