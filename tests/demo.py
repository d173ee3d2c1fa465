"""Shows the product on real prompts, with a real server and a real edit. Run by `make demo`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from tierwise.commands.render import decision_lines
from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 120
EDIT_TIMEOUT_S = 10

PROMPTS = (
    "tl;dr of the email thread below, two sentences max",
    "Translate 'our distributed system architecture' into German",
    "is this review positive or negative: the hotel was loud but the staff were lovely",
    "Write a Python function that merges overlapping intervals",
    "Plan a four-day trip to Lisbon with two small children",
    "why does my flask app say 'address already in use'",
    "Design a multi-region failover for our payments ledger with zero data loss",
    "Prove that the square root of two is irrational",
    "our Go service deadlocks once a week under load, only in production",
    "Was kostet ein Ticket nach Hamburg und wann fährt der letzte Zug?",
    "asdf qwer zxcv",
    "turn on the kitchen lights",
)
EDITED_PROMPT = "write a limerick for the office party"
EDITED_FILE = "tiers/budget.yaml"
EDITED_TASK = "  short-drafts:"


def main() -> int:
    """Runs the demonstration; 0 when the edit changed the route as it should."""
    with tempfile.TemporaryDirectory(prefix="tierwise-demo-") as folder:
        catalog = Path(folder) / "utterances"
        # Without the calibration: the edit would make it stale, which is a story of its own.
        leave_out = shutil.ignore_patterns("calibration.yaml")
        shutil.copytree(ROOT / "utterances", catalog, ignore=leave_out)
        with _server(catalog) as address, grpc.insecure_channel(address) as channel:
            stub = RoutingServiceStub(channel)
            for number, prompt in enumerate(PROMPTS):
                _show(prompt, _route(stub, prompt), with_plan=number == 0)
            return _edit_and_show(stub, catalog)


def _edit_and_show(stub: RoutingServiceStub, catalog: Path) -> int:
    before = _route(stub, EDITED_PROMPT)
    _show(EDITED_PROMPT, before)
    file = catalog / EDITED_FILE
    lines = file.read_text(encoding="utf-8").splitlines()
    place = lines.index("    utterances:", lines.index(EDITED_TASK)) + 1
    lines.insert(place, f'      - "{EDITED_PROMPT}"')
    started = time.perf_counter()
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"--- one line added: {EDITED_FILE}:{place + 1}")
    print(f"+{lines[place]}\n")
    after = _route(stub, EDITED_PROMPT)
    while after.catalog_revision == before.catalog_revision:
        if time.perf_counter() - started > EDIT_TIMEOUT_S:
            print("the edit was not served in time", file=sys.stderr)
            return 1
        time.sleep(0.02)
        after = _route(stub, EDITED_PROMPT)
    print(f"--- in service {time.perf_counter() - started:.2f} s later\n")
    _show(EDITED_PROMPT, after)
    if after.tier_id == before.tier_id:
        print(f"the edit did not change the tier: {after.reason}", file=sys.stderr)
        return 1
    return 0


def _route(stub: RoutingServiceStub, prompt: str) -> Decision:
    request = RoutePromptRequest(input=RoutingInput(prompt=prompt))
    return stub.RoutePrompt(request, timeout=10).decision


def _show(prompt: str, decision: Decision, *, with_plan: bool = False) -> None:
    """Prints a decision; what the plan calls next only where it is asked for, since it is long."""
    lines = [
        line for line in decision_lines(decision) if with_plan or not line.startswith("  then")
    ]
    print(f"> {prompt}")
    print("\n".join(f"  {line}" for line in lines) + "\n")


@contextlib.contextmanager
def _server(catalog: Path) -> Iterator[str]:
    """Runs `tierwise serve` on a free port and yields its address."""
    command = [sys.executable, "-m", "tierwise.cli", "serve", "--listen", "127.0.0.1:0"]
    # The user's own ledger is left alone.
    command += ["--ledger", "none"]
    command += ["--catalog", str(catalog), "--log-level", "warning", "--log-format", "text"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    print("--- starting a server; the first start embeds the catalog, which takes up to a minute")
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if "port" not in line:
                raise SystemExit("the server did not start")
            print(f"--- server ready after {time.perf_counter() - started:.1f} s\n")
            yield f"127.0.0.1:{line.rsplit(maxsplit=1)[-1]}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=START_TIMEOUT_S)
    print("--- server stopped")


if __name__ == "__main__":
    sys.exit(main())
