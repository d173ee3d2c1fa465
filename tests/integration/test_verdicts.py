"""From a canary's calls to people's verdicts and back, and from there to the arms compared."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE_NOTHING,
    MODELS,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    run_tierwise,
    write_catalog,
)

from tierwise.v1.decision_pb2 import CatalogArm, Decision
from tierwise.v1.outcome_pb2 import Attempt, Outcome, Usage
from tierwise.v1.routing_service_pb2 import ReportOutcomesRequest

CALLS = 40


async def command(*words: str) -> Any:  # noqa: ANN401 - a finished process
    return await asyncio.to_thread(run_tierwise, *words, stdin=subprocess.DEVNULL)


async def report(served: Served, decisions: list[Decision]) -> None:
    """Reports that the decided model answered each."""
    usage = Usage(input_token_count=1000, output_token_count=500)
    outcomes = [
        Outcome(
            outcome_id=f"call-{one.decision_id}",
            decision_token=one.decision_token,
            attempts=[Attempt(model_id=one.model_id, usage=usage)],
        )
        for one in decisions
    ]
    await served.routing.ReportOutcomes(
        ReportOutcomesRequest(outcomes=outcomes), timeout=CALL_TIMEOUT_S
    )


async def test_people_judge_a_canary_in_a_file(serve: Serve, tmp_path: Path) -> None:
    live = write_catalog(tmp_path / "catalog", models=MODELS)
    candidate = CatalogFolder(tmp_path / "candidate")
    shutil.copytree(live.path, candidate.path)
    candidate.replace("catalog.yaml", "default_tier: mid", "default_tier: budget")
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite3"
    file = tmp_path / "judge.jsonl"
    settings = {"ledger": ledger, "keep_prompts": True, "canary_share": 0.5}
    async with serve(live, candidate=(str(candidate.path),), **settings) as served:
        decisions = [
            await served.route(f"{LIKE_NOTHING} {number}", affinity_key=str(number))
            for number in range(CALLS)
        ]
        secret = await served.route("not to be kept", keep_nothing=True)
        await report(served, [*decisions, secret])

        async def are_exported() -> bool:
            done = await command("verdicts", "export", "--ledger", ledger, "--output", str(file))
            assert done.returncode == 0, done.stderr
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            return len(rows) == CALLS and all(row["prompt"] for row in rows)

        await eventually(are_exported)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert {row["decision_id"] for row in rows} == {one.decision_id for one in decisions}
        of_candidate = {
            one.decision_id: one.arm == CatalogArm.CATALOG_ARM_CANDIDATE for one in decisions
        }
        for row in rows[:-1]:
            row["verdict"] = "bad" if of_candidate[row["decision_id"]] else "good"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("verdicts", "import", str(file), "--server", served.address)
        first = await command(*words)
        assert first.stdout.startswith(f"{CALLS - 1} judgements reported, 0 known"), first.stderr
        assert "1 not filled in" in first.stdout
        again = await command(*words)
        assert f"0 judgements reported, {CALLS - 1} known already, 0 rejected" in again.stdout
        left = await command("verdicts", "export", "--ledger", ledger)
        assert json.loads(left.stdout)["decision_id"] == rows[-1]["decision_id"]

        shown = await command(
            *("candidate", "compare", "--ledger", ledger, "--server", served.address, "--json")
        )
        whole = json.loads(shown.stdout)["tasks"][0]
        arms = [sum(of_candidate.values()), CALLS - sum(of_candidate.values())]
        # The unkept call is the live catalog's or the candidate's, and counts by its cost alone.
        assert whole["live_calls"] + whole["candidate_calls"] <= CALLS + 1
        assert whole["candidate_calls"] >= arms[0] - CALLS // 4
        assert whole["cost_usd"]["high"] < 0
        assert (whole["quality"]["live"], whole["quality"]["candidate"]) == (1.0, 0.0)
        assert whole["quality"]["high"] < -0.5


async def test_a_file_with_a_fault_reports_nothing(serve: Serve, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog")
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite3"
    async with serve(catalog, ledger=ledger) as served:
        file = tmp_path / "judge.jsonl"
        good = json.dumps({"decision_id": "0" * 32, "quality": 0.5})
        bad = json.dumps({"decision_id": "1" * 32, "verdict": "meh"})
        file.write_text(f"{good}\n\n{bad}\nnot json\n")
        words = ("verdicts", "import", str(file), "--server", served.address)
        done = await command(*words)
        assert done.returncode == 2
        assert f"{file}:3: `verdict` is good or bad, not 'meh'" in done.stderr
        assert f"{file}:4: is not JSON" in done.stderr
        file.write_text(f"{good}\n")
        assert (await command(*words)).stdout.startswith("1 judgements reported")
