"""Measures what reporting costs a caller, and how fast a spool is emptied.

Two ratios, the sides of each taking turns in one run. Appending to the spool and reporting a whole
outcome, by the lightest call that a chat makes besides: an empty call over gRPC. And delivering
outcomes, in outcomes a second, by empty calls a second: what batches gain over a call for each.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
from harness import (
    EMPTY_CALL,
    Bar,
    BenchmarkError,
    Process,
    SyncCaller,
    milliseconds,
    progress,
    quantile,
    report,
    rounded,
    run_program,
    serving,
    serving_empty_calls,
)

from tierwise.answers import Usage
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, RouterlessCause, StepKind
from tierwise.reporting.outcome import Outcome, new_outcome_id, outcome_message
from tierwise.reporting.reporter import Reporter
from tierwise.reporting.spool import Spool
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

APPEND_LIMIT_MS = 0.1
REPORT_BY_CALL_LIMIT = 0.5
DELIVERED_BY_CALLS_LIMIT = 2.0
DELIVERY_TIMEOUT_S = 120.0
NOBODY = "127.0.0.1:9"
"""Where no router listens: an outage."""


@dataclass(slots=True)
class Times:
    """What was measured, in seconds."""

    append: list[float] = field(default_factory=list)
    report: list[float] = field(default_factory=list)
    """With the thread delivering at the same time."""
    report_in_outage: list[float] = field(default_factory=list)
    empty_call: list[float] = field(default_factory=list)
    delivery: list[float] = field(default_factory=list)
    """From the first report to the last acknowledgement, of each round."""
    delivery_cpu: list[float] = field(default_factory=list)
    """Processor time of the client for the same."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--outcomes", type=int, default=5_000, help="outcomes of one turn")
    arguments = parser.parse_args(argv)
    count: int = arguments.outcomes
    times = Times()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving() as server,
        serving_empty_calls() as empty,
    ):
        for number in range(arguments.rounds):
            gc.collect()
            times.append += appended(Path(folder) / f"append-{number}", count)
            times.report_in_outage += in_outage(Path(folder) / f"outage-{number}", count)
            delivered(Path(folder) / f"report-{number}", count, server, times)
            times.empty_call += called(empty, count // 5)
            progress(f"reporting: turn {number + 1} of {arguments.rounds}")

    call_s = quantile(times.empty_call, 0.5)
    outcomes_a_second = count / quantile(times.delivery, 0.5)
    report(
        [
            Bar(
                name="append_p50_ms",
                value=quantile(times.append, 0.5) * 1e3,
                limit=APPEND_LIMIT_MS,
            ),
            Bar(
                name="report_by_empty_call",
                value=quantile(times.report, 0.5) / call_s,
                limit=REPORT_BY_CALL_LIMIT,
            ),
            Bar(
                name="delivered_by_empty_calls",
                value=outcomes_a_second * call_s,
                limit=DELIVERED_BY_CALLS_LIMIT,
                at_least=True,
            ),
        ],
        {
            "append_ms": milliseconds(times.append),
            "report_ms": milliseconds(times.report),
            "report_in_outage_ms": milliseconds(times.report_in_outage),
            "empty_call_ms": milliseconds(times.empty_call),
            "delivered_per_second": rounded(outcomes_a_second),
            "client_cpu_ms_per_outcome": rounded(quantile(times.delivery_cpu, 0.5) * 1e3 / count),
            "outcome_bytes": outcome_message(an_outcome()).ByteSize(),
        },
    )
    return 0


def an_outcome() -> Outcome:
    """Returns an outcome of two attempts, as after a rate limit."""
    now = datetime.now(UTC)
    refused = Attempt(
        model_id="small-fast",
        provider_id="openai",
        step_kind=StepKind.FIRST,
        start_time=now,
        duration_s=0.2,
        request_id="req_0123456789abcdef0123456789abcdef",
    )
    answered = Attempt(
        model_id="middle",
        provider_id="mistral",
        step_kind=StepKind.ALTERNATE,
        start_time=now,
        duration_s=1.5,
        first_token_s=0.4,
        usage=Usage(input_tokens=900, cached_input_tokens=512, output_tokens=250),
        served_model="middle-1-2026-01",
    )
    return Outcome(
        outcome_id=new_outcome_id(),
        decision=Decision(
            decision_id=new_outcome_id(), tier_id="mid", routerless_cause=RouterlessCause.TIMEOUT
        ),
        attempts=(refused, answered),
        end_time=now,
        caller="benchmark",
    )


def appended(path: Path, count: int) -> list[float]:
    """Returns how long each append to a spool took."""
    spool = Spool(path)
    messages = [outcome_message(an_outcome()).SerializeToString() for _ in range(count)]
    spool.append(messages[0])  # Makes the file.
    times = []
    for message in messages:
        started = time.perf_counter()
        spool.append(message)
        times.append(time.perf_counter() - started)
    spool.close()
    return times


def in_outage(path: Path, count: int) -> list[float]:
    """Returns how long each report took while no router answers."""
    with reporting(path, NOBODY) as reporter:
        times = reported(reporter, count)
        if reporter.status.pending != count + 1:
            raise BenchmarkError("an outcome is missing from the spool")
    return times


def delivered(path: Path, count: int, server: Process, times: Times) -> None:
    """Measures reports until all are acknowledged."""
    with reporting(path, server.target) as reporter:
        if not reporter.flush(DELIVERY_TIMEOUT_S):
            raise BenchmarkError("the router does not take outcomes")
        cpu_s, started = time.process_time(), time.perf_counter()
        times.report += reported(reporter, count)
        done = reporter.flush(DELIVERY_TIMEOUT_S)
        times.delivery.append(time.perf_counter() - started)
        times.delivery_cpu.append(time.process_time() - cpu_s)
        if not done or reporter.status.delivered != count + 1:
            raise BenchmarkError(f"not all outcomes were delivered: {reporter.status}")


def reported(reporter: Reporter, count: int) -> list[float]:
    """Returns how long each report took."""
    times = []
    for _ in range(count):
        outcome = an_outcome()
        started = time.perf_counter()
        reporter.report(outcome)
        times.append(time.perf_counter() - started)
    return times


@contextmanager
def reporting(path: Path, target: str) -> Iterator[Reporter]:
    """Yields a reporter whose spool, thread and connection are made: by a first outcome."""
    with grpc.insecure_channel(target) as channel:
        reporter = Reporter(lambda: RoutingServiceStub(channel), Spool(path))
        reporter.report(an_outcome())
        try:
            yield reporter
        finally:
            reporter.close(0.0)


def called(server: Process, count: int) -> list[float]:
    """Returns how long empty calls took, one after the other."""
    with grpc.insecure_channel(server.target) as channel:
        caller = SyncCaller(channel, EMPTY_CALL)
        caller.timed(b"")
        return [caller.timed(b"")[1] for _ in range(count)]


if __name__ == "__main__":
    run_program(main)
