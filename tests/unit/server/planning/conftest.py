"""Small registries, and a short way to ask them for a choice."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

import pytest

from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.model import Catalog, Task, TieBreak, Tier, Utterance
from tierwise_server.catalog.registry import Capability, Model, Price, PriceSource, RateLimits
from tierwise_server.catalog.rules import RuleBook
from tierwise_server.deciding.bounds import check_request
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.request import Constraints, RoutingRequest
from tierwise_server.planning.choice import ModelChoice, explain_drops, plan_models
from tierwise_server.planning.errors import DroppedModel
from tierwise_server.planning.fleet import EMPTY_FLEET, FleetView
from tierwise_server.planning.prices import resolve_prices
from tierwise_server.planning.registry import ModelRegistry, build_registry
from tierwise_server.planning.selection import DEFAULT_PLAN_LIMITS, PlanLimits

TODAY: Final = datetime.date(2026, 11, 22)
TIERS: Final = ("budget", "mid", "premium")


class Planning:
    """Builds catalogs and asks for choices; a test states only what it is about."""

    def model(
        self,
        name: str,
        tier: str,
        dollars: str | None = "1",
        *,
        per_call: str = "0",
        capabilities: Iterable[Capability] = (),
        tokens_per_minute: int | None = None,
        **fields: object,
    ) -> Model:
        """Returns a model.

        Args:
            name: Its id.
            tier: Id of its tier.
            dollars: Price of a million tokens, of input and of output. None means unknown.
            per_call: Price of a call.
            capabilities: What it can do.
            tokens_per_minute: Its limit.
            fields: Any other field of a model.
        """
        price = None
        if dollars is not None:
            price = Price(
                input=Decimal(dollars), output=Decimal(dollars), per_call=Decimal(per_call)
            )
        model = Model(
            id=ModelId(name),
            provider="openai",
            name=name,
            tier=TierId(tier),
            price_source=PriceSource.UNKNOWN if price is None else PriceSource.FILE,
            price=price,
            context_window=100_000,
            max_output_tokens=8_000,
            capabilities=frozenset(capabilities),
            quality=None,
            limits=RateLimits(tokens_per_minute=tokens_per_minute),
            labels={},
            base_url=None,
            weight=None,
            token_family=None,
            location=Location(file="models.yaml", line=1),
        )
        return replace(model, **fields)

    def catalog(self, models: Sequence[Model], baseline: str | None = None) -> Catalog:
        """Returns a catalog of three tiers with these models."""
        place = Location(file="tiers/any.yaml", line=1)
        tiers = tuple(
            Tier(
                id=TierId(name),
                rank=rank,
                description="",
                threshold=None,
                tasks=(
                    Task(
                        id=TaskId(f"{name}-task"),
                        index=rank,
                        tier=TierId(name),
                        description="",
                        threshold=None,
                        utterances=(Utterance(text=name, task_index=rank, location=place),),
                        location=place,
                    ),
                ),
                location=place,
            )
            for rank, name in enumerate(TIERS)
        )
        return Catalog(
            tiers=tiers,
            default_tier=TierId("mid"),
            encoder=None,
            threshold=0.4,
            margin=0.02,
            tie=TieBreak.HIGHER,
            languages=("en",),
            rules=RuleBook(),
            models=tuple(models),
            baseline_model=None if baseline is None else ModelId(baseline),
            cases=(),
            content_revision="",
        )

    def registry(self, models: Sequence[Model], baseline: str | None = None) -> ModelRegistry:
        """Returns the registry of a catalog of three tiers with these models."""
        catalog = self.catalog(models, baseline)
        return build_registry(catalog, resolve_prices(catalog.models, TODAY))

    def choose(
        self,
        models: Sequence[Model] | Catalog,
        tier: str,
        request: RoutingRequest | None = None,
        *,
        constraints: Constraints | None = None,
        fleet: FleetView = EMPTY_FLEET,
        seed: bytes = b"seed",
        limits: PlanLimits = DEFAULT_PLAN_LIMITS,
        **verdict: object,
    ) -> ModelChoice | None:
        """Returns the choice for a verdict of the tier; `verdict` holds other fields of it."""
        catalog = models if isinstance(models, Catalog) else self.catalog(models)
        asked = self._request(request, constraints)
        return plan_models(
            build_registry(catalog, resolve_prices(catalog.models, TODAY)),
            replace(self._verdict(catalog, tier, asked), **verdict),
            check_request(catalog, asked),
            asked,
            language="en",
            fleet=fleet,
            seed=seed,
            limits=limits,
        )

    def drops(
        self,
        models: Sequence[Model],
        tier: str,
        request: RoutingRequest | None = None,
        *,
        constraints: Constraints | None = None,
        fleet: FleetView = EMPTY_FLEET,
        seed: bytes = b"seed",
    ) -> tuple[DroppedModel, ...]:
        """Returns the models that the same choice drops."""
        catalog = self.catalog(models)
        asked = self._request(request, constraints)
        return explain_drops(
            build_registry(catalog, resolve_prices(catalog.models, TODAY)),
            self._verdict(catalog, tier, asked),
            check_request(catalog, asked),
            asked,
            language="en",
            fleet=fleet,
            seed=seed,
        )

    def _request(
        self, request: RoutingRequest | None, constraints: Constraints | None
    ) -> RoutingRequest:
        if request is not None:
            return request
        # 1,000 tokens of input and of output, so that a price of 1 USD costs 2,000,000 nano-USD.
        return RoutingRequest(
            text="hello",
            character_count=5,
            input_tokens=1000,
            expected_output_tokens=1000,
            constraints=constraints or Constraints(),
        )

    def _verdict(self, catalog: Catalog, tier: str, request: RoutingRequest) -> Verdict:
        constraints = request.constraints
        pinned = constraints.pinned_model or constraints.pinned_tier
        return Verdict(
            kind=DecisionKind.PINNED if pinned else DecisionKind.SEMANTIC,
            tier=catalog.tier_by_id[TierId(tier)],
            model=constraints.pinned_model,
            reason="",
        )


@pytest.fixture(scope="session")
def planning() -> Planning:
    return Planning()
