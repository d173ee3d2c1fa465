"""Measures what callers see of three replicas behind Envoy: one killed, then all restarted in turn.

Callers chat through the client at a steady rate, against a local provider. A chat must not fail,
and hardly any may be decided without the router. Envoy runs as shipped. On two cores,
replicas, Envoy, provider and callers take from each other what they need, so the rate is one that
leaves room: what shows otherwise is overload, whose share without any event is printed as well.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat import ANSWER, provider_process, written_catalog
from envoy_proxy import Envoy, envoy_before
from harness import (
    Bar,
    BenchmarkError,
    Process,
    milliseconds,
    progress,
    report,
    run_program,
    serve_command,
)

from tierwise import AsyncClient, ClientSettings, ProviderSettings, TierwiseError

REPLICAS = 3
DRAIN_S = 3.0
"""Longer than Envoy needs to see that a replica is stopping."""
HEALTHY_TIMEOUT_S = 60.0
PROMPT = "please summarize this article in two short sentences"
ROUTERLESS_LIMIT = 0.01


@dataclass
class Seen:
    """What callers saw in one phase."""

    seconds: list[float] = field(default_factory=list)
    routerless: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)

    def figures(self) -> dict[str, object]:
        """Returns it as it is printed."""
        return {
            "chat_ms": milliseconds(self.seconds),
            "routerless": dict(self.routerless),
            "failures": dict(self.failures),
        }


class Replicas:
    """Servers of one catalog, each on a port that it keeps."""

    def __init__(self, stack: ExitStack, folder: Path, catalog: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._catalog = catalog
        self.running = [self._started(number, "127.0.0.1:0") for number in range(REPLICAS)]
        for one in self.running:
            one.wait_for_port()

    def _started(self, number: int, listen: str) -> Process:
        command = serve_command(
            self._folder / f"cache-{number}", catalog=self._catalog, listen=listen
        )
        command += ["--drain-delay-s", str(DRAIN_S), "--encoder-threads", "1"]
        return self._stack.enter_context(Process(command))

    def start_again(self, number: int) -> None:
        """Starts a replica on the port that it had."""
        self.running[number] = self._started(number, self.running[number].target)
        self.running[number].wait_for_port()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0, help="load between two events")
    parser.add_argument("--callers", type=int, default=8, help="chats at a time")
    parser.add_argument("--rate", type=float, default=40.0, help="chats a second")
    parser.add_argument(
        "--router-timeout-s", type=float, default=0.25, help="as in ClientSettings; its default"
    )
    arguments = parser.parse_args(argv)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base_url = stack.enter_context(provider_process())
        replicas = Replicas(stack, folder, written_catalog(folder / "catalog"))
        ports = [one.port for one in replicas.running]
        envoy = stack.enter_context(envoy_before(ports, folder))
        phases = asyncio.run(_measured(arguments, folder, base_url, replicas, envoy))
        counters = envoy.statistics()
    chats = sum(len(seen.seconds) for seen in phases.values())
    bars = [
        Bar(
            name="failed_chats",
            value=sum(seen.failures.total() for seen in phases.values()),
            limit=0,
        )
    ]
    bars += [
        Bar(
            name=f"routerless_share_{name}",
            value=phases[name].routerless.total() / max(1, len(phases[name].seconds)),
            limit=ROUTERLESS_LIMIT,
        )
        for name in ("killed", "rolling_restart")
    ]
    report(
        bars,
        {
            "chats": chats,
            **{name: seen.figures() for name, seen in phases.items()},
            "envoy": {
                name.removeprefix("cluster.tierwise."): value
                for name, value in counters.items()
                if "retry" in name or "ejections" in name or name.endswith("upstream_rq_total")
            },
        },
    )
    return 0


async def _measured(
    arguments: argparse.Namespace, folder: Path, base_url: str, replicas: Replicas, envoy: Envoy
) -> dict[str, Seen]:
    settings = ClientSettings(
        router_timeout_s=arguments.router_timeout_s, spool_path=folder / "spool.db"
    )
    providers = {"openai": ProviderSettings(key="sk-benchmark", base_url=base_url)}
    seconds = arguments.seconds

    async def kill_one() -> None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(replicas.running[0].kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(replicas.start_again, 0)
        await _healthy(envoy)
        await asyncio.sleep(seconds)

    async def restart_all() -> None:
        for number in range(REPLICAS):
            await asyncio.to_thread(replicas.running[number].stop)
            await asyncio.to_thread(replicas.start_again, number)
            await _healthy(envoy)
            await asyncio.sleep(seconds)

    await _healthy(envoy)
    async with AsyncClient(
        f"127.0.0.1:{envoy.port}", providers=providers, settings=settings
    ) as client:
        phases: dict[str, Callable[[], Awaitable[None]]] = {
            "undisturbed": lambda: asyncio.sleep(seconds),
            "killed": kill_one,
            "rolling_restart": restart_all,
        }
        results = {}
        for name, phase in phases.items():
            results[name] = await _under_load(client, arguments.callers, arguments.rate, phase)
            progress(f"replicas: {name}: {results[name].figures()}")
    return results


async def _healthy(envoy: Envoy) -> None:
    end = time.monotonic() + HEALTHY_TIMEOUT_S
    while await asyncio.to_thread(envoy.healthy) < REPLICAS:
        if time.monotonic() > end:
            raise BenchmarkError("Envoy does not take all replicas for healthy")
        await asyncio.sleep(0.1)


async def _under_load(
    client: AsyncClient, callers: int, rate: float, phase: Callable[[], Awaitable[Any]]
) -> Seen:
    seen, ending = Seen(), asyncio.Event()

    async def call_on(caller: int) -> None:
        count = 0
        while not ending.is_set():
            count += 1
            due = begun + (caller + count * callers) / rate
            await asyncio.sleep(due - time.perf_counter())
            started = time.perf_counter()
            try:
                response = await client.chat(f"{PROMPT} {caller} {count}")
            except TierwiseError as error:
                seen.failures[type(error).__name__] += 1
                continue
            seen.seconds.append(time.perf_counter() - started)
            if response.text != ANSWER:
                seen.failures["another answer"] += 1
            if (cause := response.decision.routerless_cause) is not None:
                seen.routerless[cause.name.lower()] += 1

    begun = time.perf_counter()
    tasks = [asyncio.create_task(call_on(caller)) for caller in range(callers)]
    try:
        await phase()
    finally:
        ending.set()
        await asyncio.gather(*tasks)
    return seen


if __name__ == "__main__":
    run_program(main)
