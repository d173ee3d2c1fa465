"""The models that are measured: as the client library calls them, with prices of the server's."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tierwise.answers import Usage
from tierwise.decisions import Capability, Model, Price
from tierwise.errors import ConfigurationError
from tierwise.providers.registry import KNOWN, ProviderRegistry
from tierwise_server.benching.errors import BenchError
from tierwise_server.catalog.faults import did_you_mean
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.registry import Model as RegistryModel
from tierwise_server.ledger.money import Tokens, call_cost
from tierwise_server.planning.prices import ResolvedPrice, resolve_prices, tokens_cost
from tierwise_server.planning.tokens import character_kinds, estimate_tokens, family_of

_OVERHEAD_TOKENS: Final = 200
"""Tokens that a provider may add to a call's text: roles, separators, instructions of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchModel:
    """A model of the registry with its price."""

    registered: RegistryModel
    tier_rank: int
    price: ResolvedPrice | None
    """None means unknown."""

    @property
    def id(self) -> str:
        """The model's id in the catalog."""
        return self.registered.id

    @property
    def called(self) -> Model:
        """The model as the client library takes it."""
        one = self.registered
        price = None
        if self.price is not None:
            price = Price(
                input_nano_usd_per_million=self.price.base.input,
                output_nano_usd_per_million=self.price.base.output,
                cached_input_nano_usd_per_million=self.price.base.cached_input,
                cache_write_nano_usd_per_million=self.price.base.cache_write,
                call_nano_usd=self.price.per_call,
            )
        return Model(
            model_id=one.id,
            provider_id=one.provider,
            upstream_name=one.name,
            tier_id=one.tier,
            price=price,
            context_window_tokens=one.context_window,
            output_limit_tokens=one.max_output_tokens,
            capabilities=frozenset(Capability[each.name] for each in one.capabilities),
            labels=one.labels,
            base_url=one.base_url or "",
        )

    def expected_input_tokens(self, text: str) -> int:
        """Returns about how many tokens a prompt has."""
        one = self.registered
        family = family_of(one.provider, one.name, one.token_family)
        return estimate_tokens(family, len(text), character_kinds(text))

    def cost(self, usage: Usage) -> int | None:
        """Returns what a call cost by its usage; None when the price is unknown."""
        if self.price is None:
            return None
        tokens = Tokens(
            input=usage.input_tokens,
            cached_input=usage.cached_input_tokens,
            cache_write=usage.cache_write_tokens,
            output=usage.output_tokens,
        )
        return call_cost(tokens, self.price)

    def most(self, text: str, max_output_tokens: int) -> int:
        """Returns the most that a call can cost; 0 when the price is unknown.

        No tokenizer makes more tokens of a text than it has bytes.
        """
        if self.price is None:
            return 0
        input_tokens = len(text.encode("utf-8", "replace")) + _OVERHEAD_TOKENS
        bands = [
            band
            for band in self.price.bands
            if not band.above_input_tokens or input_tokens > band.above_input_tokens
        ]
        # All input at the dearest of its prices, in the dearest band that the call may fall into.
        return self.price.per_call + max(
            tokens_cost(
                max(band.input, band.cache_write or 0), band.output, input_tokens, max_output_tokens
            )
            for band in bands
        )


def chosen_models(catalog: Catalog, wanted: Sequence[str]) -> tuple[BenchModel, ...]:
    """Returns the models by id, or all of the catalog where none is named, cheapest tier first.

    Raises:
        BenchError: The catalog has no such model, no models at all, or a price with a fault.
    """
    if not catalog.models:
        raise BenchError("the catalog has no models: add a models.yaml")
    unknown = [one for one in wanted if one not in catalog.model_by_id]
    if unknown:
        ids = list(catalog.model_by_id)
        lines = [f"there is no model {one!r}. {did_you_mean(one, ids)}".strip() for one in unknown]
        raise BenchError("\n".join((*lines, f"The catalog has {', '.join(ids)}.")))
    chosen = [one for one in catalog.models if not wanted or one.id in wanted]
    resolved = resolve_prices(chosen, datetime.datetime.now(datetime.UTC).date())
    if resolved.faults:
        raise BenchError(
            "\n".join(
                f"{one.model.location}: {one.message} {one.suggestion}" for one in resolved.faults
            )
        )
    models = [
        BenchModel(
            registered=one,
            tier_rank=catalog.tier_by_id[one.tier].rank,
            price=resolved.by_model.get(one.id),
        )
        for one in chosen
    ]
    return tuple(sorted(models, key=lambda one: one.tier_rank))


def check_callable(
    models: Sequence[BenchModel], registry: ProviderRegistry, measured: Sequence[str]
) -> None:
    """Checks that there are address and key for every model.

    Raises:
        BenchError: With a line for each model that lacks one, and what to do.
    """
    lacking: dict[str, str] = {}
    for one in models:
        try:
            registry.resolve(one.called)
        except ConfigurationError as error:
            known = KNOWN.get(one.registered.provider)
            variable = known.key_variable if known is not None else ""
            is_key = bool(variable) and not os.environ.get(variable)
            # The library's own advice is for programs.
            lacking[one.id] = f"set {variable} to a key" if is_key else str(error)
    if not lacking:
        return
    lines = [f"{model}: {why}" for model, why in lacking.items()]
    able = [one for one in measured if one not in lacking]
    if able:
        lines.append(f"Or measure the others alone: --models {' '.join(able)}")
    raise BenchError("\n".join(("not all models can be called:", *lines)))


def by_id(models: Sequence[BenchModel]) -> Mapping[str, BenchModel]:
    """Returns the models by their ids."""
    return {one.id: one for one in models}
