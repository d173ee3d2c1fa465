"""What can be seen of texts without reading them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
from tests.conftest import REPOSITORY

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.linting.surface import (
    FOLDS,
    NAMES,
    _fitted,
    _folds,
    cues,
    surface_figures,
)

SHORT = [f"fix word {number}" for number in range(30)]
LONG = [f"please design the whole of system number {number} with care" for number in range(30)]


def test_there_is_a_name_for_each_cue() -> None:
    assert dict(zip(NAMES, cues("Is it OK?"), strict=True)) == {
        "characters": 9,
        "words": 3,
        "share of capitals": 3 / 6,
        "a capital first": 1,
        **{f"count of `{mark}`": float(mark == "?") for mark in "?!.,;:"},
        **{f"`{mark}` at the end": float(mark == "?") for mark in "?!."},
    }


def test_length_that_gives_labels_away_is_seen_and_named() -> None:
    figures = surface_figures([*SHORT, *LONG], np.repeat([0, 1], 30))
    assert figures.accuracy == 1.0
    assert figures.largest_share == 0.5
    assert NAMES[figures.telling] in {"characters", "words"}
    assert figures.medians[0, 1] == 3
    assert figures.medians[1, 1] == 10


def test_labels_that_have_nothing_to_do_with_looks_stay_unknown() -> None:
    labels = np.arange(60) % 3
    figures = surface_figures([*SHORT, *LONG], labels)
    assert figures.accuracy <= figures.most == pytest.approx(0.45)


def test_the_regression_is_that_of_scikit_learn() -> None:
    catalog = load_catalog(REPOSITORY / "utterances")
    texts = [one.text for one in catalog.utterances[::7]]
    rows = np.array([cues(text) for text in texts])
    ranks = [catalog.tasks[one.task_index].tier for one in catalog.utterances[::7]]
    labels = np.unique(ranks, return_inverse=True)[1].astype(np.int64)
    held = _folds(labels) == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-8))
    expected = model.fit(rows[~held], labels[~held]).predict_proba(rows[held])
    scores = _fitted(rows[~held], labels[~held], rows[held])
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-3)


def test_every_fold_has_its_share_of_each_label() -> None:
    labels = np.repeat([0, 1], [23, 57])
    counts = np.array([np.bincount(labels[_folds(labels) == fold]) for fold in range(FOLDS)])
    assert counts.max(axis=0).tolist() == [5, 12]
    assert counts.min(axis=0).tolist() == [4, 11]
