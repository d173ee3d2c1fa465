"""Measures what the ledger costs `RoutePrompt`, what it takes in, and how fast it is summed up.

The servers with and without a ledger take turns in blocks of calls, so that a busy moment of the
machine hits both; the ratio counts. Outcomes go over loopback into a SQLite file that is synced at
every commit, first in reports of many, then one a call from many callers, from one client process
on the same cores. The sums are those that a report is made of, over all the groups there are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import random
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import sqlalchemy
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
from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.ledger.reader import LedgerReader
from tierwise_server.ledger.records import AttemptRecord, Origin, OutcomeRecord
from tierwise_server.ledger.store import LedgerStore

REPORT_OUTCOMES = "/tierwise.v1.RoutingService/ReportOutcomes"
BLOCK = 50
WARM_UP = 100
P50_LIMIT = 1.05
P99_LIMIT = 1.20
OUTCOMES_LIMIT = 2_000.0
SUMS_LIMIT_S = 5.0
TIMEOUT_S = 60.0
SEED_ROWS = 20_000
"""Rows that are written as servers write them; the rest are copies under other ids."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each case and server")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each intake")
    parser.add_argument("--callers", type=int, default=64, help="concurrent callers of one outcome")
    parser.add_argument("--batch", type=int, default=1000, help="outcomes of a report of many")
    parser.add_argument("--rows", type=int, default=1_000_000, help="outcomes to sum up")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        path = Path(folder)
        seconds, memory = route(path, max(BLOCK, arguments.calls))
        intake = take_in(path, arguments)
        sums = sum_up(path, arguments.rows) if arguments.rows else {}
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
    if sums:
        bars.append(Bar(name="sums_s", value=sums["seconds"], limit=SUMS_LIMIT_S))
    report(
        bars,
        {
            "route_prompt": {
                name: {"off": milliseconds(off), "on": milliseconds(on)}
                for name, (off, on) in seconds.items()
            },
            "memory_mb": memory,
            "intake": intake,
            "sums": sums,
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
        with LedgerReader(url) as reader:
            stored = reader.outcome_count()
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


def sum_up(folder: Path, count: int) -> dict[str, float]:
    """Returns how long it takes to sum up so many outcomes of thirty days."""
    url = f"sqlite:///{folder}/sums.sqlite3"
    written = fill(url, min(count, SEED_ROWS))
    multiply(f"{folder}/sums.sqlite3", count)
    with LedgerReader(url) as reader:
        stored = reader.outcome_count()
        started = time.perf_counter()
        groups = list(reader.call_totals(0, 1 << 60))
        taken = time.perf_counter() - started
    if sum(one.calls for one in groups) != stored:
        raise BenchmarkError("the groups do not add up to the calls")
    return {
        "seconds": rounded(taken),
        "outcomes": stored,
        "groups": len(groups),
        "file_mb": rounded(Path(f"{folder}/sums.sqlite3").stat().st_size / 1e6),
        "written_per_second_without_a_server": rounded(written),
    }


def fill(url: str, count: int) -> float:
    """Writes outcomes of made-up traffic; returns how many a second."""
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    store = LedgerStore(url, PriceBook())
    started = time.perf_counter()
    with contextlib.closing(store):
        for start in range(0, count, 1000):
            store.write(outcomes=[made_up(chance, number) for number in range(start, start + 1000)])
    return count / (time.perf_counter() - started)


def made_up(chance: random.Random, number: int) -> OutcomeRecord:
    """Returns an outcome of made-up traffic."""
    tier = chance.choices(("budget", "mid", "premium"), (70, 20, 10))[0]
    model = f"{tier}-model-{chance.randrange(3)}"
    decided_ms = 1_790_000_000_000 + chance.randrange(30 * 86_400_000)
    return OutcomeRecord(
        outcome_id=str(uuid.UUID(int=chance.getrandbits(128))),
        origin=Origin.ROUTER,
        decision_id=f"{decided_ms:012x}{chance.getrandbits(80):020x}",
        decided_ms=decided_ms,
        recorded_ms=decided_ms + 1000,
        catalog="default",
        catalog_revision="0123456789abcdef",
        tier=tier,
        task=f"task-{chance.randrange(30)}",
        kind=chance.choice((2, 4, 4, 4, 7)),
        model_id=model,
        baseline_model_id="premium-model-0",
        caller=f"application-{chance.randrange(20)}",
        attempts=(
            AttemptRecord(
                model_id=model,
                provider_id="openai",
                step_kind=1,
                duration_us=chance.randrange(10_000_000),
                tokens=Tokens(input=chance.randrange(4000), output=chance.randrange(1000)),
                stated_cost_nano_usd=chance.randrange(10_000_000),
            ),
        ),
    )


def multiply(path: str, count: int) -> None:
    """Copies the outcomes under other ids until there are so many."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        columns = [
            one["name"]
            for one in sqlalchemy.inspect(connection).get_columns("outcomes")
            if one["name"] not in {"id", "outcome_id", "decided_ms"}
        ]
        names = ", ".join(columns)
        there = connection.execute(sqlalchemy.text("SELECT count(*) FROM outcomes")).scalar_one()
        for copy in range(1, -(-count // there)):
            connection.execute(
                sqlalchemy.text(
                    f"INSERT INTO outcomes (outcome_id, decided_ms, {names})"  # noqa: S608 - names of columns
                    f" SELECT outcome_id || :copy, decided_ms + :copy * 1000, {names}"
                    " FROM outcomes WHERE id <= :there"
                ),
                {"copy": copy, "there": there},
            )
    engine.dispose()


if __name__ == "__main__":
    run_program(main)
