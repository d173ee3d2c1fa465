"""Resolves what each model of a catalog costs, as whole nano-dollars, once for each snapshot.

A price comes from the catalog's file, from the installed price list, or is unknown. Nothing is
rounded on the way in: a price that is no whole number of nano-dollars for a million tokens is a
fault. Costs are rounded up to the next nano-dollar, once, at the end of the sum.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Protocol

from tierwise_server.catalog.ids import ModelId
from tierwise_server.catalog.registry import Model, Price, PriceSource

NANO_USD_PER_USD: Final = 1_000_000_000

TOKENS_PER_PRICE: Final = 1_000_000
"""Number of tokens that prices are stated for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBand:
    """Prices of a million tokens in nano-dollars, from a length of the input on."""

    above_input_tokens: int = 0
    """The band applies to calls with more input than this, to all of their tokens."""
    input: int
    output: int
    cached_input: int | None = None
    """None means that cached input costs what `input` says."""
    cache_write: int | None = None
    """Of input that the provider stores in its cache. None means what `input` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPrice:
    """What one model costs, in nano-dollars."""

    bands: tuple[PriceBand, ...]
    """Shortest input first; at least one, the first of which starts at 0. Most models have one;
    some providers charge more for all tokens of a call whose input is long."""
    per_call: int = 0
    """Price of a call as such, beside its tokens."""
    source: str
    """Where the price comes from, for people."""
    source_date: datetime.date | None = None
    """When the source last stated the price, at the earliest. None when it does not say."""

    @property
    def base(self) -> PriceBand:
        """The band of short inputs, which is the one that price tables show."""
        return self.bands[0]

    def band_for(self, input_tokens: int) -> PriceBand:
        """Returns the prices that apply to a call with so much input."""
        band = self.bands[0]
        for other in self.bands[1:]:
            if input_tokens > other.above_input_tokens:
                band = other
        return band

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """Returns what a call costs in nano-dollars, with nothing of its input cached."""
        band = self.band_for(input_tokens)
        return self.per_call + tokens_cost(band.input, band.output, input_tokens, output_tokens)


def tokens_cost(input_price: int, output_price: int, input_tokens: int, output_tokens: int) -> int:
    """Returns the cost of tokens in nano-dollars, rounded up."""
    return -(-(input_tokens * input_price + output_tokens * output_price) // TOKENS_PER_PRICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFault:
    """A model of the catalog whose price cannot be used. The model knows its file and line."""

    model: Model
    message: str
    """What is wrong, in one sentence."""
    suggestion: str
    """What would mend it, in one sentence."""


class InexactPriceError(ValueError):
    """A price that is no whole number of nano-dollars."""


class UnlistedPriceError(LookupError):
    """A model that the price list does not know or has no token price for."""


class PriceList(Protocol):
    """A list of prices by provider and model name."""

    def find(self, provider: str, name: str, on: datetime.date) -> ResolvedPrice:
        """Returns the price that applies on a day.

        Raises:
            UnlistedPriceError: The list has none; the message says what is missing.
            InexactPriceError: The listed price is no whole number of nano-dollars.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPrices:
    """Prices of the models of one catalog."""

    by_model: Mapping[ModelId, ResolvedPrice]
    """Has no entry for a model of unknown price."""
    faults: tuple[PriceFault, ...]
    """Models whose price is neither known nor stated as unknown."""


def nano_usd(amount: Decimal) -> int:
    """Returns an amount of US dollars in nano-dollars.

    Raises:
        InexactPriceError: The amount is no whole number of nano-dollars.
    """
    scaled = amount.scaleb(9)
    whole = int(scaled)
    if scaled != whole:
        message = f"{amount} USD is no whole number of nano-dollars"
        raise InexactPriceError(message)
    return whole


def installed_price_list() -> PriceList:
    """Returns the price list of the installed package. The first call imports it."""
    from tierwise_server.planning.price_list import GenaiPriceList  # noqa: PLC0415 - slow import

    return GenaiPriceList()


def resolve_prices(
    models: Sequence[Model],
    on: datetime.date,
    open_list: Callable[[], PriceList] = installed_price_list,
) -> ResolvedPrices:
    """Resolves the prices of a catalog's models.

    Args:
        models: The models of the catalog.
        on: Day whose prices apply; lists announce changes ahead.
        open_list: Opens the price list. Called at most once, and only when a model asks for it,
            since the import takes some tenths of a second.
    """
    prices: dict[ModelId, ResolvedPrice] = {}
    faults: list[PriceFault] = []
    price_list: PriceList | None = None
    for model in models:
        if model.price_source is PriceSource.UNKNOWN:
            continue
        try:
            if model.price is not None:
                prices[model.id] = _stated(model, model.price)
            else:
                price_list = price_list or open_list()
                prices[model.id] = price_list.find(model.provider, model.name, on)
        except UnlistedPriceError as error:
            suggestion = "State `{input: …, output: …}` in USD a million tokens, or `unknown`."
            faults.append(PriceFault(model=model, message=f"{error}.", suggestion=suggestion))
        except InexactPriceError as error:
            suggestion = "Give at most nine digits after the point."
            faults.append(
                PriceFault(
                    model=model,
                    message=f"The price of `{model.id}` cannot be counted exactly: {error}.",
                    suggestion=suggestion,
                )
            )
    return ResolvedPrices(by_model=MappingProxyType(prices), faults=tuple(faults))


def _stated(model: Model, price: Price) -> ResolvedPrice:
    return ResolvedPrice(
        bands=(
            PriceBand(
                input=nano_usd(price.input),
                output=nano_usd(price.output),
                cached_input=None if price.cached_input is None else nano_usd(price.cached_input),
                cache_write=None if price.cache_write is None else nano_usd(price.cache_write),
            ),
        ),
        per_call=nano_usd(price.per_call),
        source=model.location.file,
        source_date=price.as_of,
    )
