"""What the client adds to a call, and whether a thousand streams leave anything behind.

The provider is the local server of `tierwise.testing`, in a process of its own. The overhead is the
p50 of `chat` less that of `route` and that of the same HTTP call by httpx alone, the three taken in
turns.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from harness import (
    Bar,
    BenchmarkError,
    milliseconds,
    progress,
    quantile,
    report,
    run_program,
    serving,
)

from tierwise import AsyncClient, Client, ClientSettings, ProviderSettings, TextDelta
from tierwise.testing import ProviderServer, Reply

CALLS = 1000
WARM_UP = 100
STREAMS = 1000
ROUNDS = 6
PROMPT = "please summarize this article in two short sentences"
ANSWER = "An answer of a few words."
CATALOG = {
    "catalog.yaml": "tiers: [budget]\ndefault_tier: budget\n",
    "tiers/budget.yaml": "tier: budget\ntasks:\n  summarization:\n    description: Shorten.\n"
    "    utterances:\n      - summarize this email\n      - give me the gist of this text\n"
    "      - shorten this article\n",
    "models.yaml": "models:\n  - {id: small, provider: openai, name: small-1, tier: budget,\n"
    "     price: {input: 0.1, output: 0.4}, context_window: 100000, max_output_tokens: 1000}\n",
}


def main() -> int:
    """Measures, and prints the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        provider_process() as base_url,
        serving(catalog=written_catalog(Path(folder))) as router,
    ):
        settings = ClientSettings(
            spool_path=Path(folder) / "spool.db", router_timeout_s=10.0, chat_timeout_s=300.0
        )
        providers = {"openai": ProviderSettings(key="key", base_url=base_url)}
        progress("chat: overhead of a call")
        overhead = measure_overhead(router.target, providers, settings, base_url)
        progress("chat: a thousand streams")
        leaks = asyncio.run(measure_streams(router.target, providers, settings))
    bars = [
        Bar(name="chat_overhead_p50_ms", value=float(overhead["overhead_p50_ms"]), limit=1.0),
        Bar(name="memory_growth_of_later_rounds_mb", value=leaks["growth_mb"], limit=10.0),
        Bar(name="tasks_left", value=leaks["tasks_left"], limit=0),
        Bar(name="broken_streams", value=leaks["broken"], limit=0),
        Bar(name="open_files_growth", value=leaks["files_growth"], limit=0),
    ]
    report(bars, {"overhead": overhead, "streams": leaks})
    return 0


def measure_overhead(
    router: str, providers: dict[str, ProviderSettings], settings: ClientSettings, base_url: str
) -> dict[str, float | dict[str, float]]:
    """Returns times of the three kinds of call."""
    body = {"model": "small-1", "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"authorization": "Bearer key"}
    times: dict[str, list[float]] = {"bare": [], "route": [], "chat": []}
    with Client(router, providers=providers, settings=settings) as client, httpx.Client() as http:

        def bare() -> None:
            reply = http.post(f"{base_url}/chat/completions", json=body, headers=headers)
            if ANSWER not in reply.text:
                raise BenchmarkError(f"unexpected answer: {reply.status_code}")

        def chat() -> None:
            if client.chat(PROMPT).text != ANSWER:
                raise BenchmarkError("unexpected answer")

        kinds: dict[str, Callable[[], object]] = {
            "bare": bare,
            "route": lambda: client.route(PROMPT),
            "chat": chat,
        }
        for number in range(WARM_UP + CALLS):
            for name, call in kinds.items():
                started = time.perf_counter()
                call()
                if number >= WARM_UP:
                    times[name].append(time.perf_counter() - started)
    p50 = {name: quantile(values, 0.5) * 1e3 for name, values in times.items()}
    return {
        **{f"{name}_ms": milliseconds(values) for name, values in times.items()},
        "overhead_p50_ms": p50["chat"] - p50["route"] - p50["bare"],
    }


async def measure_streams(
    router: str, providers: dict[str, ProviderSettings], settings: ClientSettings
) -> dict[str, float]:
    """Returns what rounds of a thousand streams at once leave behind."""
    memory: list[float] = []
    files: list[int] = []
    broken = 0
    async with AsyncClient(router, providers=providers, settings=settings) as client:

        async def one() -> bool:
            async with client.chat_stream(PROMPT) as stream:
                pieces = [delta.text async for delta in stream if isinstance(delta, TextDelta)]
            return "".join(pieces) == ANSWER

        for round_number in range(ROUNDS):
            started = time.perf_counter()
            results = await asyncio.gather(*(one() for _ in range(STREAMS)))
            progress(f"chat: round {round_number}: {time.perf_counter() - started:.1f} s")
            broken += results.count(False)
            await client.flush(60)
            gc.collect()
            memory.append(resident_mb())
            files.append(len(os.listdir("/proc/self/fd")))
        tasks = len(asyncio.all_tasks()) - 1
    return {
        "broken": broken,
        "tasks_left": tasks,
        "growth_mb": memory[-1] - memory[1],
        "files_growth": max(0, files[-1] - files[1]),
        "memory_mb": memory[-1],
    }


def resident_mb() -> float:
    """Returns the memory of this process, in millions of bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def written_catalog(folder: Path) -> Path:
    """Writes the catalog, and returns its folder."""
    for name, text in CATALOG.items():
        path = folder / "catalog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "catalog"


@contextmanager
def provider_process() -> Iterator[str]:
    """Runs a provider in a process of its own, and yields its base URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(30):
            raise BenchmarkError("the provider server did not start")
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(10)
        if process.is_alive():
            process.kill()


def _serve(pipe: Connection) -> None:
    with ProviderServer() as server:
        server.always("openai", Reply.text(ANSWER))
        pipe.send(server.base_url("openai"))
        pipe.recv()


if __name__ == "__main__":
    run_program(main)
