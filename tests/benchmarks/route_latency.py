"""Measures what `RoutePrompt` adds to the encoder's time, for one caller over loopback.

The cases take turns in blocks, so that a busy moment of the machine hits all of them. The caller
is gRPC's blocking channel, the leanest client of one call at a time; it sends and gets bytes, and
reads the answers after the clock has stopped.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Mapping, Sequence

import grpc
from harness import (
    EMPTY_CALL,
    Bar,
    SyncCaller,
    encoder_folder,
    encoding_seconds,
    milliseconds,
    progress,
    quantile,
    read_decision,
    report,
    route_request,
    run_program,
    serving,
    serving_empty_calls,
)
from prompts import PromptSource

BLOCK = 50
WARM_UP = 50
LONG_CHARACTERS = 10_000
FULL_TOKENS = 128
OVERHEAD_LIMIT_MS = 1.0
TAIL_LIMIT = 2.0
LONG_LIMIT = 1.3


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=1000, help="calls of each case")
    calls: int = max(BLOCK, parser.parse_args(argv).calls)

    source = PromptSource(encoder_folder())
    count = calls + WARM_UP
    prompts = {
        "10_tokens": source.of_tokens(10, count),
        "60_tokens": source.of_tokens(60, count),
        "128_tokens": source.of_tokens(FULL_TOKENS, count),
        "10000_characters": source.of_characters(LONG_CHARACTERS, count),
    }
    requests = {name: [route_request(text) for text in texts] for name, texts in prompts.items()}
    with serving() as server, serving_empty_calls() as empty:
        seconds, encoding = measure(server.target, empty.target, requests, calls)

    overhead = {
        name: (quantile(seconds[name], 0.5) - quantile(encoding[name], 0.5)) * 1e3
        for name in requests
    }
    bars = []
    for name in ("10_tokens", "60_tokens"):
        tail = quantile(seconds[name], 0.99) / quantile(seconds[name], 0.5)
        bars.append(
            Bar(name=f"{name}_overhead_p50_ms", value=overhead[name], limit=OVERHEAD_LIMIT_MS)
        )
        bars.append(Bar(name=f"{name}_p99_by_p50", value=tail, limit=TAIL_LIMIT))
    bars.append(
        Bar(
            name="10000_characters_by_128_tokens",
            value=quantile(seconds["10000_characters"], 0.5) / quantile(seconds["128_tokens"], 0.5),
            limit=LONG_LIMIT,
        )
    )
    figures = {
        name: {
            "call_ms": milliseconds(seconds[name]),
            "encoding_ms": milliseconds(encoding[name]),
            "overhead_p50_ms": round(overhead[name], 3),
        }
        for name in requests
    }
    report(
        bars,
        {"caller": "blocking channel", **figures, "empty_call": milliseconds(seconds["empty"])},
    )
    return 0


def measure(
    target: str, empty_target: str, requests: Mapping[str, Sequence[bytes]], calls: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Returns the seconds of each call of each case, and those in the encoder."""
    seconds: dict[str, list[float]] = {name: [] for name in (*requests, "empty")}
    encoding: dict[str, list[float]] = {name: [] for name in requests}
    with grpc.insecure_channel(target) as channel, grpc.insecure_channel(empty_target) as other:
        caller, empty = SyncCaller(channel), SyncCaller(other, EMPTY_CALL)
        for own in requests.values():
            for request in own[:WARM_UP]:
                caller.timed(request)
                empty.timed(b"")
        gc.collect()
        gc.disable()
        for start in range(0, calls, BLOCK):
            end = min(start + BLOCK, calls)
            for name, own in requests.items():
                answers = [caller.timed(request) for request in own[WARM_UP:][start:end]]
                seconds[name] += [taken for _, taken in answers]
                encoding[name] += [encoding_seconds(read_decision(data)) for data, _ in answers]
            seconds["empty"] += [empty.timed(b"")[1] for _ in range(start, end)]
            progress(f"route_latency: {end} of {calls} calls of each case")
        gc.enable()
    return seconds, encoding


if __name__ == "__main__":
    run_program(main)
