"""Figures of how well decisions meet what was expected."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.evaluation import Judgement, figures


def judged(
    expected: str,
    decided: str,
    *,
    matched: bool = True,
    score: float | None = 0.5,
    expected_task: str = "",
    decided_task: str = "",
) -> Judgement:
    return Judgement(
        expected_tier=expected,
        expected_task=expected_task,
        decided_tier=decided,
        decided_task=decided_task,
        matched=matched,
        score=score,
    )


def test_nothing_has_no_figures() -> None:
    empty = figures([])
    assert (empty.count, empty.accuracy, empty.coverage) == (0, None, None)
    assert empty.out_of_scope_auroc is None
    assert empty.confusion == {}


def test_shares_count_what_they_say() -> None:
    result = figures(
        [
            judged("budget", "budget"),
            judged("budget", "mid", matched=False),
            judged("mid", "mid", matched=False),
            judged("premium", "budget"),
            judged("none", "mid", matched=False, score=0.1),
            judged("none", "budget", score=0.7),
        ]
    )
    assert result.count == 6
    assert result.accuracy == pytest.approx(3 / 6)
    assert result.coverage == pytest.approx(2 / 4)
    assert result.matched_accuracy == pytest.approx(1 / 2)
    assert result.out_of_scope_recall == pytest.approx(1 / 2)
    assert result.confusion == {
        "budget": {"budget": 1, "none": 1},
        "mid": {"none": 1},
        "premium": {"budget": 1},
        "none": {"none": 1, "budget": 1},
    }


def test_the_default_tier_is_right_where_it_was_expected() -> None:
    assert judged("mid", "mid", matched=False).right
    assert not judged("none", "mid", matched=True).right


def test_a_task_alone_may_be_expected() -> None:
    result = figures(
        [
            judged("", "mid", expected_task="sql", decided_task="sql"),
            judged("", "mid", expected_task="sql", decided_task="recipes"),
        ]
    )
    assert result.accuracy == result.task_accuracy == 0.5
    assert result.confusion == {}


SCORE = st.integers(-4, 4).map(lambda step: step / 4)


@given(st.lists(SCORE, min_size=1, max_size=8), st.lists(SCORE, min_size=1, max_size=8))
def test_the_auroc_is_the_chance_to_score_higher(inside: list[float], outside: list[float]) -> None:
    result = figures(
        [judged("mid", "mid", score=score) for score in inside]
        + [judged("none", "mid", score=score) for score in outside]
        + [judged("mid", "mid", score=None)]
    )
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(inside, outside)]
    assert result.out_of_scope_auroc == pytest.approx(sum(wins) / len(wins))
