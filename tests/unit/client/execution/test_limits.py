"""The caller's limits, checked against one step."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.client.execution.world import first, model

from tierwise.decisions import Capability, Plan, PlanStep
from tierwise.execution.limits import input_tokens, violation
from tierwise.messages import (
    ChatRequest,
    Image,
    JsonSchema,
    Text,
    Tool,
    user,
)
from tierwise.routing import RoutingOptions

HELLO = ChatRequest(messages=(user("hello"),))
TOOL = Tool(name="look", description="d" * 40)


def broken(
    step: PlanStep,
    request: ChatRequest = HELLO,
    tokens: int = 10,
    **options: Any,  # noqa: ANN401 - of any field
) -> str:
    return violation(step, request, RoutingOptions(**options), tokens)


ONE = model("one", "alpha", labels={"region": "eu"}, output_limit_tokens=500)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "two"}, "pinned"),
        ({"tier": "premium"}, "pinned"),
        ({"allowed_providers": ("beta",)}, "provider alpha is not allowed"),
        ({"denied_providers": ("alpha", "beta")}, "provider alpha is denied"),
        ({"allowed_models": ("two",)}, "not allowed"),
        ({"denied_models": ("one",)}, "denied"),
        ({"required_labels": {"region": "us"}}, "label region"),
        ({"required_labels": {"region": "eu", "owner": "me"}}, "label owner"),
        ({"cost_ceiling_nano_usd": 999}, "ceiling"),
    ],
)
def test_each_limit_that_is_broken_is_named(options: dict[str, Any], word: str) -> None:
    assert word in broken(first(ONE), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "one"},
        {"tier": "budget"},
        {"allowed_providers": ("alpha", "beta")},
        {"denied_providers": ("beta",)},
        {"allowed_models": ("one",)},
        {"denied_models": ("two",)},
        {"required_labels": {"region": "eu"}},
        {"cost_ceiling_nano_usd": 1000},
        {"required_capabilities": frozenset(Capability)},
    ],
)
def test_limits_that_are_kept_say_nothing(options: dict[str, Any]) -> None:
    assert broken(first(ONE), **options) == ""


def test_within_a_ceiling_an_unknown_price_is_not_taken() -> None:
    step = first(ONE, estimated_cost_nano_usd=None)
    assert "unknown" in broken(step, cost_ceiling_nano_usd=10**15)
    assert broken(step) == ""


@pytest.mark.parametrize(
    ("request_", "needed"),
    [
        (ChatRequest(messages=HELLO.messages, tools=(TOOL,)), Capability.TOOLS),
        (
            ChatRequest(messages=HELLO.messages, answer_format=JsonSchema(schema={})),
            Capability.JSON_SCHEMA,
        ),
        (ChatRequest(messages=HELLO.messages, logprobs=True), Capability.LOGPROBS),
        (
            ChatRequest(messages=(user(Text("what?"), Image(url="https://x.test/a.png")),)),
            Capability.VISION,
        ),
    ],
)
def test_what_the_request_needs_the_model_must_have(
    request_: ChatRequest, needed: Capability
) -> None:
    without = first(model("one", capabilities=frozenset(Capability) - {needed}))
    assert broken(without, request_) == f"it lacks {needed.name.lower()}"
    assert broken(first(model("one", capabilities=frozenset({needed}))), request_) == ""


def test_what_the_caller_requires_the_model_must_have() -> None:
    plain = first(model("one", capabilities=frozenset({Capability.TOOLS})))
    both = frozenset({Capability.TOOLS, Capability.AUDIO})
    assert broken(plain, required_capabilities=both) == "it lacks audio"


def test_input_and_output_together_must_fit_the_window() -> None:
    step = first(model("one", context_window_tokens=100))
    asked = ChatRequest(messages=HELLO.messages, max_output_tokens=40)
    assert broken(step, asked, 60) == ""
    assert "context window" in broken(step, asked, 61)
    assert "context window" in broken(step, HELLO, 101)
    assert broken(first(model("one", context_window_tokens=0)), asked, 10**9) == ""


def test_the_output_must_fit_its_own_limit() -> None:
    asked = ChatRequest(messages=HELLO.messages, max_output_tokens=501)
    assert "output limit" in broken(first(ONE), asked)
    asked = ChatRequest(messages=HELLO.messages, max_output_tokens=500)
    assert broken(first(ONE), asked) == ""


# Sizes -------------------------------------------------------------------------------------------

PLAN = Plan(steps=(first(ONE),), estimated_input_tokens=70)
UNKNOWN = Plan(steps=(first(ONE),))


def test_the_routers_estimate_of_the_text_is_taken() -> None:
    long = ChatRequest(messages=(user("x" * 4000),))
    assert input_tokens(long, PLAN, routed=True) == 70
    assert input_tokens(long, PLAN, routed=False) == 1000
    assert input_tokens(long, UNKNOWN, routed=True) == 1000
