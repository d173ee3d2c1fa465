"""Sends a server what is made to break it, and counts what came of it.

Random bytes as messages, damaged messages of every method, strings that break programs, fields far
over their limits, and random bytes on plain connections. The server has to answer each message with
a decision or a refusal, never with INTERNAL, never late; memory has to stay flat; and afterwards it
has to route as before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message
from harness import Bar, Process, progress, report, run_program, serving

from tierwise.v1 import catalog_service_pb2, outcome_pb2, routing_input_pb2, routing_service_pb2

CALLERS: Final = 48
CALL_TIMEOUT_S: Final = 20.0
CONNECTIONS_IN: Final = 200
"""Of so many requests, one is random bytes on a connection of its own."""

GROWTH_LIMIT_MB: Final = 20.0
"""What caches of vectors and of identifiers may still take once half of the requests is over."""

BREAKING: Final = (
    "",
    " \t\r\n",
    "\x00",
    "\u202e\u2066" * 50,
    "\ufeff\u200b\u2060",
    "a" * 100_000,
    "\U0001f469\u200d" * 3000,
    "'; DROP TABLE decisions; --",
    "{{7*7}} ${jndi:ldap://127.0.0.1/a} %n%n%s%p",
    "<script>alert(1)</script>",
    "../../../../etc/passwd\x00.yaml",
    "(" * 5000,
    "(a+)+$" + "a" * 5000 + "!",
    "Z\u0351\u036b\u0343" * 500,
    "NaN",
    "-1",
    "null",
    "\u0000\ud7ff\ue000\uffff",
)

_METHODS: Final = {
    f"/{service.full_name}/{method.name}": message_factory.GetMessageClass(method.input_type)
    for module in (routing_service_pb2, catalog_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name != "ReloadCatalog"  # reads 5,000 utterances anew each time
}
Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

_BROKEN: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--strings", type=Path, metavar="FILE", help="JSON lines with more strings under `prompt`"
    )
    arguments = parser.parse_args(argv)
    strings = [*BREAKING, *(_strings(arguments.strings) if arguments.strings else ())]
    with serving() as server:
        codes, early_mb, seconds = asyncio.run(
            Attack(server, strings, arguments.seed).run(arguments.requests)
        )
        late_mb = server.memory_mb()
        routed = _still_routes(server)
    broken = sum(codes[one] for one in _BROKEN)
    report(
        [
            Bar(name="broken_answers", value=broken, limit=0),
            Bar(name="routes_afterwards", value=float(routed), limit=1, at_least=True),
            Bar(name="memory_growth_mb", value=late_mb - early_mb, limit=GROWTH_LIMIT_MB),
        ],
        {
            "requests": arguments.requests,
            "seconds": round(seconds, 1),
            "answers": dict(codes.most_common()),
            "memory_mb": {"halfway": round(early_mb, 1), "at_the_end": round(late_mb, 1)},
        },
    )
    return 0


def _strings(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return [str(json.loads(line)["prompt"]) for line in lines if line.strip()]


class Attack:
    """Requests made by chance, always the same for a seed."""

    def __init__(self, server: Process, strings: Sequence[str], seed: int) -> None:
        self._server = server
        self._strings = strings
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._codes: Counter[str] = Counter()
        self._left = 0
        self._kinds: tuple[Callable[[type[Message]], bytes], ...] = (
            self._noise,
            self._damaged,
            self._damaged,
            self._of_strings,
            self._over_limits,
        )

    async def run(self, count: int) -> tuple[Counter[str], float, float]:
        """Returns answers by code, the memory halfway, and the seconds it all took."""
        started = time.perf_counter()
        early_mb = 0.0
        options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
        async with grpc.aio.insecure_channel(self._server.target, options=options) as channel:
            calls = {name: channel.unary_unary(name) for name in _METHODS}
            for part in range(10):
                self._left = count // 10
                await asyncio.gather(*(self._caller(calls) for _ in range(CALLERS)))
                if part == 4:
                    early_mb = self._server.memory_mb()
                progress(
                    f"hostile: {part + 1} of 10 parts, {self._server.memory_mb():.0f} MB,"
                    f" {dict(self._codes.most_common(4))}"
                )
        return self._codes, early_mb, time.perf_counter() - started

    async def _caller(
        self, calls: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]
    ) -> None:
        names = list(calls)
        while self._left > 0:
            self._left -= 1
            if self._chance.randrange(CONNECTIONS_IN) == 0:
                await self._connect()
                continue
            name = self._chance.choice(names)
            data = self._chance.choice(self._kinds)(_METHODS[name])
            try:
                await calls[name](data, timeout=CALL_TIMEOUT_S)
                self._codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self._codes[error.code().name] += 1

    async def _connect(self) -> None:
        """Sends random bytes over a connection of its own, half of them after HTTP/2's greeting."""
        data = self._chance.randbytes(self._chance.randint(1, 2000))
        if self._chance.random() < 0.5:
            data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + data
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
                writer.write(data)
                writer.write_eof()
                await reader.read()
                writer.close()
                await writer.wait_closed()
            self._codes["connection closed"] += 1
        except OSError:
            self._codes["connection reset"] += 1

    def _noise(self, _: type[Message]) -> bytes:
        return self._chance.randbytes(self._chance.choice((0, 1, 7, 60, 900, 20_000)))

    def _damaged(self, kind: type[Message]) -> bytes:
        data = bytearray(self._of_strings(kind))
        for _ in range(self._chance.randint(1, 3)):
            place = self._chance.randrange(len(data) + 1)
            end = place + self._chance.randint(0, 4)
            data[place:end] = self._chance.randbytes(self._chance.randint(0, 4))
        return bytes(data)

    def _of_strings(self, kind: type[Message]) -> bytes:
        """Returns a message with strings that break programs where it takes text."""
        message = kind()
        for field in message.DESCRIPTOR.fields:
            if field.type == field.TYPE_STRING and not field.is_repeated:
                setattr(message, field.name, self._string())
        match message:
            case (
                routing_service_pb2.RoutePromptRequest()
                | routing_service_pb2.ExplainDecisionRequest()
            ):
                message.input.MergeFrom(self._input())
            case routing_service_pb2.BatchRoutePromptsRequest():
                message.inputs.extend(self._input() for _ in range(self._chance.randint(0, 4)))
            case routing_service_pb2.ReportOutcomesRequest():
                message.outcomes.append(
                    outcome_pb2.Outcome(outcome_id=self._string(), decision_token=self._string())
                )
            case _:
                pass
        return message.SerializeToString()

    def _over_limits(self, kind: type[Message]) -> bytes:
        """Returns a message with numbers and lists far from what its fields take."""
        message = kind()
        one = self._input()
        one.cost_quality_dial = self._chance.choice((float("nan"), float("inf"), -1.0, 2.0))
        one.expected_output_token_count = self._chance.choice((-1, 2**62))
        one.constraints.cost_ceiling_nano_usd = self._chance.choice((-1, 0, 2**62))
        one.constraints.allowed_model_ids.extend(["m"] * self._chance.choice((0, 5, 5000)))
        one.constraints.required_capabilities.extend([99] * self._chance.choice((0, 1, 500)))
        match message:
            case (
                routing_service_pb2.RoutePromptRequest()
                | routing_service_pb2.ExplainDecisionRequest()
            ):
                message.input.MergeFrom(one)
            case routing_service_pb2.BatchRoutePromptsRequest():
                message.inputs.extend([one] * self._chance.choice((1, 300)))
            case routing_service_pb2.ReportOutcomesRequest():
                outcome = outcome_pb2.Outcome(outcome_id="a" * 200, quality=float("nan"))
                message.outcomes.extend([outcome] * self._chance.choice((1, 1200)))
            case _:
                for field in message.DESCRIPTOR.fields:
                    if field.type == field.TYPE_INT32:
                        setattr(message, field.name, self._chance.choice((-1, 2**31 - 1)))
        return message.SerializeToString()

    def _input(self) -> routing_input_pb2.RoutingInput:
        # Most are of languages and sizes that need no encoder, or are repeated.
        message = routing_input_pb2.RoutingInput(
            prompt=self._string(), caller=self._string()[:150], task_tag=self._string()[:150]
        )
        message.metadata[self._string()[:80]] = self._string()[:300]
        if self._chance.random() < 0.1:
            message.embedding.encoder_id = self._string()[:80]
            message.embedding.values.extend([float("nan")] * self._chance.choice((0, 1, 384)))
        return message

    def _string(self) -> str:
        return self._chance.choice(self._strings)


def _still_routes(server: Process) -> bool:
    request = routing_service_pb2.RoutePromptRequest(
        input=routing_input_pb2.RoutingInput(prompt="summarize this email in two sentences")
    )
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(next(name for name in _METHODS if name.endswith("RoutePrompt")))
        answer = call(request.SerializeToString(), timeout=CALL_TIMEOUT_S)
    return bool(routing_service_pb2.RoutePromptResponse.FromString(answer).decision.tier_id)


if __name__ == "__main__":
    run_program(main)
