"""Costs are exact: rounded once, and the parts make the whole."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.ledger.money import Tokens, applying_band, balance, call_cost
from tierwise_server.planning.prices import PriceBand, ResolvedPrice

COUNT = st.integers(0, 10**9)
RATE = st.integers(0, 10**12)


@st.composite
def usages(draw: st.DrawFn) -> Tokens:
    whole_in, whole_out = draw(COUNT), draw(COUNT)
    return Tokens(
        input=whole_in,
        cached_input=draw(st.integers(0, whole_in)),
        cache_write=draw(st.integers(0, whole_in)),
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
    return (
        Fraction((tokens.input - tokens.cached_input) * band.input, 10**6)
        + Fraction(tokens.cached_input * cached, 10**6)
        + Fraction(tokens.output * band.output, 10**6)
        + price.per_call
    )


@given(usages(), prices())
def test_a_cost_is_the_exact_one_rounded_to_the_nearest_with_halves_up(
    tokens: Tokens, price: ResolvedPrice
) -> None:
    rest = call_cost(tokens, price).total - exact(tokens, price)
    assert -Fraction(1, 2) < rest <= Fraction(1, 2)


@given(usages(), prices())
def test_parts_make_the_whole_and_none_is_off_by_a_nano_dollar(
    tokens: Tokens, price: ResolvedPrice
) -> None:
    parts = call_cost(tokens, price)
    band = applying_band(price, tokens.input)
    cached = band.input if band.cached_input is None else band.cached_input
    amounts = (
        (parts.input, (tokens.input - tokens.cached_input) * band.input),
        (parts.cached_input, tokens.cached_input * cached),
        (parts.output, (tokens.output - tokens.reasoning) * band.output),
        (parts.reasoning, tokens.reasoning * band.output),
    )
    assert sum(part for part, _ in amounts) + parts.per_call == parts.total
    for part, amount in amounts:
        assert part >= 0
        assert abs(part - Fraction(amount, 10**6)) < 1


@given(usages(), prices())
def test_reasoning_and_cache_writes_change_the_parts_and_never_the_cost(
    tokens: Tokens, price: ResolvedPrice
) -> None:
    plain = Tokens(input=tokens.input, cached_input=tokens.cached_input, output=tokens.output)
    assert call_cost(plain, price).total == call_cost(tokens, price).total


def test_a_long_input_costs_more_for_all_of_its_tokens() -> None:
    bands = (
        PriceBand(input=1_000_000, output=2_000_000),
        PriceBand(above_input_tokens=200, input=3_000_000, output=4_000_000),
    )
    price = ResolvedPrice(bands=bands, source="test")
    assert call_cost(Tokens(input=200, output=10), price).total == 220
    assert call_cost(Tokens(input=201, output=10), price).total == 201 * 3 + 40


@given(st.lists(st.tuples(RATE, RATE, RATE)), RATE)
def test_saving_and_costs_make_up_the_counterfactual(
    calls: list[tuple[int, int, int]], routing: int
) -> None:
    total = balance(calls, routing_cost_per_decision=routing)
    costs = total.calls + total.unsuccessful + total.routing
    assert total.saving + costs == total.counterfactual == sum(one[0] for one in calls)
    assert total.routing == routing * len(calls)
