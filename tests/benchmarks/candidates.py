"""Measures what a candidate beside the catalog costs: processor time, and the callers' time.

`python tests/benchmarks/candidates.py` prints one JSON object. Two servers, one of them with a
candidate, answer the shipped cases in turns: new prompts and remembered ones, from a caller that
asks again at once and from one that pauses, as callers that call a model in between do.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from harness import (
    CALL_TIMEOUT_S,
    SHIPPED_CATALOG,
    Bar,
    BenchmarkError,
    Process,
    SyncCaller,
    encoder_folder,
    progress,
    quantile,
    report,
    rounded,
    route_request,
    run_program,
    serve_command,
)

from tierwise.v1.catalog_service_pb2 import GetCandidateStatusRequest, GetCandidateStatusResponse
from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tierwise_server.catalog.loader import load_catalog

PAUSE_S = 0.005
SETTLE_S = 1.0
"""For what waits to be compared after the last call."""

CPU_RATIO = 1.35
PAUSED_RATIO = 1.15
COMPARED = 0.999


class Side:
    """One server, what it used and what its caller waited."""

    def __init__(self, process: Process, channel: grpc.Channel) -> None:
        self._process = process
        self._caller = SyncCaller(channel)
        self.calls = 0
        self.cpu_s = 0.0
        self.waits_s: list[float] = []

    def ask(self, requests: Sequence[bytes], pause_s: float) -> None:
        """Asks each request once."""
        before = self._process.cpu_s()
        for request in requests:
            self.waits_s.append(self._caller.timed(request)[1])
            time.sleep(pause_s)
        time.sleep(SETTLE_S)
        self.cpu_s += self._process.cpu_s() - before
        self.calls += len(requests)

    def figures(self) -> dict[str, float]:
        """Returns the figures so far, and begins anew."""
        found = {
            "cpu_ms_a_call": rounded(self.cpu_s / self.calls * 1e3),
            "p50_ms": rounded(quantile(self.waits_s, 0.5) * 1e3),
        }
        self.calls, self.cpu_s, self.waits_s = 0, 0.0, []
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of remembered prompts")
    arguments = parser.parse_args(argv)
    prompts = [one.prompt for one in load_catalog(SHIPPED_CATALOG).cases if one.prompt]
    cache = encoder_folder().parent / "benchmarks"
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate"
        shutil.copytree(SHIPPED_CATALOG, candidate)
        settings = candidate / "catalog.yaml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("default_tier: mid", "default_tier: budget"))
        command = [*serve_command(cache), "--ledger", "none"]
        tried = ("--candidate", f"default={candidate}")
        with Process(command) as plain, Process([*command, *tried]) as shadow:
            plain.wait_for_port()
            shadow.wait_for_port()
            with (
                grpc.insecure_channel(plain.target) as one,
                grpc.insecure_channel(shadow.target) as other,
            ):
                sides = {"alone": Side(plain, one), "with candidate": Side(shadow, other)}
                for kind, prefix, rounds, pause_s in (
                    ("new", "", 1, 0.0),
                    ("remembered", "", arguments.rounds, 0.0),
                    ("new, paused", "please: ", 1, PAUSE_S),
                    ("remembered, paused", "please: ", arguments.rounds, PAUSE_S),
                ):
                    progress(kind)
                    requests = [route_request(prefix + prompt) for prompt in prompts]
                    for _ in range(rounds):
                        for side in sides.values():
                            side.ask(requests, pause_s)
                    figures[kind] = {name: side.figures() for name, side in sides.items()}
                status = CatalogServiceStub(other).GetCandidateStatus(
                    GetCandidateStatusRequest(), timeout=CALL_TIMEOUT_S
                )
    asked = len(prompts) * (2 + 2 * arguments.rounds)
    report(bars(figures, status, asked), {**figures, "asked": asked})
    return 0


def bars(
    figures: dict[str, dict[str, dict[str, float]]], status: GetCandidateStatusResponse, asked: int
) -> list[Bar]:
    """Returns what the figures have to reach."""
    compared = sum(one.decision_count for one in status.differences)
    if not compared:
        raise BenchmarkError("nothing was compared")

    def ratio(kind: str, figure: str) -> float:
        return figures[kind]["with candidate"][figure] / figures[kind]["alone"][figure]

    return [
        Bar(name="cpu of new prompts, ratio", value=ratio("new", "cpu_ms_a_call"), limit=CPU_RATIO),
        *(
            Bar(name=f"p50, {kind}, ratio", value=ratio(kind, "p50_ms"), limit=PAUSED_RATIO)
            for kind in ("new, paused", "remembered, paused")
        ),
        Bar(name="share compared", value=compared / asked, limit=COMPARED, at_least=True),
    ]


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
