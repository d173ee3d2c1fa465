"""Which steps a failure leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.client.execution.world import (
    ALTERNATE,
    ANY,
    ESCALATION,
    FIRST,
    PROVIDERS,
    TRANSIENT,
    alternate,
    escalation,
    first,
    model,
)

from tierwise.decisions import PlanStep
from tierwise.error_class import ErrorClass
from tierwise.execution.steps import retry_limit, steps_after

PLAN = (
    first(model("first", "alpha", context_window_tokens=1000)),
    alternate(model("same-provider", "alpha", context_window_tokens=1000)),
    alternate(model("other-provider", "beta", context_window_tokens=1000)),
    alternate(model("larger-window", "alpha", context_window_tokens=2000)),
    escalation(model("up", "alpha", context_window_tokens=1000)),
    escalation(model("up-elsewhere", "beta", context_window_tokens=1000)),
    escalation(model("up-and-larger", "alpha", context_window_tokens=2000)),
)
"""Every kind of step, each said to follow every failure: more than a router would say."""

ALL = tuple(step.model.model_id for step in PLAN[1:])


@pytest.mark.parametrize(
    ("error_class", "following"),
    [
        *((one, ALL) for one in TRANSIENT),
        (ErrorClass.MALFORMED_RESPONSE, ALL),
        (ErrorClass.QUOTA_EXHAUSTED, ("other-provider", "up-elsewhere")),
        (ErrorClass.AUTHENTICATION, ("other-provider",)),
        (ErrorClass.CONTEXT_TOO_LONG, ("larger-window", "up-and-larger")),
        (ErrorClass.REJECTED_BY_VALIDATOR, ("up", "up-elsewhere", "up-and-larger")),
        (ErrorClass.CONTENT_POLICY, ()),
        (ErrorClass.INVALID_REQUEST, ()),
        (ErrorClass.CANCELLED, ()),
    ],
)
def test_each_failure_leads_where_the_table_says(
    error_class: ErrorClass, following: tuple[str, ...]
) -> None:
    found = [PLAN[later].model.model_id for later in steps_after(PLAN, 0, error_class)]
    assert tuple(found) == following


def test_the_table_has_every_class() -> None:
    marks = getattr(test_each_failure_leads_where_the_table_says, "pytestmark", [])
    assert {row[0] for row in marks[0].args[1]} == set(ErrorClass)


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_a_step_that_does_not_name_the_failure_is_skipped(error_class: ErrorClass) -> None:
    others = ANY - {error_class}
    plan = (PLAN[0], *(replace(step, error_classes=others) for step in PLAN[1:]))
    assert list(steps_after(plan, 0, error_class)) == []


def test_a_rejected_answer_of_a_higher_tier_does_not_lead_to_another_model_of_it() -> None:
    plan = (
        first(model("low")),
        escalation(model("high", tier_id="mid")),
        escalation(model("beside", tier_id="mid")),
        escalation(model("highest", tier_id="premium")),
    )
    assert list(steps_after(plan, 1, ErrorClass.REJECTED_BY_VALIDATOR)) == [3]
    assert list(steps_after(plan, 1, ErrorClass.OVERLOADED)) == [2, 3]


def test_a_provider_that_failed_later_counts_not_the_first() -> None:
    plan = (first(model("a", "alpha")), alternate(model("b", "beta")), alternate(model("c")))
    assert list(steps_after(plan, 1, ErrorClass.QUOTA_EXHAUSTED)) == [2]


steps = st.builds(
    lambda kind, provider, window, tier, classes: PlanStep(
        model=model("m", provider, context_window_tokens=window, tier_id=tier),
        kind=kind,
        error_classes=classes,
    ),
    st.sampled_from((FIRST, ALTERNATE, ESCALATION)),
    st.sampled_from(PROVIDERS),
    st.sampled_from((0, 1000, 2000)),
    st.sampled_from(("budget", "mid", "premium")),
    st.frozensets(st.sampled_from(ErrorClass)),
)


@given(st.lists(steps, min_size=1, max_size=6), st.data(), st.sampled_from(ErrorClass))
def test_whatever_the_plan_says_the_rules_hold(
    plan: list[PlanStep], data: st.DataObject, error_class: ErrorClass
) -> None:
    position = data.draw(st.integers(0, len(plan) - 1))
    failed = plan[position].model
    following = list(steps_after(plan, position, error_class))
    assert following == sorted(following)
    for later in following:
        step = plan[later]
        assert later > position
        assert error_class in step.error_classes
        match error_class:
            case ErrorClass.CONTENT_POLICY | ErrorClass.INVALID_REQUEST | ErrorClass.CANCELLED:
                raise AssertionError("it must end here")
            case ErrorClass.QUOTA_EXHAUSTED:
                assert step.model.provider_id != failed.provider_id
            case ErrorClass.AUTHENTICATION:
                assert step.model.provider_id != failed.provider_id
                assert step.kind is ALTERNATE
            case ErrorClass.CONTEXT_TOO_LONG:
                assert step.model.context_window_tokens > failed.context_window_tokens
            case ErrorClass.REJECTED_BY_VALIDATOR:
                assert step.kind is ESCALATION
                assert step.model.tier_id != failed.tier_id
            case _:
                pass


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_only_what_may_pass_is_retried_whatever_the_plan_says(error_class: ErrorClass) -> None:
    step = first(model("a"), retry_limits=dict.fromkeys(ErrorClass, 7))
    passes = error_class in TRANSIENT or error_class is ErrorClass.MALFORMED_RESPONSE
    assert retry_limit(step, error_class) == (7 if passes else 0)
    assert retry_limit(first(model("a"), retry_limits={}), error_class) == 0
