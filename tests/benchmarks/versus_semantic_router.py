"""Compares `RoutePrompt` with semantic-router, same model and same utterances.

semantic-router routes in its own process, with its `LocalEncoder` and the threads it takes by
default, and times itself there; ours is timed by a caller on the other side of gRPC. Both sides
take turns in one run. semantic-router lives in a virtual environment of its own, made on demand.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc
from harness import (
    REPOSITORY,
    STOP_TIMEOUT_S,
    Bar,
    BenchmarkError,
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
)
from prompts import PromptSource, shipped_utterances

from tierwise_server.encoder.source import DEFAULT_MODEL, find_source

PEER = "semantic-router==1.1.1"
# Without a pin, resolving would first fetch torch with libraries for graphics cards.
TORCH = "torch==2.13.0"
WITH_PEER = ("sentence-transformers==6.2.0", "transformers==5.23.0")
LIMITS = {10: 4.0, 60: 3.5, 1000: 5.0}
BLOCK = 10
WARM_UP = 10
INSTALL_TIMEOUT_S = 1200
PEER_START_TIMEOUT_S = 300.0
PEER_CALL_TIMEOUT_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=REPOSITORY / ".venv-bench",
        metavar="DIR",
        help="virtual environment of semantic-router, made when it is not there",
    )
    parser.add_argument("--calls", type=int, default=200, help="calls of each length")
    arguments = parser.parse_args(argv)
    calls: int = max(BLOCK, arguments.calls)

    python = peer_python(arguments.peer_venv)
    source = PromptSource(encoder_folder())
    prompts = {tokens: source.of_tokens(tokens, calls + WARM_UP) for tokens in LIMITS}
    with serving() as server, Peer.started(python) as peer:
        progress("versus_semantic_router: both are ready")
        ours, theirs = measure(server.target, peer, prompts, calls)

    report(
        [
            Bar(
                name=f"{tokens}_tokens_times_faster",
                value=quantile(theirs[tokens], 0.5) / quantile(ours[tokens], 0.5),
                limit=limit,
                at_least=True,
            )
            for tokens, limit in LIMITS.items()
        ],
        {
            f"{tokens}_tokens": {
                "tierwise_ms": milliseconds(ours[tokens]),
                "semantic_router_ms": milliseconds(theirs[tokens]),
            }
            for tokens in LIMITS
        },
    )
    return 0


def measure(
    target: str, peer: Peer, prompts: Mapping[int, Sequence[str]], calls: int
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Returns the seconds of each call, ours and the peer's, by the prompt's length."""
    ours: dict[int, list[float]] = {tokens: [] for tokens in prompts}
    theirs: dict[int, list[float]] = {tokens: [] for tokens in prompts}
    with grpc.insecure_channel(target) as channel:
        caller = SyncCaller(channel)
        for own in prompts.values():
            for prompt in own[:WARM_UP]:
                caller.timed(route_request(prompt))
                peer.seconds(prompt)
        gc.collect()
        gc.disable()
        for start in range(0, calls, BLOCK):
            for tokens, own in prompts.items():
                block = own[WARM_UP:][start : min(start + BLOCK, calls)]
                answers = [caller.timed(route_request(prompt)) for prompt in block]
                ours[tokens] += [seconds for _, seconds in answers]
                theirs[tokens] += [peer.seconds(prompt) for prompt in block]
                for data, _ in answers:
                    encoding_seconds(read_decision(data))
            progress(f"versus_semantic_router: {min(start + BLOCK, calls)} of {calls} calls each")
        gc.enable()
    return ours, theirs


class Peer:
    """semantic-router in a process that is asked by lines."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    @contextmanager
    def started(cls, python: Path) -> Iterator[Peer]:
        """Runs the peer with the default model's weights and the shipped utterances."""
        weights = find_source(DEFAULT_MODEL).folder
        # Its defaults are what it is compared by, and it has no business with a hub.
        environment = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
        environment |= {"HF_HUB_OFFLINE": "1"}
        with tempfile.TemporaryDirectory(prefix="tierwise-benchmark-") as folder:
            utterances = Path(folder) / "utterances.json"
            utterances.write_text(json.dumps(shipped_utterances()), encoding="utf-8")
            program = Path(__file__).parent / "semantic_router_peer.py"
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(
                    [str(python), str(program), str(weights), str(utterances)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    bufsize=1,
                    env=environment,
                )
                peer = cls(process, errors)
                try:
                    peer._answer(PEER_START_TIMEOUT_S)
                    yield peer
                finally:
                    peer.stop()

    def seconds(self, prompt: str) -> float:
        """Returns the seconds it took to route a prompt."""
        if self._process.stdin is None:
            raise BenchmarkError("semantic-router takes no input")
        self._process.stdin.write(json.dumps(prompt) + "\n")
        self._process.stdin.flush()
        return float(str(self._answer(PEER_CALL_TIMEOUT_S)["seconds"]))

    def stop(self) -> None:
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _answer(self, timeout_s: float) -> dict[str, object]:
        output = self._process.stdout
        readable = select.select([output], [], [], timeout_s)[0] if output is not None else []
        line = output.readline() if output is not None and readable else ""
        if not line:
            self._errors.seek(0)
            tail = self._errors.read().decode(errors="replace")[-2000:]
            raise BenchmarkError(f"semantic-router gave no answer: {tail}")
        answer: dict[str, object] = json.loads(line)
        return answer


def peer_python(folder: Path) -> Path:
    """Returns the interpreter of the peer's environment, which is made when it is not there.

    Raises:
        BenchmarkError: It cannot be made.
    """
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if complete.exists() and complete.read_text(encoding="utf-8") == PEER:
        return python
    progress(f"versus_semantic_router: installing {PEER} into {folder}")
    venv.create(folder, with_pip=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join((TORCH, *WITH_PEER, "")), encoding="utf-8")
    for packages in ([TORCH], [PEER, "sentence-transformers"]):
        command = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), *packages]
        try:
            subprocess.run(command, check=True, stdout=sys.stderr, timeout=INSTALL_TIMEOUT_S)
        except (subprocess.SubprocessError, OSError) as error:
            raise BenchmarkError(f"{PEER} cannot be installed: {error}") from error
    complete.write_text(PEER, encoding="utf-8")
    return python


if __name__ == "__main__":
    run_program(main)
