"""Measures short prompts of one caller beside another that floods with long ones, and with batches.

The short prompts come at a steady rate from a process of their own; the flood comes from another,
which sends as soon as it is answered. Alone and beside the flood take turns. On two cores the
server's lanes and event loop share the cores with both generators; their share is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import (
    Bar,
    Process,
    encoder_folder,
    milliseconds,
    progress,
    quantile,
    report,
    rounded,
    run_program,
    serving,
)
from prompts import PromptSource

from tierwise_server.encoder.onnx_encoder import OnnxEncoder

SHORT_TOKENS = 10
LONG_CHARACTERS = 32 * 1024
FLOODS = {
    "long_prompts": ["--concurrent", "64"],
    "batches_of_256": ["--concurrent", "4", "--batch", "256"],
}
SETTLE_S = 2.0
"""From the first calls of the flood, which come all at once, until the short prompts come."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--rate", type=float, default=20.0, help="short prompts a second")
    arguments = parser.parse_args(argv)

    source = PromptSource(encoder_folder())
    short = source.of_tokens(SHORT_TOKENS, 2000)
    long = {
        "long_prompts": source.of_characters(LONG_CHARACTERS, 64),
        # As many as one message of 4 MB takes.
        "batches_of_256": source.of_characters(8 * 1024, 256),
    }
    encode_s = encode_time(source.of_tokens(128, 50))
    times: dict[str, list[float]] = {"alone": [], **{name: [] for name in FLOODS}}
    queued: dict[str, list[float]] = {name: [] for name in times}
    flooded: dict[str, dict[str, Any]] = {}
    with serving() as server:
        for number in range(arguments.rounds):
            answered = short_calls(server, arguments, short)
            times["alone"] += answered["seconds"]
            queued["alone"] += answered["queued"]
            for name, flags in FLOODS.items():
                seconds = arguments.seconds + SETTLE_S + 3.0
                with flood(server, long[name], flags, seconds) as running:
                    time.sleep(SETTLE_S)
                    answered = short_calls(server, arguments, short)
                    times[name] += answered["seconds"]
                    queued[name] += answered["queued"]
                    flooded[name] = finished(running)
                progress(
                    f"fairness: turn {number + 1} of {arguments.rounds}, {name}:"
                    f" {answered['codes']}, flood {flooded[name]['codes']}"
                )
        memory = server.memory_mb()
    alone = quantile(times["alone"], 0.99)
    report(
        [
            Bar(
                name=f"p99_beside_{name}_by_allowed",
                value=quantile(times[name], 0.99) / (alone + 2 * encode_s),
                limit=1.0,
            )
            for name in FLOODS
        ],
        {
            "encode_128_tokens_ms": rounded(encode_s * 1e3),
            "allowed_p99_ms": rounded((alone + 2 * encode_s) * 1e3),
            **{name: milliseconds(values) for name, values in times.items()},
            "of_which_in_queue": {name: milliseconds(values) for name, values in queued.items()},
            "flood_answers_per_second": {
                name: rounded(one["codes"].get("OK", 0) / max(one["at"][-1:] or [1.0]))
                for name, one in flooded.items()
            },
            "flood_cpu_s": {name: rounded(one["cpu_s"]) for name, one in flooded.items()},
            "server_memory_mb": rounded(memory),
        },
    )
    return 0


def encode_time(prompts: Sequence[str]) -> float:
    """Returns the median time of an inference of 128 tokens, with nothing else going on."""
    encoder = OnnxEncoder.load(encoder_folder())
    times = []
    for prompt in prompts:
        started = time.perf_counter()
        encoder.encode(prompt)
        times.append(time.perf_counter() - started)
    return quantile(times, 0.5)


def client(server: Process, *flags: str) -> list[str]:
    """Returns the command line of a load generator."""
    return [sys.executable, str(Path(__file__).parent / "load_client.py"), server.target, *flags]


def short_calls(
    server: Process, arguments: argparse.Namespace, prompts: Sequence[str]
) -> dict[str, Any]:
    """Returns what a caller of short prompts saw."""
    command = client(
        server,
        *("--caller", "short", "--rate", str(arguments.rate)),
        *("--seconds", str(arguments.seconds)),
    )
    done = subprocess.run(
        command, input=json.dumps(list(prompts)), text=True, stdout=subprocess.PIPE, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextlib.contextmanager
def flood(server: Process, prompts: Sequence[str], flags: Sequence[str], seconds: float) -> Any:  # noqa: ANN401 - an iterator of one process
    """Runs a caller that sends as fast as it is answered."""
    command = client(server, "--caller", "flood", "--seconds", str(seconds), *flags)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is not None:
            process.stdin.write(json.dumps(list(prompts)))
            process.stdin.close()
            process.stdin = None
        if process.stdout is not None:
            process.stdout.readline()
        try:
            yield process
        finally:
            process.terminate()


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Returns what a generator printed, once it has ended."""
    output, _ = process.communicate(timeout=120)
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


if __name__ == "__main__":
    run_program(main)
