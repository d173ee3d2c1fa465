"""Models that fail are given a rest, and chats go round them."""

from __future__ import annotations

import pytest
from tests.unit.client.execution.world import (
    Reply,
    World,
    alternate,
    escalation,
    fails,
    first,
    ladder,
    model,
    says,
)

from tierwise.error_class import ErrorClass
from tierwise.errors import (
    ProviderError,
)
from tierwise.execution.breaker import FAILURES_TO_OPEN, REST_S

RATE = ErrorClass.RATE_LIMITED


def failing(world: World, *models: str) -> None:
    for name in models:
        world.will(name, fails(ErrorClass.SERVER_ERROR))


def test_a_model_that_failed_twice_after_its_retries_is_passed_over_and_probed_after_its_rest() -> (
    None
):
    world = ladder()
    failing(world, "one")
    for _ in range(FAILURES_TO_OPEN):
        assert world.chat().text == "from two"
    assert world.called.count("one") == 3 * FAILURES_TO_OPEN
    world.log.clear()
    world.now += REST_S - world.session.breakers.rest_left_s("one")
    assert world.chat().text == "from two"
    assert world.called == ["two"]
    world.now += REST_S
    world.will("one", says("recovered"))
    assert world.chat().text == "recovered"
    assert world.chat().text == "recovered"


def test_a_probe_that_fails_makes_the_model_rest_again() -> None:
    world = ladder()
    failing(world, "one")
    for _ in range(FAILURES_TO_OPEN):
        world.chat()
    world.now += REST_S
    world.log.clear()
    world.chat()
    world.chat()
    assert world.called == ["one"] * 3 + ["two", "two"]


def test_when_all_rest_the_first_is_called_all_the_same() -> None:
    world = ladder()
    failing(world, "one", "two", "three")
    for _ in range(FAILURES_TO_OPEN):
        world.failed_chat()
    world.log.clear()
    world.will("one", says("recovered"))
    assert world.chat().text == "recovered"
    assert world.called == ["one"]


def test_a_rest_leads_where_its_cause_does() -> None:
    world = World()
    world.plans(first(model("one")), escalation(model("two", "beta")))
    world.will("one", fails(ErrorClass.AUTHENTICATION))
    for _ in range(FAILURES_TO_OPEN + 1):
        assert world.failed_chat().error_class is ErrorClass.AUTHENTICATION
    assert set(world.called) == {"one"}


def test_a_model_that_other_chats_have_put_to_rest_is_not_retried() -> None:
    world = ladder()

    def meanwhile() -> ProviderError:
        for _ in range(FAILURES_TO_OPEN):
            world.session.breakers.failed("one", ErrorClass.OVERLOADED)
        return ProviderError("it failed", error_class=ErrorClass.OVERLOADED, status_code=503)

    world.will("one", Reply(failure=meanwhile))
    assert world.chat().text == "from two"
    assert world.called == ["one", "two"]


def test_what_a_provider_asks_rests_the_model_at_once() -> None:
    world = ladder()
    world.will("one", fails(RATE, retry_after_s=45.0))
    world.chat()
    world.log.clear()
    world.chat()
    assert world.called == ["two"]
    world.now += 45.0
    world.will("one", says("recovered"))
    assert world.chat().text == "recovered"


@pytest.mark.parametrize(
    "error_class",
    [
        ErrorClass.CONTENT_POLICY,
        ErrorClass.INVALID_REQUEST,
        ErrorClass.CONTEXT_TOO_LONG,
        ErrorClass.REJECTED_BY_VALIDATOR,
        ErrorClass.CANCELLED,
    ],
)
def test_failures_that_lie_in_the_request_rest_no_model(error_class: ErrorClass) -> None:
    world = World()
    world.plans(first(model("one")))
    world.will("one", fails(error_class))
    for _ in range(5):
        world.failed_chat()
    world.will("one", says("hello"))
    world.plans(first(model("one")), alternate(model("two", "beta")))
    assert world.chat().text == "hello"


def test_a_wrong_request_as_probe_leaves_the_next_one_to_probe() -> None:
    world = ladder()
    failing(world, "one")
    for _ in range(FAILURES_TO_OPEN):
        world.chat()
    world.now += REST_S
    world.will("one", fails(ErrorClass.INVALID_REQUEST), says("recovered"))
    world.failed_chat()
    assert world.chat().text == "recovered"


def test_a_probe_whose_caller_gave_up_leaves_the_next_one_to_probe() -> None:
    world = ladder()
    failing(world, "one")
    for _ in range(FAILURES_TO_OPEN):
        world.chat()
    world.now += REST_S
    for place in (2, 3):
        # In the call itself, then in the wait before its retry.
        with pytest.raises(KeyboardInterrupt):
            world.chat(interrupt_at=place, interrupt_with=KeyboardInterrupt())
    world.log.clear()
    world.will("one", says("recovered"))
    assert world.chat().text == "recovered"


def test_where_the_first_is_barred_an_alternate_that_rests_is_called_all_the_same() -> None:
    world = World()
    one, two = model("one"), model("two", "beta")
    world.plans(first(one), alternate(two))
    failing(world, "one", "two")
    for _ in range(FAILURES_TO_OPEN):
        world.failed_chat()
    world.log.clear()
    world.will("two", says("from two"))
    assert world.chat(denied_models=("one",)).text == "from two"
    assert world.called == ["two"]
