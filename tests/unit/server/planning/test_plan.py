from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise_server.deciding.request import Constraints
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import CALL_TIMEOUT_S, PAID_CALLS, StepKind
from tierwise_server.planning.selection import PlanLimits

if TYPE_CHECKING:
    from tests.unit.server.planning.conftest import Planning

    from tierwise_server.planning.choice import ModelChoice


TRANSIENT = {"RATE_LIMITED", "OVERLOADED", "SERVER_ERROR", "CONNECTION", "TIMEOUT"}


def steps(choice: ModelChoice | None) -> list[tuple[str, str]]:
    return [(step.model.model.id, step.kind.name) for step in choice.plan.steps]


def classes(choice: ModelChoice | None, name: str) -> set[str]:
    """Returns the failures that lead to a model's step."""
    (step,) = [one for one in choice.plan.steps if one.model.model.id == name]
    return {one.name for one in step.error_classes}


def test_alternates_come_first_and_one_place_is_kept_for_an_escalation(planning: Planning) -> None:
    models = [planning.model(f"b{number}", "budget", f"1.{number}") for number in range(6)]
    models += [planning.model("m0", "mid", "4"), planning.model("p0", "premium", "5")]
    assert steps(planning.choose(models, "budget")) == [
        ("b0", "FIRST"),
        ("b1", "ALTERNATE"),
        ("b2", "ALTERNATE"),
        ("m0", "ESCALATION"),
    ]


def test_without_anything_above_all_places_go_to_alternates(planning: Planning) -> None:
    models = [planning.model(f"p{number}", "premium", f"1.{number}") for number in range(6)]
    found = steps(planning.choose(models, "premium"))
    assert [name for name, _ in found] == ["p0", "p1", "p2", "p3"]


def test_few_alternates_leave_room_to_go_up_tier_by_tier(planning: Planning) -> None:
    models = [
        planning.model("b", "budget", "1"),
        planning.model("m1", "mid", "2"),
        planning.model("m2", "mid", "3"),
        planning.model("p", "premium", "5"),
    ]
    assert steps(planning.choose(models, "budget")) == [
        ("b", "FIRST"),
        ("m1", "ESCALATION"),
        ("p", "ESCALATION"),
    ]


def test_the_number_of_steps_is_bounded(planning: Planning) -> None:
    models = [planning.model(f"b{number}", "budget") for number in range(9)]
    for most in (1, 2, 4, 9):
        choice = planning.choose(models, "budget", limits=PlanLimits(max_steps=most))
        assert len(choice.plan.steps) == most


def test_a_step_above_the_cost_multiple_is_left_out(planning: Planning) -> None:
    models = [
        planning.model("b", "budget", "1"),
        planning.model("just", "mid", "8"),
        planning.model("over", "premium", "8.001"),
    ]
    assert steps(planning.choose(models, "budget")) == [("b", "FIRST"), ("just", "ESCALATION")]


def test_a_ten_times_dearer_model_is_never_an_escalation(planning: Planning) -> None:
    models = [planning.model("b", "budget", "1"), planning.model("m", "mid", "10")]
    assert steps(planning.choose(models, "budget")) == [("b", "FIRST")]


def test_after_a_free_model_the_cheapest_paid_one_is_the_measure(planning: Planning) -> None:
    models = [
        planning.model("local", "budget", "0"),
        planning.model("hosted", "budget", "1"),
        planning.model("mid", "mid", "8"),
        planning.model("top", "premium", "9"),
    ]
    assert [name for name, _ in steps(planning.choose(models, "budget"))] == [
        "local",
        "hosted",
        "mid",
    ]
    alone = [
        models[0],
        planning.model("cheap-mid", "mid", "5"),
        planning.model("top", "premium", "41"),
    ]
    assert [name for name, _ in steps(planning.choose(alone, "budget"))] == ["local", "cheap-mid"]
    free = [models[0], planning.model("also-free", "mid", "0")]
    assert [name for name, _ in steps(planning.choose(free, "budget"))] == ["local", "also-free"]


def test_an_unknown_price_may_stand_in_but_never_goes_up(planning: Planning) -> None:
    models = [
        planning.model("b", "budget", "1"),
        planning.model("b-unpriced", "budget", None),
        planning.model("m-unpriced", "mid", None),
    ]
    choice = planning.choose(models, "budget")
    assert [name for name, _ in steps(choice)] == ["b", "b-unpriced"]
    assert choice.plan.worst_case_cost_nano_usd is None
    unpriced = planning.choose([*models[1:], planning.model("m", "mid", "1")], "budget")
    assert steps(unpriced) == [("b-unpriced", "FIRST")]


def test_the_worst_case_pays_each_step_as_often_as_it_can_be_billed(planning: Planning) -> None:
    models = [planning.model("b", "budget", "1"), planning.model("m", "mid", "4")]
    choice = planning.choose(models, "budget")
    assert choice.plan.worst_case_cost_nano_usd == PAID_CALLS * (2_000_000 + 8_000_000)


def test_another_provider_that_costs_about_as_much_is_the_first_alternate(
    planning: Planning,
) -> None:
    models = [
        planning.model("a", "budget", "1"),
        planning.model("a2", "budget", "1.1"),
        planning.model("other", "budget", "2.2", provider="mistral"),
    ]
    assert [name for name, _ in steps(planning.choose(models, "budget"))] == ["a", "other", "a2"]
    dear = [*models[:2], planning.model("other", "budget", "2.3", provider="mistral")]
    assert [name for name, _ in steps(planning.choose(dear, "budget"))] == ["a", "a2", "other"]


def test_the_first_step_has_no_failures_and_every_other_has_some(planning: Planning) -> None:
    models = [planning.model(f"b{number}", "budget") for number in range(4)]
    first, *others = planning.choose(models, "budget").plan.steps
    assert first.kind is StepKind.FIRST
    assert first.error_classes == ()
    assert all(step.error_classes for step in others)
    assert CALL_TIMEOUT_S == 30


def test_an_alternate_of_the_same_provider_follows_what_waiting_may_mend(
    planning: Planning,
) -> None:
    models = [planning.model("a", "budget", "1"), planning.model("b", "budget", "2")]
    assert classes(planning.choose(models, "budget"), "b") == TRANSIENT | {"MALFORMED_RESPONSE"}


def test_an_alternate_of_another_provider_follows_quota_and_authentication_too(
    planning: Planning,
) -> None:
    models = [
        planning.model("a", "budget", "1"),
        planning.model("b", "budget", "2", provider="mistral"),
    ]
    assert classes(planning.choose(models, "budget"), "b") == TRANSIENT | {
        "MALFORMED_RESPONSE",
        "QUOTA_EXHAUSTED",
        "AUTHENTICATION",
    }


def test_an_escalation_follows_the_validator_but_never_authentication(planning: Planning) -> None:
    models = [
        planning.model("a", "budget", "1"),
        planning.model("same", "mid", "2"),
        planning.model("other", "premium", "3", provider="mistral"),
    ]
    choice = planning.choose(models, "budget")
    common = TRANSIENT | {"MALFORMED_RESPONSE", "REJECTED_BY_VALIDATOR"}
    assert classes(choice, "same") == common
    assert classes(choice, "other") == common | {"QUOTA_EXHAUSTED"}


def test_a_provider_that_was_called_before_is_not_another_one(planning: Planning) -> None:
    models = [
        planning.model("a", "budget", "1"),
        planning.model("b", "budget", "1", provider="mistral"),
        planning.model("c", "mid", "2"),
    ]
    assert "QUOTA_EXHAUSTED" not in classes(planning.choose(models, "budget"), "c")


def test_input_that_is_too_long_leads_to_a_larger_window_alone(planning: Planning) -> None:
    models = [
        planning.model("a", "budget", "1"),
        planning.model("equal", "budget", "1.1"),
        planning.model("larger", "mid", "2", context_window=200_000),
        planning.model("no-larger-than-that", "premium", "3", context_window=200_000),
    ]
    choice = planning.choose(models, "budget")
    assert "CONTEXT_TOO_LONG" not in classes(choice, "equal")
    assert "CONTEXT_TOO_LONG" in classes(choice, "larger")
    assert "CONTEXT_TOO_LONG" not in classes(choice, "no-larger-than-that")


def test_a_larger_window_is_worth_a_place_and_skips_tiers_for_it(planning: Planning) -> None:
    models = [planning.model(f"b{number}", "budget", f"1.{number}") for number in range(4)]
    models += [
        planning.model("m", "mid", "2"),
        planning.model("p-small", "premium", "3"),
        planning.model("p-large", "premium", "4", context_window=900_000),
    ]
    assert steps(planning.choose(models, "budget")) == [
        ("b0", "FIRST"),
        ("b1", "ALTERNATE"),
        ("m", "ESCALATION"),
        ("p-large", "ESCALATION"),
    ]


def test_no_step_follows_a_failure_that_no_model_can_mend(planning: Planning) -> None:
    models = [
        planning.model(f"{tier}-{provider}", tier, "1", provider=provider, context_window=window)
        for tier, window in (("budget", 10_000), ("mid", 20_000), ("premium", 30_000))
        for provider in ("openai", "mistral")
    ]
    for tier in ("budget", "mid", "premium"):
        for step in planning.choose(models, tier).plan.steps:
            assert not {
                ErrorClass.CONTENT_POLICY,
                ErrorClass.INVALID_REQUEST,
                ErrorClass.CANCELLED,
            } & set(step.error_classes)


def test_a_pinned_tier_has_alternates_and_no_escalation(planning: Planning) -> None:
    models = [
        planning.model("m1", "mid", "1"),
        planning.model("m2", "mid", "2"),
        planning.model("p", "premium", "3"),
    ]
    choice = planning.choose(models, "mid", constraints=Constraints(pinned_tier="mid"))
    assert steps(choice) == [("m1", "FIRST"), ("m2", "ALTERNATE")]


def test_the_plan_stays_below_the_highest_tier_that_the_request_allows(planning: Planning) -> None:
    models = [
        planning.model("b", "budget", "1"),
        planning.model("m", "mid", "2"),
        planning.model("p", "premium", "3"),
    ]
    choice = planning.choose(models, "budget", constraints=Constraints(highest_tier="mid"))
    assert [name for name, _ in steps(choice)] == ["b", "m"]


def test_a_choice_that_went_up_plans_from_there(planning: Planning) -> None:
    models = [
        planning.model("b", "budget", "1"),
        planning.model("m", "mid", "2"),
        planning.model("p", "premium", "3"),
    ]
    constraints = Constraints(denied_models=frozenset({"b"}))
    choice = planning.choose(models, "budget", constraints=constraints)
    assert steps(choice) == [("m", "FIRST"), ("p", "ESCALATION")]
