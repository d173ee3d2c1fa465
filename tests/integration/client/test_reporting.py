"""Reporting to the real router, by processes that crash, fork and share a spool."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, CatalogFolder, ServeProcess, StartServe

from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, RouterlessCause, StepKind
from tierwise.reporting.outcome import (
    Judgement,
    Outcome,
    Verdict,
    new_outcome_id,
    outcome_message,
)
from tierwise.reporting.reporter import Reporter
from tierwise.reporting.spool import Spool
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    OutcomeStatus,
    ReportOutcomesRequest,
    RoutePromptRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

FLUSH_S = 30.0
LEASE_S = 2.0
"""So that a test does not wait long for what a dead process held."""

NEVER_SERVED = "127.0.0.1:9"

REPORTING_PROCESS = """
import json, sys, threading
from datetime import UTC, datetime
from pathlib import Path
import grpc
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, RouterlessCause, StepKind
from tierwise.reporting.outcome import Outcome, new_outcome_id
from tierwise.reporting.reporter import Reporter
from tierwise.reporting.spool import Spool
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

path, address, count, lease_s = sys.argv[1:]
reporter = Reporter(
    lambda: RoutingServiceStub(grpc.insecure_channel(address)),
    Spool(Path(path), lease_s=float(lease_s)),
)
decision = Decision(
    decision_id="d", tier_id="budget", routerless_cause=RouterlessCause.UNAVAILABLE
)
for number in range(int(count)):
    now = datetime.now(UTC)
    call = Attempt(
        model_id="small-fast", provider_id="openai", step_kind=StepKind.FIRST,
        start_time=now, duration_s=0.5,
    )
    outcome = Outcome(
        outcome_id=new_outcome_id(), decision=decision, attempts=(call,), end_time=now
    )
    reporter.report(outcome)
    print(outcome.outcome_id, flush=True)
    threading.Event().wait(0.0005)
if sys.stdin.readline() == "close\\n":
    reporter.close(30.0)
    status = reporter.status
    print(json.dumps([status.delivered, status.duplicates]), flush=True)
"""


class ReportingProcess:
    """A process that reports, and then ends when it is told to or its input is closed."""

    def __init__(self, path: Path, address: str, count: int, lease_s: float = LEASE_S) -> None:
        words = (str(path), address, str(count), str(lease_s))
        self.process = subprocess.Popen(
            [sys.executable, "-c", REPORTING_PROCESS, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Returns the next line that it prints; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ids(self, count: int) -> list[str]:
        """Returns the ids of the next outcomes that it reports."""
        return [self.line() for _ in range(count)]

    def rest(self) -> list[str]:
        """Returns the whole lines that are left of a process that ended."""
        assert self.process.stdout is not None
        return [line.strip() for line in self.process.stdout if line.endswith("\n")]

    def say(self, text: str) -> None:
        """Writes to its input, and closes that."""
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(text)
        self.process.stdin = None

    def end(self) -> None:
        """Ends it, whatever it does."""
        self.process.kill()
        self.process.communicate(timeout=CALL_TIMEOUT_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.sqlite3"


@pytest.fixture
def address(start_serve: StartServe, catalog: CatalogFolder) -> str:
    """Where a server in a process of its own listens."""
    return f"127.0.0.1:{start_serve('--catalog', str(catalog.path)).port()}"


@pytest.fixture
def processes() -> Iterator[list[ReportingProcess]]:
    """Processes to be ended after the test."""
    started: list[ReportingProcess] = []
    yield started
    for one in started:
        one.end()


def open_stub(address: str) -> RoutingServiceStub:
    # By default a channel waits up to two minutes before it connects again.
    options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
    return RoutingServiceStub(grpc.insecure_channel(address, options=options))


def reporting(path: Path | None, address: str, **bounds: int) -> Reporter:
    return Reporter(lambda: open_stub(address), Spool(path, lease_s=LEASE_S, **bounds))


def outcome(**fields: Any) -> Outcome:  # noqa: ANN401 - fields of an outcome
    now = datetime.now(UTC)
    attempt = Attempt(
        model_id="small-fast",
        provider_id="openai",
        step_kind=StepKind.FIRST,
        start_time=now,
        duration_s=0.5,
    )
    values: dict[str, Any] = {
        "outcome_id": new_outcome_id(),
        "decision": Decision(
            decision_id="d-1", tier_id="budget", routerless_cause=RouterlessCause.TIMEOUT
        ),
        "attempts": (attempt,),
        "end_time": now,
    }
    return Outcome(**{**values, **fields})


def report(reporter: Reporter, count: int) -> list[str]:
    """Reports so many outcomes and returns their ids."""
    outcomes = [outcome() for _ in range(count)]
    for one in outcomes:
        reporter.report(one)
    return [one.outcome_id for one in outcomes]


def unknown_to(address: str, ids: Sequence[str]) -> set[str]:
    """Returns those outcomes that the router did not have yet. It has them all afterwards."""
    with grpc.insecure_channel(address) as channel:
        stub = RoutingServiceStub(channel)
        found: set[str] = set()
        for start in range(0, len(ids), 1_000):
            messages = [
                outcome_message(outcome(outcome_id=one)) for one in ids[start : start + 1_000]
            ]
            response = stub.ReportOutcomes(
                ReportOutcomesRequest(outcomes=messages), timeout=CALL_TIMEOUT_S
            )
            found |= {
                one.outcome_id
                for one in response.results
                if one.status != OutcomeStatus.OUTCOME_STATUS_DUPLICATE
            }
    return found


def left_in(path: Path) -> int:
    """Returns how many outcomes a spool's file holds."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM outcome").fetchone()[0])
    finally:
        connection.close()


def test_outcomes_and_judgements_reach_the_router(path: Path, address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["budget"]))
        made = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision
    decision = Decision(
        decision_id=made.decision_id, decision_token=made.decision_token, tier_id=made.tier_id
    )
    reporter = reporting(path, address)
    told = [outcome(decision=decision), outcome(quality=0.0), outcome(verdict=Verdict.POSITIVE)]
    judged = Judgement(
        outcome_id=new_outcome_id(),
        decision_id=made.decision_id,
        verdict=Verdict.NEGATIVE,
        end_time=datetime.now(UTC),
    )
    for one in (*told, told[0], judged):
        reporter.report(one)
    assert reporter.close(FLUSH_S)
    status = reporter.status
    assert (status.delivered, status.duplicates, status.rejected) == (4, 1, 0)
    assert unknown_to(address, [one.outcome_id for one in (*told, judged)]) == set()


def test_a_rejected_outcome_does_not_hold_up_the_others(
    path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = reporting(path, address)
    damaged = Decision(decision_id="d", decision_token=new_outcome_id(), tier_id="mid")
    bad = [outcome(decision=damaged), outcome(attempts=())]
    ids = report(reporter, 10)
    for one in bad:
        reporter.report(one)
    ids += report(reporter, 10)
    assert reporter.close(FLUSH_S)
    status = reporter.status
    assert (status.delivered, status.rejected, status.pending) == (20, 2, 0)
    assert unknown_to(address, ids) == set()
    texts = [record.getMessage() for record in caplog.records]
    assert [one.outcome_id in text for one, text in zip(bad, texts, strict=True)] == [True, True]
    assert ["decision_token: " in texts[0], "attempts: " in texts[1]] == [True, True]


def test_what_a_killed_process_left_another_delivers(
    path: Path, address: str, processes: list[ReportingProcess]
) -> None:
    processes.append(ReportingProcess(path, NEVER_SERVED, 100_000))
    ids = processes[0].ids(500)
    processes[0].process.send_signal(signal.SIGKILL)
    processes[0].process.wait(CALL_TIMEOUT_S)
    ids += processes[0].rest()
    # One more may have been written before its id was printed.
    assert left_in(path) - len(ids) in {0, 1}
    reporter = reporting(path, address)
    assert reporter.close(FLUSH_S)
    assert left_in(path) == 0
    assert reporter.status.delivered - len(ids) in {0, 1}
    assert unknown_to(address, ids) == set()


def test_what_a_process_was_killed_over_is_delivered_once_its_lease_ends(
    path: Path, address: str, processes: list[ReportingProcess]
) -> None:
    processes.append(ReportingProcess(path, address, 100_000))
    ids = processes[0].ids(1_500)
    processes[0].process.send_signal(signal.SIGKILL)
    processes[0].process.wait(CALL_TIMEOUT_S)
    ids += processes[0].rest()
    reporter = reporting(path, address)
    assert reporter.close(FLUSH_S)
    assert left_in(path) == 0
    assert unknown_to(address, ids) == set()


def restarted(start_serve: StartServe, catalog: CatalogFolder, address: str) -> ServeProcess:
    """Starts a server where one was killed."""
    again = start_serve("--catalog", str(catalog.path), "--listen", address)
    assert again.port() == int(address.rpartition(":")[2])
    return again


def test_a_killed_server_costs_no_outcome(
    path: Path, start_serve: StartServe, catalog: CatalogFolder
) -> None:
    first = start_serve("--catalog", str(catalog.path))
    address = f"127.0.0.1:{first.port()}"
    reporter = reporting(path, address)
    ids: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            ids.extend(report(reporter, 1))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert within(FLUSH_S, lambda: reporter.status.delivered > 100)
        first.process.kill()
        first.process.wait(CALL_TIMEOUT_S)
        assert within(FLUSH_S, lambda: reporter.status.pending > 100)
        restarted(start_serve, catalog, address)
        delivered = reporter.status.delivered
        assert within(FLUSH_S, lambda: reporter.status.delivered > delivered)
    finally:
        stop.set()
        thread.join()
    assert reporter.close(FLUSH_S)
    status = reporter.status
    # A duplicate is one whose answer was lost with the first server; the second knows none.
    assert status.delivered + status.duplicates == len(ids)
    assert (status.pending, status.rejected, status.lost) == (0, 0, 0)


def within(seconds: float, holds: Any) -> bool:  # noqa: ANN401 - a function
    """Returns whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


def test_processes_that_share_a_spool_deliver_each_outcome_once(
    path: Path, address: str, processes: list[ReportingProcess]
) -> None:
    count = 2_000
    processes += [ReportingProcess(path, address, count, lease_s=30.0) for _ in range(2)]
    ids = [one.ids(count) for one in processes]
    for one in processes:
        one.say("close\n")
    tallies = [json.loads(one.line()) for one in processes]
    assert left_in(path) == 0
    duplicates = sum(duplicates for _, duplicates in tallies)
    assert sum(delivered for delivered, _ in tallies) + duplicates >= 2 * count
    # A call whose answer is late is made again; without leases, every outcome would go out twice.
    assert duplicates < count // 10
    assert unknown_to(address, [one for some in ids for one in some]) == set()


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_process_reports_for_itself(path: Path, address: str, busy: bool) -> None:
    reporter = reporting(path, address)
    report(reporter, 100)
    assert reporter.flush(FLUSH_S)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.0005):
            report(reporter, 1)

    thread = threading.Thread(target=work)
    if busy:
        thread.start()
    children = [forked(reporter) for _ in range(3)]
    codes = [exit_code(child) for child in children]
    stop.set()
    if busy:
        thread.join()
    assert codes == [0, 0, 0]
    more = report(reporter, 100)
    assert reporter.close(FLUSH_S)
    assert left_in(path) == 0
    assert unknown_to(address, more) == set()


def forked(reporter: Reporter) -> int:
    """Forks a process that reports, and ends with 0 when all is delivered."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        before = reporter.status
        report(reporter, 50)
        done = reporter.close(FLUSH_S)
        after = reporter.status
        fresh = before.delivered == 0
        # What the processes share, any of them may deliver.
        code = 0 if done and fresh and after.rejected == 0 else 1
    finally:
        # Nothing else may run here: the test runner is the parent's.
        os._exit(code)


def exit_code(child: int) -> int:
    """Returns how a process ended; one that hangs is ended."""
    end = time.monotonic() + 2 * FLUSH_S
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_an_overflow_is_counted_and_what_was_taken_arrives(
    path: Path, start_serve: StartServe, catalog: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    first = start_serve("--catalog", str(catalog.path))
    address = f"127.0.0.1:{first.port()}"
    first.process.kill()
    first.process.wait(CALL_TIMEOUT_S)
    caplog.set_level(logging.WARNING)
    reporter = reporting(path, address, max_outcomes=200)
    ids = report(reporter, 500)
    assert (reporter.status.pending, reporter.status.lost) == (200, 300)
    assert sum("outcomes are lost" in one.getMessage() for one in caplog.records) == 1
    restarted(start_serve, catalog, address)
    assert reporter.close(FLUSH_S)
    assert reporter.status.delivered == 200
    assert unknown_to(address, ids) == set(ids[200:])


def test_a_damaged_file_does_not_keep_outcomes_from_the_router(
    path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1_000)
    reporter = reporting(path, address)
    ids = report(reporter, 50)
    assert not reporter.status.durable
    assert reporter.close(FLUSH_S)
    assert unknown_to(address, ids) == set()
    assert [str(path) in one.getMessage() for one in caplog.records] == [True]
    assert path.read_bytes() == b"no database" * 1_000


def test_a_process_that_ends_without_closing_delivers_what_it_can(
    path: Path, address: str, processes: list[ReportingProcess]
) -> None:
    processes.append(ReportingProcess(path, address, 3))
    ids = processes[0].ids(3)
    processes[0].say("")
    assert processes[0].process.wait(CALL_TIMEOUT_S) == 0
    assert left_in(path) == 0
    assert unknown_to(address, ids) == set()


def test_what_an_error_says_never_reaches_the_disk(path: Path) -> None:
    said = "quetzalcoatl"
    reporter = reporting(path, NEVER_SERVED)
    one = outcome()
    failed = replace(one.attempts[0], error_message=said)
    reporter.report(replace(one, attempts=(failed,)))
    reporter.close(0.0)
    assert said.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert left_in(path) == 1
