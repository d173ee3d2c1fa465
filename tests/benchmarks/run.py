"""Runs every benchmark program of this folder and prints one JSON object, by program.

A missed bar is information: the exit status is 0. It is 1 when a program could not be run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import encoder_folder, progress, run_program

PROGRAMS = (
    "route_latency",
    "throughput",
    "startup",
    "image",
    "reload",
    "reload_storm",
    "candidates",
    "fairness",
    "overload",
    "replicas",
    "capacity",
    "versus_semantic_router",
    "planning",
    "telemetry",
    "ledger",
    "report",
    "chat",
    "reporting",
    "crashes",
    "fleet",
    "escalation_cost",
    "flips",
    "surface_cues",
    "hostile",
    "soak",
)
ON_DATA = (
    "intents",
    "calibration",
    "learned",
    "token_estimates",
    "wire",
    "ledger_costs",
    "bench_choices",
    "suggestions",
)
"""Those that measure on public data."""

TIMEOUT_S = 1800


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the programs one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--eval-data",
        type=Path,
        metavar="FOLDER",
        help="folder of public data; without it, programs that measure on data are left out",
    )
    parser.add_argument(
        "--only", nargs="+", choices=(*PROGRAMS, *ON_DATA), help="run these programs alone"
    )
    arguments = parser.parse_args(argv)
    commands: dict[str, list[str]] = {name: [] for name in PROGRAMS}
    if arguments.eval_data is not None:
        commands |= on_data(arguments.eval_data)
    wanted = arguments.only or tuple(commands)
    if missing := [name for name in wanted if name not in commands]:
        parser.error(f"--eval-data is needed for {', '.join(missing)}")

    results = {name: run(name, commands[name]) for name in wanted}
    print(json.dumps(results, indent=2))
    for line in table(results):
        progress(line)
    return 0 if all(result is not None for result in results.values()) else 1


def on_data(folder: Path) -> dict[str, list[str]]:
    """Returns the arguments of the programs that measure on public data."""
    encoder = encoder_folder()
    vectors = encoder.parent / "benchmarks"
    return {
        "intents": [str(folder), str(encoder), "--cache", str(vectors)],
        "calibration": [str(folder), str(encoder)],
        "learned": [str(folder), str(encoder), "--cache", str(vectors)],
        "token_estimates": [str(folder / "wire")],
        "wire": [str(folder / "wire")],
        "ledger_costs": [str(folder / "wire")],
        "bench_choices": [str(folder)],
        "suggestions": [str(folder)],
    }


def run(name: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Returns what a program printed; None when it failed."""
    progress(f"== {name}")
    program = Path(__file__).parent / f"{name}.py"
    command = [sys.executable, str(program), *arguments]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                output, _ = process.communicate(timeout=TIMEOUT_S)
            finally:
                # Not killed: it has servers of its own to end.
                process.terminate()
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        result = json.loads(output)
    except (subprocess.SubprocessError, ValueError) as error:
        progress(f"== {name} failed: {error}")
        return None
    return result if isinstance(result, dict) else None


def table(results: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Returns the bars of all programs as lines of text."""
    lines = []
    for name, result in results.items():
        if result is None:
            lines.append(f"{name:<24} FAILED")
        elif not result.get("bars"):
            lines.append(f"{name:<24} figures without bars")
        for bar in (result or {}).get("bars", ()):
            verdict = "met" if bar["met"] else "MISSED"
            lines.append(
                f"{name:<24} {bar['name']:<34} {bar['value']:>10g}"
                f"  {bar['rule']} {bar['limit']:g}: {verdict}"
            )
    return lines


if __name__ == "__main__":
    run_program(main)
