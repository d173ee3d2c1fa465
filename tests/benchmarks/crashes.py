"""Counts the outcomes that are lost or doubled while server and clients are killed at random.

Two client processes make chats in threads, against a local stand-in for the providers, and note the
outcome of each chat that came back, by a write of its own. All the while one of the processes, the
server three times of four, is ended by SIGKILL and started again. In the end a last client delivers
what is spooled, and every noted outcome has to be in the ledger once.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from harness import (
    Bar,
    BenchmarkError,
    Process,
    encoder_folder,
    progress,
    report,
    run_program,
    serve_command,
)

from tierwise import (
    Client,
    ClientSettings,
    Model,
    ProviderSettings,
    RouterlessDefaults,
)
from tierwise.testing import ProviderServer

CLIENTS = 2
THREADS = 4
PROMPTS = tuple(f"summarize mail {number} in two sentences" for number in range(50))
STAND_IN = Model(
    model_id="stand-in", provider_id="openai", upstream_name="stand-in-1", tier_id="budget"
)
LIFE_S = (0.3, 2.0)
"""Time between two kills."""
SERVER_SHARE = 0.75
DELIVERY_S = 300.0
"""For what is left in the spool in the end, leases of killed processes included."""
STALL_S = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--outcomes", type=int, default=100_000, help="chats that come back")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", nargs=3, metavar=("ROUTER", "PROVIDER", "FOLDER"))
    arguments = parser.parse_args(argv)
    if arguments.client is not None:
        router, provider, folder = arguments.client
        chat_until_killed(router, provider, Path(folder))
        return 0
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as name, ProviderServer() as llm:
        folder = Path(name)
        kills = crash(folder, llm.base_url("openai"), arguments.outcomes, arguments.seed)
        calls = len(llm.calls)
        figures = held_against_the_ledger(folder)
    bars = [
        Bar(name=f"{name}_outcomes", value=figures[name], limit=0) for name in ("lost", "doubled")
    ]
    report(bars, {**figures, "kills": kills, "calls_of_models": calls})
    return 0


def crash(folder: Path, provider: str, outcomes: int, seed: int) -> dict[str, int]:
    """Has clients chat while processes are killed; returns how often, by what was killed."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    kills = {"server": 0, "client": 0}
    noted = folder / "noted"
    noted.touch()
    server = started(folder, "127.0.0.1:0")
    router = server.target
    clients = [start_client(router, provider, folder) for _ in range(CLIENTS)]
    try:
        last, moved = 0, time.monotonic()
        while (count := lines(noted)) < outcomes:
            if count > last:
                last, moved = count, time.monotonic()
            if time.monotonic() - moved > STALL_S:
                raise BenchmarkError("no chat comes back any more")
            progress(f"crashes: {count:,} of {outcomes:,} outcomes, {sum(kills.values())} kills")
            threading.Event().wait(chance.uniform(*LIFE_S))
            if chance.random() < SERVER_SHARE:
                server.kill()
                server.stop()
                server = started(folder, router)
                kills["server"] += 1
            else:
                which = chance.randrange(CLIENTS)
                end(clients[which])
                clients[which] = start_client(router, provider, folder)
                kills["client"] += 1
        for one in clients:
            end(one)
        with client(router, provider, folder) as last_client:
            if not last_client.flush(DELIVERY_S):
                raise BenchmarkError(f"not all was delivered: {last_client.status}")
    finally:
        for one in clients:
            end(one)
        server.stop()
    return kills


def started(folder: Path, listen: str) -> Process:
    """Returns a server that has come into service."""
    command = serve_command(encoder_folder().parent / "benchmarks", listen=listen)
    server = Process([*command, "--ledger", f"sqlite:///{folder}/ledger.sqlite3"])
    try:
        server.wait_for_port()
    except BaseException:
        server.stop()
        raise
    return server


def start_client(router: str, provider: str, folder: Path) -> subprocess.Popen[bytes]:
    """Returns a process that chats until it is killed."""
    return subprocess.Popen(
        [sys.executable, __file__, "--client", router, provider, str(folder)],
        stdout=subprocess.DEVNULL,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def client(router: str, provider: str, folder: Path) -> Client:
    """Returns a client; all of them share a spool."""
    # Of the shipped catalog, only models of this provider are called.
    return Client(
        router,
        providers={"openai": ProviderSettings(key="none", base_url=provider)},
        settings=ClientSettings(
            spool_path=folder / "spool.sqlite3",
            first_wait_s=0.0,
            routerless=RouterlessDefaults(models=(STAND_IN,)),
        ),
    )


def chat_until_killed(router: str, provider: str, folder: Path) -> None:
    """Makes chats, and notes the outcome of each that came back."""
    file = os.open(folder / "noted", os.O_WRONLY | os.O_APPEND)
    with client(router, provider, folder) as chatting, ThreadPoolExecutor(THREADS) as threads:

        def chat(thread: int) -> None:
            for prompt in itertools.islice(itertools.cycle(PROMPTS), thread, None):
                outcome_id = chatting.chat(prompt).outcome_id
                os.write(file, f"{outcome_id}\n".encode())

        for done in [threads.submit(chat, number) for number in range(THREADS)]:
            done.result()


def lines(path: Path) -> int:
    """Returns the number of whole lines of a file."""
    return path.read_bytes().count(b"\n")


def held_against_the_ledger(folder: Path) -> dict[str, int]:
    """Returns how what was noted stands to what is stored."""
    noted = set((folder / "noted").read_text(encoding="ascii").split())
    with closing(sqlite3.connect(folder / "ledger.sqlite3")) as ledger:
        stored = [row[0] for row in ledger.execute("SELECT outcome_id FROM outcomes")]
        by_decision = "SELECT count(*) FROM (SELECT 1 FROM outcomes GROUP BY decision_id HAVING"
        (doubled,) = ledger.execute(f"{by_decision} count(*) > 1)").fetchone()
    return {
        "noted": len(noted),
        "stored": len(stored),
        "lost": len(noted - set(stored)),
        "doubled": doubled + len(stored) - len(set(stored)),
    }


if __name__ == "__main__":
    run_program(main)
