"""Evidence as part of a catalog: files, references, revision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import MODELS, CatalogFolder, write_catalog

from tierwise_server.catalog import evidence_files
from tierwise_server.catalog.faults import CatalogInvalidError, Fault, FaultRule
from tierwise_server.catalog.loader import load_catalog, parse_catalog, read_catalog_files
from tierwise_server.catalog.model import LearnedSettings, ShownEvidence


def line(prompt: str = "tl;dr", model: str | None = "small-fast", **fields: object) -> str:
    """Returns a row; None leaves the model out."""
    row = {"prompt": prompt, "model": model, "quality": 1.0, "source": "bench"} | fields
    row.setdefault("time", "2026-05-01T12:00:00Z")
    return json.dumps({key: value for key, value in row.items() if value is not None}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> CatalogFolder:
    """The small catalog with models."""
    return write_catalog(tmp_path / "catalog", models=MODELS)


def faults_of(folder: CatalogFolder) -> list[Fault]:
    with pytest.raises(CatalogInvalidError) as raised:
        load_catalog(folder.path)
    return list(raised.value.faults)


def test_rows_of_all_files_are_merged_and_placed_by_the_registry(folder: CatalogFolder) -> None:
    folder.write("evidence/a.jsonl", line(tier="premium") + line("other", model="middle"))
    folder.write("evidence/b.jsonl", line(quality=0.0, source="outcome", task="gone"))

    evidence = load_catalog(folder.path).evidence

    assert [(row.prompt, row.model, row.tier, row.quality) for row in evidence] == [
        ("tl;dr", "small-fast", "budget", 0.5),
        ("other", "middle", "mid", 1.0),
    ]


def test_without_models_the_tier_of_a_row_counts(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path / "catalog")
    folder.write(
        "evidence/a.jsonl", line(model="whatever", tier="mid") + line(model=None, tier="mid")
    )

    assert [row.tier for row in load_catalog(folder.path).evidence] == ["mid", "mid"]


@pytest.mark.parametrize(
    ("text", "rule", "row", "message"),
    [
        (line() + "nonsense\n", FaultRule.INVALID_EVIDENCE, 2, "it is not JSON"),
        (line(quality=7), FaultRule.INVALID_EVIDENCE, 1, "`quality`: it is not a number"),
        (line() + line(model="smal-fast"), FaultRule.UNKNOWN_MODEL, 2, "no model `smal-fast`"),
        (line(model=None, tier="gold"), FaultRule.UNKNOWN_TIER, 1, "no tier `gold`"),
    ],
)
def test_a_bad_row_is_a_fault_with_its_line(
    folder: CatalogFolder, text: str, rule: FaultRule, row: int, message: str
) -> None:
    folder.write("evidence/a.jsonl", text)

    (fault,) = faults_of(folder)

    assert (fault.file, fault.line, fault.rule) == ("evidence/a.jsonl", row, rule)
    assert message in fault.message


def test_an_unknown_model_is_one_fault_that_says_what_to_do(folder: CatalogFolder) -> None:
    folder.write("evidence/a.jsonl", "".join(line(f"{i}", model="retired") for i in range(9)))

    (fault,) = faults_of(folder)

    assert "rows that name it: 9" in fault.message
    assert "tierwise evidence remove --model retired" in fault.suggestion


def test_a_faulty_model_makes_no_fault_of_its_evidence(folder: CatalogFolder) -> None:
    folder.write("evidence/a.jsonl", line())
    folder.replace("models.yaml", "input: 0.15", "input: -1")

    assert {fault.file for fault in faults_of(folder)} == {"models.yaml"}


def test_other_endings_are_faults(folder: CatalogFolder) -> None:
    folder.write("evidence/a.json", line())
    folder.write("evidence/b.yaml", "[]")

    assert [(fault.file, fault.rule) for fault in faults_of(folder)] == [
        ("evidence/a.json", FaultRule.UNKNOWN_FILE),
        ("evidence/b.yaml", FaultRule.UNKNOWN_FILE),
    ]


def test_too_many_rows_are_a_fault(folder: CatalogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_files, "MAX_EVIDENCE_ROWS", 2)
    folder.write("evidence/a.jsonl", "".join(line(f"{i}") for i in range(3)))

    assert [fault.rule for fault in faults_of(folder)] == [FaultRule.TOO_MUCH_EVIDENCE]


def test_the_revision_knows_what_counts_and_nothing_else(folder: CatalogFolder) -> None:
    revisions = [load_catalog(folder.path).content_revision]
    for text in (line("a") + line("b"), line("a") + line("b", quality=0.5)):
        folder.write("evidence/a.jsonl", text)
        revisions.append(load_catalog(folder.path).content_revision)
    assert len(set(revisions)) == 3

    folder.write("evidence/a.jsonl", "\n" + line("b", quality=0.5, source="import") + line(" a "))
    assert load_catalog(folder.path).content_revision == revisions[-1]


def test_the_settings_are_read_and_checked(folder: CatalogFolder) -> None:
    assert load_catalog(folder.path).learned == LearnedSettings()
    settings = folder.read("catalog.yaml")
    folder.write(
        "catalog.yaml", settings + "learned: {bar: 0.7, minimum_prompts: 50, show: prompts}\n"
    )
    assert load_catalog(folder.path).learned == LearnedSettings(
        bar=0.7, minimum_prompts=50, show=ShownEvidence.PROMPTS
    )
    folder.write("catalog.yaml", settings + "learned: {bar: 85, minimum_prompt: 5}\n")
    assert [fault.rule for fault in faults_of(folder)] == [
        FaultRule.OUT_OF_RANGE,
        FaultRule.UNKNOWN_KEY,
    ]


def test_a_file_that_did_not_change_is_not_parsed_again(folder: CatalogFolder) -> None:
    folder.write("evidence/a.jsonl", line())
    folder.write("evidence/b.jsonl", line("b"))
    known: evidence_files.EvidenceReadings = {}
    parse_catalog(read_catalog_files(folder.path), None, known)
    before = known["evidence/a.jsonl"][1]
    folder.write("evidence/b.jsonl", line("c"))
    parse_catalog(read_catalog_files(folder.path), None, known)
    assert known["evidence/a.jsonl"][1] is before
    assert known["evidence/b.jsonl"][1].rows[0].prompt == "c"
    (folder.path / "evidence/b.jsonl").unlink()
    parse_catalog(read_catalog_files(folder.path), None, known)
    assert list(known) == ["evidence/a.jsonl"]
