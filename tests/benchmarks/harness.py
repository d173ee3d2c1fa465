"""What the benchmark programs share: figures with their bars, real server processes, a caller."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Self

import grpc

from tierwise.v1 import decision_pb2, routing_input_pb2, routing_service_pb2
from tierwise_server.settings import default_cache_dir, encoder_dir

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED_CATALOG = REPOSITORY / "utterances"
ROUTE_PROMPT = "/tierwise.v1.RoutingService/RoutePrompt"
BATCH_ROUTE_PROMPTS = "/tierwise.v1.RoutingService/BatchRoutePrompts"
EMPTY_CALL = "/tierwise.benchmark.EmptyService/Call"

START_TIMEOUT_S = 180.0
"""A first start embeds every utterance of the catalog."""

STOP_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 30.0

_PORT_LINE = re.compile(r"serving on port (\d+)")


class BenchmarkError(Exception):
    """The benchmark could not be run; says nothing about how fast anything is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure and what it has to reach."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    """Whether the limit is the least value; otherwise it is the most."""

    @property
    def met(self) -> bool:
        """Whether the figure reaches its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> dict[str, object]:
        """Returns the bar as it is printed."""
        return {
            "name": self.name,
            "value": rounded(self.value),
            "limit": self.limit,
            "rule": "at least" if self.at_least else "at most",
            "met": self.met,
        }


def run_program(main: Callable[[], int]) -> NoReturn:
    """Runs a benchmark program and ends the process: 0, or 1 with one line on what is amiss."""
    # So that a program that is told to end takes its servers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        sys.exit(main())
    except (BenchmarkError, grpc.RpcError) as error:
        progress(f"{Path(sys.argv[0]).name}: {error}")
        sys.exit(1)


def report(bars: Sequence[Bar], figures: Mapping[str, object]) -> None:
    """Prints the one JSON object that a program is run for."""
    met = all(bar.met for bar in bars)
    document = {"met": met, "bars": [bar.as_json() for bar in bars], "figures": figures}
    print(json.dumps(document, indent=2))


def progress(message: str) -> None:
    """Tells a person what is going on."""
    print(message, file=sys.stderr, flush=True)


def rounded(value: float) -> float:
    """Returns a figure with the digits that mean something."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that is not below this share of the values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Returns the quantiles of some times, in milliseconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    figures = {name: rounded(quantile(seconds, share) * 1e3) for name, share in shares.items()}
    return {**figures, "calls": len(seconds)}


def encoder_folder() -> Path:
    """Returns the folder of the built encoder.

    `TIERWISE_CACHE_DIR` names the cache folder, as it does for `tierwise`; without it the
    repository's own is used.

    Raises:
        BenchmarkError: No encoder is built.
    """
    cache = default_cache_dir() if "TIERWISE_CACHE_DIR" in os.environ else REPOSITORY / ".cache"
    folder = encoder_dir(str(cache))
    if not (folder / "manifest.json").exists():
        raise BenchmarkError(f"no encoder at {folder}: run `make encoder`")
    return folder


class Process:
    """A child process that prints the port it serves on. A context manager that ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.port = 0
        """Port it serves on, once it was waited for."""
        # Closed when the process is stopped.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        # A thread count left over in the environment would skew one side of a ratio.
        environment = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )

    @property
    def pid(self) -> int:
        """Identifier of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def target(self) -> str:
        """Address to connect to."""
        return f"127.0.0.1:{self.port}"

    def wait_for_port(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when the process has said that it serves.

        Raises:
            BenchmarkError: It ended, or took too long.
        """
        end = time.monotonic() + timeout_s
        output = self._process.stdout
        if output is None:
            raise BenchmarkError("the process has no output to read")
        while (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([output], [], [], left)
            if not readable:
                break
            line = output.readline()
            if found := _PORT_LINE.search(line):
                self.port = int(found.group(1))
                return
            if not line:
                break
        raise BenchmarkError(f"a process did not come into service: {self.errors()}")

    def errors(self, most: int | None = 2000) -> str:
        """Returns the last characters of what it wrote to standard error; None means all."""
        self._errors.seek(0)
        written = self._errors.read().decode(errors="replace")
        return written if most is None else written[-most:]

    def cpu_s(self) -> float:
        """Returns the processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Returns the memory that it holds, in millions of bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        if kilobytes is None:
            raise BenchmarkError("the process has ended")
        return int(kilobytes.group(1)) * 1024 / 1e6

    def kill(self) -> None:
        """Ends the process at once, as a crash does."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Asks the process to end, and kills it where it does not in time."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def stop(self) -> None:
        """Ends the process, and forgets what it wrote."""
        self.terminate()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.stop()


def serve_command(
    cache: Path, *, catalog: Path = SHIPPED_CATALOG, listen: str = "127.0.0.1:0"
) -> list[str]:
    """Returns the command line of a server that keeps utterance vectors in a cache folder."""
    return [
        str(Path(sys.executable).parent / "tierwise"),
        "serve",
        *("--listen", listen),
        *("--catalog", f"default={catalog}"),
        *("--encoder", str(encoder_folder())),
        *("--cache-dir", str(cache)),
        *("--ledger", f"sqlite:///{cache}/ledger.sqlite3"),
    ]


@contextlib.contextmanager
def serving(*, catalog: Path = SHIPPED_CATALOG, cache: Path | None = None) -> Iterator[Process]:
    """Runs `tierwise serve` on a free port of the loopback interface.

    Args:
        catalog: Folder of the catalog to serve.
        cache: Folder to keep utterance vectors in; by default one that outlives the run.
    """
    # Of its own, since the vectors of another catalog would push out those that a user's has there.
    folder = cache or encoder_folder().parent / "benchmarks"
    with Process(serve_command(folder, catalog=catalog)) as server:
        server.wait_for_port()
        yield server


@contextlib.contextmanager
def serving_empty_calls() -> Iterator[Process]:
    """Runs a server that answers an empty message with an empty message."""
    with Process([sys.executable, str(Path(__file__).parent / "empty_server.py")]) as server:
        server.wait_for_port()
        yield server


def route_request(prompt: str) -> bytes:
    """Returns the serialized request for `RoutePrompt`."""
    return routing_service_pb2.RoutePromptRequest(
        input=routing_input_pb2.RoutingInput(prompt=prompt)
    ).SerializeToString()


def read_decision(response: bytes) -> decision_pb2.Decision:
    """Returns the decision of a serialized response of `RoutePrompt`."""
    return routing_service_pb2.RoutePromptResponse.FromString(response).decision


def encoding_seconds(decision: decision_pb2.Decision) -> float:
    """Returns the time in the encoder that a decision reports.

    Raises:
        BenchmarkError: The prompt was not embedded.
    """
    duration = decision.timings.encoding_duration
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds <= 0.0:
        raise BenchmarkError(f"a prompt was not embedded: {decision.reason}")
    return seconds


class SyncCaller:
    """One caller that waits for each answer.

    The blocking channel is the leanest client of one call at a time: the calling thread itself
    polls for the answer, without an event loop in between.
    """

    def __init__(self, channel: grpc.Channel, method: str = ROUTE_PROMPT) -> None:
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)

    def timed(self, request: bytes) -> tuple[bytes, float]:
        """Returns the answer and the seconds it took."""
        started = time.perf_counter()
        response = self._call(request, timeout=CALL_TIMEOUT_S)
        return response, time.perf_counter() - started
