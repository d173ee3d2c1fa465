"""`calibration.yaml`: read as it was written, comments kept; faults and staleness by table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.conftest import CatalogFolder

from tierwise_server.calibration.binding import (
    cases_hash,
    settings_hash,
    stale_bounds,
    utterances_hash,
)
from tierwise_server.calibration.document import calibration_text
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.catalog.calibration import (
    CASES,
    Binding,
    Bound,
    Calibration,
    ConfidenceCurve,
    Subject,
)
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog

RULES = "default:\n  - name: long\n    when: {min_characters: 400}\n    then: {tier: premium}\n"
CASE = "- prompt: shorten my notes\n  tier: budget\n"


def calibration_of(catalog: Catalog, **changes: object) -> Calibration:
    calibration = Calibration(
        subject=Subject.TASK,
        objective="most right decisions: by hand",
        threshold=0.25,
        tier_thresholds={"mid": 0.00002},
        task_thresholds={"sql": -0.5},
        dial=0.75,
        curve=ConfidenceCurve(intercept=-3.25, score=0.000004, margin=12.0, similarity=0.0),
        binding=Binding(
            encoder="table",
            scorer="formula",
            utterances=utterances_hash(catalog),
            settings=settings_hash(catalog, with_thresholds=False),
            data_source=CASES,
            data=cases_hash(catalog.cases),
            row_count=120,
        ),
        figures={"accuracy": 0.9125},
    )
    return replace(calibration, **changes)  # type: ignore[arg-type]


def calibrated(folder: CatalogFolder, **changes: object) -> Catalog:
    """Writes a calibration into a catalog's folder, and loads it."""
    folder.write("cases/basics.yaml", CASE)
    folder.write("rules.yaml", RULES)
    text = calibration_text(calibration_of(load_catalog(folder.path), **changes), None)
    folder.write("calibration.yaml", text.decode())
    return load_catalog(folder.path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threshold": None, "tier_thresholds": {}, "task_thresholds": {}},
        {"curve": None, "subject": Subject.TIER, "dial": 0.5, "figures": {}},
    ],
    ids=["all", "dial alone", "thresholds alone"],
)
def test_what_is_written_is_read(catalog: CatalogFolder, changes: dict[str, object]) -> None:
    loaded = calibrated(catalog, **changes)
    expected = calibration_of(loaded, **changes)
    assert loaded.calibration == expected
    assert loaded.calibration is not None
    assert loaded.calibration.id == expected.id


def test_thresholds_take_the_place_of_the_files(catalog: CatalogFolder) -> None:
    loaded = calibrated(catalog)
    found = {task.id: loaded.threshold_of(task) for task in loaded.tasks}
    assert found == {
        "summarization": 0.25,
        "grammar": 0.25,
        "sql": -0.5,
        "recipes": 0.00002,
        "architecture": 0.25,
        "proofs": 0.25,
    }


def test_comments_stay_where_they_are(catalog: CatalogFolder) -> None:
    calibrated(catalog)
    commented = catalog.read("calibration.yaml").replace(
        "dial: 0.75", "# Moved in spring.\ndial: 0.75  # for the night shift"
    )
    new = calibration_of(load_catalog(catalog.path), dial=1.25, threshold=0.5)
    text = calibration_text(new, commented.encode()).decode()
    assert "# Moved in spring.\ndial: 1.25  # for the night shift\n" in text
    assert text.startswith("# Written by `tierwise calibrate`")
    catalog.write("calibration.yaml", text)
    assert load_catalog(catalog.path).calibration == new


def test_a_file_that_is_no_yaml_is_not_replaced(catalog: CatalogFolder) -> None:
    loaded = load_catalog(catalog.path)
    with pytest.raises(CalibrationError, match="cannot be read"):
        calibration_text(calibration_of(loaded), b"objective: [")


@pytest.mark.parametrize(
    ("old", "new", "line", "rule"),
    [
        ("all: 0.25", "all: high", 5, "wrong-type"),
        ("score: 0.000004", "score: -1", 14, "out-of-range"),
        ("of: task", "of: model", 12, "unknown-value"),
        ("dial: 0.75", "dials: 0.75", 10, "unknown-key"),
        ("  encoder: table\n", "", 18, "missing-key"),
    ],
)
def test_faults_have_their_line(
    catalog: CatalogFolder, old: str, new: str, line: int, rule: str
) -> None:
    calibrated(catalog)
    catalog.replace("calibration.yaml", old, new)
    with pytest.raises(CatalogInvalidError) as caught:
        load_catalog(catalog.path)
    fault = caught.value.faults[0]
    assert (fault.file, fault.rule) == ("calibration.yaml", rule)
    assert fault.line == line


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("tiers/mid.yaml", "left join", "outer join", (Bound.UTTERANCES,)),
        ("tiers/mid.yaml", "  recipes:", "  cooking:", (Bound.UTTERANCES,)),
        ("catalog.yaml", "margin: 0.02", "margin: 0.05", (Bound.SETTINGS,)),
        ("catalog.yaml", "default_tier: mid", "default_tier: budget", (Bound.SETTINGS,)),
        ("rules.yaml", "{tier: premium}", "{tier: mid}", (Bound.SETTINGS,)),
        ("cases/basics.yaml", "my notes", "our notes", (Bound.DATA,)),
        ("cases/basics.yaml", "tier: budget", "tier: mid", (Bound.DATA,)),
        # Nothing that a calibration rests on.
        ("tiers/mid.yaml", "About sql.", "All about sql.", ()),
        ("catalog.yaml", "threshold: 0.3", "threshold: 0.9", ()),
        ("cases/basics.yaml", "tier: budget", "tags: [easy]\n  tier: budget", ()),
        ("catalog.yaml", "margin: 0.02", "margin: 0.02  # as ever", ()),
    ],
)
def test_an_edit_makes_stale_what_it_concerns(
    catalog: CatalogFolder, file: str, old: str, new: str, stale: tuple[Bound, ...]
) -> None:
    loaded = calibrated(catalog)
    assert stale_bounds(loaded, "table", "formula") == ()
    assert stale_bounds(loaded, "other", "formula-2") == (Bound.ENCODER, Bound.SCORER)
    catalog.replace(file, old, new)
    assert stale_bounds(load_catalog(catalog.path), "table", "formula") == stale


def test_thresholds_of_the_files_count_where_there_are_no_others(catalog: CatalogFolder) -> None:
    loaded = replace(calibrated(catalog), calibration=None)
    binding = replace(
        calibration_of(loaded).binding, settings=settings_hash(loaded, with_thresholds=True)
    )
    changes = {"threshold": None, "tier_thresholds": {}, "task_thresholds": {}}
    loaded = calibrated(catalog, **changes, binding=replace(binding, data_source="x.jsonl"))
    assert stale_bounds(loaded, "table", "formula") == ()
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.9")
    assert stale_bounds(load_catalog(catalog.path), "table", "formula") == (Bound.SETTINGS,)


def test_a_catalog_without_calibration_is_never_stale(catalog: CatalogFolder) -> None:
    loaded = load_catalog(catalog.path)
    assert stale_bounds(loaded, "table", "formula") == ()
    assert loaded.is_compared


def test_the_revision_counts_the_calibration(catalog: CatalogFolder) -> None:
    plain = load_catalog(catalog.path).content_revision
    first = calibrated(catalog).content_revision
    second = calibrated(catalog, dial=0.8).content_revision
    assert len({plain, first, second}) == 3
