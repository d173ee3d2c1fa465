"""Reported outcomes: each violation by path, duplicates, and rows that don't hold up others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tests.unit.server.grpc_api.test_decision_token import TOKEN

from tierwise.v1.decision_pb2 import PlanStepKind
from tierwise.v1.error_class_pb2 import ErrorClass
from tierwise.v1.error_reason_pb2 import ErrorReason
from tierwise.v1.outcome_pb2 import (
    Attempt,
    Outcome,
    RouterlessCause,
    RouterlessDecision,
    Usage,
    Verdict,
)
from tierwise.v1.routing_service_pb2 import OutcomeStatus
from tierwise_server.grpc_api.decision_token import encode_token
from tierwise_server.grpc_api.outcome_checks import TimeFrame, token_of, violations_of
from tierwise_server.grpc_api.outcomes import OutcomeIntake

ACCEPTED = OutcomeStatus.OUTCOME_STATUS_ACCEPTED
DUPLICATE = OutcomeStatus.OUTCOME_STATUS_DUPLICATE
REJECTED = OutcomeStatus.OUTCOME_STATUS_REJECTED
UNKNOWN = 9_999

Change = Callable[[Outcome], object]


def outcome(**fields: object) -> Outcome:
    """Returns a faultless outcome with some fields changed."""
    values = {
        "outcome_id": "one",
        "decision_token": encode_token(TOKEN),
        "attempts": [Attempt(model_id="small-fast")],
        **fields,
    }
    return Outcome(**values)  # type: ignore[arg-type]


def routerless(**fields: object) -> Outcome:
    values = {
        "decision_id": "mine",
        "tier_id": "budget",
        "decision_time": Timestamp(seconds=1_750_000_000),
        "cause": RouterlessCause.ROUTERLESS_CAUSE_TIMEOUT,
        **fields,
    }
    return Outcome(
        outcome_id="one",
        routerless_decision=RouterlessDecision(**values),  # type: ignore[arg-type]
        attempts=[Attempt(model_id="small-fast")],
    )


def attempt(**fields: object) -> Outcome:
    return outcome(attempts=[Attempt(model_id="m"), Attempt(**{"model_id": "n", **fields})])  # type: ignore[arg-type]


def of_token(**changes: object) -> Outcome:
    """Returns an outcome whose token says something else."""
    return outcome(decision_token=encode_token(TOKEN._replace(**changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "faultless",
    [
        outcome(),
        routerless(),
        routerless(catalog="other", caller="x" * 100),
        routerless(cause=UNKNOWN),
        outcome(attempts=[], quality=0.0),
        outcome(attempts=[], verdict=Verdict.VERDICT_NEGATIVE),
        outcome(quality=1.0, verdict=Verdict.VERDICT_POSITIVE),
        Outcome(outcome_id="x" * 100, decision_id="earlier", quality=0.5),
        outcome(attempts=[Attempt(model_id="m")] * 50),
        attempt(error_class=UNKNOWN),
        attempt(error_class=ErrorClass.ERROR_CLASS_REJECTED_BY_VALIDATOR, validator="x" * 100),
        attempt(call_duration=Duration(seconds=3), first_token_duration=Duration(nanos=5)),
        attempt(cost_nano_usd=0),
        attempt(provider_request_id="x" * 200),
        attempt(step_kind=PlanStepKind.PLAN_STEP_KIND_ESCALATION),
        attempt(
            usage=Usage(
                input_token_count=10,
                cached_input_token_count=10,
                output_token_count=5,
                reasoning_token_count=5,
            )
        ),
    ],
    ids=range(16),
)
async def test_a_faultless_outcome_is_accepted(faultless: Outcome) -> None:
    (result,) = await OutcomeIntake().take([faultless])
    assert (result.status, list(result.violations)) == (ACCEPTED, [])
    assert result.outcome_id == faultless.outcome_id


@pytest.mark.parametrize(
    ("faulty", "fields"),
    [
        (outcome(outcome_id=""), ["outcome_id"]),
        (outcome(outcome_id="x" * 101), ["outcome_id"]),
        (outcome(decision_token=""), ["decision_token"]),
        (outcome(decision_token=encode_token(TOKEN)[:-9]), ["decision_token"]),
        (
            outcome(decision_token="9." + encode_token(TOKEN)[2:]),
            ["decision_token"],
        ),
        (Outcome(outcome_id="one", quality=1.0), ["origin"]),
        (Outcome(outcome_id="one", decision_id="", quality=1.0), ["decision_id"]),
        (Outcome(outcome_id="one", decision_id="x" * 101, quality=1.0), ["decision_id"]),
        (
            Outcome(
                outcome_id="o", decision_id="d", quality=1.0, attempts=[Attempt(model_id="m")]
            ),
            ["attempts"],
        ),
        (outcome(attempts=[]), ["attempts"]),
        (outcome(attempts=[Attempt(model_id="m")] * 51), ["attempts"]),
        (outcome(quality=-0.1), ["quality"]),
        (outcome(quality=1.1), ["quality"]),
        (outcome(quality=math.nan), ["quality"]),
        (outcome(verdict=UNKNOWN), ["verdict"]),
        (routerless(decision_id=""), ["routerless_decision.decision_id"]),
        (routerless(decision_id="x" * 101), ["routerless_decision.decision_id"]),
        (routerless(tier_id=""), ["routerless_decision.tier_id"]),
        (routerless(decision_time=None), ["routerless_decision.decision_time"]),
        (routerless(cause=0), ["routerless_decision.cause"]),
        (routerless(caller="x" * 101), ["routerless_decision.caller"]),
        (attempt(model_id=""), ["attempts[1].model_id"]),
        (attempt(provider_request_id="x" * 201), ["attempts[1].provider_request_id"]),
        (attempt(validator="length"), ["attempts[1].validator"]),
        (
            attempt(
                validator="x" * 101, error_class=ErrorClass.ERROR_CLASS_REJECTED_BY_VALIDATOR
            ),
            ["attempts[1].validator"],
        ),
        (attempt(cost_nano_usd=-1), ["attempts[1].cost_nano_usd"]),
        (attempt(call_duration=Duration(seconds=-1)), ["attempts[1].call_duration"]),
        (attempt(call_duration=Duration(seconds=10**9)), ["attempts[1].call_duration"]),
        (
            attempt(first_token_duration=Duration(seconds=-1)),
            ["attempts[1].first_token_duration"],
        ),
        (
            attempt(usage=Usage(cached_input_token_count=-1)),
            ["attempts[1].usage.cached_input_token_count"],
        ),
        (attempt(usage=Usage(cache_write_token_count=-1)),
         ["attempts[1].usage.cache_write_token_count"]),
        (
            attempt(usage=Usage(input_token_count=1, cached_input_token_count=2)),
            ["attempts[1].usage.cached_input_token_count"],
        ),
        (
            attempt(usage=Usage(output_token_count=1, reasoning_token_count=2)),
            ["attempts[1].usage.reasoning_token_count"],
        ),
        (outcome(outcome_id="", quality=2.0, attempts=[Attempt()]),
         ["outcome_id", "quality", "attempts[0].model_id"]),
    ],
    ids=range(34),
)  # fmt: skip
async def test_a_faulty_outcome_is_rejected_with_every_field(
    faulty: Outcome, fields: list[str]
) -> None:
    (result,) = await OutcomeIntake().take([faulty])
    assert result.status == REJECTED
    assert sorted(one.field for one in result.violations) == sorted(fields)
    assert all(one.description for one in result.violations)
    assert {one.reason for one in result.violations} == {ErrorReason.ERROR_REASON_INVALID_FIELD}


async def statuses(intake: OutcomeIntake, *outcomes: Outcome) -> list[int]:
    return [one.status for one in await intake.take(outcomes)]


async def test_a_repeat_is_a_duplicate() -> None:
    intake = OutcomeIntake()
    assert await statuses(intake, outcome(), outcome()) == [ACCEPTED, DUPLICATE]
    assert await statuses(intake, outcome()) == [DUPLICATE]


async def test_a_rejected_outcome_is_not_remembered() -> None:
    intake = OutcomeIntake()
    assert await statuses(intake, outcome(quality=5.0)) == [REJECTED]
    assert await statuses(intake, outcome()) == [ACCEPTED]


async def test_the_outcome_seen_longest_ago_is_forgotten_first() -> None:
    intake = OutcomeIntake(remembered=2)
    named = [outcome(outcome_id=name) for name in ("a", "b", "a", "c", "a")]
    expected = [ACCEPTED, ACCEPTED, DUPLICATE, ACCEPTED, DUPLICATE]
    assert await statuses(intake, *named) == expected
    assert await statuses(intake, outcome(outcome_id="b")) == [ACCEPTED]


async def test_many_outcomes_are_taken_in_their_order() -> None:
    many = [outcome(outcome_id=str(n), quality=2.0 if n % 3 == 0 else 1.0) for n in range(1000)]
    results = await OutcomeIntake().take(many)
    assert [one.outcome_id for one in results] == [one.outcome_id for one in many]
    assert [one.status for one in results] == [ACCEPTED if n % 3 else REJECTED for n in range(1000)]


DAY_MS = 86_400_000
NOW_MS = TOKEN.decision_time_ms


@pytest.mark.parametrize(
    ("late", "field"),
    [
        (outcome(), ""),
        (outcome(end_time=Timestamp(seconds=NOW_MS // 1000)), ""),
        (outcome(end_time=Timestamp(seconds=NOW_MS // 1000 + 3600)), ""),
        (outcome(end_time=Timestamp(seconds=NOW_MS // 1000 + 90_000)), "end_time"),
        (outcome(end_time=Timestamp(seconds=2**62)), "end_time"),
        (outcome(end_time=Timestamp(seconds=-1)), "end_time"),
        (outcome(end_time=Timestamp(seconds=1)), "end_time"),
        (outcome(end_time=Timestamp(seconds=NOW_MS // 1000, nanos=-1)), "end_time"),
        (outcome(end_time=Timestamp(seconds=NOW_MS // 1000, nanos=10**9)), "end_time"),
        (routerless(decision_time=Timestamp(seconds=1)), "routerless_decision.decision_time"),
        (
            routerless(decision_time=Timestamp(seconds=NOW_MS // 1000 + 90_000)),
            "routerless_decision.decision_time",
        ),
        (attempt(start_time=Timestamp(seconds=2**60)), "attempts[1].start_time"),
        (attempt(start_time=Timestamp(seconds=1)), ""),
        (of_token(decision_time_ms=NOW_MS - 91 * DAY_MS), "decision_token"),
        (of_token(decision_time_ms=NOW_MS - 89 * DAY_MS), ""),
        (of_token(decision_time_ms=NOW_MS + 2 * DAY_MS), "decision_token"),
        (of_token(decision_time_ms=-1), "decision_token"),
        (of_token(decision_time_ms=10**30), "decision_token"),
        (of_token(decision_id=""), "decision_token"),
        (of_token(decision_id="x" * 101), "decision_token"),
        (of_token(kind=-1), "decision_token"),
        (of_token(kind=10**9), "decision_token"),
        (of_token(propensity=0.0), "decision_token"),
        (of_token(propensity=1e308 * 10), "decision_token"),
        (of_token(tier="x" * 101), "decision_token"),
        (outcome(outcome_id="a\0b"), "outcome_id"),
        (routerless(tier_id="x" * 101), "routerless_decision.tier_id"),
        (routerless(catalog="x" * 101), "routerless_decision.catalog"),
        (attempt(model_id="x" * 101), "attempts[1].model_id"),
        (attempt(provider_id="x" * 101), "attempts[1].provider_id"),
        (attempt(cost_nano_usd=10**15 + 1), "attempts[1].cost_nano_usd"),
        (attempt(cost_nano_usd=10**15), ""),
    ],
    ids=range(32),
)
def test_what_a_ledger_cannot_keep_is_told_by_its_field(late: Outcome, field: str) -> None:
    frame = TimeFrame(now_ms=NOW_MS, retention_days=90)
    found = list(violations_of(late, token_of(late), frame))
    assert [path for path, _ in found] == ([field] if field else [])


def test_an_expired_decision_is_said_to_be_one() -> None:
    late = of_token(decision_time_ms=NOW_MS - 91 * DAY_MS)
    frame = TimeFrame(now_ms=NOW_MS, retention_days=90)
    ((_, description),) = violations_of(late, token_of(late), frame)
    assert "expired" in description
    assert "90 days" in description


def test_without_a_retention_nothing_expires() -> None:
    old = of_token(decision_time_ms=1)
    assert list(violations_of(old, token_of(old), TimeFrame(now_ms=NOW_MS))) == []
