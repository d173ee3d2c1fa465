"""`limits.yaml`: what callers may spend, and every way to get it wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tierwise_server.catalog.faults import Fault, FaultRule
from tierwise_server.catalog.limits import AtLimit, Period
from tierwise_server.catalog.model import Catalog

LIMITS = """\
spending:
  - caller: billing-bot
    per: day
    usd: 5
    at_limit: cap
    tier: budget
  - caller: billing-bot
    per: day
    usd: 4.000000001
    at_limit: warn
  - per: month
    usd: 0
    at_limit: refuse
"""


def test_limits_are_read_to_the_last_digit(
    parse: Callable[[Mapping[str, str]], Catalog], valid_files: Mapping[str, str]
) -> None:
    catalog = parse({**valid_files, "limits.yaml": LIMITS})
    assert [
        (one.caller, one.per, one.nano_usd, one.at_limit, one.tier, str(one.location))
        for one in catalog.spend_limits
    ] == [
        ("billing-bot", Period.DAY, 5_000_000_000, AtLimit.CAP, "budget", "limits.yaml:2"),
        ("billing-bot", Period.DAY, 4_000_000_001, AtLimit.WARN, None, "limits.yaml:7"),
        ("", Period.MONTH, 0, AtLimit.REFUSE, None, "limits.yaml:11"),
    ]
    assert [one.is_binding for one in catalog.spend_limits] == [True, False, True]


def test_limits_are_part_of_the_revision_and_their_form_is_not(
    parse: Callable[[Mapping[str, str]], Catalog], valid_files: Mapping[str, str]
) -> None:
    without = parse(valid_files).content_revision
    written = parse({**valid_files, "limits.yaml": LIMITS}).content_revision
    other = parse({**valid_files, "limits.yaml": LIMITS.replace("usd: 5", "usd: 6")})
    same = parse({**valid_files, "limits.yaml": "# ours\n" + LIMITS.replace("usd: 5", "usd: 5.0")})
    assert len({without, written, other.content_revision}) == 3
    assert same.content_revision == written


@pytest.mark.parametrize(
    ("old", "new", "line", "rule", "words"),
    [
        ("    tier: budget\n", "", 2, FaultRule.MISSING_KEY, "Add `tier:`"),
        ("at_limit: warn", "at_limit: warn\n    tier: mid", 11, FaultRule.UNKNOWN_KEY, "cap"),
        ("tier: budget", "tier: budgt", 6, FaultRule.UNKNOWN_TIER, "budget"),
        ("per: month", "per: week", 11, FaultRule.UNKNOWN_VALUE, "day, month"),
        ("at_limit: refuse", "at_limit: stop", 13, FaultRule.UNKNOWN_VALUE, "cap, refuse, warn"),
        ("usd: 5", "usd: -5", 4, FaultRule.OUT_OF_RANGE, "-5"),
        ("usd: 5", "usd: 0.0000000001", 4, FaultRule.OUT_OF_RANGE, "9 digits"),
        ("usd: 5", "usd: five", 4, FaultRule.WRONG_TYPE, "number"),
        ("usd: 5", "eur: 5", 4, FaultRule.UNKNOWN_KEY, "usd"),
        ("caller: billing-bot\n    per: day\n    usd: 4", "caller: 7\n    per: day\n    usd: 4",
         7, FaultRule.NOT_TEXT, '"7"'),
        ("at_limit: warn", "at_limit: cap\n    tier: mid", 7, FaultRule.DUPLICATE_LIMIT, "line 2"),
        ("spending:", "spendings:", 1, FaultRule.UNKNOWN_KEY, "spending"),
    ],
)  # fmt: skip
def test_every_fault_names_its_line_and_what_would_be_right(
    faults_of: Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]],
    valid_files: Mapping[str, str],
    *,
    old: str,
    new: str,
    line: int,
    rule: FaultRule,
    words: str,
) -> None:
    assert LIMITS.count(old) == 1
    faults = faults_of({**valid_files, "limits.yaml": LIMITS.replace(old, new)})
    found = [one for one in faults if (one.file, one.line, one.rule) == ("limits.yaml", line, rule)]
    assert len(found) == 1, faults
    assert words in f"{found[0].message} {found[0].suggestion}"


CALLS = """\
calls:
  - caller: nightly
    per_second: 20
    concurrent: 4
  - caller: '*'
    per_second: 0.5
  - concurrent: 500
"""


def test_call_limits_are_read_and_are_part_of_the_revision(
    parse: Callable[[Mapping[str, str]], Catalog], valid_files: Mapping[str, str]
) -> None:
    catalog = parse({**valid_files, "limits.yaml": CALLS})
    assert catalog.spend_limits == ()
    assert [
        (one.caller, one.per_second, one.concurrent, str(one.location))
        for one in catalog.call_limits
    ] == [
        ("nightly", 20.0, 4, "limits.yaml:2"),
        ("*", 0.5, None, "limits.yaml:5"),
        ("", None, 500, "limits.yaml:7"),
    ]
    revisions = {
        parse(files).content_revision
        for files in (
            valid_files,
            {**valid_files, "limits.yaml": CALLS},
            {**valid_files, "limits.yaml": CALLS + LIMITS},
            {**valid_files, "limits.yaml": CALLS.replace("500", "501")},
        )
    }
    assert len(revisions) == 4


@pytest.mark.parametrize(
    ("old", "new", "line", "rule", "words"),
    [
        ("per_second: 20", "per_second: 0", 3, FaultRule.OUT_OF_RANGE, "0.001"),
        ("per_second: 20", "per_second: many", 3, FaultRule.WRONG_TYPE, "number"),
        ("concurrent: 4", "concurrent: 0", 4, FaultRule.OUT_OF_RANGE, "1"),
        ("concurrent: 4", "concurent: 4", 4, FaultRule.UNKNOWN_KEY, "concurrent"),
        ("    per_second: 0.5\n", "", 5, FaultRule.MISSING_KEY, "per_second"),
        ("caller: '*'", "caller: nightly", 5, FaultRule.DUPLICATE_LIMIT, "line 2"),
        ("caller: nightly", "caller: 7", 2, FaultRule.NOT_TEXT, '"7"'),
        ("calls:", "call:", 1, FaultRule.UNKNOWN_KEY, "calls"),
    ],
)
def test_every_fault_of_a_call_limit_names_its_line(
    faults_of: Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]],
    valid_files: Mapping[str, str],
    *,
    old: str,
    new: str,
    line: int,
    rule: FaultRule,
    words: str,
) -> None:
    assert CALLS.count(old) == 1
    faults = faults_of({**valid_files, "limits.yaml": CALLS.replace(old, new)})
    found = [one for one in faults if (one.file, one.line, one.rule) == ("limits.yaml", line, rule)]
    assert len(found) == 1, faults
    assert words in f"{found[0].message} {found[0].suggestion}"
