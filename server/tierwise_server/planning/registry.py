"""The models of one catalog, made ready for choosing among them quickly.

Built once for each snapshot. Sets of models are whole numbers, a bit for each model, so that a
constraint costs one `&` whatever the number of models.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.registry import Capability, Model
from tierwise_server.planning.prices import ResolvedPrice, ResolvedPrices
from tierwise_server.planning.tokens import FAMILIES, TokenFamily, family_of

NEVER: Final = 1 << 62
"""A length that no input reaches."""

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
    bit: int
    """Stands for the model in sets of models."""


class TierRow(NamedTuple):
    """A model as the ranking of its tier reads it; flat, since every request reads it."""

    bit: int
    family: int
    input_price: int
    output_price: int
    per_call: int
    single_band_to: int
    """Longest input to which the three prices apply; -1 when the price is unknown."""
    model: PricedModel


class Thresholds:
    """Models by a number that each of them states, such as its context window."""

    __slots__ = ("_sets", "_values")

    def __init__(self, numbers: Iterable[tuple[int, int]]) -> None:
        """Takes pairs of the number and the model's bit."""
        pairs = sorted(numbers)
        self._values = [value for value, _ in pairs]
        sets = [0]
        for _, bit in reversed(pairs):
            sets.append(sets[-1] | bit)
        self._sets = sets[::-1]

    def at_least(self, number: int) -> int:
        """Returns the set of models whose number is at least this."""
        return self._sets[bisect_left(self._values, number)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelRegistry:
    """The models of one catalog with their prices, ready for choosing."""

    models: tuple[PricedModel, ...]
    """In the order of the file."""
    by_id: Mapping[str, PricedModel]
    tier_ids: tuple[str, ...]
    """Ids of all tiers, cheapest first."""
    tiers: tuple[tuple[TierRow, ...], ...]
    """Models of each tier, best stated quality first, then by id."""
    tier_sets: tuple[int, ...]
    all_set: int
    priced_set: int
    by_provider: Mapping[str, int]
    by_capability: Mapping[Capability, int]
    by_label: Mapping[tuple[str, str], int]
    output_limits: Thresholds
    windows: tuple[Thresholds, ...]
    """Context windows, for each token family on its own."""
    token_limits: tuple[Thresholds, ...]
    """Tokens per minute, for each token family; a model that states none is always in."""
    baseline: PricedModel | None
    """Model of the counterfactual. None without models."""
    revision: str
    """Hex hash of ids and prices: equal for equal prices, whatever the day they were read."""


def build_registry(catalog: Catalog, prices: ResolvedPrices) -> ModelRegistry:
    """Builds the registry of a catalog."""
    models = tuple(
        PricedModel(
            model=model,
            price=prices.by_model.get(model.id),
            family=family_of(model.provider, model.name, model.token_family),
            rank=catalog.tier_by_id[model.tier].rank,
            bit=1 << index,
        )
        for index, model in enumerate(catalog.models)
    )
    by_id = {str(one.model.id): one for one in models}
    tiers = tuple(
        tuple(map(_row, sorted((one for one in models if one.rank == tier.rank), key=_by_quality)))
        for tier in catalog.tiers
    )
    return ModelRegistry(
        models=models,
        by_id=by_id,
        tier_ids=tuple(str(tier.id) for tier in catalog.tiers),
        tiers=tiers,
        tier_sets=tuple(sum(row.bit for row in rows) for rows in tiers),
        all_set=(1 << len(models)) - 1,
        priced_set=sum(one.bit for one in models if one.price is not None),
        by_provider=_sets(models, lambda model: (model.provider,)),
        by_capability=_sets(models, lambda model: model.capabilities),
        by_label=_sets(models, lambda model: model.labels.items()),
        output_limits=Thresholds((one.model.max_output_tokens, one.bit) for one in models),
        windows=_by_family(models, lambda model: model.context_window),
        token_limits=_by_family(models, lambda model: model.limits.tokens_per_minute or NEVER),
        baseline=_baseline(catalog, by_id, tiers),
        revision=_revision(models),
    )


def _row(model: PricedModel) -> TierRow:
    price = model.price
    if price is None:
        return TierRow(model.bit, model.family, 0, 0, 0, -1, model)
    return TierRow(
        model.bit,
        model.family,
        price.base.input,
        price.base.output,
        price.per_call,
        price.bands[1].above_input_tokens if len(price.bands) > 1 else NEVER,
        model,
    )


def _by_quality(one: PricedModel) -> tuple[float, str]:
    quality = one.model.quality
    return (1.0 if quality is None else -quality, one.model.id)


def _sets(
    models: Sequence[PricedModel], keys: Callable[[Model], Iterable[_Key]]
) -> Mapping[_Key, int]:
    sets: defaultdict[_Key, int] = defaultdict(int)
    for one in models:
        for key in keys(one.model):
            sets[key] |= one.bit
    return dict(sets)


def _by_family(
    models: Sequence[PricedModel], number: Callable[[Model], int]
) -> tuple[Thresholds, ...]:
    return tuple(
        Thresholds((number(one.model), one.bit) for one in models if one.family is family)
        for family in FAMILIES
    )


def _baseline(
    catalog: Catalog, by_id: Mapping[str, PricedModel], tiers: Sequence[Sequence[TierRow]]
) -> PricedModel | None:
    """Returns the stated baseline, else the dearest of the highest tier that has models."""
    if catalog.baseline_model is not None:
        return by_id[catalog.baseline_model]
    for rows in reversed(tiers):
        if rows:
            # The first of equals, which is the one of the best quality.
            return max(rows, key=lambda row: row.input_price + row.output_price).model
    return None


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
