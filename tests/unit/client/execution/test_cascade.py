"""Checks of answers: what they reject is paid for, and leads up."""

from __future__ import annotations

import pytest
from tests.unit.client.execution.world import (
    ANSWER_COST,
    World,
    alternate,
    escalation,
    first,
    model,
    says,
)

from tierwise.answers import Answer
from tierwise.error_class import ErrorClass
from tierwise.errors import InvalidRequestError, ProviderError
from tierwise.execution.breaker import FAILURES_TO_OPEN
from tierwise.messages import ChatRequest, user
from tierwise.validators import CheckResult, Validator, custom, matches, min_mean_logprob


def cascade() -> World:
    world = World()
    world.plans(
        first(model("one", "alpha")),
        alternate(model("beside", "beta")),
        escalation(model("up", "gamma")),
    )
    world.will("one", says("bad"))
    world.will("beside", says("good, and never asked"))
    world.will("up", says("good"))
    return world


def test_a_rejected_answer_leads_up_and_only_up() -> None:
    world = cascade()
    response = world.chat(validators=[matches("good")])
    assert (response.text, world.called) == ("good", ["one", "up"])
    rejected, accepted = response.attempts
    assert rejected.error_class is ErrorClass.REJECTED_BY_VALIDATOR
    assert (rejected.validator, rejected.error_message) == (
        "matches",
        "the pattern is not in the answer",
    )
    assert (accepted.error_class, accepted.validator) == (None, "")


def test_a_rejected_answer_is_paid_for() -> None:
    response = cascade().chat(validators=[matches("good")])
    assert [one.cost_nano_usd for one in response.attempts] == [ANSWER_COST] * 2
    assert response.cost_nano_usd == 2 * ANSWER_COST


def test_when_every_answer_is_rejected_the_last_one_is_in_the_error() -> None:
    world = cascade()
    error = world.failed_chat(validators=[matches("excellent")])
    assert error.error_class is ErrorClass.REJECTED_BY_VALIDATOR
    assert error.partial is not None
    assert error.partial.text == "good"
    assert isinstance(error.__cause__, ProviderError)
    assert error.attempts[-1].partial is False


def test_checks_run_in_order_up_to_the_first_that_rejects() -> None:
    ran: list[str] = []

    def named(name: str, verdict: CheckResult) -> Validator:
        def check(answer: Answer) -> CheckResult:
            ran.append(f"{name} {answer.text}")
            return verdict if answer.text == "bad" else True

        return custom(name, check)

    response = cascade().chat(
        validators=[named("a", True), named("b", None), named("c", "too short"), named("d", False)]
    )
    assert ran == ["a bad", "b bad", "c bad", "a good", "b good", "c good", "d good"]
    assert (response.attempts[0].validator, response.attempts[0].error_message) == (
        "c",
        "too short",
    )


@pytest.mark.parametrize(
    ("verdict", "accepted"), [(True, True), (None, True), (False, False), ("why", False)]
)
def test_a_check_rejects_by_false_or_by_saying_why(verdict: CheckResult, accepted: bool) -> None:
    world = World()
    world.plans(first(model("one")))
    world.will("one", says("hello"))
    if accepted:
        assert world.chat(validators=[custom("mine", lambda _: verdict)]).text == "hello"
    else:
        error = world.failed_chat(validators=[custom("mine", lambda _: verdict)])
        assert error.attempts[0].error_message
        assert "mine" in str(error)


def test_a_check_may_be_asynchronous() -> None:
    async def check(answer: Answer) -> CheckResult:
        return answer.text == "good"

    assert cascade().chat(validators=[custom("judge", check)]).model_id == "up"


def test_rejected_answers_rest_no_model() -> None:
    world = cascade()
    for _ in range(FAILURES_TO_OPEN + 1):
        world.chat(validators=[matches("good")])
    assert world.called == ["one", "up"] * (FAILURES_TO_OPEN + 1)


def test_an_answer_that_failed_is_not_checked() -> None:
    world = cascade()
    world.will("one", says(""))
    ran: list[str] = []

    def check(answer: Answer) -> CheckResult:
        ran.append(answer.text)
        return None

    response = world.chat(validators=[custom("mine", check)])
    assert ran == [response.text]


def test_checks_by_log_probability_need_them_asked_for() -> None:
    world = cascade()
    with pytest.raises(InvalidRequestError, match="logprobs"):
        world.chat(validators=[min_mean_logprob(-1.0)])
    assert world.log == []
    world.will("one", says("unsure", logprob=-2.0))
    world.will("up", says("sure", logprob=-0.1))
    request = ChatRequest(messages=(user("hello"),), logprobs=True)
    response = world.chat(request, validators=[min_mean_logprob(-1.0)])
    assert response.text == "sure"
    assert response.attempts[0].error_message == "the mean log-probability is -2.000, below -1.0"


def test_what_a_check_raises_reaches_the_caller_and_the_answer_is_still_paid_for() -> None:
    def check(_: Answer) -> CheckResult:
        raise LookupError("of the check")

    world = cascade()
    with pytest.raises(LookupError, match="of the check"):
        world.chat(validators=[custom("mine", check)])
    (outcome,) = world.outcomes
    assert outcome.attempts[0].error_class is ErrorClass.CANCELLED
    assert outcome.attempts[0].cost_nano_usd == ANSWER_COST
