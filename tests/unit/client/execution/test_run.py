"""A chat follows its plan: what is called when, how long is waited, and what the error says."""

from __future__ import annotations

import math
import pickle

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.client.execution.world import (
    ANSWER_COST,
    ESCALATION,
    FIRST,
    PRICE,
    TRANSIENT,
    World,
    alternate,
    decided,
    escalation,
    fails,
    first,
    ladder,
    model,
    says,
)

from tierwise.decisions import Capability
from tierwise.error_class import ErrorClass
from tierwise.errors import (
    ChatError,
    ConfigurationError,
    InvalidRequestError,
    ProviderError,
    RouterError,
)
from tierwise.execution.breaker import FAILURES_TO_OPEN
from tierwise.messages import ChatRequest, Image, Text, user
from tierwise.providers.registry import KNOWN
from tierwise.settings import ClientSettings
from tierwise.v1.error_reason_pb2 import ErrorReason

RATE, QUOTA = ErrorClass.RATE_LIMITED, ErrorClass.QUOTA_EXHAUSTED


def test_the_first_model_answers() -> None:
    world = ladder()
    response = world.chat()
    assert (response.text, response.model_id) == ("from one", "one")
    assert world.log == ["ask", "call one"]
    assert response.cost_nano_usd == ANSWER_COST
    assert [one.error_class for one in response.attempts] == [None]


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_each_failure_is_retried_and_followed_as_the_table_says(error_class: ErrorClass) -> None:
    world = ladder()
    world.will("one", fails(error_class))
    world.will("two", fails(error_class))
    world.will("three", fails(error_class))
    error = world.failed_chat()
    times = 3 if error_class in TRANSIENT else 2 if error_class.name == "MALFORMED_RESPONSE" else 1
    match error_class:
        case ErrorClass.CONTENT_POLICY | ErrorClass.INVALID_REQUEST | ErrorClass.CANCELLED:
            reached = ["one"]
        case ErrorClass.CONTEXT_TOO_LONG:
            reached = ["one"]
        case ErrorClass.REJECTED_BY_VALIDATOR:
            reached = ["one", "three"]
        case ErrorClass.AUTHENTICATION:
            reached = ["one", "two"]
        case _:
            reached = ["one", "two", "three"]
    assert world.called == [name for name in reached for _ in range(times)]
    assert error.error_class is error_class


@pytest.mark.parametrize(
    "error_class", [ErrorClass.CONTENT_POLICY, ErrorClass.INVALID_REQUEST, ErrorClass.CANCELLED]
)
def test_no_plan_can_have_a_refusal_or_a_wrong_request_sent_again(error_class: ErrorClass) -> None:
    world = World()
    again = dict.fromkeys(ErrorClass, 5)
    world.plans(
        first(model("one"), retry_limits=again),
        alternate(model("two", "beta")),
        escalation(model("three", "gamma")),
    )
    world.will("one", fails(error_class, retry_after_s=1.0))
    assert world.failed_chat().error_class is error_class
    assert world.called == ["one"]
    assert world.slept == []


def test_a_retry_that_succeeds_ends_it() -> None:
    world = ladder()
    world.will("one", fails(RATE), fails(ErrorClass.OVERLOADED), says("at last"))
    response = world.chat()
    assert response.text == "at last"
    assert world.log == ["ask", "call one", "sleep", "call one", "sleep", "call one"]
    assert [one.error_class for one in response.attempts] == [RATE, ErrorClass.OVERLOADED, None]
    assert response.cost_nano_usd == ANSWER_COST


def test_retries_are_counted_across_classes() -> None:
    world = ladder()
    busy = fails(ErrorClass.OVERLOADED)
    world.will("one", fails(RATE), busy, fails(ErrorClass.CONNECTION), says("too late"))
    assert world.chat().text == "from two"
    assert world.called == ["one"] * 3 + ["two"]


def test_own_waits_double_and_are_drawn_from_their_upper_half() -> None:
    for draw, waits in ((0.0, [0.25, 0.5]), (1.0, [0.5, 1.0])):
        world = World(draw=lambda draw=draw: draw)  # type: ignore[misc]
        world.plans(first(model("one")))
        world.will("one", fails(RATE))
        world.failed_chat()
        assert world.slept == waits


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 7.0), (1.0, 7.7)])
def test_what_a_provider_asks_is_waited_and_a_tenth_at_most_on_top(
    draw: float, wait: float
) -> None:
    world = World(draw=lambda: draw)
    world.plans(first(model("one")))
    world.will("one", fails(RATE, retry_after_s=7.0), says("at last"))
    assert world.chat().text == "at last"
    assert world.slept == [pytest.approx(wait)]


def test_a_wait_of_nothing_is_no_wait_that_a_provider_asks_for() -> None:
    world = World()
    world.plans(first(model("one")))
    world.will("one", fails(RATE, retry_after_s=0.0), says("at last"))
    world.chat()
    assert world.slept == [0.375]


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_the_longest_wait_is_waited_and_no_longer_one(draw: float) -> None:
    world = World(draw=lambda: draw)
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(RATE, retry_after_s=30.0), says("at last"))
    assert world.chat().text == "at last"
    assert world.slept == [30.0]
    world = World(draw=lambda: draw)
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(RATE, retry_after_s=30.1))
    world.will("two", says("from two"))
    assert world.chat().text == "from two"
    assert world.slept == []


def test_own_waits_are_cut_to_the_longest_wait() -> None:
    world = World(settings=ClientSettings(first_wait_s=8.0, longest_wait_s=10.0), draw=lambda: 1.0)
    world.plans(first(model("one")))
    world.will("one", fails(RATE))
    world.failed_chat()
    assert world.slept == [8.0, 10.0]


def test_the_deadline_bounds_each_call_and_wait() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=40.0))
    world.plans(first(model("one")), alternate(model("two", "beta")))
    slow = fails(ErrorClass.TIMEOUT, took_s=25.0)
    world.will("one", slow)
    world.will("two", says("never"))
    error = world.failed_chat()
    assert world.called == ["one", "one"]
    assert world.timeouts == [30.0, pytest.approx(40 - 25 - 0.375)]
    assert world.now == pytest.approx(1040.0)
    assert error.error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize(("planned_s", "limit_s"), [(10.0, 10.0), (50.0, 20.0)])
def test_a_call_takes_no_longer_than_the_plan_and_the_client_say(
    planned_s: float, limit_s: float
) -> None:
    world = World(settings=ClientSettings(call_timeout_s=20.0))
    world.plans(first(model("one"), call_timeout_s=planned_s))
    world.will("one", says("hello"))
    world.chat()
    assert world.timeouts == [limit_s]


def test_a_wait_that_takes_longer_than_asked_leaves_no_time_for_a_call() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=5.0), oversleeps_s=10.0)
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(RATE))
    error = world.failed_chat()
    assert (world.called, error.error_class) == (["one"], RATE)
    assert len(world.attempts) == 1


def test_no_wait_reaches_beyond_the_deadline() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=5.0))
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(RATE, retry_after_s=6.0))
    world.will("two", says("from two"))
    assert world.chat().text == "from two"
    assert world.slept == []


def test_a_deadline_that_passed_is_no_fault_of_the_models_that_were_not_called() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=10.0))
    world.plans(first(model("one")), alternate(model("two", "beta")))
    world.will("one", fails(ErrorClass.TIMEOUT, took_s=20.0))
    world.will("two", says("from two"))
    for _ in range(FAILURES_TO_OPEN):
        assert world.failed_chat().attempts[-1].model_id == "one"
    assert world.session.breakers.rest_left_s("one") > 0
    assert world.session.breakers.rest_left_s("two") == 0
    assert world.called == ["one", "one"]
    assert world.chat().text == "from two"


def test_a_router_that_took_all_the_time_leaves_none_for_a_call() -> None:
    world = World(settings=ClientSettings(chat_timeout_s=0.1))
    world.routes(decided(first(model("one"))), took_s=0.2)
    world.will("one", says("never"))
    error = world.failed_chat()
    assert (error.error_class, error.attempts, world.called) == (ErrorClass.TIMEOUT, (), [])
    assert world.session.breakers.rest_left_s("one") == 0
    assert "deadline" in str(error)


def test_the_limits_hold_for_each_step() -> None:
    world = World()
    world.plans(
        first(model("one", "alpha")),
        alternate(model("denied-provider", "beta")),
        alternate(model("denied-model")),
        alternate(model("elsewhere", labels={"region": "us"})),
        alternate(model("blind", capabilities=frozenset())),
        alternate(model("small", context_window_tokens=5)),
        alternate(model("dear"), estimated_cost_nano_usd=50_001),
        alternate(model("unpriced"), estimated_cost_nano_usd=None),
        alternate(model("right", labels={"region": "eu"})),
    )
    world.will("right", says("from right"))
    # The first step breaks a limit as well, which the router should not have let happen.
    response = world.chat(
        denied_providers=("beta",),
        denied_models=("denied-model",),
        required_labels={"region": "eu"},
        required_capabilities=frozenset({Capability.TOOLS}),
        cost_ceiling_nano_usd=50_000,
    )
    assert response.model_id == "right"
    assert world.called == ["right"]


def test_when_every_step_breaks_a_limit_nothing_is_called_and_each_is_named() -> None:
    world = ladder()
    error = world.failed_chat(allowed_models=("four",))
    assert world.called == []
    assert (error.error_class, error.attempts, error.partial) == (None, (), None)
    for name in ("one", "two", "three"):
        assert f"{name}: the model is not allowed" in str(error)
    assert world.outcomes == []


def test_a_pinned_tier_is_never_left() -> None:
    world = ladder()
    world.will("one", fails(ErrorClass.SERVER_ERROR))
    world.will("two", fails(ErrorClass.SERVER_ERROR))
    error = world.failed_chat(tier="budget")
    assert set(world.called) == {"one", "two"}
    assert "three: tier budget is pinned" in str(error)


def test_the_error_has_the_attempts_and_their_cost_and_says_what_was_not_tried() -> None:
    world = World()
    world.plans(
        first(model("one"), retry_limits={}),
        alternate(model("two", "beta"), retry_limits={}),
        escalation(model("three", "nobody")),
    )
    world.will("one", fails(RATE, request_id="r-1"))
    world.will("two", fails(ErrorClass.TIMEOUT, status_code=None))
    error = world.failed_chat()
    assert [one.model_id for one in error.attempts] == ["one", "two"]
    refused, late = error.attempts
    assert (refused.cost_nano_usd, refused.request_id, refused.usage) == (0, "r-1", None)
    assert late.cost_nano_usd is None, "it may have been billed"
    assert str(error).startswith("two: timeout: it failed (not tried: three: model three is of")
    assert isinstance(error.__cause__, ProviderError)
    assert error.decision.model_id == "one"
    assert pickle.loads(pickle.dumps(error)).attempts == error.attempts  # noqa: S301 - our own bytes


def test_attempts_say_what_was_called_when_and_for_how_long() -> None:
    world = ladder()
    world.will("one", fails(QUOTA, took_s=1.5))
    world.will("two", says("hello", took_s=2.0, model="two-of-may"))
    response = world.chat()
    failed, answered = response.attempts
    assert (failed.duration_s, answered.duration_s) == (1.5, 2.0)
    assert (failed.provider_id, answered.provider_id) == ("alpha", "beta")
    assert (failed.served_model, answered.served_model) == ("", "two-of-may")
    assert answered.first_token_s is None
    assert failed.start_time <= answered.start_time
    assert failed.start_time.tzinfo is not None
    assert not failed.partial


def test_an_escalation_is_marked_as_one() -> None:
    world = ladder()
    world.will("one", fails(QUOTA))
    world.will("two", fails(QUOTA))
    assert [one.step_kind for one in world.chat().attempts][::2] == [FIRST, ESCALATION]


def test_the_cost_is_unknown_when_that_of_an_attempt_is() -> None:
    world = ladder()
    world.will("one", fails(ErrorClass.CONNECTION, status_code=None), says("hello"))
    assert world.chat().cost_nano_usd is None
    world = ladder()
    world.will("one", fails(ErrorClass.CONNECTION, status_code=None, sent=False), says("hello"))
    assert world.chat().cost_nano_usd == ANSWER_COST
    world = ladder()
    world.will("one", says("hello", usage=None))
    assert world.chat().cost_nano_usd is None


def test_a_provider_that_can_not_take_the_request_is_passed_over() -> None:
    picture = ChatRequest(messages=(user(Text("what?"), Image(url="https://x.test/a.png")),))
    world = World()
    local = model("local", "ollama", base_url="http://localhost:11434/v1")
    world.plans(first(local), alternate(model("two", "beta")))
    world.will("two", says("from two"))
    assert world.chat(picture).text == "from two"
    assert world.called == ["two"]
    world.plans(first(local))
    with pytest.raises(InvalidRequestError):
        world.chat(picture)


def test_a_provider_without_a_key_is_passed_over_and_named_when_there_is_no_other() -> None:
    world = World()
    world.plans(first(model("one", "nobody")), alternate(model("two", "beta")))
    world.will("two", says("from two"))
    assert world.chat().text == "from two"
    world.plans(first(model("one", "nobody")))
    with pytest.raises(ConfigurationError, match="'nobody'"):
        world.chat()
    assert len(world.outcomes) == 1


def test_without_any_provider_to_call_the_router_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for known in KNOWN.values():
        monkeypatch.delenv(known.key_variable or "NONE", raising=False)
    world = World(providers={})
    world.plans(first(model("one")))
    with pytest.raises(ConfigurationError, match=r"set any of .*OPENAI_API_KEY"):
        world.chat()
    assert world.log == []


def test_a_refusal_for_want_of_a_model_says_which_keys_would_help() -> None:
    none = RouterError(
        "no model",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=ErrorReason.ERROR_REASON_NO_MODEL_QUALIFIES,
        details=("one: is too small",),
    )
    world = ladder()
    world.routes(none)
    with pytest.raises(RouterError) as caught:
        world.chat()
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details[0] == "one: is too small"
    assert caught.value.details[1].startswith("this client can call alpha, ")
    with pytest.raises(RouterError) as caught:
        world.chat(allowed_providers=("alpha",))
    assert caught.value.details == ("one: is too small",)


def test_a_wrong_request_is_refused_before_anything_is_asked() -> None:
    world = ladder()
    with pytest.raises(InvalidRequestError, match="at least one message"):
        world.chat(ChatRequest(messages=()))
    assert world.log == []


def test_what_the_router_refuses_is_raised_and_nothing_is_called() -> None:
    world = ladder()
    world.routes(RouterError("no such tier", code=grpc.StatusCode.NOT_FOUND))
    with pytest.raises(RouterError, match="no such tier"):
        world.chat()
    assert world.log == ["ask"]


# For any behaviour -------------------------------------------------------------------------------

behaviours = st.lists(
    st.one_of(
        st.just(says("hello")),
        st.builds(
            fails,
            st.sampled_from(ErrorClass),
            retry_after_s=st.one_of(st.none(), st.floats(0, 100)),
            took_s=st.floats(0, 60),
            status_code=st.sampled_from((None, 503)),
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(behaviours, min_size=3, max_size=3),
    st.floats(0, 1),
    st.floats(1, 300),
    st.integers(1, 4),
)
def test_whatever_models_do_a_chat_keeps_its_deadline_its_waits_and_its_books(
    models: list[list[object]], draw: float, deadline_s: float, chats: int
) -> None:
    world = World(settings=ClientSettings(chat_timeout_s=deadline_s), draw=lambda: draw)
    world.plans(
        first(model("one", "alpha")),
        alternate(model("two", "beta")),
        escalation(model("three", "gamma")),
    )
    for name, replies in zip(("one", "two", "three"), models, strict=True):
        world.will(name, *replies)  # type: ignore[arg-type]
    for number in range(1, chats + 1):
        world.log.clear()
        world.slept.clear()
        world.attempts.clear()
        began = world.now
        try:
            attempts, failed_with = world.chat().attempts, None
        except ChatError as error:
            attempts = error.attempts
            failed_with = error.error_class
        assert attempts[-1].error_class is failed_with
        assert world.now - began <= deadline_s * (1 + 1e-9)
        assert all(0 <= wait <= 30.0 for wait in world.slept)
        assert [one.model_id for one in attempts] == world.called
        assert all(one.error_class for one in attempts[:-1])
        assert len(world.outcomes) == len(world.ends) == number
        assert world.outcomes[-1].attempts == attempts
        assert [event.attempt for event in world.attempts] == list(attempts)
        assert all(world.called.count(name) <= 3 for name in ("one", "two", "three"))
        order = [("one", "two", "three").index(name) for name in world.called]
        assert order == sorted(order)
        assert math.isfinite(sum(one.cost_nano_usd or 0 for one in attempts))


def test_the_price_of_the_world_is_what_its_answers_cost() -> None:
    assert (
        10 * PRICE.input_nano_usd_per_million + 5 * PRICE.output_nano_usd_per_million
    ) == ANSWER_COST * 1_000_000
