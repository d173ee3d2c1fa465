"""When the dearest tier is doubted, and what is left of a prompt without what is beside it."""

from __future__ import annotations

import pytest

from tierwise_server.deciding.asides import LEAST_LEFT, MOST_ASIDE_WORDS, is_weak, without_asides
from tierwise_server.scoring.scorer import Lead

REQUEST = "is there a table free at eight?"


def leads(*scores: float) -> list[Lead]:
    return [Lead(score=score, task=rank, similarity=score) for rank, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.1, 0.1, 0.2), True),
        ((0.1, 0.1, 0.5), False),
        ((0.3, 0.1, 0.2), False),
        ((0.21, 0.1, 0.2), True),
    ],
)
def test_the_dearest_tier_is_doubted_where_it_leads_by_little_likeness(
    scores: tuple[float, ...], expected: bool
) -> None:
    assert is_weak(leads(*scores), margin=0.02) is expected


@pytest.mark.parametrize("aside", ["One wrong word and the merger collapses.", "P0 >>>"])
def test_the_first_and_the_last_clause_may_be_asides(aside: str) -> None:
    assert REQUEST in without_asides(f"{aside} {REQUEST}")
    assert REQUEST in without_asides(f"{REQUEST} {aside}") or ">" in aside


@pytest.mark.parametrize(
    "text",
    [
        "",
        "what is the capital of France?",
        "syncope at age fifteen. next step?",
        f"{'word ' * (MOST_ASIDE_WORDS + 1)}. {'other ' * (MOST_ASIDE_WORDS + 1)}",
        "Stress-test this plan:\nrent nine thousand, eighty covers a day",
        "a. " * 1_000,
        f"What now? {'word ' * LEAST_LEFT}?",
    ],
)
def test_requests_are_no_asides(text: str) -> None:
    assert without_asides(text) == []
