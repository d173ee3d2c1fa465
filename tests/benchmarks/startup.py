"""Measures the time from start to SERVING, and the memory of the serving process.

With a built encoder and the utterances' vectors on disk, as at every start but the first. The clock
runs from the start of the process to the first health check that is answered with SERVING.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2
from harness import (
    START_TIMEOUT_S,
    Bar,
    BenchmarkError,
    Process,
    SyncCaller,
    encoder_folder,
    progress,
    report,
    rounded,
    route_request,
    run_program,
    serve_command,
    serving,
)
from prompts import PromptSource

POLL_S = 0.002
ROUTED = 1000
START_LIMIT_S = 1.2
MEMORY_LIMIT_MB = 250.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--starts", type=int, default=5, help="starts to take the median of")
    starts: int = parser.parse_args(argv).starts

    source = PromptSource(encoder_folder())
    # Of all lengths, since each length that the encoder meets takes memory of its own.
    prompts = [
        prompt
        for tokens in (10, 20, 40, 60, 128)
        for prompt in source.of_tokens(tokens, ROUTED // 5)
    ]
    with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
        cache = Path(folder)
        with serving(cache=cache):
            progress("startup: the utterances' vectors are on disk")
        seconds, fresh, used = [], [], []
        for number in range(starts):
            port = free_port()
            started = time.perf_counter()
            with Process(serve_command(cache, listen=f"127.0.0.1:{port}")) as server:
                wait_until_serving(server, port)
                seconds.append(time.perf_counter() - started)
                fresh.append(server.memory_mb())
                if number == starts - 1:
                    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                        caller = SyncCaller(channel)
                        for prompt in prompts:
                            caller.timed(route_request(prompt))
                    used.append(server.memory_mb())
            progress(f"startup: {seconds[-1]:.2f} s, {fresh[-1]:.0f} MB")

    report(
        [
            Bar(name="start_to_serving_s", value=statistics.median(seconds), limit=START_LIMIT_S),
            Bar(name="memory_at_start_mb", value=max(fresh), limit=MEMORY_LIMIT_MB),
            Bar(name="memory_after_1000_prompts_mb", value=max(used), limit=MEMORY_LIMIT_MB),
        ],
        {"starts_s": [rounded(value) for value in seconds]},
    )
    return 0


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_serving(server: Process, port: int) -> None:
    """Returns at the first health check that says SERVING.

    Raises:
        BenchmarkError: The server ended, or took too long.
    """
    end = time.monotonic() + START_TIMEOUT_S
    # A gRPC channel would pause before it tried a refused connection again.
    while not _listening(port):
        _check(server, end)
        time.sleep(POLL_S)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            f"/{health.SERVICE_NAME}/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        request = health_pb2.HealthCheckRequest()
        while True:
            # A server that ends meanwhile, and says why, breaks the connection.
            with contextlib.suppress(grpc.RpcError):
                if check(request, timeout=10.0).status == health_pb2.HealthCheckResponse.SERVING:
                    return
            _check(server, end)
            time.sleep(POLL_S)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _check(server: Process, end: float) -> None:
    if not server.running or time.monotonic() > end:
        raise BenchmarkError(f"the server did not come into service: {server.errors()}")


if __name__ == "__main__":
    run_program(main)
