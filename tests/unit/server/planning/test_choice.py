from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.server.planning.conftest import TODAY

from tierwise_server.catalog.ids import TierId
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.errors import RequestError
from tierwise_server.deciding.request import Constraints, Priority, RoutingRequest
from tierwise_server.planning.choice import plan_models
from tierwise_server.planning.errors import NoModelQualifiesError
from tierwise_server.planning.fleet import EMPTY_FLEET, FleetView, ModelHealth
from tierwise_server.planning.prices import resolve_prices
from tierwise_server.planning.registry import build_registry

if TYPE_CHECKING:
    from tests.unit.server.planning.conftest import Planning

    from tierwise_server.catalog.registry import Model
    from tierwise_server.planning.choice import ModelChoice


ASKED = RoutingRequest(
    text="hello", character_count=5, input_tokens=1000, expected_output_tokens=1000
)
"""A call of 1,000 tokens in and out: at 1 USD a million each it costs 2,000,000 nano-USD."""


def three(planning: Planning) -> list[Model]:
    """Returns one model a tier, each four times as dear as the one below."""
    return [
        planning.model("small", "budget", "1"),
        planning.model("medium", "mid", "4"),
        planning.model("large", "premium", "16"),
    ]


def chosen(choice: ModelChoice | None) -> str:
    return choice.model.model.id


def test_a_catalog_without_models_gives_no_choice(planning: Planning) -> None:
    assert planning.choose([], "mid") is None
    assert planning.drops([], "mid") == ()


def test_the_model_of_the_decided_tier_is_chosen_with_its_cost_and_counterfactual(
    planning: Planning,
) -> None:
    choice = planning.choose(three(planning), "mid")
    assert chosen(choice) == "medium"
    assert choice.estimated_cost_nano_usd == 8_000_000
    assert choice.baseline.model.id == "large"
    assert choice.counterfactual_cost_nano_usd == 32_000_000
    assert choice.propensity is None
    assert choice.plan.estimated_input_tokens == 1000
    assert choice.plan.assumed_output_tokens == 1000


def test_the_baseline_is_the_dearest_of_the_top_tier_unless_the_catalog_names_one(
    planning: Planning,
) -> None:
    models = [*three(planning), planning.model("cheap-top", "premium", "5")]
    assert planning.choose(models, "budget").baseline.model.id == "large"
    named = planning.choose(planning.catalog(models, "medium"), "budget")
    assert named.baseline.model.id == "medium"
    assert named.counterfactual_cost_nano_usd == 8_000_000


def test_an_unpriced_model_has_no_cost_and_an_unpriced_baseline_no_counterfactual(
    planning: Planning,
) -> None:
    models = [planning.model("small", "budget", None), planning.model("large", "premium", None)]
    choice = planning.choose(models, "budget")
    assert choice.estimated_cost_nano_usd is None
    assert choice.counterfactual_cost_nano_usd is None
    assert choice.plan.worst_case_cost_nano_usd is None


def test_the_price_of_a_call_counts_beside_its_tokens(planning: Planning) -> None:
    models = [
        planning.model("by-token", "budget", "2"),
        planning.model("by-call", "budget", "1", per_call="0.01"),
    ]
    choice = planning.choose(models, "budget")
    assert chosen(choice) == "by-token"
    assert choice.estimated_cost_nano_usd == 4_000_000
    (alternate,) = choice.plan.steps[1:]
    assert alternate.estimated_cost_nano_usd == 12_000_000


def test_costs_beyond_64_bits_stay_exact(planning: Planning) -> None:
    models = [
        planning.model("dear", "budget", "1000000"),
        planning.model("dearer", "budget", "1000000", per_call="0.000000001"),
    ]
    request = replace(ASKED, input_tokens=90_000, expected_output_tokens=0)
    assert planning.choose(models, "budget", request).estimated_cost_nano_usd == 9 * 10**13
    big = [replace(one, context_window=10**9) for one in models]
    choice = planning.choose(big, "budget", replace(ASKED, input_tokens=10**8 - 1))
    assert chosen(choice) == "dear"
    assert choice.estimated_cost_nano_usd == (10**8 - 1 + 1000) * 10**9
    assert choice.plan.steps[1].estimated_cost_nano_usd == (10**8 - 1 + 1000) * 10**9 + 1


def test_ties_of_cost_go_to_the_better_quality_then_to_the_id(planning: Planning) -> None:
    models = [
        planning.model("a-unrated", "budget", "1"),
        planning.model("d-good", "budget", "1", quality=0.9),
        planning.model("c-good", "budget", "1", quality=0.9),
        planning.model("b-poor", "budget", "1", quality=0.1),
        planning.model("e-cheap", "budget", "0.5", quality=0.0),
    ]
    order = []
    for _ in range(len(models)):
        order.append(chosen(planning.choose(models, "budget")))
        models = [one for one in models if one.id != order[-1]]
    assert order == ["e-cheap", "c-good", "d-good", "b-poor", "a-unrated"]


def test_a_model_of_unknown_price_comes_after_those_of_known_price(planning: Planning) -> None:
    models = [planning.model("unpriced", "budget", None), planning.model("priced", "budget", "9")]
    assert chosen(planning.choose(models, "budget")) == "priced"


def test_latency_ranks_by_what_was_observed_and_takes_the_rest_for_the_median(
    planning: Planning,
) -> None:
    models = [
        planning.model("slow", "budget", "1"),
        planning.model("fast", "budget", "5"),
        planning.model("unseen", "budget", "0.5"),
    ]
    request = replace(ASKED, priority=Priority.LATENCY)
    fleet = FleetView(
        revision="1", models={"slow": ModelHealth(latency_s=3), "fast": ModelHealth(latency_s=1)}
    )
    assert chosen(planning.choose(models, "budget", request, fleet=fleet)) == "fast"
    choice = planning.choose(models, "budget", request, fleet=fleet)
    assert [step.model.model.id for step in choice.plan.steps] == ["fast", "unseen", "slow"]
    # Alone with the slow one, the model that nobody called is as good as it, and cheaper.
    assert chosen(planning.choose(models[::2], "budget", request, fleet=fleet)) == "unseen"
    assert chosen(planning.choose(models, "budget", request)) == "unseen"


def test_equal_models_share_the_calls_by_the_use_of_their_limits(planning: Planning) -> None:
    models = [
        planning.model("east", "budget", "1"),
        planning.model("west", "budget", "1"),
        planning.model("dear", "budget", "2"),
    ]
    fleet = FleetView(revision="1", models={"east": ModelHealth(usage_level=3)})
    assert chosen(planning.choose(models, "budget")) == "east"
    assert chosen(planning.choose(models, "budget", fleet=fleet)) == "west"
    full = FleetView(
        revision="2",
        models={name: ModelHealth(usage_level=8) for name in ("east", "west")},
    )
    # A model that costs more is not equal, however busy the others are.
    assert chosen(planning.choose(models, "budget", fleet=full)) == "east"


def test_the_fleet_is_never_dropped_as_a_whole_for_its_health(planning: Planning) -> None:
    models = three(planning)
    ill = {one.id: ModelHealth(available=False) for one in models}
    some = FleetView(revision="1", models={"small": ill["small"]})
    choice = planning.choose(models, "budget", fleet=some)
    assert "small" not in [step.model.model.id for step in choice.plan.steps]
    assert chosen(choice) == "medium"
    every = FleetView(revision="2", models=ill)
    assert chosen(planning.choose(models, "budget", fleet=every)) == "small"
    assert planning.drops(models, "budget", fleet=every) == ()
    exhausted = FleetView(
        revision="3", models={one.id: ModelHealth(remaining_requests=0) for one in models}
    )
    assert chosen(planning.choose(models, "mid", fleet=exhausted)) == "medium"


def test_a_share_of_plans_that_grows_with_the_level_probes_a_model(planning: Planning) -> None:
    models = [planning.model("ill", "budget", "1"), planning.model("well", "budget", "2")]
    shares = []
    for level in range(5):
        health = ModelHealth(available=False, probe_level=level)
        fleet = FleetView(revision=f"r{level}", models={"ill": health})
        seeds = [f"prompt {number}".encode() for number in range(400)]
        first = [chosen(planning.choose(models, "budget", fleet=fleet, seed=one)) for one in seeds]
        again = [chosen(planning.choose(models, "budget", fleet=fleet, seed=one)) for one in seeds]
        assert first == again
        dropped = [planning.drops(models, "budget", fleet=fleet, seed=one) for one in seeds]
        assert [bool(one) for one in dropped] == [one == "well" for one in first]
        shares.append(first.count("ill") / len(first))
    assert shares == [
        pytest.approx(expected, abs=0.07) for expected in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    ]
    assert shares[-1] == 1


def test_models_of_unknown_price_are_left_out_where_spend_has_to_be_known(
    planning: Planning,
) -> None:
    models = [planning.model("unpriced", "budget", None), planning.model("priced", "mid")]
    priced_only = Constraints(priced_only=True)
    assert chosen(planning.choose(models, "budget")) == "unpriced"
    assert chosen(planning.choose(models, "budget", constraints=priced_only)) == "priced"
    (dropped,) = planning.drops(models, "budget", constraints=priced_only)
    assert dropped.constraint == "price-unknown"
    assert "spend limit" in dropped.description


def test_quality_ranks_rated_models_first_and_ties_by_cost(planning: Planning) -> None:
    models = [
        planning.model("unrated", "budget", "0.1"),
        planning.model("good-dear", "budget", "5", quality=0.8),
        planning.model("good-cheap", "budget", "4", quality=0.8),
        planning.model("poor", "budget", "1", quality=0.2),
    ]
    request = replace(ASKED, priority=Priority.QUALITY)
    assert chosen(planning.choose(models, "budget", request)) == "good-cheap"


def test_a_rule_s_model_is_preferred_when_it_qualifies(planning: Planning) -> None:
    models = [planning.model("cheap", "mid", "1"), planning.model("named", "mid", "3")]
    assert chosen(planning.choose(models, "mid", model="named")) == "named"
    denied = Constraints(denied_models=frozenset({"named"}))
    assert chosen(planning.choose(models, "mid", constraints=denied, model="named")) == "cheap"


def test_a_tier_without_a_qualified_model_gives_way_to_the_one_above(planning: Planning) -> None:
    constraints = Constraints(denied_models=frozenset({"small", "medium"}))
    assert chosen(planning.choose(three(planning), "budget", constraints=constraints)) == "large"


def test_the_choice_never_leaves_the_bounds_upwards(planning: Planning) -> None:
    constraints = Constraints(denied_models=frozenset({"small", "medium"}), highest_tier="mid")
    with pytest.raises(NoModelQualifiesError):
        planning.choose(three(planning), "budget", constraints=constraints)


def test_the_choice_goes_down_only_when_allowed_and_not_below_the_bounds(
    planning: Planning,
) -> None:
    models = three(planning)
    denied = frozenset({"large"})
    with pytest.raises(NoModelQualifiesError):
        planning.choose(models, "premium", constraints=Constraints(denied_models=denied))
    allowed = Constraints(denied_models=denied, downgrade_allowed=True)
    assert chosen(planning.choose(models, "premium", constraints=allowed)) == "medium"
    bounded = Constraints(
        denied_models=frozenset({"large", "medium"}), downgrade_allowed=True, lowest_tier="mid"
    )
    with pytest.raises(NoModelQualifiesError):
        planning.choose(models, "premium", constraints=bounded)


def test_a_pinned_model_is_the_only_one_or_an_error(planning: Planning) -> None:
    pinned = Constraints(pinned_model="medium")
    choice = planning.choose(three(planning), "mid", constraints=pinned)
    assert [step.model.model.id for step in choice.plan.steps] == ["medium"]
    # Also when it is ill, since there is no other.
    fleet = FleetView(revision="1", models={"medium": ModelHealth(available=False)})
    assert chosen(planning.choose(three(planning), "mid", constraints=pinned, fleet=fleet))
    seeing = replace(pinned, required_capabilities=frozenset({Capability.VISION}))
    with pytest.raises(NoModelQualifiesError) as caught:
        planning.choose(three(planning), "mid", constraints=seeing, fleet=fleet)
    assert {one.model_id: one.constraint for one in caught.value.dropped} == {
        "small": "tier",
        "medium": "capability",
        "large": "tier",
    }


def test_a_pinned_tier_is_not_left_even_when_a_downgrade_is_allowed(planning: Planning) -> None:
    constraints = Constraints(
        pinned_tier="mid", denied_models=frozenset({"medium"}), downgrade_allowed=True
    )
    with pytest.raises(NoModelQualifiesError):
        planning.choose(three(planning), "mid", constraints=constraints)


def test_the_error_lists_every_model_with_its_reason_and_takes_a_path(planning: Planning) -> None:
    constraints = Constraints(denied_providers=frozenset({"openai"}))
    with pytest.raises(NoModelQualifiesError) as caught:
        planning.choose(three(planning), "budget", constraints=constraints)
    error = caught.value
    assert isinstance(error, RequestError)
    assert [one.model_id for one in error.dropped] == ["small", "medium", "large"]
    assert {one.constraint for one in error.dropped} == {"provider-denied"}
    assert str(error).startswith("constraints: no model")
    below = error.below("inputs[3]")
    assert str(below).startswith("inputs[3].constraints: no model")
    assert below.dropped == error.dropped


def test_a_long_list_of_reasons_is_cut_in_the_message_alone(planning: Planning) -> None:
    models = [planning.model(f"m{number:03}", "budget") for number in range(100)]
    constraints = Constraints(denied_providers=frozenset({"openai"}))
    with pytest.raises(NoModelQualifiesError, match="and 80 more") as caught:
        planning.choose(models, "budget", constraints=constraints)
    assert len(caught.value.dropped) == 100


@pytest.mark.parametrize(
    ("constraint", "request_changes", "limits", "model_changes"),
    [
        ("provider-not-allowed", {}, {"allowed_providers": frozenset({"mistral"})}, {}),
        ("provider-denied", {}, {"denied_providers": frozenset({"openai"})}, {}),
        ("model-not-allowed", {}, {"allowed_models": frozenset({"other"})}, {}),
        ("model-denied", {}, {"denied_models": frozenset({"one"})}, {}),
        ("capability", {}, {"required_capabilities": frozenset({Capability.TOOLS})}, {}),
        ("capability", {"attachments": frozenset({AttachmentKind.IMAGE})}, {}, {}),
        ("label", {}, {"required_labels": {"region": "eu"}}, {"labels": {"region": "us"}}),
        ("context-window", {"input_tokens": 99_001}, {}, {}),
        ("output-limit", {"expected_output_tokens": 8001}, {}, {}),
        ("cost-ceiling", {}, {"cost_ceiling_nano_usd": 1_999_999}, {}),
        ("price-unknown", {}, {"cost_ceiling_nano_usd": 10**12}, {"dollars": None}),
        ("no-headroom", {}, {}, {"tokens_per_minute": 1999}),
    ],
)
def test_a_dropped_model_names_the_limit_that_it_misses(
    planning: Planning,
    constraint: str,
    request_changes: dict[str, Any],
    limits: dict[str, Any],
    model_changes: dict[str, Any],
) -> None:
    other = planning.model(
        "other",
        "premium",
        "0.1",
        provider="mistral",
        context_window=10**6,
        max_output_tokens=10**5,
        capabilities=list(Capability),
        labels={"region": "eu"},
    )
    models = [planning.model("one", "budget", **{"dollars": "1", **model_changes}), other]
    request = replace(ASKED, **request_changes, constraints=Constraints(**limits))
    (dropped,) = planning.drops(models, "budget", request)
    assert (dropped.model_id, dropped.constraint) == ("one", constraint)
    assert re.search("[a-z]", dropped.description)
    assert chosen(planning.choose(models, "budget", request)) == "other"


@pytest.mark.parametrize(
    ("request_changes", "limits"),
    [
        ({"input_tokens": 99_000}, {}),
        ({"expected_output_tokens": 8000}, {}),
        ({}, {"cost_ceiling_nano_usd": 2_000_000}),
    ],
)
def test_a_limit_that_is_just_met_drops_nothing(
    planning: Planning, request_changes: dict[str, Any], limits: dict[str, Any]
) -> None:
    models = [planning.model("one", "budget", "1", tokens_per_minute=200_000)]
    request = replace(ASKED, **request_changes, constraints=Constraints(**limits))
    assert chosen(planning.choose(models, "budget", request)) == "one"


@pytest.mark.parametrize(
    ("health", "constraint"),
    [
        (ModelHealth(available=False), "unhealthy"),
        (ModelHealth(remaining_requests=0), "no-headroom"),
        (ModelHealth(remaining_tokens=1999), "no-headroom"),
        (ModelHealth(remaining_requests=1, remaining_tokens=2000), None),
    ],
)
def test_the_fleet_drops_models_that_cannot_take_the_call(
    planning: Planning, health: ModelHealth, constraint: str | None
) -> None:
    models = [planning.model("one", "budget"), planning.model("two", "budget", "2")]
    fleet = FleetView(revision="1", models={"one": health})
    dropped = planning.drops(models, "budget", ASKED, fleet=fleet)
    assert [one.constraint for one in dropped] == ([constraint] if constraint else [])
    choice = planning.choose(models, "budget", ASKED, fleet=fleet)
    assert chosen(choice) == ("two" if constraint else "one")


def test_a_capability_that_a_rule_asks_for_counts_like_the_request_s_own(
    planning: Planning,
) -> None:
    models = [
        planning.model("plain", "mid", "1"),
        planning.model("seeing", "mid", "2", capabilities=[Capability.VISION]),
    ]
    assert (
        chosen(planning.choose(models, "mid", required_capabilities=frozenset({Capability.VISION})))
        == "seeing"
    )


def test_an_assumed_answer_drops_no_model_for_its_output_limit(planning: Planning) -> None:
    models = [planning.model("terse", "budget", max_output_tokens=100)]
    request = replace(ASKED, expected_output_tokens=None)
    assert chosen(planning.choose(models, "budget", request)) == "terse"


def test_estimated_input_keeps_a_safety_share_of_the_window(planning: Planning) -> None:
    text = "word " * 20_000
    request = RoutingRequest(text=text, character_count=len(text), expected_output_tokens=0)
    roomy = planning.choose(
        [planning.model("one", "budget", context_window=10**6)], "budget", request
    )
    estimate = roomy.plan.estimated_input_tokens
    tight = [planning.model("one", "budget", context_window=estimate + 1)]
    with pytest.raises(NoModelQualifiesError, match="do not fit"):
        planning.choose(tight, "budget", request)


def test_tiers_below_the_decided_one_are_dropped_for_their_tier(planning: Planning) -> None:
    (dropped,) = planning.drops(three(planning), "mid")
    assert (dropped.model_id, dropped.constraint) == ("small", "tier")
    assert "no downgrade" in dropped.description


def test_prices_alone_change_the_revision_of_a_registry(planning: Planning) -> None:
    revision = planning.registry(three(planning)).revision
    assert planning.registry(three(planning)).revision == revision
    dearer = [*three(planning)[:2], planning.model("large", "premium", "17")]
    assert planning.registry(dearer).revision != revision


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("weight", [None, 2.0])
def test_a_choice_made_before_is_the_one_that_would_be_made_anew(
    planning: Planning, priority: Priority, weight: float | None
) -> None:
    catalog = planning.catalog(
        [
            planning.model("cheap-in", "budget", "1", quality=0.4, weight=weight),
            planning.model("flat", "budget", "0.9", per_call="0.001", weight=weight),
            planning.model("sees", "mid", "3", capabilities=[Capability.VISION]),
            planning.model("blind", "mid", "2", context_window=20_000),
            planning.model("large", "premium", "9", capabilities=[Capability.VISION]),
        ]
    )
    registry = build_registry(catalog, resolve_prices(catalog.models, TODAY))
    view = FleetView(revision="1", models={"blind": ModelHealth(available=False)})

    def described(request: RoutingRequest, tier: str, fleet: FleetView, highest: int) -> object:
        choice = plan_models(
            registry,
            Verdict(kind=DecisionKind.SEMANTIC, tier=catalog.tier_by_id[TierId(tier)], reason=""),
            TierBounds(lowest=0, highest=highest),
            request,
            language="en",
            fleet=fleet,
            seed=request.text.encode(),
        )
        assert choice is not None
        steps = [
            (one.model.model.id, one.kind, one.error_classes, one.estimated_cost_nano_usd)
            for one in choice.plan.steps
        ]
        return (
            *(chosen(choice), choice.propensity, choice.estimated_cost_nano_usd, steps),
            *(choice.counterfactual_cost_nano_usd, choice.plan.estimated_input_tokens),
        )

    unlike = [
        (
            RoutingRequest(
                text=text,
                character_count=len(text),
                priority=priority,
                attachments=attachments,
                expected_output_tokens=output,
            ),
            tier,
            fleet,
            highest,
        )
        for text in ("short", "of another length", "of another lengtH", "word " * 20_000)
        for attachments in (frozenset(), frozenset({AttachmentKind.IMAGE}))
        for output in (None, 10)
        for tier in ("budget", "mid")
        for fleet in (EMPTY_FLEET, view)
        for highest in (1, 2)
    ]
    for _ in range(2):
        for request, *others in unlike:
            # Constraints that constrain nothing are not known to be those of the case before.
            anew = replace(request, constraints=Constraints())
            assert described(request, *others) == described(anew, *others)
