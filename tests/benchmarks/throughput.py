"""Measures throughput with many callers, against what the machine could do without a service.

Two ratios, the sides of each taking turns in one run, client and server on the same cores:
distinct prompts against the same encoder called raw on every core, and repeated prompts, answered
from the cache, against an empty unary call. The client is one process with an event loop; it sends
and gets bytes, and reads the answers after the clock has stopped. Its share of a core is printed,
to show that it is not what holds a figure down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from harness import (
    CALL_TIMEOUT_S,
    EMPTY_CALL,
    ROUTE_PROMPT,
    Bar,
    BenchmarkError,
    Process,
    encoder_folder,
    encoding_seconds,
    progress,
    read_decision,
    report,
    rounded,
    route_request,
    run_program,
    serving,
    serving_empty_calls,
)
from prompts import PromptSource

from tierwise_server.encoder.onnx_encoder import OnnxEncoder

TOKENS = 10
RAW_THREADS = 2
WARM_UP_S = 1.0
DISTINCT_LIMIT = 0.45
REPEATED_LIMIT = 0.60
MOST_CALLS_A_SECOND = 2_500
"""Prompts to have ready: more than any machine of a few cores encodes."""


@dataclass(slots=True, kw_only=True)
class Side:
    """What one side of a ratio has done so far."""

    calls: int = 0
    wall_s: float = 0.0
    client_s: float = 0.0
    server_s: float = 0.0
    answers: list[bytes] = field(default_factory=list)
    """The last answer of each caller of each turn."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.wall_s

    def as_json(self) -> dict[str, float]:
        """Returns the figures as they are printed."""
        return {
            "calls_per_second": rounded(self.rate),
            "calls": self.calls,
            "client_cores": round(self.client_s / self.wall_s, 2),
            "server_cores": round(self.server_s / self.wall_s, 2),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--callers", type=int, default=64, help="concurrent callers")
    parser.add_argument("--channels", type=int, default=2, help="connections they share")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn")
    arguments = parser.parse_args(argv)

    encoder = OnnxEncoder.load(encoder_folder())
    source = PromptSource(encoder_folder())
    seconds = arguments.rounds * arguments.seconds + WARM_UP_S
    rate = raw_rate(encoder, source.of_tokens(TOKENS, 200))
    # The service cannot be faster than the encoder on every core; twice that leaves room.
    ready = int(min(2 * rate, MOST_CALLS_A_SECOND) * seconds) + arguments.callers
    prompts = source.of_tokens(TOKENS, ready)
    with serving() as server, serving_empty_calls() as empty:
        bench = Bench(arguments, server, empty, encoder, prompts)
        sides = asyncio.run(bench.run())
    for data in sides["distinct"].answers:
        encoding_seconds(read_decision(data))
    if not all(read_decision(data).timings.vector_cached for data in sides["repeated"].answers):
        raise BenchmarkError("a repeated prompt was not answered from the cache")

    report(
        [
            Bar(
                name="distinct_by_raw_encoder",
                value=sides["distinct"].rate / sides["raw_encoder"].rate,
                limit=DISTINCT_LIMIT,
                at_least=True,
            ),
            Bar(
                name="repeated_by_empty_call",
                value=sides["repeated"].rate / sides["empty_call"].rate,
                limit=REPEATED_LIMIT,
                at_least=True,
            ),
        ],
        {
            "callers": arguments.callers,
            "channels": arguments.channels,
            **{name: side.as_json() for name, side in sides.items()},
        },
    )
    return 0


def raw_rate(encoder: OnnxEncoder, prompts: Sequence[str]) -> float:
    """Returns about how many prompts a second the encoder takes on every core."""
    started = time.perf_counter()
    for prompt in prompts:
        encoder.encode(prompt)
    return RAW_THREADS * len(prompts) / (time.perf_counter() - started)


class Bench:
    """One run: the connections, the servers and what is sent to them."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        server: Process,
        empty: Process,
        encoder: OnnxEncoder,
        prompts: Sequence[str],
    ) -> None:
        self._arguments = arguments
        self._server = server
        self._empty = empty
        self._encoder = encoder
        self._prompts = prompts
        self._distinct = iter([route_request(prompt) for prompt in prompts])

    async def run(self) -> dict[str, Side]:
        """Returns what each side did."""
        callers: int = self._arguments.callers
        repeated = [route_request(prompt) for prompt in self._prompts[-callers:]]
        names = ("distinct", "raw_encoder", "repeated", "empty_call")
        sides = {name: Side() for name in names}
        async with contextlib.AsyncExitStack() as stack:
            routes = await self._connect(stack, self._server, ROUTE_PROMPT)
            empties = await self._connect(stack, self._empty, EMPTY_CALL)
            gc.collect()
            gc.disable()
            for turn in range(-1, self._arguments.rounds):
                # The first turn warms up and does not count.
                seconds = self._arguments.seconds if turn >= 0 else WARM_UP_S
                kept = sides if turn >= 0 else {name: Side() for name in names}
                await self._turn(kept["distinct"], self._server, routes, self._distinct, seconds)
                # On another thread, so that the connections' keep-alive goes on.
                await asyncio.to_thread(self._raw_turn, kept["raw_encoder"], seconds)
                await self._turn(kept["repeated"], self._server, routes, _around(repeated), seconds)
                await self._turn(kept["empty_call"], self._empty, empties, _around([b""]), seconds)
                rates = ", ".join(f"{name} {side.rate:.0f}/s" for name, side in kept.items())
                progress(f"throughput: turn {turn + 1} of {self._arguments.rounds}: {rates}")
            gc.enable()
        return sides

    async def _connect(
        self, stack: contextlib.AsyncExitStack, process: Process, method: str
    ) -> list[Call]:
        calls: list[Call] = []
        for _ in range(self._arguments.channels):
            # Without an own pool, channels to one address share one connection.
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = grpc.aio.insecure_channel(process.target, options=options)
            await stack.enter_async_context(channel)
            await channel.channel_ready()
            calls.append(channel.unary_unary(method))
        return calls

    async def _turn(
        self,
        side: Side,
        process: Process,
        calls: Sequence[Call],
        requests: Iterator[bytes],
        seconds: float,
    ) -> None:
        """Has all callers call for some seconds, each sending as soon as it is answered."""
        client_s, server_s = time.process_time(), process.cpu_s()
        started = time.perf_counter()
        end = started + seconds

        async def caller(call: Call) -> tuple[int, bytes]:
            count, answer = 0, b""
            while time.perf_counter() < end:
                request = next(requests, None)
                if request is None:
                    raise BenchmarkError("too few distinct prompts were made ready")
                answer = await call(request, timeout=CALL_TIMEOUT_S)
                count += 1
            return count, answer

        done = await asyncio.gather(
            *(caller(calls[number % len(calls)]) for number in range(self._arguments.callers))
        )
        side.wall_s += time.perf_counter() - started
        side.calls += sum(count for count, _ in done)
        side.answers += [answer for count, answer in done if count]
        side.client_s += time.process_time() - client_s
        side.server_s += process.cpu_s() - server_s

    def _raw_turn(self, side: Side, seconds: float) -> None:
        """Encodes on as many threads as the server has lanes, nothing else going on."""
        client_s = time.process_time()
        started = time.perf_counter()
        counts = [0] * RAW_THREADS

        def work(number: int) -> None:
            position = number
            while time.perf_counter() < started + seconds:
                self._encoder.encode(self._prompts[position % len(self._prompts)])
                position += RAW_THREADS
                counts[number] += 1

        threads = [threading.Thread(target=work, args=(one,)) for one in range(RAW_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        side.wall_s += time.perf_counter() - started
        side.calls += sum(counts)
        side.client_s += time.process_time() - client_s


Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


def _around(requests: Sequence[bytes]) -> Iterator[bytes]:
    """Yields the requests again and again."""
    while True:
        yield from requests


if __name__ == "__main__":
    run_program(main)
