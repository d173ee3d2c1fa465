"""Measures what one replica takes: calls a second, and processor time and memory for them.

Callers keep the server busy with distinct prompts of one length after the other, then with repeated
ones. Processor time by call says what a core can do at most; calls answered a second are less where
other programs, as these callers, share the cores. `--table` prints the rows of docs/deploy.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Bar, Process, encoder_folder, quantile, report, rounded, run_program
from harness import serve_command as command_of
from overload import generated
from prompts import PromptSource

TOKENS = (10, 60, 128)
CALLERS = 16
DEADLINE_S = 5.0
WARM_UP_S = 1.0
MOST_PROMPTS = 6000
MEMORY_LIMIT_MB = 384.0
"""What the Kubernetes manifest asks for one replica."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON, or the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0, help="load of each kind")
    parser.add_argument("--lanes", type=int, default=2, help="encoding lanes of the replica")
    parser.add_argument("--table", action="store_true", help="print Markdown in place of JSON")
    arguments = parser.parse_args(argv)
    source = PromptSource(encoder_folder())
    lanes = ("--encoder-threads", str(arguments.lanes))
    rows = {}
    with tempfile.TemporaryDirectory(prefix="tierwise-capacity-") as folder:
        command = [*command_of(Path(folder)), *lanes]
        # Both generators send the same prompts, of which none may be remembered.
        with Process([*command, "--vector-cache", "0"]) as server:
            server.wait_for_port()
            for tokens in TOKENS:
                prompts = source.of_tokens(tokens, MOST_PROMPTS)
                rows[f"distinct, {tokens} tokens"] = measured(server, prompts, arguments.seconds)
            memory_mb = server.memory_mb()
        with Process(command) as server:
            server.wait_for_port()
            rows["repeated"] = measured(server, source.of_tokens(TOKENS[0], 50), arguments.seconds)
    if arguments.table:
        print(f"{os.cpu_count()} cores, {arguments.lanes} lanes, {memory_mb:.0f} MB\n")
        print(
            "| prompts | CPU a call (ms) | calls a second and core, at most | answered a second |"
        )
        print("|---|---|---|---|")
        for kind, row in rows.items():
            cpu_ms = row["cpu_ms_a_call"]
            print(f"| {kind} | {cpu_ms:.2g} | {1000 / cpu_ms:.0f} | {row['calls_a_second']:.0f} |")
        return 0
    report([Bar(name="memory_mb", value=memory_mb, limit=MEMORY_LIMIT_MB)], rows)
    return 0


def measured(server: Process, prompts: Sequence[str], seconds: float) -> dict[str, float]:
    """Returns what a server does with as many calls as keep it busy."""
    generated(server, prompts[:500], WARM_UP_S, DEADLINE_S, "--concurrent", str(CALLERS))
    before_s = server.cpu_s()
    seen = generated(server, prompts, seconds, DEADLINE_S, "--concurrent", str(CALLERS))
    cpu_s = server.cpu_s() - before_s
    answered = seen["seconds"]
    return {
        "calls_a_second": rounded(len(answered) / seconds),
        "cpu_ms_a_call": rounded(cpu_s / max(1, len(answered)) * 1e3),
        "p99_ms": rounded(quantile(answered, 0.99) * 1e3),
    }


if __name__ == "__main__":
    run_program(main)
