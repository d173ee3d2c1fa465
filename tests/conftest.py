"""What tests of the service share: the encoder, catalogs as files, servers that always stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import HealthCheck, settings

from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.grpc_api.app import RoutingServer
from tierwise_server.settings import Settings

# The same examples every time, and no judgement of how long they take: machines are busy.
settings.register_profile(
    "tierwise", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tierwise")

REPOSITORY = Path(__file__).parent.parent
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
CALL_TIMEOUT_S = 30

UTTERANCES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "budget": {
        "summarization": (
            "summarize this email in two sentences",
            "give me a short summary of the article below",
            "tl;dr of this thread please",
            "condense the following report into bullet points",
            "shorten this text to one paragraph",
        ),
        "grammar": (
            "fix the grammar in this sentence",
            "correct the spelling mistakes in my letter",
            "proofread this paragraph for typos",
            "is this sentence grammatically correct",
            "rewrite this with proper punctuation",
        ),
    },
    "mid": {
        "sql": (
            "write a sql query that joins orders and customers",
            "how do I group rows by month in postgres",
            "add an index to speed up this select statement",
            "convert this spreadsheet formula to a database query",
            "explain what this left join returns",
        ),
        "recipes": (
            "suggest a recipe with potatoes and leeks",
            "what can I cook with chicken and rice",
            "plan a vegetarian dinner for four guests",
            "how long should I bake a chocolate cake",
            "give me a quick soup for a cold evening",
        ),
    },
    "premium": {
        "architecture": (
            "design a fault tolerant payment system across two regions",
            "review the architecture of our event driven platform",
            "how should we shard the database of a global marketplace",
            "compare consensus protocols for our replicated log",
            "plan the migration of a monolith to services without downtime",
        ),
        "proofs": (
            "prove that there are infinitely many primes",
            "show that the square root of two is irrational",
            "derive the convergence rate of gradient descent",
            "prove the theorem by induction on the number of vertices",
            "find a counterexample to this conjecture in topology",
        ),
    },
}
"""Utterances of the small catalog by task and tier."""

LIKE = {
    "budget": "please summarize this article in two short sentences",
    "mid": "write a sql query that joins customers with their orders",
    "premium": "design the architecture of a fault tolerant payment platform",
}
"""A prompt, not among the utterances, that reads like each tier."""

LIKE_NOTHING = "zebra umbrella seventeen"


class CatalogFolder:
    """A catalog's files, which tests write and edit as text."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> str:
        """Returns the text of a file."""
        return (self.path / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Writes a file as editors do: aside, then put in its place."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.parent / f".{path.name}.new"
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces text that a file has exactly once."""
        text = self.read(name)
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))

    def line(self, name: str, number: int) -> str:
        """Returns a line, counted from 1."""
        return self.read(name).splitlines()[number - 1]


def tier_text(tier: str, tasks: Mapping[str, Sequence[str]]) -> str:
    """Returns the text of a tier's file."""
    lines = [f"tier: {tier}", "tasks:"]
    for task, utterances in tasks.items():
        lines += [f"  {task}:", f"    description: About {task}.", "    utterances:"]
        lines += [f"      - {utterance!r}" for utterance in utterances]
    return "\n".join(lines) + "\n"


def write_catalog(
    folder: Path,
    *,
    settings: str = "threshold: 0.3\nmargin: 0.02\n",
    default_tier: str = "mid",
    utterances: Mapping[str, Mapping[str, Sequence[str]]] = UTTERANCES,
    rules: str = "",
    models: str = "",
    cases: str = "",
) -> CatalogFolder:
    """Writes a catalog: by default the small one, of three tiers of two tasks each."""
    catalog = CatalogFolder(folder)
    head = f"tiers: [{', '.join(utterances)}]\ndefault_tier: {default_tier}\n"
    catalog.write("catalog.yaml", head + settings)
    for tier, tasks in utterances.items():
        catalog.write(f"tiers/{tier}.yaml", tier_text(tier, tasks))
    for name, text in (
        ("rules.yaml", rules),
        ("models.yaml", models),
        ("cases/basics.yaml", cases),
    ):
        if text:
            catalog.write(name, text)
    return catalog


MODELS = """\
models:
  - id: small-fast
    provider: openai
    name: small-1
    tier: budget
    price: {input: 0.15, output: 0.60}
    context_window: 128000
    max_output_tokens: 16000
    capabilities: [tools, json_schema, vision]
    labels: {region: eu}
  - id: middle
    provider: mistral
    name: middle-1
    tier: mid
    price: {input: 1, output: 3}
    context_window: 128000
    max_output_tokens: 16000
    quality: 0.8
    limits: {requests_per_minute: 1000}
    labels: {region: us}
  - id: big-thinker
    provider: anthropic
    name: big-1
    tier: premium
    price: {input: 5, output: 25}
    context_window: 200000
    max_output_tokens: 64000
    capabilities: [tools, vision, reasoning]
"""
"""A registry with one model for each tier of the small catalog."""


@pytest.fixture
def catalog(tmp_path: Path) -> CatalogFolder:
    """The small catalog, in a folder of the test's own."""
    return write_catalog(tmp_path / "catalog")


@pytest.fixture(scope="session")
def encoder_dir() -> Path:
    """The default encoder: TIERWISE_TEST_ENCODER, else built once into .cache/encoder."""
    if given := os.environ.get("TIERWISE_TEST_ENCODER"):
        return Path(given)
    cache = REPOSITORY / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "encoder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            tierwise_command(
                "encoder", "build", "--if-missing", "--output", str(cache / "encoder")
            ),
            check=True,
            capture_output=True,
            timeout=900,
        )
    return cache / "encoder"


@pytest.fixture(scope="session")
def encoder(encoder_dir: Path) -> OnnxEncoder:
    """The default encoder, loaded."""
    return OnnxEncoder.load(encoder_dir)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for servers whose tests don't look at it."""
    return tmp_path_factory.mktemp("cache")


# Servers in this process -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is running, and a channel to it."""

    server: RoutingServer
    address: str
    channel: grpc.aio.Channel
    routing: Any
    catalogs: Any
    health: Any

    async def route(self, prompt: str, **fields: Any) -> Decision:  # noqa: ANN401 - fields of a message
        """Routes a prompt."""
        return await self.decide(RoutingInput(prompt=prompt, **fields))

    async def decide(self, message: RoutingInput) -> Decision:
        """Routes an input."""
        request = RoutePromptRequest(input=message)
        response = await self.routing.RoutePrompt(request, timeout=CALL_TIMEOUT_S)
        decision: Decision = response.decision
        return decision

    async def health_of(self, name: str) -> str:
        """Returns what a health check says of a service, or the code of its failure."""
        try:
            answer = await self.health.Check(
                health_pb2.HealthCheckRequest(service=name), timeout=CALL_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@contextlib.asynccontextmanager
async def connected(server: RoutingServer) -> AsyncIterator[Served]:
    """Connects to a server that listens."""
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        yield Served(
            server=server,
            address=address,
            channel=channel,
            routing=RoutingServiceStub(channel),
            catalogs=CatalogServiceStub(channel),
            health=health_pb2_grpc.HealthStub(channel),
        )


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Served]:
    """Runs a server on a free port in the test's event loop, and stops it."""
    server = RoutingServer(settings)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await server.start()
        async with connected(server) as served:
            yield served
    finally:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await server.stop()


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture(scope="session")
def settings_for(encoder_dir: Path, shared_cache: Path) -> Callable[..., Settings]:
    """Makes the settings of a server on a free loopback port for catalog folders."""

    def make(*catalogs: CatalogFolder | str, **changes: Any) -> Settings:  # noqa: ANN401 - any setting
        values: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "catalog": tuple(
                str(one.path) if isinstance(one, CatalogFolder) else one for one in catalogs
            ),
            "cache_dir": str(shared_cache),
            "encoder": str(encoder_dir),
            "encoder_threads": 1,
            "grace_s": 5.0,
            # Otherwise it would be the user's own.
            "ledger": "none",
        }
        return Settings(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def serve(settings_for: Callable[..., Settings]) -> Serve:
    """Runs a server for catalog folders, with settings changed by name, within `async with`."""
    return lambda *catalogs, **changes: running(settings_for(*catalogs, **changes))


# Servers in a process of their own -------------------------------------------------------------


def tierwise_command(*words: str) -> list[str]:
    """Returns the command line of `tierwise` in this environment."""
    return [sys.executable, "-m", "tierwise.cli", *words]


def run_tierwise(
    *words: str,
    env: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401 - passed on
) -> subprocess.CompletedProcess[str]:
    """Runs a command of `tierwise` to its end."""
    values = {"text": True, "capture_output": True, "timeout": 100, **options}
    return subprocess.run(
        tierwise_command(*words), env={**os.environ, **(env or {})}, check=False, **values
    )


@dataclass(slots=True, kw_only=True)
class ServeProcess:
    """`tierwise serve` in a process of its own."""

    process: subprocess.Popen[str]
    log: Path
    """Where its standard error goes."""

    def port(self, within_s: float = START_TIMEOUT_S) -> int:
        """Returns the port that it prints once it serves."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within_s)
        line = self.process.stdout.readline() if ready else ""
        assert line.startswith("tierwise: serving on port "), (line, self.log.read_text())
        return int(line.split()[-1])

    def log_text(self) -> str:
        """Returns what it has logged so far."""
        return self.log.read_text(encoding="utf-8")

    def end(self) -> None:
        """Ends the process, if it has not ended by itself."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


StartServe = Callable[..., ServeProcess]


@contextlib.contextmanager
def serve_processes(folder: Path, encoder_dir: Path, cache: Path) -> Iterator[StartServe]:
    """Starts `tierwise serve` with flags; every process is ended with the context."""
    started: list[ServeProcess] = []

    def start(*flags: str, env: Mapping[str, str] | None = None) -> ServeProcess:
        log = folder / f"serve-{len(started)}.log"
        listen = () if "--listen" in flags else ("--listen", "127.0.0.1:0")
        words = (*listen, "--encoder", str(encoder_dir), "--cache-dir", str(cache))
        if "--ledger" not in flags:
            words = (*words, "--ledger", "none")
        with log.open("w") as stderr:
            process = subprocess.Popen(
                tierwise_command("serve", *words, *flags),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **(env or {})},
            )
        started.append(ServeProcess(process=process, log=log))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.end()


@pytest.fixture
def start_serve(tmp_path: Path, encoder_dir: Path, shared_cache: Path) -> Iterator[StartServe]:
    """Starts `tierwise serve` with flags; every process is ended after the test."""
    with serve_processes(tmp_path, encoder_dir, shared_cache) as start:
        yield start


@pytest.fixture(scope="module")
def start_serve_once(
    tmp_path_factory: pytest.TempPathFactory, encoder_dir: Path, shared_cache: Path
) -> Iterator[StartServe]:
    """As `start_serve`, for processes that the tests of a module share."""
    folder = tmp_path_factory.mktemp("served")
    with serve_processes(folder, encoder_dir, shared_cache) as start:
        yield start


# Errors and waiting ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a caller got in place of an answer."""

    code: grpc.StatusCode
    message: str
    reason: str
    """Name of the reason; empty when there is no `ErrorInfo` of ours."""
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    """Paths of the fields in the `BadRequest` detail."""
    failures: tuple[tuple[str, str, str], ...]
    """Type, subject and description of each entry of the `PreconditionFailure` detail."""
    retry_after_s: float | None


def refusal(error: grpc.RpcError) -> Refusal:
    """Reads the status details of a failed call."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    failure = error_details_pb2.PreconditionFailure()
    retry = error_details_pb2.RetryInfo()
    kinds = []
    for detail in status.details if status is not None else ():
        for message in (info, bad, failure, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
                kinds.append(message.DESCRIPTOR.name)
    assert info.domain in {"", "tierwise"}
    assert len(kinds) <= 2, "at most one standard detail beside the ErrorInfo"
    return Refusal(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason.removeprefix("ERROR_REASON_"),
        metadata=dict(info.metadata),
        fields=tuple(one.field for one in bad.field_violations),
        failures=tuple((one.type, one.subject, one.description) for one in failure.violations),
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds()
        if "RetryInfo" in kinds
        else None,
    )


async def refused(call: Awaitable[object]) -> Refusal:
    """Returns how a call fails; it must."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def refusal_of(call: Awaitable[object]) -> Refusal | None:
    """Returns how a call fails; None when it does not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal(error)
    return None


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, within_s: float = 30.0, what: str = "it"
) -> None:
    """Asks again and again until something holds; fails when it does not in time."""
    end = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < end, f"{what} did not happen within {within_s} s"
        await asyncio.sleep(0.01)
