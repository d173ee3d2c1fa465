"""Measures what the ledger costs `RoutePrompt`, and what it takes in.

The servers with and without a ledger take turns in blocks of calls, so that a busy moment of the
machine hits both; the ratio counts. Outcomes go over loopback into a SQLite file that is synced at
every commit, first in reports of many, then one a call from many callers, from one client process
on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
from harness import (
    ROUTE_PROMPT,
    Bar,
    BenchmarkError,
    Process,
    SyncCaller,
    encoder_folder,
    milliseconds,
    progress,
    quantile,
    read_decision,
    report,
    rounded,
    route_request,
    run_program,
    serve_command,
)
from prompts import PromptSource

from tierwise.v1.error_class_pb2 import ERROR_CLASS_TIMEOUT
from tierwise.v1.outcome_pb2 import Attempt, Outcome, Usage
from tierwise.v1.routing_service_pb2 import (
    OUTCOME_STATUS_ACCEPTED,
    ReportOutcomesRequest,
    ReportOutcomesResponse,
)

REPORT_OUTCOMES = "/tierwise.v1.RoutingService/ReportOutcomes"
BLOCK = 50
WARM_UP = 100
P50_LIMIT = 1.05
P99_LIMIT = 1.20
OUTCOMES_LIMIT = 2_000.0
TIMEOUT_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each case and server")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each intake")
    parser.add_argument("--callers", type=int, default=64, help="concurrent callers of one outcome")
    parser.add_argument("--batch", type=int, default=1000, help="outcomes of a report of many")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        path = Path(folder)
        seconds, memory = route(path, max(BLOCK, arguments.calls))
        intake = take_in(path, arguments)
    bars = []
    for name, (off, on) in seconds.items():
        for share, limit in ((0.5, P50_LIMIT), (0.99, P99_LIMIT)):
            ratio = quantile(on, share) / quantile(off, share)
            bars.append(Bar(name=f"{name}_p{share * 100:g}_on_by_off", value=ratio, limit=limit))
    for name, figures in intake.items():
        bars.append(
            Bar(
                name=f"outcomes_per_second_{name}",
                value=figures["outcomes_per_second"],
                limit=OUTCOMES_LIMIT,
                at_least=True,
            )
        )
    report(
        bars,
        {
            "route_prompt": {
                name: {"off": milliseconds(off), "on": milliseconds(on)}
                for name, (off, on) in seconds.items()
            },
            "memory_mb": memory,
            "intake": intake,
        },
    )
    return 0


@contextlib.contextmanager
def serving_with(ledger: str) -> Iterator[Process]:
    """Runs a server with a ledger of some URL."""
    cache = encoder_folder().parent / "benchmarks"
    with Process([*serve_command(cache), "--ledger", ledger]) as server:
        server.wait_for_port()
        yield server


def route(
    folder: Path, calls: int
) -> tuple[dict[str, tuple[list[float], list[float]]], dict[str, float]]:
    """Returns the seconds of calls without and with a ledger by case, and the servers' memory."""
    source = PromptSource(encoder_folder())
    fresh = [route_request(text) for text in source.of_tokens(10, 2 * (calls + WARM_UP))]
    known = fresh[:WARM_UP]
    seconds: dict[str, tuple[list[float], list[float]]] = {
        "fresh_prompts": ([], []),
        "known_prompts": ([], []),
    }
    with (
        serving_with("none") as off,
        serving_with(f"sqlite:///{folder}/route.sqlite3") as on,
        grpc.insecure_channel(off.target) as off_channel,
        grpc.insecure_channel(on.target) as on_channel,
    ):
        callers = (SyncCaller(off_channel), SyncCaller(on_channel))
        for request, caller in itertools.product(known, callers):
            caller.timed(request)
        supply = iter(fresh[WARM_UP:])
        gc.collect()
        gc.disable()
        for start in range(0, calls, BLOCK):
            # Each server goes first in every other round.
            order = (0, 1) if start // BLOCK % 2 else (1, 0)
            for which in order:
                block = list(itertools.islice(supply, BLOCK))
                seconds["fresh_prompts"][which].extend(
                    callers[which].timed(one)[1] for one in block
                )
                seconds["known_prompts"][which].extend(
                    callers[which].timed(one)[1] for one in known[:BLOCK]
                )
            progress(f"ledger: {start + BLOCK} of {calls} calls of each case and server")
        gc.enable()
        memory = {"off": rounded(off.memory_mb()), "on": rounded(on.memory_mb())}
    return seconds, memory


def take_in(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns how many outcomes a second are acknowledged, in reports of many and of one."""
    figures: dict[str, dict[str, float]] = {}
    for name, batch, callers in (
        (f"in_reports_of_{arguments.batch}", arguments.batch, 2),
        (f"one_a_call_from_{arguments.callers}", 1, arguments.callers),
    ):
        url = f"sqlite:///{folder}/{name}.sqlite3"
        with serving_with(url) as server:
            tokens = decision_tokens(server)
            started_cpu, started = server.cpu_s(), time.perf_counter()
            count, latencies = asyncio.run(
                report_for(server.target, tokens, batch, callers, arguments.seconds)
            )
            taken = time.perf_counter() - started
            cores = (server.cpu_s() - started_cpu) / taken
        with contextlib.closing(sqlite3.connect(f"{folder}/{name}.sqlite3")) as ledger:
            (stored,) = ledger.execute("SELECT count(*) FROM outcomes").fetchone()
        if stored != count:
            raise BenchmarkError(f"{count} outcomes were acknowledged, and {stored} are stored")
        figures[name] = {
            "outcomes_per_second": rounded(count / taken),
            "server_cores": round(cores, 2),
            "call_p50_ms": rounded(quantile(latencies, 0.5) * 1e3),
            "call_p99_ms": rounded(quantile(latencies, 0.99) * 1e3),
        }
        progress(f"ledger: {name}: {figures[name]['outcomes_per_second']} outcomes a second")
    return figures


def decision_tokens(server: Process) -> list[str]:
    """Returns the tokens of some decisions."""
    source = PromptSource(encoder_folder(), seed=2)
    with grpc.insecure_channel(server.target) as channel:
        caller = SyncCaller(channel, ROUTE_PROMPT)
        return [
            read_decision(caller.timed(route_request(text))[0]).decision_token
            for text in source.of_tokens(10, 100)
        ]


def outcome(token: str, number: int) -> Outcome:
    """Returns an outcome: one in ten has a second attempt."""
    answer = Attempt(
        model_id="gpt-5-mini",
        provider_id="openai",
        served_model_name="gpt-5-mini-2025-08-07",
        provider_request_id=f"chatcmpl-{number:024d}",
        usage=Usage(
            input_token_count=500 + number % 1000,
            cached_input_token_count=number % 300,
            output_token_count=200 + number % 777,
            reasoning_token_count=number % 100,
        ),
    )
    answer.start_time.GetCurrentTime()
    answer.call_duration.FromMicroseconds(900_000 + number % 100_000)
    made = Outcome(outcome_id=str(uuid.uuid4()), decision_token=token, attempts=[answer])
    if number % 10 == 0:
        made.attempts.insert(0, Attempt(model_id="gpt-5-nano", error_class=ERROR_CLASS_TIMEOUT))
    return made


async def report_for(
    target: str, tokens: Sequence[str], batch: int, callers: int, seconds: float
) -> tuple[int, list[float]]:
    """Reports for some seconds; returns the acknowledged outcomes and the seconds of each call."""
    counter = itertools.count()
    latencies: list[float] = []
    accepted = 0
    end = time.perf_counter() + seconds

    async def call_on(report_outcomes: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
        nonlocal accepted
        while time.perf_counter() < end:
            numbers = itertools.islice(counter, batch)
            request = ReportOutcomesRequest(
                outcomes=[outcome(tokens[one % len(tokens)], one) for one in numbers]
            ).SerializeToString()
            sent = time.perf_counter()
            data = await report_outcomes(request, timeout=TIMEOUT_S)
            latencies.append(time.perf_counter() - sent)
            results = ReportOutcomesResponse.FromString(data).results
            if {one.status for one in results} != {OUTCOME_STATUS_ACCEPTED}:
                raise BenchmarkError(f"an outcome was not accepted: {results[0]}")
            accepted += len(results)

    async with grpc.aio.insecure_channel(target) as channel:
        method = channel.unary_unary(REPORT_OUTCOMES)
        await asyncio.gather(*(call_on(method) for _ in range(callers)))
    return accepted, latencies


if __name__ == "__main__":
    run_program(main)
