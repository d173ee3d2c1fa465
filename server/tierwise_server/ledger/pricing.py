"""Which price applies to an attempt, and what an outcome adds up to.

In order: what the provider stated; the catalog's price at the time of the decision; that of the
catalog in service, where the decision's is not known here; the installed price list, where the
catalog does not know the model. A model whose price the catalog says is unknown stays unpriced: the
list may know another model of that name. What is unpriced is None, never 0.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tierwise.served_model import is_another_model
from tierwise_server.ledger.money import UNBILLED, Tokens, call_cost
from tierwise_server.ledger.records import (
    AttemptRecord,
    CatalogModel,
    CatalogRecord,
    Origin,
    OutcomeRecord,
    PriceBasis,
)
from tierwise_server.planning.prices import (
    InexactPriceError,
    PriceBand,
    PriceList,
    ResolvedPrice,
    UnlistedPriceError,
    installed_price_list,
)

logger = logging.getLogger(__name__)

MAX_COST_NANO_USD: Final = 10**15
"""A million dollars. A call that comes out dearer has a fault in its price or in its usage, and is
left unpriced."""

REMEMBERED_REVISIONS: Final = 64
REMEMBERED_LIST_PRICES: Final = 1024

_ID_DIGITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledAttempt:
    """An attempt with its cost."""

    record: AttemptRecord
    tier: str
    """Tier of the model. Empty when the catalog does not know it."""
    basis: PriceBasis
    price: ResolvedPrice | None
    """Price by which the cost was computed from usage, also where a stated cost comes first."""
    computed_cost_nano_usd: int | None
    cost_nano_usd: int | None
    """None means unpriced."""
    is_another_model: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledOutcome:
    """An outcome with the cost of its attempts and of its counterfactual."""

    record: OutcomeRecord
    attempts: tuple[SettledAttempt, ...]
    answer: SettledAttempt | None
    """The attempt that gave the answer: the last one that succeeded."""
    counterfactual_price: ResolvedPrice | None
    counterfactual_nano_usd: int | None
    """None means unpriced; 0 where there was no answer, since nothing is claimed for that."""

    @property
    def last(self) -> SettledAttempt | None:
        """The attempt that gave the answer, else the last one; None without attempts."""
        if self.answer is not None:
            return self.answer
        return self.attempts[-1] if self.attempts else None


class PriceBook:
    """Prices by catalog revision, and of the installed list. Belongs to the writer's thread."""

    def __init__(self, open_list: Callable[[], PriceList] = installed_price_list) -> None:
        self._open_list = open_list
        self._price_list: PriceList | None = None
        self._listed: OrderedDict[tuple[str, str, datetime.date], ResolvedPrice | None] = (
            OrderedDict()
        )
        self._revisions: OrderedDict[str, CatalogRecord] = OrderedDict()
        self._in_service: dict[str, CatalogRecord] = {}

    def put_in_service(self, catalog: CatalogRecord) -> None:
        """Notes the revision that a catalog is served at. The first one is the default catalog."""
        self._in_service[catalog.catalog] = catalog
        self.remember(catalog)

    def remember(self, catalog: CatalogRecord) -> None:
        """Notes a revision; those that were needed longest ago are forgotten."""
        self._revisions[catalog.revision] = catalog
        self._revisions.move_to_end(catalog.revision)
        if len(self._revisions) > REMEMBERED_REVISIONS:
            self._revisions.popitem(last=False)

    def unknown_revisions(self, outcomes: Iterable[OutcomeRecord]) -> set[str]:
        """Returns the revisions of outcomes that are not at hand."""
        named = {one.catalog_revision for one in outcomes if one.catalog_revision}
        return named - self._revisions.keys()

    def settle(self, outcome: OutcomeRecord) -> SettledOutcome:
        """Returns an outcome with its costs."""
        known, basis = self._catalog_of(outcome)
        if outcome.origin is Origin.ROUTERLESS and known is not None:
            # What a router would have put into its token.
            outcome = replace(
                outcome, catalog=known.catalog, baseline_model_id=known.baseline_model_id
            )
        attempts = tuple(
            self._settled(one, outcome, known, basis, position == 0)
            for position, one in enumerate(outcome.attempts)
        )
        answer = next((one for one in reversed(attempts) if not one.record.error_class), None)
        price, cost = _counterfactual(outcome, answer, known)
        return SettledOutcome(
            record=outcome,
            attempts=attempts,
            answer=answer,
            counterfactual_price=price,
            counterfactual_nano_usd=cost if attempts else None,
        )

    def _catalog_of(self, outcome: OutcomeRecord) -> tuple[CatalogRecord | None, PriceBasis]:
        at_decision = self._revisions.get(outcome.catalog_revision)
        if at_decision is not None:
            self._revisions.move_to_end(outcome.catalog_revision)
            return at_decision, PriceBasis.DECISION
        name = outcome.catalog or next(iter(self._in_service), "")
        return self._in_service.get(name), PriceBasis.IN_SERVICE

    def _settled(
        self,
        attempt: AttemptRecord,
        outcome: OutcomeRecord,
        known: CatalogRecord | None,
        basis: PriceBasis,
        is_first: bool,
    ) -> SettledAttempt:
        model = known.models.get(attempt.model_id) if known is not None else None
        if model is not None:
            price = model.price
        else:
            price, basis = self._listed_price(attempt, outcome.decided_ms), PriceBasis.LIST
        computed = _cost(attempt.tokens, price)
        cost: int | None
        if attempt.stated_cost_nano_usd is not None:
            cost, basis = attempt.stated_cost_nano_usd, PriceBasis.STATED
        elif computed is not None:
            cost = computed
        elif attempt.tokens is None and attempt.error_class in UNBILLED and not attempt.partial:
            cost, basis = 0, PriceBasis.UNBILLED
        else:
            cost, basis = None, PriceBasis.UNPRICED
        # A decision says the tier of its own model, also where no catalog is at hand.
        decided = outcome.tier if is_first and attempt.model_id == outcome.model_id else ""
        return SettledAttempt(
            record=attempt,
            tier=model.tier if model is not None else decided,
            basis=basis,
            price=price if computed is not None else None,
            computed_cost_nano_usd=computed,
            cost_nano_usd=cost,
            is_another_model=is_another_model(
                model.name if model is not None else "", attempt.served_model_name
            ),
        )

    def _listed_price(self, attempt: AttemptRecord, decided_ms: int) -> ResolvedPrice | None:
        """Returns the price that the installed list has for what answered."""
        if attempt.tokens is None or not (attempt.provider_id and attempt.served_model_name):
            return None
        on = datetime.datetime.fromtimestamp(decided_ms / 1000, datetime.UTC).date()
        key = (attempt.provider_id, attempt.served_model_name, on)
        if key not in self._listed:
            self._listed[key] = self._find(*key)
            if len(self._listed) > REMEMBERED_LIST_PRICES:
                self._listed.popitem(last=False)
        return self._listed[key]

    def _find(self, provider: str, name: str, on: datetime.date) -> ResolvedPrice | None:
        if self._price_list is None:
            self._price_list = self._open_list()
        try:
            return self._price_list.find(provider, name, on)
        except (UnlistedPriceError, InexactPriceError) as error:
            logger.info("an attempt stays unpriced", extra={"reason": str(error)})
            return None


def catalog_json(catalog: CatalogRecord) -> str:
    """Returns the models of a revision as the ledger keeps them."""
    return json.dumps(
        {
            name: [one.provider, one.name, one.tier, one.price and price_id(one.price)]
            for name, one in catalog.models.items()
        },
        separators=(",", ":"),
    )


def models_from_json(text: str, prices: Callable[[str], ResolvedPrice]) -> dict[str, CatalogModel]:
    """Returns the models of a revision as `catalog_json` wrote them."""
    return {
        model_id: CatalogModel(
            provider=provider, name=name, tier=tier, price=prices(price) if price else None
        )
        for model_id, (provider, name, tier, price) in json.loads(text).items()
    }


@functools.lru_cache(maxsize=REMEMBERED_LIST_PRICES)
def price_id(price: ResolvedPrice) -> str:
    """Returns the identifier of a price: a hash of everything that it says."""
    dated = price.source_date.isoformat() if price.source_date else ""
    content = json.dumps([bands_of(price), price.per_call, price.source, dated])
    return hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]


def bands_of(price: ResolvedPrice) -> list[list[int | None]]:
    """Returns the bands of a price as the ledger keeps them.

    Each is a list of the length of input above which it applies, and of its prices of input, output
    and cached input; then of cache writes, where they have one.
    """
    return [
        [
            *(band.above_input_tokens, band.input, band.output, band.cached_input),
            *([] if band.cache_write is None else [band.cache_write]),
        ]
        for band in price.bands
    ]


def band_of(kept: Sequence[int | None]) -> PriceBand:
    """Returns a band as `bands_of` gave it."""
    above, new_input, output, *caching = kept
    cached, written = (*caching, None, None)[:2]
    return PriceBand(
        above_input_tokens=above or 0,
        input=new_input or 0,
        output=output or 0,
        cached_input=cached,
        cache_write=written,
    )


def _cost(tokens: Tokens | None, price: ResolvedPrice | None) -> int | None:
    if tokens is None or price is None:
        return None
    cost = call_cost(tokens, price)
    return cost if cost <= MAX_COST_NANO_USD else None


def _counterfactual(
    outcome: OutcomeRecord, answer: SettledAttempt | None, known: CatalogRecord | None
) -> tuple[ResolvedPrice | None, int | None]:
    if answer is None:
        return None, 0
    baseline = None
    if known is not None:
        baseline = known.models.get(outcome.baseline_model_id or known.baseline_model_id)
    price = baseline.price if baseline is not None else None
    cost = _cost(answer.record.tokens, price)
    return (price if cost is not None else None), cost
