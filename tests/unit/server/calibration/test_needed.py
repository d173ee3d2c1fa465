"""What evidence says of the tier that a prompt needs, by table."""

from __future__ import annotations

import datetime

import pytest

from tierwise_server.calibration.needed import needed_tiers
from tierwise_server.evidence.rows import EvidenceRow, EvidenceSource

TIERS = ("budget", "mid", "premium")


def rows_of(prompt: str, qualities: list[tuple[str, float]]) -> list[EvidenceRow]:
    return [
        EvidenceRow(
            prompt=prompt,
            tier=tier,
            quality=quality,
            source=EvidenceSource.BENCH,
            time=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            file="evidence/a.jsonl",
            line=line,
        )
        for line, (tier, quality) in enumerate(qualities, start=1)
    ]


@pytest.mark.parametrize(
    ("qualities", "needed"),
    [
        ([("budget", 0.9)], "budget"),
        ([("budget", 0.85)], "budget"),
        ([("budget", 0.2), ("mid", 0.9)], "mid"),
        ([("premium", 1.0), ("mid", 0.5), ("budget", 0.0)], "premium"),
        # Two models of a tier count with their mean.
        ([("budget", 1.0), ("budget", 0.6), ("mid", 1.0)], "mid"),
        # What is not known does not tell.
        ([("mid", 0.9)], None),
        ([("budget", 0.2), ("premium", 1.0)], None),
        ([("budget", 0.1), ("mid", 0.1), ("premium", 0.1)], None),
    ],
)
def test_the_cheapest_tier_that_was_good_enough(
    qualities: list[tuple[str, float]], needed: str | None
) -> None:
    told, untold = needed_tiers(rows_of("prove it", qualities), TIERS, 0.85)
    if needed is None:
        assert (told, untold) == ([], 1)
    else:
        assert told == [("prove it", needed, "evidence/a.jsonl:1")]
        assert untold == 0
