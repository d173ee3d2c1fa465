"""The reporter against a router that fails as a test says, on a real channel."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tierwise.reporting import delivery
from tierwise.reporting.outcome import Judgement, Verdict, new_outcome_id
from tierwise.reporting.reporter import Reporter
from tierwise.reporting.spool import Spool
from tierwise.v1 import routing_service_pb2
from tierwise.v1.routing_service_pb2_grpc import (
    RoutingServiceServicer,
    RoutingServiceStub,
    add_RoutingServiceServicer_to_server,
)

FLUSH_S = 20.0
Answer = Callable[[Sequence[str], grpc.ServicerContext], None]


class ScriptedRouter(RoutingServiceServicer):
    """Takes every outcome, unless the script refuses the call first."""

    def __init__(self) -> None:
        self.refuse: Answer = lambda ids, context: None
        self.rejected_ids: set[str] = set()
        self.calls: list[tuple[float, int]] = []
        """When each call came, and how many outcomes it brought."""
        self.taken: set[str] = set()

    def ReportOutcomes(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - of the contract
        """Answers as the script says."""
        ids = [one.outcome_id for one in request.outcomes]
        self.calls.append((time.monotonic(), len(ids)))
        self.refuse(ids, context)
        results = [self._result(one) for one in ids]
        return routing_service_pb2.ReportOutcomesResponse(results=results)

    def _result(self, outcome_id: str) -> routing_service_pb2.OutcomeResult:
        result = routing_service_pb2.OutcomeResult(outcome_id=outcome_id)
        if outcome_id in self.rejected_ids:
            result.status = routing_service_pb2.OUTCOME_STATUS_REJECTED
            result.violations.add(field="attempts[0].model_id", description="is needed")
        elif outcome_id in self.taken:
            result.status = routing_service_pb2.OUTCOME_STATUS_DUPLICATE
        else:
            result.status = routing_service_pb2.OUTCOME_STATUS_ACCEPTED
            self.taken.add(outcome_id)
        return result


@pytest.fixture
def router() -> ScriptedRouter:
    return ScriptedRouter()


@pytest.fixture
def channel(router: ScriptedRouter) -> Iterator[grpc.Channel]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_RoutingServiceServicer_to_server(router, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    server.stop(None).wait(FLUSH_S)


@pytest.fixture
def reporter(channel: grpc.Channel, tmp_path: Path) -> Iterator[Reporter]:
    one = Reporter(lambda: RoutingServiceStub(channel), Spool(tmp_path / "spool.sqlite3"))
    yield one
    one.close(0.0)


def judgement() -> Judgement:
    return Judgement(
        outcome_id=new_outcome_id(),
        decision_id="d-1",
        verdict=Verdict.POSITIVE,
        end_time=datetime.now(UTC),
    )


def report(reporter: Reporter, count: int) -> list[str]:
    """Reports so many outcomes and returns their ids."""
    outcomes = [judgement() for _ in range(count)]
    for one in outcomes:
        reporter.report(one)
    return [one.outcome_id for one in outcomes]


def aborting(code: grpc.StatusCode, retry_s: float | None = None) -> Answer:
    """Returns what refuses every call with a status."""

    def refuse(ids: Sequence[str], context: Any) -> None:  # noqa: ANN401 - as the library has it
        status = status_pb2.Status(code=code.value[0], message="refused")
        if retry_s is not None:
            info = error_details_pb2.RetryInfo(
                retry_delay=duration_pb2.Duration(nanos=int(retry_s * 1e9))
            )
            detail = any_pb2.Any()
            detail.Pack(info)
            status.details.append(detail)
        context.abort_with_status(rpc_status.to_status(status))

    return refuse


def test_outcomes_are_delivered_in_batches_of_the_contract(
    reporter: Reporter, router: ScriptedRouter
) -> None:
    ids = report(reporter, 2_500)
    assert reporter.flush(FLUSH_S)
    assert router.taken == set(ids)
    assert max(size for _, size in router.calls) <= delivery.MAX_BATCH
    # Few, as they wait for company.
    assert len(router.calls) < 100
    status = reporter.status
    assert (status.delivered, status.pending, status.lost) == (2_500, 0, 0)


def test_a_rejected_outcome_is_dropped_and_named(
    reporter: Reporter, router: ScriptedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    bad = judgement()
    router.rejected_ids = {bad.outcome_id}
    report(reporter, 5)
    reporter.report(bad)
    report(reporter, 5)
    assert reporter.flush(FLUSH_S)
    status = reporter.status
    assert (status.delivered, status.rejected, status.pending) == (10, 1, 0)
    (record,) = caplog.records
    assert bad.outcome_id in record.getMessage()
    assert "attempts[0].model_id: is needed" in record.getMessage()


def test_a_report_that_is_invalid_as_a_whole_loses_the_culprit_alone(
    reporter: Reporter, router: ScriptedRouter
) -> None:
    culprit = judgement()

    def refuse(ids: Sequence[str], context: Any) -> None:  # noqa: ANN401 - as the library has it
        if culprit.outcome_id in ids:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such outcome")

    router.refuse = refuse
    report(reporter, 137)
    reporter.report(culprit)
    report(reporter, 300)
    assert reporter.flush(FLUSH_S)
    status = reporter.status
    assert (status.delivered, status.rejected, status.pending) == (437, 1, 0)
    assert len(router.calls) < 60


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
def test_a_failure_keeps_everything_and_is_said_once(
    reporter: Reporter,
    router: ScriptedRouter,
    caplog: pytest.LogCaptureFixture,
    code: grpc.StatusCode,
) -> None:
    router.refuse = aborting(code)
    report(reporter, 7)
    assert not reporter.flush(1.0)
    assert reporter.status.pending == 7
    assert len(router.calls) >= 2
    (record,) = caplog.records
    assert code.name in record.getMessage()
    router.refuse = lambda ids, context: None
    assert reporter.flush(FLUSH_S)
    assert reporter.status.delivered == 7


def test_a_delay_that_the_router_asks_for_is_kept_even_in_a_hurry(
    reporter: Reporter, router: ScriptedRouter
) -> None:
    router.refuse = aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_s=0.9)
    report(reporter, 1)
    assert not reporter.flush(0.4)
    router.refuse = lambda ids, context: None
    assert reporter.flush(FLUSH_S)
    (first, _), (second, _) = router.calls
    assert second - first >= 0.9


def test_an_answer_that_does_not_fit_delivers_nothing(
    reporter: Reporter, router: ScriptedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    router._result = lambda outcome_id: None  # type: ignore[assignment, method-assign, return-value]
    report(reporter, 3)
    assert not reporter.flush(0.5)
    assert reporter.status.pending == 3


def test_a_stub_that_cannot_be_opened_is_tried_again(
    channel: grpc.Channel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[None] = []

    def open_stub() -> RoutingServiceStub:
        tries.append(None)
        if len(tries) == 1:
            raise OSError("no certificate")
        return RoutingServiceStub(channel)

    reporter = Reporter(open_stub, Spool(tmp_path / "spool.sqlite3"))
    report(reporter, 2)
    assert reporter.flush(FLUSH_S)
    assert "no certificate" in caplog.text
    assert reporter.close(FLUSH_S)
    assert len(tries) == 2


def test_a_loss_is_counted_told_and_said_once(
    router: ScriptedRouter, channel: grpc.Channel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    router.refuse = aborting(grpc.StatusCode.UNAVAILABLE)
    lost: list[str] = []

    def on_loss(outcome: Any) -> None:  # noqa: ANN401 - either kind
        lost.append(outcome.outcome_id)
        raise RuntimeError("of the caller's own")

    spool = Spool(tmp_path / "spool.sqlite3", max_outcomes=10)
    reporter = Reporter(lambda: RoutingServiceStub(channel), spool, on_loss=on_loss)
    ids = report(reporter, 25)
    assert lost == ids[10:]
    assert (reporter.status.pending, reporter.status.lost) == (10, 15)
    said = [one for one in caplog.records if "outcomes are lost" in one.getMessage()]
    assert len(said) == 1
    router.refuse = lambda ids, context: None
    assert reporter.close(FLUSH_S)
    assert router.taken == set(ids[:10])


def test_closing_leaves_the_rest_on_disk_for_a_later_reporter(
    router: ScriptedRouter, channel: grpc.Channel, tmp_path: Path
) -> None:
    path = tmp_path / "spool.sqlite3"
    router.refuse = aborting(grpc.StatusCode.UNAVAILABLE)
    first = Reporter(lambda: RoutingServiceStub(channel), Spool(path))
    ids = report(first, 5)
    assert not first.close(0.3)
    ids += report(first, 1)
    router.refuse = lambda ids, context: None
    second = Reporter(lambda: RoutingServiceStub(channel), Spool(path))
    end = time.monotonic() + FLUSH_S
    while router.taken != set(ids) and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert router.taken == set(ids), "nothing was reported, but for what the first had left"
    assert second.close(FLUSH_S)


def test_nothing_runs_before_there_is_something_to_do(
    channel: grpc.Channel, tmp_path: Path
) -> None:
    before = threading.active_count()
    reporter = Reporter(lambda: RoutingServiceStub(channel), Spool(tmp_path / "spool.sqlite3"))
    assert threading.active_count() == before
    assert reporter.flush(0.0)
    assert reporter.close(0.0)


def test_an_outcome_that_cannot_be_written_does_not_raise(
    reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Judgement(
        outcome_id=None,  # type: ignore[arg-type]
        decision_id="d",
        quality=1.0,
        end_time=datetime.now(UTC),
    )
    reporter.report(faulty)
    assert reporter.status.lost == 1
    assert "cannot be reported" in caplog.text


def test_without_a_file_outcomes_are_delivered_from_memory(
    router: ScriptedRouter, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reporter = Reporter(lambda: RoutingServiceStub(channel), Spool(None))
    ids = report(reporter, 1_200)
    assert not reporter.status.durable
    assert reporter.close(FLUSH_S)
    assert router.taken == set(ids)
    assert reporter.status.delivered == 1_200


@pytest.mark.parametrize("failures", [1, 2, 5, 40])
def test_pauses_grow_with_jitter_up_to_a_minute(failures: int) -> None:
    longest = min(delivery.FIRST_PAUSE_S * 2 ** (failures - 1), delivery.MAX_PAUSE_S)
    pauses = [delivery.pause_after(OSError(), failures) for _ in range(200)]
    assert {one.asked for one in pauses} == {False}
    assert longest / 2 <= min(one.seconds for one in pauses)
    assert max(one.seconds for one in pauses) <= longest
    assert len({one.seconds for one in pauses}) > 100
