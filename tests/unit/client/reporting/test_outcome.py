"""Outcomes as messages: what the contract wants, and nothing beyond its limits."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from tierwise.answers import RateHeadroom, Usage
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, RouterlessCause, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import InvalidRequestError
from tierwise.reporting.outcome import (
    Judgement,
    Outcome,
    Verdict,
    new_outcome_id,
    outcome_message,
)
from tierwise.v1 import outcome_pb2
from tierwise.v1.routing_service_pb2 import OutcomeStatus
from tierwise_server.grpc_api.outcomes import OutcomeIntake

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROUTERLESS = Decision(
    decision_id="d-1",
    tier_id="budget",
    catalog="support",
    routerless_cause=RouterlessCause.TIMEOUT,
)


def attempt(**fields: Any) -> Attempt:  # noqa: ANN401 - fields of an attempt
    values: dict[str, Any] = {
        "model_id": "small-fast",
        "provider_id": "openai",
        "step_kind": StepKind.FIRST,
        "start_time": START,
        "duration_s": 1.5,
    }
    return Attempt(**{**values, **fields})


def outcome(*attempts: Attempt, decision: Decision = ROUTERLESS, **fields: Any) -> Outcome:  # noqa: ANN401 - fields
    values: dict[str, Any] = {
        "outcome_id": "o-1",
        "decision": decision,
        "attempts": attempts or (attempt(),),
        "end_time": START + timedelta(seconds=2),
    }
    return Outcome(**{**values, **fields})


def rejections(message: outcome_pb2.Outcome) -> list[str]:
    """Returns the fields for which the router rejects a message."""
    (result,) = asyncio.run(OutcomeIntake().take([message]))
    assert (result.status == OutcomeStatus.OUTCOME_STATUS_REJECTED) == bool(result.violations)
    return [one.field for one in result.violations]


def test_a_decision_of_the_router_travels_by_its_token() -> None:
    token = new_outcome_id()  # Opaque here.
    decision = Decision(decision_id="d", decision_token=token, tier_id="mid")
    message = outcome_message(outcome(decision=decision))
    assert message.WhichOneof("origin") == "decision_token"
    assert message.decision_token == token


def test_a_routerless_decision_travels_whole() -> None:
    message = outcome_message(outcome(caller="billing"))
    made = message.routerless_decision
    assert (made.decision_id, made.catalog, made.tier_id) == ("d-1", "support", "budget")
    assert made.caller == "billing"
    assert made.cause == outcome_pb2.ROUTERLESS_CAUSE_TIMEOUT
    assert made.decision_time.ToDatetime(UTC) == START
    assert rejections(message) == []


def test_an_attempt_is_told_in_full() -> None:
    one = attempt(
        step_kind=StepKind.ESCALATION,
        error_class=ErrorClass.CONNECTION,
        first_token_s=0.25,
        usage=Usage(input_tokens=10, cached_input_tokens=4, output_tokens=7, reasoning_tokens=3),
        served_model="small-1-2026",
        request_id="req-1",
        partial=True,
        headroom=RateHeadroom(remaining_requests=3, reset_s=1.5),
        error_message="never sent",
    )
    message = outcome_message(outcome(one))
    (sent,) = message.attempts
    assert (sent.model_id, sent.provider_id) == ("small-fast", "openai")
    assert (sent.step_kind, sent.error_class) == (3, 5)
    assert sent.call_duration.ToTimedelta() == timedelta(seconds=1.5)
    assert sent.first_token_duration.ToTimedelta() == timedelta(seconds=0.25)
    assert sent.usage.cached_input_token_count == 4
    assert sent.usage.reasoning_token_count == 3
    assert (sent.served_model_name, sent.provider_request_id) == ("small-1-2026", "req-1")
    assert sent.partial
    assert sent.rate_headroom.remaining_request_count == 3
    assert not sent.rate_headroom.HasField("remaining_token_count")
    assert sent.rate_headroom.reset_duration.ToTimedelta() == timedelta(seconds=1.5)
    assert "never sent" not in str(message)
    assert rejections(message) == []


def test_what_is_not_known_is_absent() -> None:
    (sent,) = outcome_message(outcome()).attempts
    absent = ("usage", "cost_nano_usd", "rate_headroom", "first_token_duration")
    assert [name for name in absent if sent.HasField(name)] == []  # type: ignore[arg-type]
    assert not outcome_message(outcome()).HasField("quality")


@pytest.mark.parametrize(("stated", "sent"), [(True, 125), (False, None)])
def test_only_a_cost_that_the_provider_states_is_sent(stated: bool, sent: int | None) -> None:
    one = attempt(cost_nano_usd=125, stated_cost=stated)
    (message,) = outcome_message(outcome(one)).attempts
    assert (message.cost_nano_usd if message.HasField("cost_nano_usd") else None) == sent


def test_of_many_attempts_the_last_is_kept() -> None:
    attempts = [attempt(model_id=f"m-{number}") for number in range(80)]
    message = outcome_message(outcome(*attempts))
    expected = [f"m-{number}" for number in (*range(49), 79)]
    assert [one.model_id for one in message.attempts] == expected
    assert rejections(message) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": "r" * 5_000, "served_model": "s" * 5_000},
        {"validator": "v" * 500, "error_class": ErrorClass.REJECTED_BY_VALIDATOR},
        {"validator": "length", "error_class": None},
        {"request_id": "lone \ud800 surrogate", "served_model": "\udfff"},
        {"duration_s": math.nan, "first_token_s": math.inf},
        {"duration_s": -1.0, "first_token_s": -0.5},
        {"duration_s": 1e30},
        {"usage": Usage(input_tokens=-5, output_tokens=10**12)},
        {"usage": Usage(input_tokens=1, cached_input_tokens=9, reasoning_tokens=9)},
        {"cost_nano_usd": -1, "stated_cost": True},
        {"cost_nano_usd": 10**30, "stated_cost": True},
        {"headroom": RateHeadroom(remaining_requests=-1, remaining_tokens=10**30, reset_s=-1.0)},
        {"start_time": START.replace(tzinfo=None)},
    ],
)
def test_nothing_that_a_provider_says_makes_the_router_reject_it(fields: dict[str, Any]) -> None:
    message = outcome_message(outcome(attempt(**fields)))
    assert rejections(outcome_pb2.Outcome.FromString(message.SerializeToString())) == []


def test_a_part_that_exceeds_the_whole_raises_the_whole() -> None:
    (sent,) = outcome_message(
        outcome(attempt(usage=Usage(output_tokens=5, reasoning_tokens=30)))
    ).attempts
    assert (sent.usage.output_token_count, sent.usage.reasoning_token_count) == (30, 30)


def test_long_names_of_the_caller_are_cut() -> None:
    message = outcome_message(outcome(caller="c" * 500, outcome_id="i" * 500))
    assert (len(message.routerless_decision.caller), len(message.outcome_id)) == (100, 100)
    assert rejections(message) == []


def test_a_judgement_carries_nothing_else() -> None:
    judged = Judgement(
        outcome_id="o-2", decision_id="d-1", verdict=Verdict.NEGATIVE, quality=0.0, end_time=START
    )
    message = outcome_message(judged)
    assert (message.WhichOneof("origin"), message.decision_id) == ("decision_id", "d-1")
    assert message.verdict == outcome_pb2.VERDICT_NEGATIVE
    assert message.HasField("quality")
    assert not message.attempts
    assert rejections(message) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"quality": 1.01}, "quality"),
        ({"quality": math.nan}, "quality"),
        ({}, "quality"),
        ({"quality": 0.5, "decision_id": ""}, "decision_id"),
    ],
)
def test_a_faulty_judgement_names_the_field(fields: dict[str, Any], field: str) -> None:
    values = {"outcome_id": "o", "decision_id": "d", "end_time": START, **fields}
    with pytest.raises(InvalidRequestError) as caught:
        Judgement(**values)
    assert caught.value.field == field


def test_an_outcome_of_impossible_quality_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="quality: must be from 0 to 1, not 7"):
        outcome(quality=7)


def test_times_are_sent_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    message = outcome_message(outcome(end_time=datetime(2026, 3, 1, 14, tzinfo=east)))
    assert message.end_time.ToDatetime(UTC) == START


def test_verdicts_have_the_numbers_of_the_contract() -> None:
    contract = {
        name.removeprefix("VERDICT_"): number
        for name, number in outcome_pb2.Verdict.items()
        if number
    }
    assert {one.name: one.value for one in Verdict} == contract


def test_ids_are_uuids_that_sort_by_time() -> None:
    ids = [new_outcome_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {UUID(one).version for one in ids} == {7}
    # Two of the same quarter microsecond have no order.
    assert [one[:18] for one in ids] == sorted(one[:18] for one in ids)
