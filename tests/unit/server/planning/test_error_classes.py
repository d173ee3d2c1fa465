import pytest

from tierwise.v1 import decision_pb2, error_class_pb2
from tierwise_server.planning.error_classes import RESPONSES, ErrorClass, Reach
from tierwise_server.planning.plan import PAID_CALLS, RETRY_RULES, StepKind

TRANSIENT = {"RATE_LIMITED", "OVERLOADED", "SERVER_ERROR", "CONNECTION", "TIMEOUT"}


def test_classes_have_the_numbers_of_the_contract() -> None:
    contract = {
        name.removeprefix("ERROR_CLASS_"): number
        for name, number in error_class_pb2.ErrorClass.items()
        if number
    }
    assert {one.name: one.value for one in ErrorClass} == contract


def test_step_kinds_have_the_numbers_of_the_contract() -> None:
    contract = {
        name.removeprefix("PLAN_STEP_KIND_"): number
        for name, number in decision_pb2.PlanStepKind.items()
        if number
    }
    assert {one.name: one.value for one in StepKind} == contract


@pytest.mark.parametrize(
    ("name", "retries", "alternate", "escalation"),
    [
        *((name, 2, Reach.ANY, Reach.ANY) for name in sorted(TRANSIENT)),
        ("QUOTA_EXHAUSTED", 0, Reach.OTHER_PROVIDER, Reach.OTHER_PROVIDER),
        ("MALFORMED_RESPONSE", 1, Reach.ANY, Reach.ANY),
        ("REJECTED_BY_VALIDATOR", 0, Reach.NONE, Reach.HIGHER_TIER),
        ("CONTEXT_TOO_LONG", 0, Reach.LARGER_WINDOW, Reach.LARGER_WINDOW),
        ("AUTHENTICATION", 0, Reach.OTHER_PROVIDER, Reach.NONE),
        ("CONTENT_POLICY", 0, Reach.NONE, Reach.NONE),
        ("INVALID_REQUEST", 0, Reach.NONE, Reach.NONE),
        ("CANCELLED", 0, Reach.NONE, Reach.NONE),
    ],
)
def test_each_class_leads_to_what_the_table_says(
    name: str, retries: int, alternate: Reach, escalation: Reach
) -> None:
    response = RESPONSES[ErrorClass[name]]
    assert (response.retry_limit, response.alternate, response.escalation) == (
        retries,
        alternate,
        escalation,
    )


def test_every_class_has_a_response() -> None:
    assert set(RESPONSES) == set(ErrorClass)


def test_retry_rules_hold_transient_failures_twice_and_malformed_answers_once() -> None:
    rules = {rule.error_class.name: rule.retry_limit for rule in RETRY_RULES}
    assert rules == dict.fromkeys(TRANSIENT, 2) | {"MALFORMED_RESPONSE": 1}


def test_paid_calls_count_the_first_call_two_timeouts_and_a_malformed_answer() -> None:
    assert PAID_CALLS == 4
