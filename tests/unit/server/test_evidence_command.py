"""`tierwise evidence`: what it adds, refuses and takes out, on real files and ledgers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import MODELS, CatalogFolder, write_catalog
from tests.unit.server.ledger.conftest import attempt, decision, outcome, postgres, sqlite_url, url
from tests.unit.server.reporting.conftest import write

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.commands.evidence import main
from tierwise_server.evidence.rows import EvidenceRow, read_rows

__all__ = ["postgres", "sqlite_url", "url"]

THEIRS = (
    {"question": "tl;dr of this", "stars": 5, "llm": "small-fast", "noise": 1},
    {"question": "join two tables", "stars": 1, "llm": "small-fast", "noise": 2},
)
COLUMNS = ("--column", "prompt=question", "--column", "quality=stars", "--column", "model=llm")


@pytest.fixture
def folder(tmp_path: Path) -> CatalogFolder:
    """The small catalog with models."""
    return write_catalog(tmp_path / "catalog", models=MODELS)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A file with names of its own."""
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join(map(json.dumps, THEIRS)))
    return path


def run(folder: CatalogFolder, action: str, *words: object) -> int:
    return main([action, *map(str, words), "--catalog", str(folder.path)])


def kept(folder: CatalogFolder, name: str = "imported") -> tuple[EvidenceRow, ...]:
    return read_rows((folder.path / f"evidence/{name}.jsonl").read_bytes(), name).rows


def test_columns_of_other_names_are_mapped(
    folder: CatalogFolder, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "import", theirs, *COLUMNS, "--scale", 5) == 0

    assert [(row.prompt, row.model, row.quality, row.source) for row in kept(folder)] == [
        ("tl;dr of this", "small-fast", 1.0, "import"),
        ("join two tables", "small-fast", 0.2, "import"),
    ]
    assert len(load_catalog(folder.path).evidence) == 2
    shown = capsys.readouterr().out
    assert "2 rows added" in shown
    assert "498 of 500 for budget, 500 of 500 for mid" in shown


def test_importing_a_file_twice_adds_nothing(
    folder: CatalogFolder, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "import", theirs, *COLUMNS, "--scale", 5)
    capsys.readouterr()
    assert run(folder, "import", theirs, *COLUMNS, "--scale", 5) == 0
    assert "0 rows added" in capsys.readouterr().out
    assert len(kept(folder)) == 2


def test_what_a_file_lacks_is_said_on_the_command_line(folder: CatalogFolder, theirs: Path) -> None:
    words = ("--column", "prompt=question", "--set", "tier=mid", "--set", "quality=0.5")
    time = ("--set", "time=2026-01-31T00:00:00Z", "--to", "evidence/mid.jsonl")
    assert run(folder, "import", theirs, *words, *time) == 0
    assert {(row.tier, row.model, row.quality) for row in kept(folder, "mid")} == {("mid", "", 0.5)}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "theirs.jsonl:1: question: there is no such key"),
        (COLUMNS, "theirs.jsonl:1: quality: it is not a number from 0 to 1"),
        ((*COLUMNS, "--scale", "5", "--set", "model=gone"), ":2: model: there is no model 'gone'"),
        ((*COLUMNS[:4], "--scale", "5", "--set", "tier=gold"), "tier: there is no tier 'gold'"),
        ((*COLUMNS, "--scale", "0"), "give a number above 0"),
        ((*COLUMNS, "--scale", "5", "--to", "../e.jsonl"), "evidence/NAME.jsonl"),
        ((*COLUMNS, "--scale", "5", "--to", "evidence/e.json"), "evidence/NAME.jsonl"),
    ],
)
def test_a_fault_changes_nothing_and_names_the_line(
    folder: CatalogFolder,
    theirs: Path,
    words: tuple[str, ...],
    fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(folder, "import", theirs, *words) == 2
    shown = capsys.readouterr()
    assert fault in shown.err
    assert shown.out == ""
    assert not (folder.path / "evidence").exists()


def test_a_file_of_something_else_is_refused(
    folder: CatalogFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(b"[1]\n\xff\n" * 30)
    assert run(folder, "import", path) == 2
    shown = capsys.readouterr().err
    assert "other.jsonl:2: it is not an object of JSON" in shown
    assert "and 40 more" in shown
    assert run(folder, "import", tmp_path / "gone.jsonl") == 2
    assert "gone.jsonl: No such file" in capsys.readouterr().err


def test_a_key_that_there_is_not_is_a_misuse(folder: CatalogFolder, theirs: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        run(folder, "import", theirs, "--column", "score=stars")
    assert raised.value.code == 2


def test_the_status_says_what_is_missing(
    folder: CatalogFolder, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "import", theirs, *COLUMNS, "--scale", 5, "--set", "task=gone")
    capsys.readouterr()
    assert run(folder, "status") == 0
    text = capsys.readouterr().out
    assert "budget            2 prompts of 500 needed, 498 missing" in text
    assert "from import       2 rows" in text
    assert "2 rows name a task that the catalog does not have" in text
    assert run(folder, "status", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["is_met"] is False
    assert [tier["missing_count"] for tier in figures["tiers"]] == [498, 500, 500]
    assert figures["sources"] == {"import": 2}


def test_the_rows_of_a_retired_model_are_taken_out(
    folder: CatalogFolder, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "import", theirs, *COLUMNS, "--scale", 5)
    run(folder, "import", theirs, *COLUMNS, "--scale", 5, "--set", "model=middle")
    folder.replace("models.yaml", "id: middle", "id: other")
    capsys.readouterr()
    assert run(folder, "status") == 2
    assert "tierwise evidence remove --model middle" in capsys.readouterr().err

    assert run(folder, "remove", "--model", "middle") == 0
    assert {row.model for row in kept(folder)} == {"small-fast"}
    assert run(folder, "status") == 0
    assert run(folder, "remove", "--model", "middle") == 2
    assert "no row of middle" in capsys.readouterr().err


def test_judged_calls_whose_prompts_are_kept_are_exported(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [decision(number, prompt=f"prompt {number}") for number in (1, 2, 3, 4)]
    calls = [
        outcome("a", decision_id=known[0].decision_id, quality=0.7),
        outcome("b", decision_id=known[1].decision_id),
        outcome("c", attempt("big"), decision_id=known[2].decision_id, verdict=2),
        outcome("d", decision_id=known[3].decision_id),
        outcome("e", decision_id=decision(5).decision_id, quality=1.0),
    ]
    later = outcome("b2", decision_id=known[1].decision_id, attempts=(), verdict=1)
    last = outcome("b3", decision_id=known[1].decision_id, attempts=(), quality=0.4)
    write(url, decisions=[*known, decision(5)], outcomes=[*calls, later, last])
    output = tmp_path / "evidence" / "outcomes.jsonl"

    assert main(["export", "--ledger", url, "--output", str(output)]) == 0

    rows = read_rows(output.read_bytes(), "e").rows
    assert [(row.prompt, row.model, row.quality) for row in rows] == [
        ("prompt 1", "small", 0.7),
        ("prompt 2", "small", 0.4),
        ("prompt 3", "big", 0.0),
    ]
    assert {row.source for row in rows} == {"outcome"}
    assert "3 rows added" in capsys.readouterr().out
    assert main(["export", "--ledger", url, "--output", str(output)]) == 0
    assert "0 rows added" in capsys.readouterr().out
    assert main(["export", "--ledger", url, "--since", "2999-01-01"]) == 0
    assert "no judged call whose prompt is kept" in capsys.readouterr().err
    assert main(["export", "--ledger", url, "--since", "soon"]) == 2


def test_a_ledger_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--ledger", f"sqlite:///{tmp_path}/none.sqlite3"]) == 2
    assert "there is no ledger at" in capsys.readouterr().err
