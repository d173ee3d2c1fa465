"""Findings as text for people, JSON for programs, and the formats that code hosts show in place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tierwise import __version__
from tierwise_server.linting.findings import Finding, LeftOut, Severity

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check has found."""

    folder: str
    """The catalog folder as it was given."""
    findings: Sequence[Finding]
    left_out: Sequence[LeftOut] = ()
    summary: str = ""
    """What the catalog holds; empty when it does not load."""

    def count(self, severity: Severity) -> int:
        """Returns how many findings have a severity."""
        return sum(one.severity is severity for one in self.findings)

    def path(self, file: str) -> str:
        """Returns the path of a file of the catalog as people and hosts find it."""
        return self.folder if file == "." else f"{self.folder}/{file}"


def as_text(report: CheckReport, *, notes: bool = False) -> str:
    """Returns lines for people; notes are counted, and listed only where asked for."""
    lines = [
        f"{report.path(one.file)}:{one.line}: {one.severity} {one.rule}: {one.message}"
        f"{f' {one.suggestion}' if one.suggestion else ''}"
        for one in report.findings
        if notes or one.severity is not Severity.NOTE
    ]
    lines += [f"left out: {', '.join(one.rules)}: {one.reason}" for one in report.left_out]
    faults, warnings = report.count(Severity.ERROR), report.count(Severity.WARNING)
    counted = f"{_counted(warnings, 'warning')}, {_counted(report.count(Severity.NOTE), 'note')}"
    if faults:
        lines.append(_counted(faults, "fault"))
    else:
        hint = "" if notes or not report.count(Severity.NOTE) else " (--notes lists them)"
        lines.append(f"{report.folder}: no faults, {counted}{hint}; {report.summary}")
    return "\n".join(lines)


def as_json(report: CheckReport) -> str:
    """Returns one JSON object."""
    return json.dumps(
        {
            "faults": [asdict(one) for one in report.findings if one.severity is Severity.ERROR],
            "findings": [asdict(one) for one in report.findings],
            "left_out": [asdict(one) for one in report.left_out],
            "counts": {str(one): report.count(one) for one in Severity},
        },
        ensure_ascii=False,
    )


def as_github(report: CheckReport) -> str:
    """Returns workflow commands, which GitHub shows beside the lines of a pull request."""
    names = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    return "\n".join(
        f"::{names[one.severity]} file={_property(report.path(one.file))},line={one.line},"
        f"title={_property(one.rule)}::{_escaped(f'{one.message} {one.suggestion}'.strip())}"
        for one in report.findings
    )


def as_sarif(report: CheckReport) -> str:
    """Returns a SARIF 2.1.0 log, which code hosts and editors read."""
    rules = sorted({one.rule for one in report.findings})
    return json.dumps(
        {
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "tierwise check",
                            "version": __version__,
                            "rules": [{"id": rule} for rule in rules],
                        }
                    },
                    "results": [_result(report, one) for one in report.findings],
                }
            ],
        },
        ensure_ascii=False,
    )


FORMATS: Final[Mapping[str, Callable[[CheckReport], str]]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
}


def _result(report: CheckReport, one: Finding) -> dict[str, object]:
    return {
        "ruleId": str(one.rule),
        "level": str(one.severity),
        "message": {"text": f"{one.message} {one.suggestion}".strip()},
        "locations": [_location(report.path(one.file), one.line)],
        "relatedLocations": [_location(report.path(at.file), at.line) for at in one.related],
    }


def _location(path: str, line: int) -> dict[str, object]:
    return {"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": line}}}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
