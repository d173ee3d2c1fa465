"""The models of one catalog, made ready for choosing among them quickly.

Built once for each snapshot. What requests compare is kept in columns, one entry for each model, so
that a constraint costs one operation on a column whatever the number of models. Amounts are whole
numbers throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.registry import Capability, Model
from tierwise_server.planning.prices import ResolvedPrice, ResolvedPrices
from tierwise_server.planning.tokens import TokenFamily, family_of

Flags = NDArray[np.bool_]
"""One flag for each model: a set of models."""

Numbers = NDArray[np.int64]
"""One whole number for each model."""

NEVER: Final = 1 << 62
"""An amount or a length that nothing reaches."""

_REVISION_DIGITS: Final = 16

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricedModel:
    """A model of the catalog with what is known of its price and its tokenizer."""

    model: Model
    price: ResolvedPrice | None
    """None means unknown."""
    family: TokenFamily
    rank: int
    """Rank of its tier."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandColumns:
    """Prices that apply from a length of the input on."""

    above_input_tokens: Numbers
    """`NEVER` where a model has no such band."""
    input: Numbers
    output: Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelRegistry:
    """The models of one catalog with their prices, ready for choosing.

    Columns are in the order of `models`.
    """

    models: tuple[PricedModel, ...]
    """Tier by tier, cheapest tier first; in a tier by stated quality, best first, then by id."""
    file_order: tuple[int, ...]
    """Positions in `models`, in the order of the catalog's file."""
    position_of: Mapping[str, int]
    """Position in `models` of each model id."""
    tier_ids: tuple[str, ...]
    """Ids of all tiers, cheapest first."""
    tiers: tuple[slice, ...]
    """Positions of each tier's models."""
    family: Numbers
    bands: tuple[BandColumns, ...]
    """Shortest input first; the first applies to every model."""
    per_call: Numbers
    priced: Flags
    unpriced: Flags
    dearest_price: int
    """Highest price of a million tokens that any model has."""
    quality: NDArray[np.float64]
    """Minus infinity where the catalog states none."""
    context_window: Numbers
    largest_window: int
    """Largest context window of any model."""
    smallest_window: int
    smallest_rate: int
    """Fewest tokens per minute of any model."""
    max_output_tokens: Numbers
    tokens_per_minute: Numbers
    """`NEVER` where the catalog states no limit."""
    by_provider: Mapping[str, Flags]
    by_capability: Mapping[Capability, Flags]
    by_label: Mapping[tuple[str, str], Flags]
    weights: Mapping[int, float]
    """Weight of each model that states one, by its position."""
    nothing: Flags
    """The empty set."""
    baseline: PricedModel | None
    """Model of the counterfactual. None without models."""
    revision: str
    """Hex hash of ids and prices: equal for equal prices, whatever the day they were read."""

    def named(self, ids: Iterable[str]) -> Flags:
        """Returns the set of models with these ids."""
        found = self.nothing.copy()
        for one in ids:
            found[self.position_of[one]] = True
        return found


def build_registry(catalog: Catalog, prices: ResolvedPrices) -> ModelRegistry:
    """Builds the registry of a catalog."""
    in_file = [
        PricedModel(
            model=model,
            price=prices.by_model.get(model.id),
            family=family_of(model.provider, model.name, model.token_family),
            rank=catalog.tier_by_id[model.tier].rank,
        )
        for model in catalog.models
    ]
    models = tuple(sorted(in_file, key=_order))
    position_of = {str(one.model.id): position for position, one in enumerate(models)}
    starts = np.searchsorted([one.rank for one in models], range(len(catalog.tiers) + 1)).tolist()
    bands = _bands(models)
    return ModelRegistry(
        models=models,
        file_order=tuple(position_of[one.model.id] for one in in_file),
        position_of=position_of,
        tier_ids=tuple(str(tier.id) for tier in catalog.tiers),
        tiers=tuple(slice(start, end) for start, end in pairwise(starts)),
        family=_numbers(models, lambda one: one.family),
        bands=bands,
        per_call=_numbers(models, lambda one: one.price.per_call if one.price else 0),
        priced=np.array([one.price is not None for one in models], dtype=np.bool_),
        unpriced=np.array([one.price is None for one in models], dtype=np.bool_),
        dearest_price=max(
            (int(column.max()) for band in bands for column in (band.input, band.output) if models),
            default=0,
        ),
        quality=np.array(
            [-np.inf if one.model.quality is None else one.model.quality for one in models],
            dtype=np.float64,
        ),
        context_window=_numbers(models, lambda one: one.model.context_window),
        largest_window=max((one.model.context_window for one in models), default=0),
        smallest_window=min((one.model.context_window for one in models), default=0),
        smallest_rate=min(
            (one.model.limits.tokens_per_minute or NEVER for one in models), default=NEVER
        ),
        max_output_tokens=_numbers(models, lambda one: one.model.max_output_tokens),
        tokens_per_minute=_numbers(models, lambda one: one.model.limits.tokens_per_minute or NEVER),
        by_provider=_sets(models, lambda model: (model.provider,)),
        by_capability=_sets(models, lambda model: model.capabilities),
        by_label=_sets(models, lambda model: model.labels.items()),
        weights={
            position: one.model.weight
            for position, one in enumerate(models)
            if one.model.weight is not None
        },
        nothing=np.zeros(len(models), dtype=np.bool_),
        baseline=_baseline(catalog, models, position_of),
        revision=_revision(models),
    )


def _order(one: PricedModel) -> tuple[int, float, str]:
    quality = one.model.quality
    return one.rank, (1.0 if quality is None else -quality), one.model.id


def _numbers(models: Sequence[PricedModel], number: Callable[[PricedModel], int]) -> Numbers:
    return np.array([number(one) for one in models], dtype=np.int64)


def _bands(models: Sequence[PricedModel]) -> tuple[BandColumns, ...]:
    """Returns as many bands as any model has; a model with fewer never reaches the others."""
    prices = [one.price.bands if one.price else () for one in models]
    return tuple(
        BandColumns(
            above_input_tokens=np.array(
                [bands[at].above_input_tokens if at < len(bands) else NEVER for bands in prices],
                dtype=np.int64,
            ),
            input=np.array(
                [bands[at].input if at < len(bands) else 0 for bands in prices], dtype=np.int64
            ),
            output=np.array(
                [bands[at].output if at < len(bands) else 0 for bands in prices], dtype=np.int64
            ),
        )
        for at in range(max(map(len, prices), default=0) or 1)
    )


def _sets(
    models: Sequence[PricedModel], keys: Callable[[Model], Iterable[_Key]]
) -> Mapping[_Key, Flags]:
    sets: dict[_Key, Flags] = {}
    for position, one in enumerate(models):
        for key in keys(one.model):
            if key not in sets:
                sets[key] = np.zeros(len(models), dtype=np.bool_)
            sets[key][position] = True
    return sets


def _baseline(
    catalog: Catalog, models: Sequence[PricedModel], position_of: Mapping[str, int]
) -> PricedModel | None:
    """Returns the stated baseline, else the dearest of the highest tier that has models."""
    if catalog.baseline_model is not None:
        return models[position_of[catalog.baseline_model]]
    top = max((one.rank for one in models), default=0)
    # The first of equals, which is the one of the best quality.
    return max((one for one in models if one.rank == top), key=_token_price, default=None)


def _token_price(one: PricedModel) -> int:
    return one.price.base.input + one.price.base.output if one.price else -1


def _revision(models: Sequence[PricedModel]) -> str:
    digest = hashlib.sha256()
    for one in models:
        price = one.price
        known = price and (
            price.per_call,
            [(band.above_input_tokens, band.input, band.output) for band in price.bands],
        )
        digest.update(f"{one.model.id} {known}\n".encode())
    return digest.hexdigest()[:_REVISION_DIGITS]
