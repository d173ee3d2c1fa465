"""A load generator in a process of its own: sends prompts of one caller, prints what it saw.

Open loop (`--rate`): calls begin on a schedule, whatever became of those before, and their time
counts from when they were due, so that a stall of the generator shows as well. Closed loop
(`--concurrent`): each answer is followed by the next call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from harness import BATCH_ROUTE_PROMPTS, ROUTE_PROMPT, read_decision

from tierwise.v1 import routing_input_pb2, routing_service_pb2

_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(slots=True, kw_only=True)
class Seen:
    """What became of the calls."""

    seconds: list[float] = field(default_factory=list)
    """Of each answered call."""
    at: list[float] = field(default_factory=list)
    """When each was answered, in seconds from the start."""
    refused_seconds: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    answers: list[bytes] = field(default_factory=list)
    """Of calls of one prompt, read when all is over."""

    def queued(self) -> list[float]:
        """Returns how long the prompts waited for a lane, in seconds."""
        durations = [read_decision(one).timings.queue_duration for one in self.answers]
        return [one.seconds + one.nanos / 1e9 for one in durations]


class Load:
    """Calls of one caller."""

    def __init__(self, arguments: argparse.Namespace, requests: Sequence[bytes]) -> None:
        self._arguments = arguments
        self._requests = requests
        self._sent = 0
        self._seen = Seen()
        self._started = 0.0

    async def run(self) -> Seen:
        """Calls for as long as the arguments say."""
        arguments = self._arguments
        method = BATCH_ROUTE_PROMPTS if arguments.batch > 1 else ROUTE_PROMPT
        async with grpc.aio.insecure_channel(arguments.target, options=_OWN_CONNECTION) as channel:
            await channel.channel_ready()
            call = channel.unary_unary(method)
            print("started", flush=True)
            self._started = time.perf_counter()
            if arguments.rate:
                await self._open_loop(call)
            else:
                await asyncio.gather(*(self._caller(call) for _ in range(arguments.concurrent)))
        return self._seen

    async def _caller(self, call: Call) -> None:
        while time.perf_counter() - self._started < self._arguments.seconds:
            await self._one(call, time.perf_counter())

    async def _open_loop(self, call: Call) -> None:
        chance = random.Random(self._arguments.seed)  # noqa: S311 - repeatable, not secret
        due = self._started
        end = self._started + self._arguments.seconds
        calls: set[asyncio.Task[None]] = set()
        while due < end:
            # Arrivals of many independent users.
            due += chance.expovariate(self._arguments.rate)
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._one(call, due))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await asyncio.gather(*calls)

    async def _one(self, call: Call, due: float) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        seen = self._seen
        try:
            answer = await call(request, timeout=self._arguments.deadline)
        except grpc.aio.AioRpcError as error:
            seen.codes[error.code().name] += 1
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                seen.refused_seconds.append(time.perf_counter() - due)
            if not self._arguments.rate:
                await asyncio.sleep(0.01)
            return
        now = time.perf_counter()
        seen.codes["OK"] += 1
        seen.seconds.append(now - due)
        seen.at.append(now - self._started)
        if self._arguments.batch == 1:
            seen.answers.append(answer)


Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


def requests_for(prompts: Sequence[str], caller: str, batch: int) -> list[bytes]:
    """Returns serialized requests, each prompt once."""
    inputs = [
        # Nothing is kept, so that a prompt that comes again is encoded again.
        routing_input_pb2.RoutingInput(prompt=prompt, caller=caller, keep_nothing=True)
        for prompt in prompts
    ]
    if batch == 1:
        return [
            routing_service_pb2.RoutePromptRequest(input=one).SerializeToString() for one in inputs
        ]
    return [
        routing_service_pb2.BatchRoutePromptsRequest(
            inputs=inputs[start : start + batch]
        ).SerializeToString()
        for start in range(0, len(inputs) - batch + 1, batch)
    ]


def main() -> int:
    """Reads prompts as a JSON list from standard input; its last line has the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target")
    parser.add_argument("--caller", default="load")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--deadline", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second; 0: closed loop")
    parser.add_argument("--concurrent", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    requests = requests_for(json.load(sys.stdin), arguments.caller, arguments.batch)
    seen = asyncio.run(Load(arguments, requests).run())
    figures = {
        "seconds": [round(one, 6) for one in seen.seconds],
        "at": [round(one, 3) for one in seen.at],
        "queued": [round(one, 6) for one in seen.queued()],
        "refused_seconds": [round(one, 6) for one in seen.refused_seconds],
        "codes": dict(seen.codes),
        "cpu_s": time.process_time(),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
