"""Chats for a long time while everything around is disturbed, and looks for what wears out.

Clients chat against a local stand-in for the providers, which now and then is limited or cuts a
stream. Meanwhile catalog files are edited, every third time into nonsense; prompts flood in; random
bytes come in; and, in the first half, the router is killed or asked to end, and started again. No
chat may fail for the router's sake, no outcome be lost, nothing unexpected be logged, and in the
second half, which leaves the router alone, its memory has to stay flat.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import grpc
from harness import (
    ROUTE_PROMPT,
    SHIPPED_CATALOG,
    Bar,
    BenchmarkError,
    Process,
    encoder_folder,
    progress,
    report,
    route_request,
    run_program,
    serve_command,
)
from prompts import PromptSource

from tierwise import (
    AsyncClient,
    ClientSettings,
    ErrorClass,
    Model,
    ProviderSettings,
    RouterlessDefaults,
)
from tierwise.errors import ChatError, TierwiseError
from tierwise.testing import ProviderServer, Reply

CHATTERS: Final = 6
PROVIDERS: Final = ("openai", "anthropic", "mistral", "google")
STAND_IN: Final = Model(
    model_id="stand-in", provider_id="openai", upstream_name="stand-in-1", tier_id="budget"
)
PAUSE_S: Final = (0.2, 1.5)
"""Between two disturbances."""

DELIVERY_S: Final = 120.0
GROWTH_LIMIT_MB: Final = 40.0
"""In the second half: caches that fill up, some fragments, no more."""

_UNEXPECTED: Final = re.compile("unexpected error|Traceback|Task exception|never retrieved")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tierwise-soak-") as name, ProviderServer() as llm:
        soak = Soak(Path(name), llm, arguments.seconds, arguments.seed)
        figures = asyncio.run(soak.run())
        stored = _stored(Path(name) / "ledger.sqlite3")
    bars = [
        Bar(name="failed_chats", value=soak.seen["failed"], limit=0),
        Bar(name="lost_outcomes", value=soak.reported - stored, limit=0),
        Bar(name="unexpected_log_lines", value=soak.seen["unexpected"], limit=0),
        Bar(name="memory_growth_mb", value=figures["growth_mb"], limit=GROWTH_LIMIT_MB),
    ]
    report(bars, {**figures, **soak.seen, "stored_outcomes": stored})
    return 1 if arguments.check and not all(bar.met for bar in bars) else 0


class Soak:
    """One run. Chance is the same for a seed; when things happen is not."""

    def __init__(self, folder: Path, llm: ProviderServer, seconds: float, seed: int) -> None:
        self._folder = folder
        self._llm = llm
        self._seconds = seconds
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._catalog = folder / "catalog"
        shutil.copytree(SHIPPED_CATALOG, self._catalog)
        self._tier = self._catalog / "tiers" / "budget.yaml"
        self._tier_text = self._tier.read_text(encoding="utf-8")
        self._prompts = PromptSource(encoder_folder(), seed=seed).of_tokens(10, 3000)
        self._server = self._started("127.0.0.1:0")
        self._router = self._server.target
        self._end = 0.0
        self.seen: Counter[str] = Counter()
        self.reported = 0
        """Chats whose outcome the client took for delivery."""

    async def run(self) -> dict[str, float]:
        """Returns the figures."""
        self._end = time.monotonic() + self._seconds
        try:
            async with self._client() as client:
                disturbances = asyncio.create_task(self._disturb())
                await asyncio.gather(*(self._chat(client) for _ in range(CHATTERS)))
                growth_mb = await disturbances
                if not await client.flush(DELIVERY_S):
                    raise BenchmarkError(f"not all was delivered: {client.status}")
                self.seen["routerless"] = client.status.routerless_decisions
                self.seen["rejected_outcomes"] = client.status.reporting.rejected
        finally:
            self._note_log(self._server)
            self._server.stop()
        return {"seconds": self._seconds, "growth_mb": round(growth_mb, 1)}

    def _client(self) -> AsyncClient:
        return AsyncClient(
            self._router,
            providers={
                one: ProviderSettings(key="none", base_url=self._llm.base_url(one))
                for one in PROVIDERS
            },
            settings=ClientSettings(
                spool_path=self._folder / "spool.db",
                routerless=RouterlessDefaults(models=(STAND_IN,)),
                first_wait_s=0.01,
            ),
        )

    async def _chat(self, client: AsyncClient) -> None:
        while time.monotonic() < self._end:
            prompt = self._chance.choice(self._prompts)
            try:
                if self._chance.random() < 0.5:
                    await client.chat(prompt)
                else:
                    async with client.chat_stream(prompt) as stream:
                        async for _ in stream:
                            pass
                self.seen["chats"] += 1
                self.reported += 1
            except ChatError as error:
                # What the provider did, whatever the plan had to offer.
                self.seen[f"ended by {error.error_class}"] += 1
                self.reported += bool(error.attempts)
            except TierwiseError as error:
                self.seen["failed"] += 1
                progress(f"soak: {error!r}")

    async def _disturb(self) -> float:
        """Disturbs until the end; returns how much memory the second half took."""
        halfway = self._end - self._seconds / 2
        kinds = (self._edit, self._edit, self._spoil, self._flood, self._noise, self._limit)
        memory: list[float] = []
        while time.monotonic() < self._end:
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
            if time.monotonic() < halfway:
                await self._chance.choice((*kinds, self._kill, self._restart))()
                continue
            await self._chance.choice(kinds)()
            # Once caches are warm again after the last restart.
            if time.monotonic() > halfway + self._seconds / 8:
                memory.append(self._server.memory_mb())
            progress(
                f"soak: {self._end - time.monotonic():.0f} s left, {self.seen['chats']} chats,"
                f" {self._server.memory_mb():.0f} MB"
            )
        self._tier.write_text(self._tier_text, encoding="utf-8")
        # Of a third each, since loading an edit takes memory for a moment.
        third = len(memory) // 3 or 1
        return statistics.median(memory[-third:]) - statistics.median(memory[:third])

    async def _edit(self) -> None:
        """Adds an utterance to the file as it was."""
        self.seen["edits"] += 1
        words = " ".join(self._chance.choice(self._prompts).split()[:5])
        line = f'      - "soak {self.seen["edits"]} {re.sub("[^a-z ]", "", words.lower())}"\n'
        head, mark, rest = self._tier_text.partition("    utterances:\n")
        self._tier.write_text(head + mark + line + rest, encoding="utf-8")

    async def _spoil(self) -> None:
        """Leaves the file half written, as an editor that crashed does."""
        self.seen["faulty edits"] += 1
        cut = self._chance.randrange(len(self._tier_text))
        self._tier.write_text(self._tier_text[:cut] + "\n  - &x [", encoding="utf-8")

    async def _flood(self) -> None:
        """Sends long prompts of another caller, more than there are lanes for."""
        self.seen["floods"] += 1
        requests = [
            route_request(" ".join(self._chance.sample(self._prompts, 12))) for _ in range(64)
        ]
        async with grpc.aio.insecure_channel(self._router) as channel:
            call = channel.unary_unary(ROUTE_PROMPT)
            await asyncio.gather(
                *(call(one, timeout=5) for one in requests), return_exceptions=True
            )

    async def _noise(self) -> None:
        """Sends what is no message, and what is no HTTP/2."""
        self.seen["noise"] += 1
        async with grpc.aio.insecure_channel(self._router) as channel:
            call = channel.unary_unary(ROUTE_PROMPT)
            await asyncio.gather(
                *(call(self._chance.randbytes(300), timeout=5) for _ in range(10)),
                return_exceptions=True,
            )
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
            writer.write(self._chance.randbytes(500))
            writer.close()
            await writer.wait_closed()
        except OSError:
            self.seen["noise refused"] += 1

    async def _limit(self) -> None:
        """Has a provider refuse or break off its next replies."""
        self.seen["provider faults"] += 1
        reply = self._chance.choice(
            (Reply.error(ErrorClass.RATE_LIMITED), Reply.error(ErrorClass.OVERLOADED))
        )
        self._llm.script(self._chance.choice(PROVIDERS), reply, reply)

    async def _kill(self) -> None:
        self.seen["kills"] += 1
        self._note_log(self._server)
        self._server.kill()
        self._server.stop()
        self._server = await asyncio.to_thread(self._started, self._router)

    async def _restart(self) -> None:
        self.seen["restarts"] += 1
        ended = self._server
        await asyncio.to_thread(ended.terminate)
        self._note_log(ended)
        ended.stop()
        self._server = await asyncio.to_thread(self._started, self._router)

    def _started(self, listen: str) -> Process:
        # A server that is running keeps what it had; one that starts takes no faulty files.
        self._tier.write_text(self._tier_text, encoding="utf-8")
        command = serve_command(
            encoder_folder().parent / "benchmarks", catalog=self._catalog, listen=listen
        )
        server = Process([*command, "--ledger", f"sqlite:///{self._folder}/ledger.sqlite3"])
        try:
            server.wait_for_port()
        except BaseException:
            server.stop()
            raise
        return server

    def _note_log(self, server: Process) -> None:
        log = server.errors(most=None)
        found = _UNEXPECTED.findall(log)
        self.seen["unexpected"] += len(found)
        if found:
            print(log[-4000:], file=sys.stderr)


def _stored(path: Path) -> int:
    """Returns the number of outcomes in the ledger."""
    with closing(sqlite3.connect(path)) as ledger:
        count: int = ledger.execute("SELECT count(*) FROM outcomes").fetchone()[0]
    return count


if __name__ == "__main__":
    run_program(main)
