import datetime
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.catalog.ids import Location, ModelId, TierId
from tierwise_server.catalog.registry import Model, Price, PriceSource, RateLimits
from tierwise_server.planning.price_list import OLDEST_LIST_DATE, GenaiPriceList
from tierwise_server.planning.prices import (
    InexactPriceError,
    PriceBand,
    PriceList,
    ResolvedPrice,
    UnlistedPriceError,
    nano_usd,
    resolve_prices,
)

TODAY = datetime.date(2026, 11, 22)


def make_model(
    price: Price | None, source: PriceSource, provider: str = "openai", name: str = "gpt-6-luna"
) -> Model:
    return Model(
        id=ModelId("one"),
        provider=provider,
        name=name,
        tier=TierId("budget"),
        price_source=source,
        price=price,
        context_window=1000,
        max_output_tokens=100,
        capabilities=frozenset(),
        quality=None,
        limits=RateLimits(),
        labels={},
        base_url=None,
        weight=None,
        token_family=None,
        location=Location(file="models.yaml", line=7),
    )


def no_list() -> PriceList:
    pytest.fail("opened the price list although no model asks for it")


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [("0", 0), ("0.15", 150_000_000), ("0.000000001", 1), ("1000000", 10**15), ("1E+2", 10**11)],
)
def test_dollars_become_nano_dollars_exactly(dollars: str, nano: int) -> None:
    assert nano_usd(Decimal(dollars)) == nano


def test_an_amount_below_a_nano_dollar_is_refused() -> None:
    with pytest.raises(InexactPriceError, match=r"1\.0000000001"):
        nano_usd(Decimal("1.0000000001"))


def test_a_stated_price_names_the_file_and_opens_no_list() -> None:
    price = Price(
        input=Decimal("0.15"),
        output=Decimal("0.6"),
        cached_input=Decimal("0.075"),
        cache_write=Decimal("0.1875"),
        per_call=Decimal("0.001"),
    )
    resolved = resolve_prices([make_model(price, PriceSource.FILE)], TODAY, no_list)
    assert resolved.by_model[ModelId("one")] == ResolvedPrice(
        bands=(
            PriceBand(
                input=150_000_000,
                output=600_000_000,
                cached_input=75_000_000,
                cache_write=187_500_000,
            ),
        ),
        per_call=1_000_000,
        source="models.yaml",
    )
    assert resolved.faults == ()


def test_an_unknown_price_is_no_fault_and_no_price() -> None:
    resolved = resolve_prices([make_model(None, PriceSource.UNKNOWN)], TODAY, no_list)
    assert not resolved.by_model
    assert not resolved.faults


def test_an_inexact_price_is_a_fault_of_its_model() -> None:
    price = Price(input=Decimal("0.1234567891"), output=Decimal(1))
    (fault,) = resolve_prices([make_model(price, PriceSource.FILE)], TODAY, no_list).faults
    assert fault.model.location.line == 7
    assert "0.1234567891" in fault.message


def test_a_listed_price_says_where_it_is_from_and_of_when() -> None:
    (price,) = resolve_prices([make_model(None, PriceSource.CATALOG)], TODAY).by_model.values()
    assert price.source.startswith("genai-prices ")
    assert price.source.endswith("openai/gpt-6-luna")
    assert price.source_date == OLDEST_LIST_DATE
    assert price.base.input > 0
    assert price.base.output > price.base.input
    assert price.base.cached_input is not None
    assert price.base.cache_write is not None
    assert price.base.cached_input < price.base.input < price.base.cache_write


@pytest.mark.parametrize(
    ("provider", "name", "missing"),
    [
        ("openai", "gpt-that-nobody-made", "`gpt-that-nobody-made` of `openai`"),
        ("my-own-rack", "gpt-6-luna", "the provider `my-own-rack`"),
        ("openai", "gpt-transcribe", "no token prices for `gpt-transcribe`"),
    ],
)
def test_a_model_that_the_list_does_not_price_is_a_fault(
    provider: str, name: str, missing: str
) -> None:
    model = make_model(None, PriceSource.CATALOG, provider, name)
    (fault,) = resolve_prices([model], TODAY).faults
    assert missing in fault.message
    assert "unknown" in fault.suggestion


def test_a_price_changes_on_the_day_that_the_list_announces() -> None:
    prices = GenaiPriceList()
    before = prices.find("google", "gemini-4-argon", datetime.date(2026, 11, 30))
    after = prices.find("google", "gemini-4-argon", datetime.date(2026, 12, 1))
    assert after.base.input == 2 * before.base.input
    assert before.source_date == OLDEST_LIST_DATE
    assert after.source_date == datetime.date(2026, 12, 1)


def test_long_input_costs_what_its_band_says_for_all_of_its_tokens() -> None:
    price = GenaiPriceList().find("anthropic", "claude-haiku-5-5", TODAY)
    base, long = price.bands
    assert long.above_input_tokens == 100_000
    assert None not in {base.cache_write, long.cache_write}
    assert (long.cache_write or 0) * base.input == (base.cache_write or 0) * long.input
    assert price.cost(100_000, 0) == base.input // 10
    assert price.cost(100_001, 0) == -(-100_001 * long.input // 1_000_000)


def test_a_listed_model_that_is_not_there_raises() -> None:
    with pytest.raises(UnlistedPriceError):
        GenaiPriceList().find("openai", "nothing", TODAY)


def test_the_price_list_is_imported_only_when_a_model_asks_for_it() -> None:
    program = (
        "import sys; import tierwise_server.planning.choice;"
        "sys.exit(any(name.startswith('genai_prices') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@given(
    st.integers(0, 10**15),
    st.integers(0, 10**15),
    st.integers(0, 10**9),
    st.integers(0, 10**8),
    st.integers(0, 10**7),
)
def test_a_cost_is_the_exact_sum_rounded_up_once(
    input_price: int, output_price: int, per_call: int, input_tokens: int, output_tokens: int
) -> None:
    price = ResolvedPrice(
        bands=(PriceBand(input=input_price, output=output_price),), per_call=per_call, source="test"
    )
    exact = input_tokens * input_price + output_tokens * output_price
    cost = price.cost(input_tokens, output_tokens) - per_call
    assert cost * 1_000_000 >= exact
    assert (cost - 1) * 1_000_000 < exact
