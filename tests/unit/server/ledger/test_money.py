"""Costs are exact, and rounded once."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.ledger.money import Balance, Tokens, call_cost
from tierwise_server.planning.prices import PriceBand, ResolvedPrice

COUNT = st.integers(0, 10**9)
RATE = st.integers(0, 10**12)


@st.composite
def usages(draw: st.DrawFn) -> Tokens:
    whole_in, whole_out = draw(COUNT), draw(COUNT)
    cached = draw(st.integers(0, whole_in))
    return Tokens(
        input=whole_in,
        cached_input=cached,
        cache_write=draw(st.integers(0, whole_in - cached)),
        output=whole_out,
        reasoning=draw(st.integers(0, whole_out)),
    )


@st.composite
def prices(draw: st.DrawFn) -> ResolvedPrice:
    starts = draw(st.lists(st.integers(1, 10**6), max_size=2, unique=True).map(sorted))
    bands = tuple(
        PriceBand(
            above_input_tokens=start,
            input=draw(RATE),
            output=draw(RATE),
            cached_input=draw(st.none() | RATE),
            cache_write=draw(st.none() | RATE),
        )
        for start in (0, *starts)
    )
    return ResolvedPrice(bands=bands, per_call=draw(RATE), source="test")


def exact(tokens: Tokens, price: ResolvedPrice) -> Fraction:
    """Returns the cost before it is rounded."""
    band = next(
        one
        for one in reversed(price.bands)
        if tokens.input > one.above_input_tokens or not one.above_input_tokens
    )
    cached = band.input if band.cached_input is None else band.cached_input
    written = band.input if band.cache_write is None else band.cache_write
    plain = tokens.input - tokens.cached_input - tokens.cache_write
    return (
        Fraction(plain * band.input, 10**6)
        + Fraction(tokens.cached_input * cached, 10**6)
        + Fraction(tokens.cache_write * written, 10**6)
        + Fraction(tokens.output * band.output, 10**6)
        + price.per_call
    )


@given(usages(), prices())
def test_a_cost_is_the_exact_one_rounded_to_the_nearest_with_halves_up(
    tokens: Tokens, price: ResolvedPrice
) -> None:
    rest = call_cost(tokens, price) - exact(tokens, price)
    assert -Fraction(1, 2) < rest <= Fraction(1, 2)


@given(usages(), prices())
def test_reasoning_costs_what_other_output_costs(tokens: Tokens, price: ResolvedPrice) -> None:
    plain = Tokens(
        input=tokens.input,
        cached_input=tokens.cached_input,
        cache_write=tokens.cache_write,
        output=tokens.output,
    )
    assert call_cost(plain, price) == call_cost(tokens, price)


def test_parts_that_are_more_than_the_input_are_counted_once() -> None:
    band = PriceBand(input=3_000_000, output=0, cached_input=1_000_000, cache_write=4_000_000)
    price = ResolvedPrice(bands=(band,), source="test")
    assert call_cost(Tokens(input=10, cached_input=4, cache_write=99, output=0), price) == 4 + 6 * 4
    assert call_cost(Tokens(input=10, cached_input=99, cache_write=9, output=0), price) == 10


def test_a_long_input_costs_more_for_all_of_its_tokens() -> None:
    bands = (
        PriceBand(input=1_000_000, output=2_000_000),
        PriceBand(above_input_tokens=200, input=3_000_000, output=4_000_000),
    )
    price = ResolvedPrice(bands=bands, source="test")
    assert call_cost(Tokens(input=200, output=10), price) == 220
    assert call_cost(Tokens(input=201, output=10), price) == 201 * 3 + 40


@given(RATE, RATE, RATE, RATE)
def test_saving_and_costs_make_up_the_counterfactual(
    counterfactual: int, calls: int, unsuccessful: int, routing: int
) -> None:
    total = Balance(
        counterfactual=counterfactual, calls=calls, unsuccessful=unsuccessful, routing=routing
    )
    assert total.saving + calls + unsuccessful + routing == counterfactual
