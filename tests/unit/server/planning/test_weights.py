from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tierwise_server.deciding.request import Constraints, Priority, RoutingRequest

if TYPE_CHECKING:
    from tests.unit.server.planning.conftest import Planning


KEYS = [f"user-{number}".encode() for number in range(4000)]


def draws(planning: Planning, weights: dict[str, float | None]) -> dict[bytes, str]:
    """Returns the model that each key gets."""
    models = [
        planning.model(name, "budget", str(price), weight=weight)
        for price, (name, weight) in enumerate(weights.items(), start=1)
    ]
    return {key: planning.choose(models, "budget", seed=key).model.model.id for key in KEYS[:1500]}


def test_shares_follow_the_weights(planning: Planning) -> None:
    found = list(draws(planning, {"old": 80.0, "new": 15.0, "canary": 5.0}).values())
    for name, share in {"old": 0.8, "new": 0.15, "canary": 0.05}.items():
        # Four standard deviations of a binomial share.
        bound = 4 * math.sqrt(share * (1 - share) / len(found))
        assert found.count(name) / len(found) == pytest.approx(share, abs=bound)


def test_a_changed_weight_moves_only_the_keys_that_it_wins(planning: Planning) -> None:
    before = draws(planning, {"old": 90.0, "new": 10.0, "other": 100.0})
    after = draws(planning, {"old": 90.0, "new": 30.0, "other": 100.0})
    moved = [key for key in before if before[key] != after[key]]
    assert all(after[key] == "new" for key in moved)
    # From a share of 10/200 to one of 30/220.
    expected = 30 / 220 - 10 / 200
    bound = 4 * math.sqrt(expected * (1 - expected) / len(before))
    assert len(moved) / len(before) == pytest.approx(expected, abs=bound)


def test_a_model_that_leaves_moves_only_its_own_keys(planning: Planning) -> None:
    before = draws(planning, {"a": 1.0, "b": 1.0, "c": 1.0})
    after = draws(planning, {"a": 1.0, "b": 1.0})
    assert all(before[key] == after[key] for key in before if before[key] != "c")


def test_propensity_is_the_share_of_the_drawn_model(planning: Planning) -> None:
    models = [
        planning.model("a", "budget", weight=3.0),
        planning.model("b", "budget", weight=1.0),
    ]
    shares = {"a": 0.75, "b": 0.25}
    for key in KEYS[:20]:
        choice = planning.choose(models, "budget", seed=key)
        assert choice.propensity == shares[choice.model.model.id]


def test_the_affinity_key_takes_precedence_over_the_seed(planning: Planning) -> None:
    models = [planning.model(name, "budget", weight=1.0) for name in "abcdefgh"]
    request = RoutingRequest(text="hi", character_count=2, affinity_key="user-7")
    found = {
        planning.choose(models, "budget", request, seed=key).model.model.id for key in KEYS[:30]
    }
    assert len(found) == 1
    assert found == {planning.choose(models, "budget", seed=b"user-7").model.model.id}


def test_models_without_a_weight_wait_as_alternates(planning: Planning) -> None:
    models = [
        planning.model("cheap", "budget", "1"),
        planning.model("weighted", "budget", "2", weight=1.0),
    ]
    choice = planning.choose(models, "budget")
    assert choice.model.model.id == "weighted"
    assert choice.propensity is None
    assert [step.model.model.id for step in choice.plan.steps] == ["weighted", "cheap"]


def test_weights_share_what_is_left_when_a_model_does_not_qualify(planning: Planning) -> None:
    models = [
        planning.model("a", "budget", weight=1.0),
        planning.model("b", "budget", weight=1.0),
        planning.model("c", "budget", weight=2.0),
    ]
    constraints = Constraints(denied_models=frozenset({"c"}))
    assert planning.choose(models, "budget", constraints=constraints).propensity == 0.5


@pytest.mark.parametrize("priority", [Priority.LATENCY, Priority.QUALITY])
def test_other_priorities_ignore_weights(planning: Planning, priority: Priority) -> None:
    models = [
        planning.model("cheap", "budget", "1", quality=0.9),
        planning.model("weighted", "budget", "2", quality=0.1, weight=1.0),
    ]
    request = replace(RoutingRequest(text="hi", character_count=2), priority=priority)
    choice = planning.choose(models, "budget", request)
    assert choice.model.model.id == "cheap"
    assert choice.propensity is None


def test_equal_keys_draw_alike_in_every_process(planning: Planning) -> None:
    models = [planning.model(name, "budget", weight=1.0) for name in "abcd"]
    found = [planning.choose(models, "budget", seed=key).model.model.id for key in KEYS[:8]]
    assert "".join(found) == "dbabbbdd"
