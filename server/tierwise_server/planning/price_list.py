"""Reads prices from the data of the `genai-prices` package. Nothing here touches the network.

Importing this module takes some tenths of a second, nearly all of it the package's own imports:
import it only when a model says `price: catalog`.

The data is read as it was installed; the package's own updating is never started, so that equal
installations decide alike. Prices for sound, pictures and searches are not read, since what is
reported are the tokens of text; of those that a cache keeps longer for a higher price neither.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from tierwise_server.planning.prices import (
    PriceBand,
    ResolvedPrice,
    UnlistedPriceError,
    nano_usd,
)

PACKAGE: Final = "genai-prices"

OLDEST_LIST_DATE: Final = datetime.date(2026, 11, 9)
"""The list is no older than this: the newest change of a price that 0.2.3 has, which is the oldest
release that we accept. The package does not state when its prices were looked at."""

_REQUESTS_PER_PRICE: Final = 1000

_Amount = Decimal | TieredPrices | None


class GenaiPriceList:
    """The price list of the installed `genai-prices` package."""

    def __init__(self) -> None:
        self._version = version(PACKAGE)

    def find(self, provider: str, name: str, on: datetime.date) -> ResolvedPrice:
        """Returns the price that applies on a day.

        Raises:
            UnlistedPriceError: The list has none.
            InexactPriceError: The listed price is no whole number of nano-dollars.
        """
        found = find_provider_by_id(providers, provider)
        if found is None:
            message = f"{PACKAGE} {self._version} does not list the provider `{provider}`"
            raise UnlistedPriceError(message)
        model = found.find_model(name, all_providers=providers)
        if model is None:
            message = f"{PACKAGE} {self._version} does not list `{name}` of `{provider}`"
            raise UnlistedPriceError(message)
        prices, since = _applying(model, on)
        if prices.input_mtok is None or prices.output_mtok is None:
            message = f"{PACKAGE} {self._version} has no token prices for `{name}` of `{provider}`"
            raise UnlistedPriceError(message)
        return ResolvedPrice(
            bands=_bands(prices),
            per_call=_per_call(prices),
            source=f"{PACKAGE} {self._version}, {found.id}/{model.id}",
            source_date=max(OLDEST_LIST_DATE, since),
        )


def _bands(prices: ModelPrice) -> tuple[PriceBand, ...]:
    """Returns one band for each length at which any of the prices changes."""
    amounts: tuple[_Amount, ...] = (
        prices.input_mtok,
        prices.output_mtok,
        prices.cache_read_mtok,
        prices.cache_write_mtok,
    )
    starts = {0}
    for amount in amounts:
        if isinstance(amount, TieredPrices):
            starts.update(tier.start for tier in amount.tiers)
    bands: list[PriceBand] = []
    for start in sorted(starts):
        new_input, new_output, cached, written = (_at(amount, start) for amount in amounts)
        bands.append(
            PriceBand(
                above_input_tokens=start,
                input=new_input or 0,
                output=new_output or 0,
                cached_input=cached,
                cache_write=written,
            )
        )
    return tuple(bands)


def _at(amount: _Amount, start: int) -> int | None:
    """Returns the price for inputs just above a length."""
    if isinstance(amount, TieredPrices):
        applying = amount.base
        for tier in amount.tiers:
            if tier.start <= start and start > 0:
                applying = tier.price
        return nano_usd(applying)
    return None if amount is None else nano_usd(amount)


def _per_call(prices: ModelPrice) -> int:
    amount: _Amount = prices.requests_kcount
    if amount is None:
        return 0
    base = amount.base if isinstance(amount, TieredPrices) else amount
    return nano_usd(base / _REQUESTS_PER_PRICE)


def _applying(model: ModelInfo, on: datetime.date) -> tuple[ModelPrice, datetime.date]:
    """Returns the prices of a day and the day from which they apply.

    Discounts for hours of the day are passed over: the snapshot that keeps the price outlives them.
    """
    if isinstance(model.prices, ModelPrice):
        return model.prices, datetime.date.min
    # Later entries take precedence, and the first is the price when nothing else applies.
    for entry in reversed(model.prices):
        constraint = entry.constraint
        if isinstance(constraint, StartDateConstraint) and constraint.start_date <= on:
            return entry.prices, constraint.start_date
        if constraint is None:
            return entry.prices, datetime.date.min
    return model.prices[0].prices, datetime.date.min
