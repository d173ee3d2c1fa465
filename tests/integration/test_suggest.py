"""The learning loop as an operator runs it: prompts that were asked, proposals, edited files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CatalogFolder, write_catalog
from tests.unit.server.suggesting.test_propose import CASES, THIN, TRANSLATIONS

from tierwise_server.catalog.ids import TaskId
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.commands.suggest import main

Suggest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def thin(tmp_path: Path) -> CatalogFolder:
    """A catalog with a task that has one utterance."""
    return write_catalog(tmp_path / "catalog", utterances=THIN, cases=CASES)


@pytest.fixture
def suggest(
    thin: CatalogFolder,
    encoder_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Suggest:
    """Runs the command on that catalog and a log of labelled prompts."""
    monkeypatch.setenv("TIERWISE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TIERWISE_ENCODER", str(encoder_dir))
    log = tmp_path / "log.jsonl"

    def run(*words: str, texts: Sequence[str] = TRANSLATIONS) -> tuple[int, str, str]:
        rows = [json.dumps({"text": text, "label": "translation"}) for text in texts]
        log.write_text("\n".join(rows))
        code = main([str(log), "--catalog", str(thin.path), *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_nothing_is_written_unless_told(suggest: Suggest, thin: CatalogFolder) -> None:
    before = thin.read("tiers/budget.yaml")
    code, printed, _ = suggest()
    assert code == 0
    assert "1. [s" in printed
    assert "fixed, 0 broken" in printed
    code, _, errors = suggest("--accept", "1,99")
    assert (code, thin.read("tiers/budget.yaml")) == (1, before)
    assert "no proposal 99" in errors


def test_what_is_accepted_by_id_is_in_the_file(suggest: Suggest, thin: CatalogFolder) -> None:
    before = thin.read("tiers/budget.yaml")
    proposals: list[dict[str, Any]] = json.loads(suggest("--json")[1])
    text = proposals[0]["additions"][0]["text"]
    code, _, errors = suggest("--accept", proposals[0]["id"], "--gate")
    assert code == 0, errors
    assert f'+      - "{text}"' in errors
    added = set(thin.read("tiers/budget.yaml").splitlines()) - set(before.splitlines())
    assert added == {f'      - "{text}"'}
    task = load_catalog(thin.path).task_by_id[TaskId("translation")]
    assert text in [one.text for one in task.utterances]


def test_the_gate_holds_back_what_breaks_cases(suggest: Suggest, thin: CatalogFolder) -> None:
    before = thin.read("tiers/budget.yaml")
    # Labels that contradict a case: each such utterance makes the others right, and the case wrong.
    things = ("orders", "clients", "payments", "invoices")
    texts = [f"write a sql query that counts {thing}" for thing in things]
    code, _, errors = suggest("--apply", "--gate", texts=texts)
    assert code == 1
    assert "more than the gate of 0.0% allows: cases/basics.yaml:5" in errors
    assert thin.read("tiers/budget.yaml") == before
    code, _, errors = suggest("--apply", "--gate", "0.5", texts=texts)
    assert code == 0
    assert thin.read("tiers/budget.yaml") != before
