"""Calibrating a catalog and serving it: the command, the decisions, edits that make it stale."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    CatalogFolder,
    Serve,
    Served,
    eventually,
)

from tierwise import cli
from tierwise.v1.catalog_service_pb2 import CalibrationState, GetCatalogStatusRequest
from tierwise.v1.decision_pb2 import DecisionKind, SemanticAbstention
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest

SUBJECTS = ("invoices", "birds", "the budget", "a river", "our website", "old maps", "tea", "chess")
INSIDE = {
    "summarization": ("summarize this note about {}", "shorten the report on {}"),
    "grammar": ("fix the spelling of my text on {}", "proofread this letter about {}"),
    "sql": ("write a sql query that counts {}", "which index speeds up a select on {}"),
    "recipes": ("what can I cook for a party about {}", "a soup recipe for friends of {}"),
    "architecture": ("design a fault tolerant system for {}", "review our architecture for {}"),
    "proofs": ("prove a theorem about {}", "find a counterexample concerning {}"),
}
TIERS = {
    "summarization": "budget",
    "grammar": "budget",
    "sql": "mid",
    "recipes": "mid",
    "architecture": "premium",
    "proofs": "premium",
}
OUTSIDE = ("who invented {}", "tell me a joke on {}", "how old is {}", "book a flight to see {}")

Run = Callable[..., tuple[int, str, str]]


def labelled(noise: float = 0.2) -> list[dict[str, str]]:
    """Returns prompts with their tiers, some labelled wrongly, so that there is doubt to fit."""
    chance = random.Random(3)  # noqa: S311 - no secret
    rows = []
    for task, forms in INSIDE.items():
        for text in (form.format(subject) for form in forms for subject in SUBJECTS):
            tier = TIERS[task]
            if chance.random() < noise:
                tier = chance.choice(sorted({*TIERS.values()} - {tier}))
            rows.append({"text": text, "label": tier})
    rows += [{"text": form.format(one), "label": "oos"} for form in OUTSIDE for one in SUBJECTS]
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "labelled.jsonl", labelled())


@pytest.fixture
def run(
    encoder_dir: Path,
    catalog: CatalogFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `tierwise` in this process, on the small catalog."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "encoder").symlink_to(encoder_dir)
    monkeypatch.setenv("TIERWISE_CACHE_DIR", str(cache))
    monkeypatch.delenv("TIERWISE_ENCODER", raising=False)

    def go(command: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main((command, *words, "--catalog", str(catalog.path)))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return go


async def status_of(served: Served) -> Any:  # noqa: ANN401 - a response
    return await served.catalogs.GetCatalogStatus(GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S)


def stale_gauge(served: Served, part: str) -> float | None:
    return served.server.telemetry.registry.get_sample_value(
        "tierwise_catalog_stale_calibration", {"catalog": "default", "part": part}
    )


def is_stale(served: Served) -> Callable[[], Any]:
    async def holds() -> bool:
        state = (await status_of(served)).calibration_state
        return bool(state == CalibrationState.CALIBRATION_STATE_STALE)

    return holds


def test_nothing_is_written_before_a_person_agrees(
    run: Run, catalog: CatalogFolder, data: Path
) -> None:
    code, out, _ = run("calibrate", str(data))
    assert code == 0
    assert "+objective: most right decisions" in out
    assert "not written: --yes writes it" in out
    assert not (catalog.path / "calibration.yaml").exists()

    code, out, _ = run("calibrate", str(data), "--yes")
    assert code == 0
    first = catalog.read("calibration.yaml")
    assert "written: calibration" in out
    code, out, _ = run("calibrate", str(data), "--yes")
    assert "Nothing changes." in out
    assert catalog.read("calibration.yaml") == first


async def test_a_calibrated_catalog_is_confident(
    run: Run, serve: Serve, catalog: CatalogFolder, data: Path
) -> None:
    async with serve(catalog) as served:
        plain = await served.route(LIKE["budget"])
        assert not plain.HasField("confidence")
        absent = await status_of(served)
        assert absent.calibration_state == CalibrationState.CALIBRATION_STATE_ABSENT
    code, out, err = await asyncio.to_thread(run, "calibrate", str(data), "--yes", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)

    async with serve(catalog) as served:
        sure = await served.route(LIKE["premium"])
        assert 0.5 < sure.confidence < 1.0
        assert sure.calibration_id == record["calibration_id"]
        assert sure.score_threshold == pytest.approx(record["thresholds"]["all"])
        assert sure.catalog_revision != plain.catalog_revision
        nothing = await served.route(LIKE_NOTHING)
        assert nothing.kind == DecisionKind.DECISION_KIND_DEFAULT
        assert not nothing.HasField("confidence")
        pinned = await served.decide(
            RoutingInput(prompt=LIKE["premium"], constraints={"pinned_tier_id": "mid"})
        )
        assert not pinned.HasField("confidence")
        # A tier that stands in for the matched one has no confidence of its own.
        capped = await served.decide(
            RoutingInput(prompt=LIKE["premium"], constraints={"highest_tier_id": "mid"})
        )
        assert (capped.tier_id, capped.HasField("confidence")) == ("mid", False)
        explained = await served.routing.ExplainDecision(
            ExplainDecisionRequest(input=RoutingInput(prompt=LIKE["premium"])),
            timeout=CALL_TIMEOUT_S,
        )
        assert explained.decision.confidence == pytest.approx(sure.confidence)
        status = await status_of(served)
        assert status.calibration_state == CalibrationState.CALIBRATION_STATE_CURRENT
        assert status.calibration_id == record["calibration_id"]


async def test_an_edit_makes_a_calibration_stale_and_the_policy_decides(
    run: Run, serve: Serve, catalog: CatalogFolder, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await asyncio.to_thread(run, "calibrate", str(data), "--yes"))[0] == 0
    async with serve(catalog, reload_interval_s=0.2) as served:
        fresh = await served.route(LIKE["premium"])
        catalog.replace("tiers/mid.yaml", "left join", "outer join")
        await eventually(is_stale(served))
        assert list((await status_of(served)).stale_calibration_parts) == ["utterances"]
        assert {part: stale_gauge(served, part) for part in ("utterances", "settings")} == {
            "utterances": 1.0,
            "settings": 0.0,
        }
        assert "calibration is stale" in caplog.text
        # By default it is kept.
        assert (await served.route(LIKE["premium"])).calibration_id == fresh.calibration_id

        catalog.replace("catalog.yaml", "margin: 0.02", "margin: 0.02\nstale_calibration: rules")

        async def left_to_rules() -> bool:
            decision = await served.route(LIKE["premium"])
            wanted = SemanticAbstention.SEMANTIC_ABSTENTION_STALE_CALIBRATION
            return bool(decision.semantic_abstention == wanted)

        await eventually(left_to_rules)
        ruled = await served.route(LIKE["premium"])
        assert (ruled.tier_id, ruled.kind) == ("mid", DecisionKind.DECISION_KIND_DEFAULT)
        assert not ruled.HasField("score")
        assert "stale" in ruled.reason

        code, out, _ = await asyncio.to_thread(run, "calibrate", "--check")
        assert code == 1
        assert "stale-calibration" in out
        assert "utterances" in out
        assert (await asyncio.to_thread(run, "calibrate", str(data), "--yes"))[0] == 0

        async def compared_again() -> bool:
            return (await served.route(LIKE["premium"])).HasField("confidence")

        await eventually(compared_again)
        assert stale_gauge(served, "utterances") == 0.0
        code, out, _ = await asyncio.to_thread(run, "calibrate", "--check")
        assert code == 0
        assert "is current" in out


def test_cases_are_calibrated_on_and_evaluated(run: Run, catalog: CatalogFolder) -> None:
    cases = [
        f"- prompt: {row['text']!r}\n  tier: {'none' if row['label'] == 'oos' else row['label']}\n"
        for row in labelled()
    ]
    catalog.write("cases/made.yaml", "".join(cases))
    code, out, _ = run("calibrate", "--yes", "--per", "tier")
    assert code == 0
    assert "from cases, for the tier" in out
    assert "tier premium" in out
    code, out, _ = run("evaluate", "--json")
    assert code == 0
    figures = json.loads(out)["all"]
    assert 0.0 <= figures["calibration_error"] < 0.25
    assert 0.0 < figures["coverage_at_95_precision"] < 1.0
    assert [point["coverage"] for point in figures["risk_coverage"]] == sorted(
        point["coverage"] for point in figures["risk_coverage"]
    )
    catalog.replace("cases/made.yaml", "'who invented tea'", "'who invented cake'")
    code, out, _ = run("calibrate", "--check")
    assert code == 1
    assert "data changed" in out


def test_evidence_is_calibrated_on(run: Run, catalog: CatalogFolder) -> None:
    """A prompt that needs a tier was answered badly by all cheaper ones."""
    lines = []
    for row in labelled():
        tiers = ["budget", "mid", "premium"]
        if row["label"] == "oos":
            continue
        for tier in tiers[: tiers.index(row["label"]) + 1]:
            quality = 1.0 if tier == row["label"] else 0.0
            lines.append(
                json.dumps(
                    {
                        "prompt": row["text"],
                        "tier": tier,
                        "quality": quality,
                        "source": "bench",
                        "time": "2026-01-01T00:00:00+00:00",
                    }
                )
            )
    catalog.write("evidence/made.jsonl", "\n".join([*lines, ""]))
    code, out, err = run("calibrate", "--evidence", "--max-share", "premium=50%", "--yes")
    assert (code, err) == (0, "")
    assert "96 labelled prompts from evidence, for the tier" in out
    assert "source: evidence" in catalog.read("calibration.yaml")
    assert run("calibrate", "--check")[0] == 0
    catalog.replace("catalog.yaml", "margin: 0.02\n", "margin: 0.02\nlearned: {bar: 0.7}\n")
    code, out, _ = run("calibrate", "--check")
    assert code == 1
    assert "before data changed" in out


def test_a_limit_moves_the_dial_and_holds(run: Run, catalog: CatalogFolder, data: Path) -> None:
    code, out, err = run(
        "calibrate", str(data), "--max-under-routed", "premium=35%", "--yes", "--json"
    )
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["dial"] != 0.5
    assert record["thresholds"]["all"] is None
    assert record["validation"]["after"]["limited_bound"] <= 0.35
    assert f"dial: {record['dial']}" in catalog.read("calibration.yaml")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda rows: rows[:1] * 40, (), "nothing can be told from one class"),
        (lambda rows: [], (), "no labelled prompts"),
        (lambda rows: [*rows, {**rows[0], "label": "oos"}], (), "has different labels"),
        (lambda rows: [r for r in rows if r["label"] != "oos"], (), "20 are missing"),
        (lambda rows: rows, ("--max-under-routed", "premium=2%"), "149 are needed even if none"),
        (lambda rows: rows, ("--max-under-routed", "budget=2%"), "nothing lies below budget"),
        (lambda rows: rows, ("--max-share", "gold=2%"), "there is no tier 'gold'"),
        (lambda rows: rows, ("--of", "task"), "name no task"),
        (lambda rows: [{"text": "x", "label": "gold"}], (), "labelled.jsonl:1"),
        (
            lambda rows: [{"text": "prove that there are infinitely many primes", "label": "mid"}],
            (),
            "stand among the utterances",
        ),
        (
            lambda rows: (
                [r for r in rows if r["label"] == "oos"]
                + [{"text": LIKE[tier], "label": tier} for tier in LIKE]
            ),
            ("--keep-thresholds",),
            "only 3 are right: 7 are missing",
        ),
    ],
    ids=[
        "one class",
        "nothing",
        "contradiction",
        "no out of scope",
        "too few for the limit",
        "lowest tier",
        "unknown tier",
        "no tasks",
        "unknown label",
        "leaked",
        "hardly any right",
    ],
)
def test_what_cannot_be_fitted_is_refused(
    run: Run,
    catalog: CatalogFolder,
    tmp_path: Path,
    change: Callable[[list[dict[str, str]]], list[dict[str, str]]],
    words: tuple[str, ...],
    message: str,
) -> None:
    data = write_rows(tmp_path / "labelled.jsonl", change(labelled()))
    code, out, err = run("calibrate", str(data), "--yes", *words)
    assert code == 1
    assert out == ""
    assert message in err
    assert err.startswith("tierwise calibrate: ")
    assert not (catalog.path / "calibration.yaml").exists()


def test_files_edited_while_it_ran_are_left_alone(
    run: Run, catalog: CatalogFolder, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person edits an utterance between the diff and the answer to whether it may be written."""

    class Person:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            catalog.replace("tiers/mid.yaml", "left join", "outer join")
            return "y\n"

    monkeypatch.setattr("sys.stdin", Person())
    code, _, err = run("calibrate", str(data))
    assert code == 1
    assert "edited meanwhile" in err
    assert not (catalog.path / "calibration.yaml").exists()
