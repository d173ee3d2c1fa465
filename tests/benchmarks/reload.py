"""Measures how soon an edited file is served, and that callers notice nothing else.

A generated catalog of 10,000 utterances in 150 tasks is served to eight callers that call without
a pause; two of them send batches. One utterance is added or replaced at a time, and the clock runs
from the end of the edit to the first answer that carries another revision.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from harness import (
    BATCH_ROUTE_PROMPTS,
    CALL_TIMEOUT_S,
    ROUTE_PROMPT,
    Bar,
    BenchmarkError,
    encoder_folder,
    milliseconds,
    progress,
    report,
    rounded,
    run_program,
    serving,
)
from prompts import PromptSource, shipped_tiers

from tierwise.v1 import routing_input_pb2, routing_service_pb2

UTTERANCES = 10_000
TASKS = 150
SINGLE_CALLERS = 6
BATCH_CALLERS = 2
BATCH = 16
PAUSE_S = 1.0
EDIT_TIMEOUT_S = 60.0
SERVED_LIMIT_S = 1.0


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What the callers have seen."""

    revisions: dict[str, float] = field(default_factory=dict)
    """When each revision was first seen, by `time.perf_counter`."""
    failures: list[str] = field(default_factory=list)
    mixed_batches: int = 0
    batches: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of each call of one prompt."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, revision: str) -> None:
        """Notes a revision."""
        if revision not in self.revisions:
            self.revisions[revision] = time.perf_counter()
            self.changed.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--edits", type=int, default=5, help="edits to make")
    edits: int = parser.parse_args(argv).edits

    prompts = PromptSource(encoder_folder()).of_tokens(10, 5000)
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        catalog = Path(folder) / "catalog"
        tiers = generated_tiers(random.Random(1))  # noqa: S311 - repeatable, not secret
        write_catalog(catalog, tiers)
        progress("reload: embedding the generated catalog")
        with serving(catalog=catalog, cache=Path(folder) / "cache") as server:
            progress("reload: serving")
            served, traffic = asyncio.run(measure(server.target, catalog, tiers, prompts, edits))

    report(
        [
            Bar(name="edit_to_served_s", value=max(served), limit=SERVED_LIMIT_S),
            Bar(name="failed_calls", value=len(traffic.failures), limit=0),
            Bar(name="mixed_batches", value=traffic.mixed_batches, limit=0),
            # More would mean that a half-written file was served.
            Bar(name="revisions_beyond_edits", value=len(traffic.revisions) - 1 - edits, limit=0),
        ],
        {
            "edits_s": [rounded(value) for value in served],
            "utterances": UTTERANCES,
            "callers": SINGLE_CALLERS + BATCH_CALLERS,
            "batches": traffic.batches,
            "call_ms": milliseconds(traffic.seconds),
            "longest_call_ms": rounded(max(traffic.seconds) * 1e3),
            "failures": traffic.failures[:5],
        },
    )
    return 0


def generated_tiers(chance: random.Random) -> dict[str, dict[str, list[str]]]:
    """Returns utterances by task and tier: shipped ones with a few words exchanged."""
    shipped = shipped_tiers()
    words = sorted(
        {
            word
            for tasks in shipped.values()
            for body in tasks.values()
            for text in body["utterances"]
            for word in text.split()
            if word.isalpha() and word.islower() and len(word) > 3
        }
    )
    seen: set[str] = set()
    tiers: dict[str, dict[str, list[str]]] = {}
    counts = _spread(UTTERANCES, TASKS)
    for tier, places in zip(shipped, _spread(TASKS, len(shipped)), strict=True):
        models = itertools.cycle(shipped[tier].items())
        tiers[tier] = {}
        for number, (task, body) in zip(range(places), models, strict=False):
            variants = _variants(body["utterances"], words, seen, chance)
            tiers[tier][f"{task}-{number + 1}"] = list(itertools.islice(variants, counts.pop()))
    return tiers


def _spread(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _variants(
    texts: Sequence[str], words: Sequence[str], seen: set[str], chance: random.Random
) -> Iterator[str]:
    while True:
        variant = chance.choice(texts).split()
        for _ in range(2):
            variant[chance.randrange(len(variant))] = chance.choice(words)
        text = " ".join(variant)
        key = "".join(letter for letter in text.lower() if letter.isalnum())
        if key not in seen:
            seen.add(key)
            yield text


def write_catalog(folder: Path, tiers: dict[str, dict[str, list[str]]]) -> None:
    """Writes the files of a catalog."""
    (folder / "tiers").mkdir(parents=True)
    (folder / "catalog.yaml").write_text(
        f"tiers: [{', '.join(tiers)}]\ndefault_tier: {list(tiers)[-1]}\n", encoding="utf-8"
    )
    for tier, tasks in tiers.items():
        write_tier(folder, tier, tasks)


def write_tier(folder: Path, tier: str, tasks: dict[str, list[str]]) -> None:
    """Writes the file of a tier as editors do: beside the old one, then in its place."""
    lines = [f"tier: {tier}", "tasks:"]
    for task, utterances in tasks.items():
        lines += [f"  {task}:", "    description: Generated.", "    utterances:"]
        # A JSON string is a YAML string.
        lines += [f"      - {json.dumps(text)}" for text in utterances]
    path = folder / "tiers" / f"{tier}.yaml"
    beside = path.with_suffix(".new")
    beside.write_text("\n".join([*lines, ""]), encoding="utf-8")
    beside.replace(path)


async def measure(
    target: str,
    catalog: Path,
    tiers: dict[str, dict[str, list[str]]],
    prompts: Sequence[str],
    edits: int,
) -> tuple[list[float], Traffic]:
    """Returns the seconds from each edit to its being served, and what the callers saw."""
    traffic = Traffic()
    endless = itertools.cycle(prompts)
    async with grpc.aio.insecure_channel(target) as channel:
        callers = [
            *(
                asyncio.create_task(single_caller(channel, endless, traffic))
                for _ in range(SINGLE_CALLERS)
            ),
            *(
                asyncio.create_task(batch_caller(channel, endless, traffic))
                for _ in range(BATCH_CALLERS)
            ),
        ]
        served = []
        async with asyncio.timeout(EDIT_TIMEOUT_S):
            await traffic.changed.wait()
        for number in range(edits):
            await asyncio.sleep(PAUSE_S)
            served.append(await _edit(catalog, tiers, number, traffic))
            progress(f"reload: edit {number + 1} of {edits} served after {served[-1]:.2f} s")
        await asyncio.sleep(PAUSE_S)
        for caller in callers:
            caller.cancel()
        for caller in callers:
            with contextlib.suppress(asyncio.CancelledError):
                await caller
    return served, traffic


async def _edit(
    catalog: Path, tiers: dict[str, dict[str, list[str]]], number: int, traffic: Traffic
) -> float:
    tier = list(tiers)[number % len(tiers)]
    task = list(tiers[tier])[-1]
    text = f"edit number {number + 1}: please tidy the shelf in the kitchen"
    known = len(traffic.revisions)
    traffic.changed.clear()
    if number % 2:
        tiers[tier][task][0] = text
        write_tier(catalog, tier, tiers[tier])
    else:
        # The last task's list ends the file, so a line at the end is one utterance more.
        tiers[tier][task].append(text)
        with (catalog / "tiers" / f"{tier}.yaml").open("a", encoding="utf-8") as file:
            file.write(f"      - {json.dumps(text)}\n")
    edited = time.perf_counter()
    try:
        async with asyncio.timeout(EDIT_TIMEOUT_S):
            await traffic.changed.wait()
    except TimeoutError:
        raise BenchmarkError(f"edit {number + 1} was never served") from None
    return list(traffic.revisions.values())[known] - edited


async def single_caller(
    channel: grpc.aio.Channel, prompts: Iterator[str], traffic: Traffic
) -> None:
    """Routes one prompt after the other, until it is cancelled."""
    call = channel.unary_unary(
        ROUTE_PROMPT,
        request_serializer=routing_service_pb2.RoutePromptRequest.SerializeToString,
        response_deserializer=routing_service_pb2.RoutePromptResponse.FromString,
    )
    while True:
        request = routing_service_pb2.RoutePromptRequest(
            input=routing_input_pb2.RoutingInput(prompt=next(prompts))
        )
        started = time.perf_counter()
        try:
            response = await call(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            traffic.failures.append(f"{error.code().name}: {error.details()}")
            continue
        traffic.seconds.append(time.perf_counter() - started)
        traffic.saw(response.decision.catalog_revision)


async def batch_caller(channel: grpc.aio.Channel, prompts: Iterator[str], traffic: Traffic) -> None:
    """Routes one batch after the other, until it is cancelled."""
    call = channel.unary_unary(
        BATCH_ROUTE_PROMPTS,
        request_serializer=routing_service_pb2.BatchRoutePromptsRequest.SerializeToString,
        response_deserializer=routing_service_pb2.BatchRoutePromptsResponse.FromString,
    )
    while True:
        request = routing_service_pb2.BatchRoutePromptsRequest(
            inputs=[routing_input_pb2.RoutingInput(prompt=next(prompts)) for _ in range(BATCH)]
        )
        try:
            response = await call(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            traffic.failures.append(f"{error.code().name}: {error.details()}")
            continue
        revisions = {decision.catalog_revision for decision in response.decisions}
        traffic.batches += 1
        traffic.mixed_batches += len(revisions) > 1
        for revision in revisions:
            traffic.saw(revision)


if __name__ == "__main__":
    run_program(main)
