"""What a look at a catalog finds, and what it could not look at."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from tierwise_server.catalog.faults import Fault
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.lint_rules import LintRule


class Severity(StrEnum):
    """How much a finding matters. The names are those of SARIF."""

    ERROR = "error"
    """A fault: the catalog is not served like this."""
    WARNING = "warning"
    """Likely to send prompts to the wrong tier, or to make a figure wrong."""
    NOTE = "note"
    """Worth a look when there is time."""


_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong or questionable, and where."""

    rule: str
    """Id of a `FaultRule` or `LintRule`."""
    severity: Severity
    file: str
    """Path inside the catalog folder; `.` for the folder itself."""
    line: int
    """Counted from 1."""
    message: str
    """What was found, in one sentence."""
    suggestion: str = ""
    """What would mend it, in one sentence."""
    related: tuple[Location, ...] = ()
    """Other places that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Rules that were not looked at."""

    rules: tuple[LintRule, ...]
    reason: str
    """Why, and what to do about it."""


def of_fault(fault: Fault) -> Finding:
    """Returns a fault as a finding."""
    return Finding(
        rule=fault.rule,
        severity=Severity.ERROR,
        file=fault.file,
        line=fault.line,
        message=fault.message,
        suggestion=fault.suggestion,
    )


def found(
    rule: LintRule,
    severity: Severity,
    at: Location,
    message: str,
    suggestion: str,
    related: Iterable[Location] = (),
) -> Finding:
    """Returns a finding at a place in a file."""
    return Finding(
        rule=rule,
        severity=severity,
        file=at.file,
        line=at.line,
        message=message,
        suggestion=suggestion,
        related=tuple(related),
    )


def in_order(findings: Iterable[Finding], ignored: Collection[LintRule]) -> tuple[Finding, ...]:
    """Returns the findings of rules that are not ignored: by severity, then by place."""
    kept = (one for one in findings if one.rule not in ignored)
    return tuple(sorted(kept, key=lambda one: (_ORDER[one.severity], one.file, one.line, one.rule)))
