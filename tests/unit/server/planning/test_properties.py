"""Properties that hold for any registry and any request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.request import Constraints, Priority, RoutingRequest
from tierwise_server.planning.errors import NoModelQualifiesError
from tierwise_server.planning.fleet import FleetView, ModelHealth
from tierwise_server.planning.plan import PAID_CALLS
from tierwise_server.planning.selection import DEFAULT_PLAN_LIMITS

if TYPE_CHECKING:
    from tests.unit.server.planning.conftest import Planning

    from tierwise_server.catalog.registry import Model
    from tierwise_server.planning.choice import ModelChoice


TIERS = ("budget", "mid", "premium")
PROVIDERS = ("openai", "mistral", "google")
ABILITIES = (Capability.TOOLS, Capability.VISION)
IDS = [f"m{number}" for number in range(8)]
RUNS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

some_ids = st.frozensets(st.sampled_from(IDS), max_size=3)
some_providers = st.frozensets(st.sampled_from(PROVIDERS), max_size=2)
prices = st.one_of(st.none(), st.integers(0, 400).map(lambda cents: f"{cents / 100:.2f}"))


@st.composite
def registries(draw: st.DrawFn, planning: Planning) -> list[Model]:
    """Returns the models of a registry, of every kind that matters to a choice."""
    count = draw(st.integers(1, len(IDS)))
    return [
        planning.model(
            name,
            draw(st.sampled_from(TIERS)),
            draw(prices),
            provider=draw(st.sampled_from(PROVIDERS)),
            context_window=draw(st.sampled_from([2_500, 10_000, 100_000])),
            max_output_tokens=draw(st.sampled_from([500, 2_000])),
            capabilities=draw(st.lists(st.sampled_from(ABILITIES), unique=True)),
            quality=draw(st.one_of(st.none(), st.floats(0, 1))),
            labels=draw(st.sampled_from([{}, {"region": "eu"}, {"region": "us"}])),
            weight=draw(st.one_of(st.none(), st.floats(0.1, 100))),
            tokens_per_minute=draw(st.sampled_from([None, 2_200, 50_000])),
        )
        for name in IDS[:count]
    ]


@st.composite
def requests(draw: st.DrawFn, models: list[Model]) -> RoutingRequest:
    """Returns a request without contradictions, with any of the limits."""
    known = frozenset(one.id for one in models)
    allowed = draw(some_ids) & known
    allowed_providers = draw(some_providers)
    labels = {one.labels["region"] for one in models if one.labels}
    lowest, highest = sorted((draw(st.integers(0, 2)), draw(st.integers(0, 2))))
    return RoutingRequest(
        text="hello",
        character_count=5,
        input_tokens=draw(st.sampled_from([10, 1_000, 9_000])),
        expected_output_tokens=draw(st.sampled_from([None, 0, 1_000])),
        priority=draw(st.sampled_from(Priority)),
        attachments=draw(st.sampled_from([frozenset(), frozenset({AttachmentKind.IMAGE})])),
        constraints=Constraints(
            lowest_tier=TIERS[lowest],
            highest_tier=TIERS[highest],
            allowed_models=allowed,
            denied_models=(draw(some_ids) & known) - allowed,
            allowed_providers=allowed_providers,
            denied_providers=draw(some_providers) - allowed_providers,
            required_capabilities=draw(st.frozensets(st.sampled_from(ABILITIES), max_size=1)),
            required_labels=draw(
                st.sampled_from([{}, *({"region": one} for one in sorted(labels))])
            ),
            cost_ceiling_nano_usd=draw(st.one_of(st.none(), st.integers(1, 10**7))),
            downgrade_allowed=draw(st.booleans()),
        ),
    )


def choice_or_none(
    planning: Planning, models: list[Model], request: RoutingRequest, tier: str, fleet: FleetView
) -> ModelChoice | None:
    try:
        return planning.choose(models, tier, request, fleet=fleet)
    except NoModelQualifiesError:
        return None


@st.composite
def situations(
    draw: st.DrawFn, planning: Planning
) -> tuple[list[Model], RoutingRequest, str, FleetView]:
    """Returns models, a request, a tier within its bounds, and a view of the fleet."""
    models = draw(registries(planning))
    request = draw(requests(models))
    limits = request.constraints
    within = TIERS[TIERS.index(limits.lowest_tier) : TIERS.index(limits.highest_tier) + 1]
    health = st.builds(
        ModelHealth,
        available=st.sampled_from([True, True, False]),
        usage_level=st.integers(0, 8),
        latency_s=st.one_of(st.none(), st.floats(0.1, 9)),
        remaining_requests=st.sampled_from([None, 0, 5]),
        remaining_tokens=st.sampled_from([None, 1_500, 10**6]),
    )
    fleet = FleetView(revision="1", models=draw(st.dictionaries(st.sampled_from(IDS), health)))
    return models, request, draw(st.sampled_from(within)), fleet


def meets(model: Model, cost: int | None, request: RoutingRequest, fleet: FleetView) -> bool:
    """Returns whether a model meets every limit, told without any of the code under test."""
    limits, health = request.constraints, fleet.models.get(model.id, ModelHealth())
    output = 500 if request.expected_output_tokens is None else request.expected_output_tokens
    tokens = request.input_tokens + output
    needed = set(limits.required_capabilities)
    if request.attachments:
        needed.add(Capability.VISION)
    return (
        TIERS.index(limits.lowest_tier)
        <= TIERS.index(model.tier)
        <= TIERS.index(limits.highest_tier)
        and (not limits.allowed_models or model.id in limits.allowed_models)
        and model.id not in limits.denied_models
        and (not limits.allowed_providers or model.provider in limits.allowed_providers)
        and model.provider not in limits.denied_providers
        and needed <= model.capabilities
        and all(model.labels.get(key) == value for key, value in limits.required_labels.items())
        and tokens <= model.context_window
        and (request.expected_output_tokens is None or output <= model.max_output_tokens)
        and tokens <= (model.limits.tokens_per_minute or tokens)
        and (
            limits.cost_ceiling_nano_usd is None
            or (cost is not None and cost <= limits.cost_ceiling_nano_usd)
        )
        and health.available
        and health.remaining_requests != 0
        and (health.remaining_tokens is None or tokens <= health.remaining_tokens)
    )


def minded(models: list[Model], tier: str, request: RoutingRequest, fleet: FleetView) -> FleetView:
    """Returns the health that counts: none where it would leave no model at all."""
    return fleet if usable(models, tier, request, fleet) else FleetView()


def usable(
    models: list[Model], tier: str, request: RoutingRequest, fleet: FleetView
) -> list[Model]:
    """Returns the models that meet every limit, in a tier that may be used."""
    return [
        one
        for one in models
        if meets(one, cost_of(one, request), request, fleet)
        and (TIERS.index(one.tier) >= TIERS.index(tier) or request.constraints.downgrade_allowed)
    ]


def cost_of(model: Model, request: RoutingRequest) -> int | None:
    if model.price is None:
        return None
    output = 500 if request.expected_output_tokens is None else request.expected_output_tokens
    # Prices have two digits after the point, so a token costs a whole number of nano-dollars.
    return int(1000 * model.price.input) * (request.input_tokens + output)


@RUNS
@given(st.data())
def test_every_step_meets_every_limit(planning: Planning, data: st.DataObject) -> None:
    models, request, tier, fleet = data.draw(situations(planning))
    choice = choice_or_none(planning, models, request, tier, fleet)
    fleet = minded(models, tier, request, fleet)
    for step in choice.plan.steps if choice else ():
        model = step.model.model
        assert step.estimated_cost_nano_usd == cost_of(model, request)
        assert meets(model, step.estimated_cost_nano_usd, request, fleet)


@RUNS
@given(st.data())
def test_there_is_a_choice_exactly_when_a_model_of_a_usable_tier_qualifies(
    planning: Planning, data: st.DataObject
) -> None:
    models, request, tier, fleet = data.draw(situations(planning))
    choice = choice_or_none(planning, models, request, tier, fleet)
    found = usable(models, tier, request, minded(models, tier, request, fleet))
    assert (choice is not None) == bool(found)
    if choice is not None:
        dropped = {one.model_id for one in planning.drops(models, tier, request, fleet=fleet)}
        assert dropped == {one.id for one in models} - {one.id for one in found}


@RUNS
@given(st.data())
def test_no_step_costs_more_than_the_multiple_and_none_is_twice_there(
    planning: Planning, data: st.DataObject
) -> None:
    models, request, tier, fleet = data.draw(situations(planning))
    choice = choice_or_none(planning, models, request, tier, fleet)
    if choice is None:
        return
    steps = choice.plan.steps
    assert len(steps) <= DEFAULT_PLAN_LIMITS.max_steps
    assert len({step.model.model.id for step in steps}) == len(steps)
    ranks = [step.model.rank for step in steps]
    assert ranks == sorted(ranks)
    first = choice.estimated_cost_nano_usd
    for step in steps[1:]:
        cost = step.estimated_cost_nano_usd
        if first and cost is not None:
            assert cost <= first * DEFAULT_PLAN_LIMITS.cost_multiple
        if cost is None or first is None:
            assert step.model.rank == ranks[0]
    costs = [step.estimated_cost_nano_usd for step in steps]
    expected = None if None in costs else PAID_CALLS * sum(costs)
    assert choice.plan.worst_case_cost_nano_usd == expected


@RUNS
@given(st.data())
def test_a_further_limit_never_adds_a_model(planning: Planning, data: st.DataObject) -> None:
    # Of models that are well: once no other is left, one that is ill will do.
    models, request, tier, _ = data.draw(situations(planning))
    limits = request.constraints
    tighter = data.draw(
        st.sampled_from(
            [
                replace(limits, required_capabilities=frozenset(ABILITIES)),
                replace(
                    limits, cost_ceiling_nano_usd=(limits.cost_ceiling_nano_usd or 10**7) // 2 + 1
                ),
                replace(
                    limits, denied_models=limits.denied_models | ({"m0"} - limits.allowed_models)
                ),
                replace(limits, downgrade_allowed=False),
            ]
        )
    )
    before = {one.model_id for one in planning.drops(models, tier, request)}
    after = {
        one.model_id for one in planning.drops(models, tier, replace(request, constraints=tighter))
    }
    assert before <= after


@RUNS
@given(st.data())
def test_the_order_of_the_file_does_not_matter(planning: Planning, data: st.DataObject) -> None:
    models, request, tier, fleet = data.draw(situations(planning))
    shuffled = data.draw(st.permutations(models))
    one, other = (
        choice_or_none(planning, each, request, tier, fleet) for each in (models, shuffled)
    )
    assert (one is None) == (other is None)
    if one and other:
        assert [(step.model.model.id, step.error_classes) for step in one.plan.steps] == [
            (step.model.model.id, step.error_classes) for step in other.plan.steps
        ]
        assert one.propensity == other.propensity
