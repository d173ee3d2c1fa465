"""Options of a call, over those of the client."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tierwise.decisions import Capability
from tierwise.errors import InvalidRequestError
from tierwise.routing import Priority, RequiredQuality, RoutingOptions

EVERY: dict[str, Any] = {
    "catalog": "c",
    "tier": "t",
    "lowest_tier": "low",
    "highest_tier": "high",
    "required_quality": RequiredQuality.MEDIUM,
    "allowed_providers": ("p",),
    "denied_providers": ("q",),
    "allowed_models": ("m",),
    "denied_models": ("n",),
    "required_capabilities": frozenset({Capability.AUDIO}),
    "required_labels": {"region": "eu"},
    "cost_ceiling_nano_usd": 5,
    "downgrade_allowed": True,
    "previous_tier": "before",
    "priority": Priority.LATENCY,
    "cost_quality_dial": 0.25,
    "rules_only": True,
    "task_tag": "tag",
    "expected_tier": "expected",
    "expected_output_tokens": 9,
    "language": "de",
    "caller": "app",
    "affinity_key": "key",
    "metadata": {"k": "v"},
    "keep_nothing": True,
}
"""A value for every field but the other pin."""


def test_the_table_has_every_field() -> None:
    assert set(EVERY) | {"model"} == {one.name for one in fields(RoutingOptions)}
    nothing = RoutingOptions()
    assert all(getattr(nothing, name) != value for name, value in EVERY.items())


@pytest.mark.parametrize("name", list(EVERY))
def test_what_a_call_says_goes_over_the_defaults_and_the_rest_stays(name: str) -> None:
    said = RoutingOptions(**{name: EVERY[name]})
    defaults = RoutingOptions(**{**EVERY, name: getattr(RoutingOptions(), name)})
    assert said.over(defaults) == RoutingOptions(**EVERY)
    assert RoutingOptions().over(defaults) == defaults
    assert said.over(RoutingOptions()) == said


def test_one_pin_replaces_the_other() -> None:
    tier, model = RoutingOptions(tier="t"), RoutingOptions(model="m")
    assert (model.over(tier).tier, model.over(tier).model) == ("", "m")
    assert (tier.over(model).tier, tier.over(model).model) == ("t", "")
    assert RoutingOptions(caller="app").over(model).model == "m"


def test_a_dial_of_zero_is_said() -> None:
    defaults = RoutingOptions(cost_quality_dial=1.0, expected_output_tokens=5)
    said = RoutingOptions(cost_quality_dial=0.0, expected_output_tokens=0).over(defaults)
    assert (said.cost_quality_dial, said.expected_output_tokens) == (0.0, 0)


def test_two_pins_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not both"):
        RoutingOptions(tier="t", model="m")


@pytest.mark.parametrize("ceiling", [0, -1])
def test_a_ceiling_that_nothing_keeps_is_refused(ceiling: int) -> None:
    with pytest.raises(InvalidRequestError, match="cost_ceiling_nano_usd"):
        RoutingOptions(cost_ceiling_nano_usd=ceiling)


@given(st.floats())
@example(math.nan)
def test_the_dial_goes_from_zero_to_one(dial: float) -> None:
    if not math.isnan(dial) and 0 <= dial <= 1:
        assert RoutingOptions(cost_quality_dial=dial).cost_quality_dial == dial
    else:
        with pytest.raises(InvalidRequestError, match="cost_quality_dial"):
            RoutingOptions(cost_quality_dial=dial)


def test_what_is_denied_or_required_adds_up() -> None:
    client = RoutingOptions(
        required_labels={"region": "eu", "hosting": "own"},
        denied_providers=("openai",),
        denied_models=("big",),
        required_capabilities=frozenset({Capability.TOOLS}),
    )
    call = RoutingOptions(
        required_labels={"region": "us"},
        denied_providers=("mistral", "openai"),
        required_capabilities=frozenset({Capability.VISION}),
    )
    both = call.over(client)
    assert both.required_labels == {"region": "us", "hosting": "own"}
    assert both.denied_providers == ("openai", "mistral")
    assert both.denied_models == ("big",)
    assert both.required_capabilities == {Capability.TOOLS, Capability.VISION}
