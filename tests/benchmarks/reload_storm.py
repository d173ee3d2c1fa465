"""Measures a storm of edits under load: how soon they are served, and that callers notice nothing.

A copy of the shipped catalog is edited a thousand times in a minute, every tenth time with a fault,
while callers call without a pause. Each good edit adds an utterance and keeps the last hundred, so
that edits may be coalesced and each can still be found: it is served once its own text is nearest
to itself. Probes follow every fiftieth edit.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from harness import (
    CALL_TIMEOUT_S,
    ROUTE_PROMPT,
    SHIPPED_CATALOG,
    Bar,
    BenchmarkError,
    Process,
    encoder_folder,
    milliseconds,
    progress,
    read_decision,
    report,
    rounded,
    run_program,
    serving,
)
from prompts import PromptSource
from reload import Traffic, batch_caller, single_caller

from tierwise.v1 import routing_input_pb2, routing_service_pb2

KEPT = 100
FAULTY_EVERY = 10
PROBE_EVERY = 50
PROBE_TIMEOUT_S = 60.0
SERVED_LIMIT_S = 2.0
MEMORY_SLACK_MB = 20.0
TASK = "storm"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--edits", type=int, default=1000, help="edits to make")
    parser.add_argument("--seconds", type=float, default=60.0, help="time to make them in")
    parser.add_argument("--callers", type=int, default=4, help="callers of one prompt at a time")
    arguments = parser.parse_args(argv)

    prompts = PromptSource(encoder_folder()).of_tokens(10, 2000)
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        catalog = Path(shutil.copytree(SHIPPED_CATALOG, Path(folder) / "catalog"))
        with serving(catalog=catalog, cache=Path(folder) / "cache") as server:
            storm = Storm(catalog, server, arguments.edits, arguments.seconds)
            traffic = asyncio.run(storm.run(prompts, arguments.callers))
            running = server.running
    growth = storm.memory_mb[-1] - storm.memory_mb[0]
    report(
        [
            Bar(name="edit_to_served_s", value=max(storm.served), limit=SERVED_LIMIT_S),
            Bar(name="failed_calls", value=len(traffic.failures), limit=0),
            Bar(name="mixed_batches", value=traffic.mixed_batches, limit=0),
            Bar(name="crashes", value=0 if running else 1, limit=0),
            Bar(name="memory_growth_mb", value=growth, limit=MEMORY_SLACK_MB),
        ],
        {
            "edits": arguments.edits,
            "edits_took_s": rounded(storm.took_s),
            "revisions_seen": len(traffic.revisions),
            "probes_s": [rounded(one) for one in storm.served],
            "batches": traffic.batches,
            "call_ms": milliseconds(traffic.seconds),
            "memory_mb": [rounded(one) for one in storm.memory_mb],
            "failures": traffic.failures[:5],
        },
    )
    return 0


class Storm:
    """Edits of one catalog, and what is seen of them."""

    def __init__(self, catalog: Path, server: Process, edits: int, seconds: float) -> None:
        self._path = catalog / "tiers" / "premium.yaml"
        self._whole = self._path.read_text(encoding="utf-8").rstrip("\n") + "\n"
        self._server = server
        self._edits = edits
        self._seconds = seconds
        self.served: list[float] = []
        """Seconds from each probed edit to its being served."""
        self.memory_mb: list[float] = []
        """At the first edits, which settle what a reload takes, and at the end."""
        self.took_s = 0.0

    async def run(self, prompts: Sequence[str], callers: int) -> Traffic:
        """Edits under load; returns what the callers saw."""
        traffic = Traffic()
        endless = itertools.cycle(prompts)
        async with grpc.aio.insecure_channel(self._server.target) as channel:
            tasks = [
                *(
                    asyncio.create_task(single_caller(channel, endless, traffic))
                    for _ in range(callers)
                ),
                asyncio.create_task(batch_caller(channel, endless, traffic)),
            ]
            await self._edit_on(channel)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return traffic

    async def _edit_on(self, channel: grpc.aio.Channel) -> None:
        texts: list[str] = []
        probes: list[asyncio.Task[None]] = []
        started = time.perf_counter()
        for number in range(1, self._edits + 1):
            due = started + self._seconds * number / self._edits
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if number in {self._edits // 5, self._edits}:
                self.memory_mb.append(self._server.memory_mb())
                progress(f"reload_storm: {number} edits")
            if number % FAULTY_EVERY == 0 and number != self._edits:
                self._write([*texts, "]"], broken=True)
                continue
            texts = [*texts[-KEPT + 1 :], f"please water plant number {number} on the balcony"]
            self._write(texts)
            if number % PROBE_EVERY == 1 or number == self._edits:
                probe = self._probe(channel, texts[-1], time.perf_counter())
                probes.append(asyncio.create_task(probe))
        self.took_s = time.perf_counter() - started
        await asyncio.gather(*probes)
        self.memory_mb.append(self._server.memory_mb())

    def _write(self, texts: Sequence[str], *, broken: bool = False) -> None:
        lines = [f"  {TASK}:", "    description: Generated.", "    utterances:"]
        lines += [f"      - {text}" for text in texts]
        if broken:
            lines.append("    utterances: [")
        self._path.write_text(self._whole + "\n".join([*lines, ""]), encoding="utf-8")

    async def _probe(self, channel: grpc.aio.Channel, text: str, edited: float) -> None:
        call = channel.unary_unary(ROUTE_PROMPT)
        request = routing_service_pb2.RoutePromptRequest(
            input=routing_input_pb2.RoutingInput(prompt=text, caller="probe")
        ).SerializeToString()
        while time.perf_counter() - edited < PROBE_TIMEOUT_S:
            decision = read_decision(await call(request, timeout=CALL_TIMEOUT_S))
            if decision.task_id == TASK and decision.similarity > 0.9999:
                self.served.append(time.perf_counter() - edited)
                return
            await asyncio.sleep(0.02)
        raise BenchmarkError(f"an edit was never served: {text}")


if __name__ == "__main__":
    run_program(main)
