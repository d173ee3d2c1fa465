"""Measures what the server does with twice the load that it can sustain.

First the most that it answers in time, with as many callers as keep it busy; then calls at twice
that rate, on a schedule that nothing slows down, from processes of their own. Goodput counts calls
that were answered within their deadline. On two cores the generators take from the server what they
need for themselves; their processor time is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import (
    Bar,
    BenchmarkError,
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

TOKENS = (10, 30, 60, 128)
"""Lengths of the prompts, each equally often."""
BUSY_CALLERS = 32
GENERATORS = 2
MEMORY_SLACK_MB = 20.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the overload")
    parser.add_argument(
        "--calm-seconds", type=float, default=10.0, help="of the search for the most"
    )
    parser.add_argument("--deadline", type=float, default=0.25, help="of each call, in seconds")
    parser.add_argument("--times", type=float, default=2.0, help="load by what is sustained")
    arguments = parser.parse_args(argv)

    source = PromptSource(encoder_folder())
    prompts = [
        prompt
        for group in zip(*(source.of_tokens(tokens, 500) for tokens in TOKENS), strict=True)
        for prompt in group
    ]
    deadline: float = arguments.deadline
    with serving() as server:
        calm: float = arguments.calm_seconds
        generated(server, prompts, calm / 2, deadline, "--concurrent", str(BUSY_CALLERS))
        most = generated(server, prompts, calm, deadline, "--concurrent", str(BUSY_CALLERS))
        sustained = len(most["seconds"]) / calm
        if not sustained:
            raise BenchmarkError("no call was answered in time")
        progress(f"overload: {sustained:.0f} calls a second are answered in time")
        before_mb = server.memory_mb()
        rate = arguments.times * sustained
        flood = generated(server, prompts, arguments.seconds, deadline, "--rate", str(rate))
        after_mb = server.memory_mb()
        running = server.running
        after = generated(server, prompts, calm, deadline, "--concurrent", str(BUSY_CALLERS))
    goodput = len(flood["seconds"]) / arguments.seconds
    # Its own process ran the search, so the most is that of before and after together.
    sustained_after = len(after["seconds"]) / calm
    late = flood["codes"]["DEADLINE_EXCEEDED"]
    admitted = len(flood["seconds"]) + late
    report(
        [
            Bar(name="goodput_by_most", value=goodput / sustained, limit=0.9, at_least=True),
            Bar(
                name="p99_of_admitted_by_deadline",
                # Calls that were admitted and not answered in time count as what they took.
                value=quantile([*flood["seconds"], *[deadline * 1.001] * late], 0.99) / deadline,
                limit=1.0,
            ),
            Bar(name="crashes", value=0 if running else 1, limit=0),
            Bar(name="memory_growth_mb", value=after_mb - before_mb, limit=MEMORY_SLACK_MB),
        ],
        {
            "sustained_per_second": rounded(sustained),
            "sustained_after_per_second": rounded(sustained_after),
            "offered_per_second": rounded(rate),
            "goodput_per_second": rounded(goodput),
            "codes": dict(flood["codes"]),
            "late_share_of_admitted": rounded(late / admitted) if admitted else 0.0,
            "answered_ms": milliseconds(flood["seconds"] or [0.0]),
            "refused_ms": milliseconds(flood["refused_seconds"] or [0.0]),
            "memory_mb": [rounded(before_mb), rounded(after_mb)],
            "generators_cpu_share_of_a_core": {
                "sustained": rounded(most["cpu_s"] / calm),
                "overload": rounded(flood["cpu_s"] / arguments.seconds),
            },
        },
    )
    return 0


def generated(
    server: Process, prompts: Sequence[str], seconds: float, deadline: float, flag: str, amount: str
) -> dict[str, Any]:
    """Returns what generators saw together, each of which makes its share of the load."""
    share = float(amount) / GENERATORS
    outputs: list[str] = [""] * GENERATORS

    def run(number: int) -> None:
        command = [
            *(sys.executable, str(Path(__file__).parent / "load_client.py"), server.target),
            *("--seconds", str(seconds), "--deadline", str(deadline), "--seed", str(number)),
            *("--caller", f"caller-{number}"),
            *(flag, str(int(share)) if flag == "--concurrent" else str(share)),
        ]
        done = subprocess.run(
            command, input=json.dumps(list(prompts)), text=True, stdout=subprocess.PIPE, check=True
        )
        outputs[number] = done.stdout

    threads = [threading.Thread(target=run, args=(number,)) for number in range(GENERATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(outputs):
        raise BenchmarkError("a load generator failed")
    seen = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {
        # An answer that came after its deadline by the generator's clock is none.
        "seconds": [one for each in seen for one in each["seconds"] if one <= deadline],
        "refused_seconds": [one for each in seen for one in each["refused_seconds"]],
        "codes": sum((Counter(each["codes"]) for each in seen), Counter()),
        "cpu_s": sum(each["cpu_s"] for each in seen),
    }


if __name__ == "__main__":
    run_program(main)
