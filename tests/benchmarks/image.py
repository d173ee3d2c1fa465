"""Measures the image that the shipped Dockerfile makes: its size beyond its base, and its start.

Carries out the Dockerfile's steps in folders. The encoder's stage, which installs torch, is left
out unless asked for: its artifact is the built encoder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockerfile import Image, build
from harness import Bar, BenchmarkError, encoder_folder, progress, report, rounded, run_program

SIZE_LIMIT_MB = 280.0
START_LIMIT_S = 3.0
START_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A router that runs from an image."""

    pid: int
    port: int
    seconds: float
    """From the start of the process until it said that it serves."""
    cpu_s: float
    """Processor time that this took, which a busy machine changes less."""


@contextlib.contextmanager
def started(image: Image, state: Path) -> Iterator[Started]:
    """Runs the image's command as its user, on free ports of the loopback interface.

    Args:
        image: What to run.
        state: Folder for what it writes to standard error.

    Raises:
        BenchmarkError: It does not come into service.
    """
    environment = {
        **image.environment(),
        "TIERWISE_LISTEN": "127.0.0.1:0",
        "TIERWISE_METRICS_LISTEN": "127.0.0.1:0",
    }
    command = image.command(*image.stage.command("CMD"))
    begun = time.perf_counter()
    with (
        (state / "serve.log").open("w+") as log,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, **image.user()
        ) as process,
    ):
        try:
            line = ""
            if process.stdout and select.select([process.stdout], [], [], START_TIMEOUT_S)[0]:
                line = process.stdout.readline()
            found = re.search(r"serving on port (\d+)", line)
            if found is None:
                log.seek(0)
                raise BenchmarkError(f"the image does not come into service: {log.read()[-2000:]}")
            seconds = time.perf_counter() - begun
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            yield Started(pid=process.pid, port=int(found.group(1)), seconds=seconds, cpu_s=cpu_s)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--starts", type=int, default=5, help="starts to take the median of")
    parser.add_argument(
        "--build-encoder", action="store_true", help="carry out the encoder's stage as well"
    )
    arguments = parser.parse_args(argv)
    artifacts = {} if arguments.build_encoder else {"encoder": encoder_folder()}
    with tempfile.TemporaryDirectory(prefix="tierwise-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        begun = time.perf_counter()
        image = build(folder / "stages", artifacts=artifacts)
        building_s = time.perf_counter() - begun
        progress(f"image: built in {building_s:.0f} s")
        seconds, cpu = [], []
        for _ in range(arguments.starts):
            with started(image, folder) as running:
                seconds.append(running.seconds)
                cpu.append(running.cpu_s)
        report(
            [
                Bar(name="size_beyond_base_mb", value=image.size_mb(), limit=SIZE_LIMIT_MB),
                Bar(
                    name="start_to_serving_s",
                    value=statistics.median(seconds),
                    limit=START_LIMIT_S,
                ),
            ],
            {
                "starts_s": [rounded(one) for one in seconds],
                "start_cpu_s": rounded(statistics.median(cpu)),
                "building_s": rounded(building_s),
                "as_other_user": bool(image.user()),
            },
        )
    return 0


if __name__ == "__main__":
    run_program(main)
