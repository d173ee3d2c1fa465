"""Reporting outcomes over a real channel."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import grpc
import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, CatalogFolder, Serve, Served, refused

from tierwise.v1.outcome_pb2 import Attempt, Outcome
from tierwise.v1.routing_service_pb2 import OutcomeStatus, ReportOutcomesRequest

ACCEPTED = OutcomeStatus.OUTCOME_STATUS_ACCEPTED
DUPLICATE = OutcomeStatus.OUTCOME_STATUS_DUPLICATE
REJECTED = OutcomeStatus.OUTCOME_STATUS_REJECTED


async def report(served: Served, *outcomes: Outcome) -> list[Any]:
    response = await served.routing.ReportOutcomes(
        ReportOutcomesRequest(outcomes=outcomes), timeout=CALL_TIMEOUT_S
    )
    return list(response.results)


async def test_a_decision_can_be_reported_on_and_once_only(shared: Served) -> None:
    token = (await shared.route(LIKE["budget"])).decision_token
    attempts = [Attempt(model_id="small-fast")]
    outcome = Outcome(outcome_id="report-1", decision_token=token, attempts=attempts)
    (first,) = await report(shared, outcome)
    (second,) = await report(shared, outcome)
    assert (first.outcome_id, first.status) == ("report-1", ACCEPTED)
    assert (second.outcome_id, second.status) == ("report-1", DUPLICATE)


async def test_a_faulty_outcome_does_not_hold_up_the_others(shared: Served) -> None:
    token = (await shared.route(LIKE["budget"])).decision_token
    payload = b"[" * 100_000
    crafted = base64.urlsafe_b64encode(zlib.crc32(payload).to_bytes(4, "big") + payload).decode()
    judged = [
        Outcome(outcome_id="row-1", decision_token=token, quality=1.0),
        Outcome(outcome_id="row-2", decision_token=f"not-{token}", quality=1.0),
        Outcome(outcome_id="row-3", decision_token=f"1.{crafted}", quality=1.0),
        Outcome(outcome_id="row-4", decision_token=token, quality=7.0),
        Outcome(),
        Outcome(outcome_id="row-1", decision_token=token, quality=1.0),
        Outcome(outcome_id="row-5", decision_token=token, quality=0.0),
    ]
    results = await report(shared, *judged)
    assert [one.status for one in results] == [
        ACCEPTED, REJECTED, REJECTED, REJECTED, REJECTED, DUPLICATE, ACCEPTED,
    ]  # fmt: skip
    assert [one.outcome_id for one in results] == [one.outcome_id for one in judged]
    assert [one.field for one in results[3].violations] == ["quality"]


async def test_a_token_stands_alone_at_another_server(
    shared: Served, serve: Serve, catalog: CatalogFolder
) -> None:
    token = (await shared.route(LIKE["budget"])).decision_token
    async with serve(f"another-name={catalog.path}") as other:
        (result,) = await report(other, Outcome(outcome_id="x", decision_token=token, quality=1.0))
    assert result.status == ACCEPTED


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_report_of_another_size_names_the_field(shared: Served, count: int) -> None:
    answer = await refused(report(shared, *[Outcome(outcome_id="x")] * count))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ("outcomes",)


async def test_a_thousand_outcomes_are_taken(shared: Served) -> None:
    token = (await shared.route(LIKE["mid"])).decision_token
    outcomes = [
        Outcome(outcome_id=f"bulk-{n}", decision_token=token, quality=0.5) for n in range(1_000)
    ]
    assert {one.status for one in await report(shared, *outcomes)} == {ACCEPTED}
