"""Tasks that stand for what no tier is for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tierwise_server.scoring import BACKGROUND, Scorer, ScorerParameters, fit_scorer

Matrix = NDArray[np.float32]

TIERS = [0, 1, BACKGROUND, BACKGROUND]


def clouds(per_task: int = 8, tasks: int = 4, dimensions: int = 16) -> tuple[Matrix, Matrix]:
    """Returns the utterances of each task in turn, and one unseen prompt for each task."""
    chance = np.random.default_rng(11)
    centers = 2.0 * chance.normal(size=(tasks, dimensions))
    rows = np.repeat(centers, per_task + 1, axis=0)
    rows = rows + chance.normal(size=rows.shape)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    rows = rows.reshape(tasks, per_task + 1, dimensions)
    return rows[:, :per_task].reshape(-1, dimensions), rows[:, per_task]


def fitted() -> tuple[Scorer, Matrix, Matrix]:
    rows, unseen = clouds()
    return fit_scorer(rows, np.repeat(np.arange(4), 8), TIERS, tier_count=2), rows, unseen


def test_background_has_no_place_in_the_scores() -> None:
    scorer, _, unseen = fitted()
    scores = scorer.score(unseen[0])
    assert scores.task_scores.shape == scores.task_similarities.shape == (2,)
    assert [lead.task for lead in scorer.leads(unseen[0])] == [0, 1]


def test_a_prompt_like_background_scores_below_one_like_a_task() -> None:
    scorer, _, unseen = fitted()
    inside = [scorer.score(one).task_scores.max() for one in unseen[:2]]
    outside = [scorer.score(one).task_scores.max() for one in unseen[2:]]
    assert min(inside) > 0.2
    assert max(outside) < 0.0


def test_background_lowers_all_scores_alike() -> None:
    rows, unseen = clouds()
    labels = np.repeat(np.arange(4), 8)
    scores = [
        fit_scorer(rows, labels, TIERS, ScorerParameters(background_level=level)).score(unseen[2])
        for level in (0.0, 0.25)
    ]
    assert scores[0].background - scores[1].background == pytest.approx(0.25, abs=1e-6)
    change = scores[1].task_scores - scores[0].task_scores
    np.testing.assert_allclose(change, 0.25, rtol=0, atol=1e-5)


def test_an_utterance_of_the_background_matches_nothing() -> None:
    scorer, rows, _ = fitted()
    assert scorer.score(rows[16]).task_scores.max() < 0.0


def test_an_utterance_of_a_task_matches_whatever_the_background() -> None:
    scorer, rows, _ = fitted()
    assert scorer.score(rows[0]).task_scores[0] >= 1.0 - 1e-4


def test_background_is_nobodys_neighbor() -> None:
    scorer, rows, _ = fitted()
    assert scorer.nearest(rows[16], 100).utterances.max() == 15


def test_without_background_nothing_is_lowered() -> None:
    rows, unseen = clouds()
    scores = fit_scorer(rows, np.repeat(np.arange(4), 8), [0, 1, 0, 1]).score(unseen[0])
    assert scores.background == 0.0


def test_a_catalog_of_background_alone_scores_nothing() -> None:
    rows, unseen = clouds(tasks=1)
    scorer = fit_scorer(rows, np.zeros(8, dtype=np.int64), [BACKGROUND], tier_count=2)
    assert len(scorer.score(unseen[0]).task_scores) == 0
    assert np.isneginf([lead.score for lead in scorer.leads(unseen[0])]).all()


def test_background_comes_last() -> None:
    rows, _ = clouds(tasks=2)
    with pytest.raises(ValueError, match="highest numbers"):
        fit_scorer(rows, np.repeat([0, 1], 8), [BACKGROUND, 0])
