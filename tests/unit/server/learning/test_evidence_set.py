"""From rows to numbers, and how much evidence is enough."""

from __future__ import annotations

import datetime
import itertools

import numpy as np
import pytest

from tierwise_server.evidence.rows import EvidenceRow, EvidenceSource, packed
from tierwise_server.learning import evidence_need, evidence_set

TIERS = {"budget": 0, "premium": 1}


def row(
    prompt: str = "", tier: str = "budget", quality: float = 1.0, **rest: object
) -> EvidenceRow:
    fields: dict[str, object] = {"model": f"{tier}-1"} | rest
    return EvidenceRow(
        prompt=prompt,
        tier=tier,
        quality=quality,
        source=EvidenceSource.BENCH,
        time=datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC),
        **fields,  # type: ignore[arg-type]
    )


def vector(*values: float, encoder: str = "enc", **rest: object) -> EvidenceRow:
    return row(embedding=packed(values), encoder=encoder, **rest)


def test_a_tier_has_the_mean_of_its_models() -> None:
    rows = [row("a"), row("a", quality=0.0, model="budget-2"), row("a", "premium"), row("b")]
    found = evidence_set(rows, TIERS, encoder_id="enc", dimensions=2)
    assert [one.text for one in found.prompts] == ["a", "b"]
    np.testing.assert_array_equal(found.quality, [[0.5, 1.0], [1.0, np.nan]])


def test_order_makes_no_difference() -> None:
    rows = [row("b"), row("a", quality=0.1), row("a", quality=0.2, model="x"), vector(1.0, 0.0)]
    texts = set()
    for order in itertools.permutations(rows):
        found = evidence_set(order, TIERS, encoder_id="enc", dimensions=2)
        texts.add((tuple(one.text for one in found.prompts), found.quality.tobytes()))
    assert len(texts) == 1


def test_vectors_of_another_encoder_count_for_nothing() -> None:
    rows = [vector(1.0, 0.0), vector(0.0, 1.0, encoder="old"), vector(1.0), row("a")]
    found = evidence_set(rows, TIERS, encoder_id="enc", dimensions=2)
    assert [one.rows[0].embedding for one in found.prompts] == [packed((1.0, 0.0)), b""]
    need = evidence_need(rows, list(TIERS), needed_count=1, encoder_id="enc", dimensions=2)
    assert need.foreign_count == 2
    assert "4 rows of evidence, 2 of them of another encoder," in str(need)


def test_what_is_missing_is_said_for_each_tier() -> None:
    rows = [row(f"{i}", quality=i / 10) for i in range(10)] + [
        row("0", "premium"),
        row("0", "premium"),
    ]
    need = evidence_need(rows, list(TIERS), needed_count=5)
    assert [(one.prompt_count, one.missing_count) for one in need.tiers] == [(10, 0), (1, 4)]
    assert not need.is_met
    assert str(need) == (
        "12 rows of evidence do not decide yet: prompts with a label are missing,"
        " 4 of 5 for premium."
    )


@pytest.mark.parametrize(
    ("qualities", "tiers", "met", "words"),
    [
        ((0.0, 1.0), ["budget", "premium"], True, "decide where they lie near"),
        ((1.0, 1.0), ["budget", "premium"], False, "all labels are alike"),
        ((0.0, 1.0), ["budget"], False, "one tier only"),
    ],
)
def test_evidence_decides_with_several_tiers_and_different_labels(
    qualities: tuple[float, float], tiers: list[str], met: bool, words: str
) -> None:
    rows = [row(f"{i}", tier, quality) for tier in tiers for i, quality in enumerate(qualities)]
    need = evidence_need(rows, tiers, needed_count=2)
    assert need.is_met is met
    assert words in str(need)
