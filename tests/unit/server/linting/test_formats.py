"""How findings are written down."""

from __future__ import annotations

import json

from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.linting.findings import Finding, LeftOut, Severity, found
from tierwise_server.linting.formats import CheckReport, as_github, as_json, as_sarif, as_text

WARNING = found(
    LintRule.NEAR_LEAK,
    Severity.WARNING,
    Location(file="cases/a.yaml", line=3),
    "100% alike.",
    "Reword it.",
    [Location(file="tiers/mid.yaml", line=7)],
)
NOTE = found(
    LintRule.DEAD_UTTERANCE, Severity.NOTE, Location(file="tiers/mid.yaml", line=9), "Dead.", ""
)
FAULT = Finding(
    rule="unknown-key", severity=Severity.ERROR, file=".", line=1, message="Wrong, it is."
)
LEFT_OUT = LeftOut(rules=(LintRule.NEAR_LEAK,), reason="--fast")


def report(*findings: Finding) -> CheckReport:
    return CheckReport(folder="here", findings=findings, left_out=[LEFT_OUT], summary="5 tasks")


def test_text_counts_notes_and_lists_them_when_asked() -> None:
    brief = as_text(report(WARNING, NOTE)).splitlines()
    assert brief == [
        "here/cases/a.yaml:3: warning near-leak: 100% alike. Reword it.",
        "left out: near-leak: --fast",
        "here: no faults, 1 warning, 1 note (--notes lists them); 5 tasks",
    ]
    assert "here/tiers/mid.yaml:9: note dead-utterance: Dead." in as_text(
        report(WARNING, NOTE), notes=True
    )
    assert as_text(report(FAULT)).splitlines()[-1] == "1 fault"


def test_json_has_everything() -> None:
    read = json.loads(as_json(report(FAULT, WARNING, NOTE)))
    assert read["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert read["faults"] == read["findings"][:1]
    assert read["findings"][1]["related"] == [{"file": "tiers/mid.yaml", "line": 7}]
    assert read["left_out"] == [{"rules": ["near-leak"], "reason": "--fast"}]


def test_github_commands_escape_what_would_end_them() -> None:
    assert as_github(report(FAULT, WARNING)).splitlines() == [
        "::error file=here,line=1,title=unknown-key::Wrong, it is.",
        "::warning file=here/cases/a.yaml,line=3,title=near-leak::100%25 alike. Reword it.",
    ]


def test_sarif_points_at_lines() -> None:
    (run,) = json.loads(as_sarif(report(WARNING, NOTE)))["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [
        "dead-utterance",
        "near-leak",
    ]
    result = run["results"][0]
    assert (result["ruleId"], result["level"]) == ("near-leak", "warning")
    place = result["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "here/cases/a.yaml"},
        "region": {"startLine": 3},
    }
