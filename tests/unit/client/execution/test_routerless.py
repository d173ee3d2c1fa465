"""While no router answers, chats go on by earlier plans or configured models, within the limits."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.client.execution.world import (
    PRICE,
    PROVIDERS,
    RETRIES,
    TRANSIENT,
    World,
    alternate,
    decided,
    escalation,
    fails,
    first,
    model,
    router_fails,
    says,
)

from tierwise.budget import Budget
from tierwise.decisions import (
    Capability,
    Decision,
    DecisionKind,
    Model,
    Price,
    RouterlessCause,
    StepKind,
)
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, ConfigurationError, RouterError
from tierwise.execution.chat import COLD_TIMEOUT_S, decide
from tierwise.execution.effects import AskRouter
from tierwise.execution.outage import PATIENCE, PROBE_EVERY_S, SAY_AFTER_S, routerless_cause
from tierwise.messages import ChatRequest, user
from tierwise.routing import RequiredQuality, RoutingOptions
from tierwise.settings import ClientSettings, RouterlessDefaults
from tierwise.v1.error_reason_pb2 import ErrorReason


def dollars(price: int) -> Price:
    """Returns a price in dollars for a million tokens of either kind."""
    nano = price * 1_000_000_000
    return Price(input_nano_usd_per_million=nano, output_nano_usd_per_million=nano)


CHEAP = model("cheap", tier_id="budget", price=dollars(1))
MIDDLE = model("middle", "beta", tier_id="mid", price=dollars(3))
DEAR = model("dear", "gamma", tier_id="premium", price=dollars(10))


def world_with(**defaults: Any) -> World:  # noqa: ANN401 - of any field
    world = World(settings=ClientSettings(routerless=RouterlessDefaults(**defaults)))
    for name in ("cheap", "middle", "dear", "one", "two", "three"):
        world.will(name, says(f"from {name}"))
    return world


def seen(world: World, decision: Decision, **options: Any) -> None:  # noqa: ANN401 - of any field
    """Has the router decide so, once."""
    world.routes(decision)
    world.run(decide(world.session, HELLO, RoutingOptions(**options), 0.25))
    world.log.clear()


HELLO = ChatRequest(messages=(user("hello"),))


def without_router(
    world: World,
    request: ChatRequest = HELLO,
    **options: Any,  # noqa: ANN401 - of any field
) -> Decision:
    """Returns what is decided while the router is away."""
    world.routes(router_fails())
    return world.run(decide(world.session, request, RoutingOptions(**options), 0.25))


# Which failures go on ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_a_router_that_is_away_stops_no_chat_and_one_that_refuses_does(
    code: grpc.StatusCode,
) -> None:
    world = world_with(models=(CHEAP,))
    world.routes(router_fails(code))
    cause = routerless_cause(router_fails(code))
    goes_on = code.name in {
        "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN",
        "DATA_LOSS", "CANCELLED", "UNIMPLEMENTED",
    }  # fmt: skip
    assert (cause is not None) is goes_on
    if goes_on:
        response = world.chat()
        assert response.text == "from cheap"
        assert response.decision.routerless_cause is cause
        assert response.decision.kind is DecisionKind.DEFAULT
        assert response.decision.decision_token == ""
        assert world.outcomes[0].decision == response.decision
    else:
        with pytest.raises(RouterError):
            world.chat()


def test_causes_are_told_apart() -> None:
    causes = {
        code: routerless_cause(router_fails(code))
        for code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    }
    assert list(causes.values()) == [
        RouterlessCause.UNAVAILABLE,
        RouterlessCause.TIMEOUT,
        RouterlessCause.OVERLOADED,
    ]


def test_with_nothing_known_to_call_the_error_says_what_to_set() -> None:
    world = world_with()
    world.routes(router_fails())
    with pytest.raises(ConfigurationError, match="RouterlessDefaults") as caught:
        world.chat()
    assert isinstance(caught.value.__cause__, RouterError)
    assert world.outcomes == []


def test_while_there_is_nothing_to_go_by_every_chat_asks_and_waits() -> None:
    world = world_with()
    world.routes(router_fails())
    for _ in range(PATIENCE + 2):
        with pytest.raises(ConfigurationError):
            world.chat()
    world.routes(decided(first(CHEAP)))
    assert world.chat().decision.routerless_cause is None


def test_a_request_that_no_known_plan_serves_waits_for_the_router_beyond_its_usual_limit() -> None:
    world = world_with()
    seen(world, decided(first(CHEAP)))
    world.routes(router_fails(grpc.StatusCode.DEADLINE_EXCEEDED), decided(first(DEAR)))
    script = decide(world.session, HELLO, RoutingOptions(denied_models=("cheap",)), 0.25)
    waits = []

    def watched() -> Any:  # noqa: ANN401 - a script
        value, error = None, None
        while True:
            try:
                effect = script.send(value) if error is None else script.throw(error)
            except StopIteration as stop:
                return stop.value
            waits.append(effect.timeout_s)
            value, error = None, None
            try:
                value = yield effect
            except RouterError as failure:
                error = failure

    assert world.run(watched()).model_id == "dear"
    assert waits == [0.25, COLD_TIMEOUT_S]


# Which plan is taken -----------------------------------------------------------------------------


def test_the_last_plan_of_the_pinned_tier_is_taken() -> None:
    world = world_with()
    seen(world, decided(first(CHEAP), decision_id="1"))
    seen(world, decided(first(MIDDLE)))
    seen(world, decided(first(model("cheap", "beta", price=PRICE)), decision_id="2"))
    decision = without_router(world, tier="budget")
    assert decision.tier_id == "budget"
    assert decision.model is not None
    assert decision.model.provider_id == "beta", "the newer one"
    assert decision.decision_id not in {"1", "2"}


def test_of_equal_plans_the_newest_is_taken() -> None:
    world = world_with()
    for name in ("one", "two", "one", "three"):
        seen(world, decided(first(model(name))))
    assert without_router(world).model_id == "three"
    seen(world, decided(first(model("one"))))
    assert without_router(world).model_id == "one"


def test_another_tier_than_the_pinned_one_is_never_taken() -> None:
    world = world_with(models=(DEAR,))
    seen(world, decided(first(CHEAP), escalation(MIDDLE)))
    with pytest.raises(ConfigurationError):
        without_router(world, tier="mid")
    assert without_router(world, tier="premium").model_id == "dear"


def test_without_a_wish_the_routers_own_default_is_taken_else_the_dearest() -> None:
    world = world_with()
    seen(world, decided(first(CHEAP), kind=DecisionKind.SEMANTIC))
    seen(world, decided(first(DEAR), kind=DecisionKind.SEMANTIC))
    seen(world, decided(first(CHEAP), kind=DecisionKind.SEMANTIC))
    assert without_router(world).tier_id == "premium"
    seen(world, decided(first(MIDDLE), kind=DecisionKind.DEFAULT))
    seen(world, decided(first(MIDDLE), kind=DecisionKind.SEMANTIC))
    assert without_router(world).tier_id == "mid"


def test_a_long_prompt_makes_no_cheap_tier_the_dearest() -> None:
    """What a decision was estimated to cost is the cost of its own prompt."""
    world = world_with()
    cheap = decided(first(CHEAP), kind=DecisionKind.SEMANTIC, estimated_cost_nano_usd=10**9)
    seen(world, cheap)
    seen(world, decided(first(DEAR), kind=DecisionKind.SEMANTIC, estimated_cost_nano_usd=10**3))
    assert without_router(world).tier_id == "premium"


@pytest.mark.parametrize(
    ("options", "defaults", "tier"),
    [
        ({"tier": "budget"}, {"tier": "mid"}, "budget"),
        ({"previous_tier": "budget"}, {"tier": "mid"}, "mid"),
        ({"previous_tier": "budget"}, {}, "budget"),
        ({}, {"tier": "budget"}, "budget"),
    ],
)
def test_the_tier_that_is_wanted_comes_first(
    options: dict[str, Any], defaults: dict[str, Any], tier: str
) -> None:
    world = world_with(**defaults)
    for one in (CHEAP, MIDDLE, DEAR):
        seen(world, decided(first(one), kind=DecisionKind.SEMANTIC))
    seen(world, decided(first(DEAR), kind=DecisionKind.DEFAULT))
    assert without_router(world, **options).tier_id == tier


@pytest.mark.parametrize(
    "options",
    [
        {"catalog": "other"},
        {"lowest_tier": "mid"},
        {"highest_tier": "mid"},
        {"required_quality": RequiredQuality.HIGH},
        {"downgrade_allowed": True},
    ],
)
def test_a_plan_is_of_use_only_under_the_same_limits_of_the_routers(
    options: dict[str, Any],
) -> None:
    world = world_with()
    seen(world, decided(first(CHEAP)))
    with pytest.raises(ConfigurationError):
        without_router(world, **options)
    seen(world, decided(first(CHEAP)), **options)
    assert without_router(world, **options).model_id == "cheap"


@pytest.mark.parametrize(
    "options",
    [
        {"denied_providers": ("gamma",)},
        {"allowed_models": ("cheap",)},
        {"required_capabilities": frozenset({Capability.TOOLS})},
        {"required_labels": {"region": "eu"}},
        {"model": "cheap"},
    ],
)
def test_a_plan_that_breaks_a_limit_is_passed_over(options: dict[str, Any]) -> None:
    world = world_with()
    dear = model("dear", "gamma", capabilities=frozenset(), price=dollars(10))
    seen(world, decided(first(dear)))
    seen(world, decided(first(model("cheap", labels={"region": "eu"}))))
    assert without_router(world, **options).model_id == "cheap"


def test_a_window_that_is_too_small_for_this_prompt_is_passed_over() -> None:
    world = world_with()
    seen(world, decided(first(model("dear", context_window_tokens=100, price=dollars(10)))))
    seen(world, decided(first(CHEAP)))
    assert without_router(world).model_id == "dear"
    long = ChatRequest(messages=(user("x" * 1000),))
    assert without_router(world, long).model_id == "cheap"


def test_a_busy_tier_does_not_push_out_the_plans_of_the_others() -> None:
    world = world_with()
    seen(world, decided(first(DEAR)))
    for _ in range(200):
        seen(world, decided(first(CHEAP)))
    assert without_router(world, tier="premium").model_id == "dear"


def test_old_plans_are_forgotten_beyond_a_bound() -> None:
    world = world_with()
    seen(world, decided(first(DEAR)))
    for number in range(64):
        seen(world, decided(first(model(f"m{number}"))))
    with pytest.raises(ConfigurationError):
        without_router(world, tier="premium")


# What it costs -----------------------------------------------------------------------------------


def test_an_old_plan_is_priced_for_the_new_prompt() -> None:
    world = world_with()
    seen(world, decided(first(CHEAP, estimated_cost_nano_usd=10)))
    long = ChatRequest(messages=(user("x" * 4000),), max_output_tokens=200)
    decision = without_router(world, long)
    assert decision.estimated_cost_nano_usd == (1000 + 200) * 1000
    with pytest.raises(ConfigurationError):
        without_router(world, long, cost_ceiling_nano_usd=1_199_999)
    assert without_router(world, long, cost_ceiling_nano_usd=1_200_000).model_id == "cheap"


def test_the_output_that_the_caller_expects_counts() -> None:
    world = world_with(models=(CHEAP,))
    long = ChatRequest(messages=(user("x" * 4000),))
    assert without_router(world, long).estimated_cost_nano_usd == 1_500_000
    decision = without_router(world, long, expected_output_tokens=0)
    assert decision.estimated_cost_nano_usd == 1_000_000


def test_a_configured_model_of_known_price_keeps_within_a_budget() -> None:
    budget = Budget(max_cost_nano_usd=10**9)
    defaults = RouterlessDefaults(models=(CHEAP,))
    world = World(settings=ClientSettings(budget=budget, routerless=defaults))
    world.will("cheap", says("from cheap"))
    world.routes(router_fails())
    assert world.chat().text == "from cheap"


def test_a_model_of_unknown_price_stays_unpriced() -> None:
    world = world_with(models=(model("one", price=None),))
    assert without_router(world).estimated_cost_nano_usd is None
    with pytest.raises(ConfigurationError):
        without_router(world, cost_ceiling_nano_usd=10**12)


# Configured models -------------------------------------------------------------------------------


def test_configured_models_are_called_in_order_after_transient_failures() -> None:
    world = world_with(models=(CHEAP, MIDDLE, DEAR))
    world.routes(router_fails())
    world.will("cheap", fails(ErrorClass.OVERLOADED))
    world.will("middle", fails(ErrorClass.TIMEOUT))
    assert world.chat().text == "from dear"
    assert world.called == ["cheap", "cheap", "middle", "middle", "dear"]


@pytest.mark.parametrize("error_class", sorted(set(ErrorClass) - set(TRANSIENT)))
def test_any_other_failure_ends_it_here(error_class: ErrorClass) -> None:
    world = world_with(models=(CHEAP, MIDDLE))
    world.routes(router_fails())
    world.will("cheap", fails(error_class))
    assert world.failed_chat().error_class is error_class
    assert world.called == ["cheap"]


def test_the_first_configured_model_that_keeps_the_limits_is_called() -> None:
    world = world_with(models=(CHEAP, MIDDLE))
    decision = without_router(world, denied_providers=("alpha",))
    assert (decision.model_id, decision.tier_id) == ("middle", "mid")
    assert decision.plan is not None
    assert decision.plan.steps[0].kind is StepKind.FIRST


def test_plans_come_before_configured_models() -> None:
    world = world_with(models=(CHEAP,))
    seen(world, decided(first(DEAR)))
    assert without_router(world).model_id == "dear"


options = st.fixed_dictionaries(
    {},
    optional={
        "allowed_providers": st.sets(st.sampled_from(PROVIDERS), min_size=1).map(tuple),
        "denied_models": st.sets(st.sampled_from(("cheap", "middle", "dear"))).map(tuple),
        "required_labels": st.just({"region": "eu"}),
        "tier": st.sampled_from(("budget", "mid", "premium")),
        "cost_ceiling_nano_usd": st.integers(1, 6_000_000),
    },
)
models = st.lists(
    st.builds(
        lambda one, labels: model(
            one.model_id, one.provider_id, tier_id=one.tier_id, price=one.price, labels=labels
        ),
        st.sampled_from((CHEAP, MIDDLE, DEAR)),
        st.sampled_from(({}, {"region": "eu"})),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.model_id,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(models, max_size=3), models, options, st.booleans())
def test_without_a_router_every_call_keeps_the_limits(
    plans: list[list[Model]], configured: list[Model], limits: dict[str, Any], works: bool
) -> None:
    world = world_with(models=tuple(configured))
    for plan in plans:
        seen(world, decided(first(plan[0]), *(alternate(one) for one in plan[1:])))
    for name in ("cheap", "middle", "dear"):
        world.will(name, says("hello") if works else fails(ErrorClass.SERVER_ERROR))
    world.routes(router_fails())
    known = {(one.model_id, one.provider_id): one for plan in plans for one in plan}
    known |= {(one.model_id, one.provider_id): one for one in configured}
    try:
        attempts = world.chat(**limits).attempts
    except ChatError as error:
        attempts = error.attempts
    except ConfigurationError:
        attempts = ()
    for attempt in attempts:
        if allowed := limits.get("allowed_providers"):
            assert attempt.provider_id in allowed
        assert attempt.model_id not in limits.get("denied_models", ())
        if tier := limits.get("tier"):
            assert known[attempt.model_id, attempt.provider_id].tier_id == tier
        if ceiling := limits.get("cost_ceiling_nano_usd"):
            price = known[attempt.model_id, attempt.provider_id].price
            assert price is not None
            assert 501 * price.output_nano_usd_per_million // 1_000_000 <= ceiling


# Asking again, and saying so ---------------------------------------------------------------------


def test_after_three_failures_the_router_is_asked_at_most_once_a_second() -> None:
    assert (PATIENCE, PROBE_EVERY_S) == (3, 1.0)
    world = world_with(models=(CHEAP,))
    world.routes(router_fails(grpc.StatusCode.DEADLINE_EXCEEDED), took_s=0.25)
    for _ in range(10):
        world.chat()
    assert world.asked_router == 3
    world.log.clear()
    for _ in range(40):
        world.now += 0.1
        world.chat()
    # 4 s pass by themselves, and each probe takes a quarter of a second.
    assert 3 <= world.asked_router <= 5
    assert world.session.outage.total == 50


def test_while_one_chat_asks_the_others_do_not_wait_for_it() -> None:
    world = world_with(models=(CHEAP,))
    outage = world.session.outage
    for _ in range(PATIENCE):
        assert outage.should_ask()
        outage.failed(RouterlessCause.TIMEOUT)
    world.now += PROBE_EVERY_S
    assert [outage.should_ask() for _ in range(3)] == [True, False, False]


def test_when_the_router_answers_again_it_is_asked_each_time() -> None:
    world = world_with(models=(CHEAP,))
    world.routes(router_fails())
    for _ in range(5):
        world.chat()
    world.now += PROBE_EVERY_S
    world.routes(decided(first(MIDDLE)))
    world.log.clear()
    for _ in range(3):
        assert world.chat().model_id == "middle"
    assert world.asked_router == 3
    assert world.session.outage.total == 5


def test_an_outage_is_said_after_a_minute_and_then_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = world_with(models=(CHEAP,))
    world.routes(router_fails())
    for _ in range(181):
        world.chat()
        world.now += 1.0
    assert SAY_AFTER_S == 60.0
    assert [(one.since_s, one.routerless_decisions) for one in world.outages] == [
        (60.0, 61),
        (120.0, 121),
        (180.0, 181),
    ]
    said = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert len(said) == 3
    assert "no router has answered for 60 s" in said[0].getMessage()


def test_an_outage_that_ended_is_forgotten() -> None:
    world = world_with(models=(CHEAP,))
    world.routes(router_fails())
    world.chat()
    world.now += 59.0
    world.routes(decided(first(MIDDLE)))
    world.chat()
    world.now += 59.0
    world.routes(router_fails())
    world.chat()
    world.now += 59.0
    world.chat()
    assert world.outages == []
    world.now += 1.0
    world.chat()
    assert [one.since_s for one in world.outages] == [60.0]


def test_retries_of_a_remembered_plan_are_those_of_the_router() -> None:
    world = world_with()
    seen(world, decided(first(CHEAP)))
    decision = without_router(world)
    assert decision.plan is not None
    assert decision.plan.steps[0].retry_limits == RETRIES


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"tier": "mid"}, "middle"),
        ({"lowest_tier": "mid"}, "middle"),
        ({"highest_tier": "mid"}, "middle"),
        ({"required_quality": RequiredQuality.LOW}, "cheap"),
        ({"required_quality": RequiredQuality.HIGH}, None),
        ({"tier": "unheard-of"}, None),
    ],
)
def test_configured_models_keep_the_limits_on_tiers(
    limits: dict[str, Any], expected: str | None
) -> None:
    world = world_with(models=(CHEAP, MIDDLE, DEAR))
    if expected is None:
        with pytest.raises(ConfigurationError):
            without_router(world, **limits)
    else:
        assert without_router(world, **limits).model_id == expected


def test_a_router_gets_longer_while_there_is_nothing_else_to_go_by() -> None:
    request = ChatRequest(messages=(user("hello"),))
    cold, warm = world_with(), world_with(models=(CHEAP,))
    for world, expected in ((cold, COLD_TIMEOUT_S), (warm, 0.25)):
        asking = next(decide(world.session, request, RoutingOptions(), 0.25))
        assert isinstance(asking, AskRouter)
        assert asking.timeout_s == expected


def test_only_decisions_that_were_made_are_counted() -> None:
    world = world_with()
    with pytest.raises(ConfigurationError):
        without_router(world)
    assert world.session.outage.total == 0


def test_a_spend_limit_is_no_outage() -> None:
    refusal = RouterError(
        "spent",
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=ErrorReason.ERROR_REASON_SPEND_LIMIT_REACHED,
    )
    assert routerless_cause(refusal) is None
