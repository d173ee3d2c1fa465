"""Predicting quality per tier: against plain numpy, and by properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierwise_server.learning import PredictorParameters, QualityPredictor, fit_predictor, length_of
from tierwise_server.learning.ridge import RidgeRows, contrast_error

DIMENSIONS = 8
Floats = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Floats:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def sample(
    seed: int, count: int = 60, tiers: int = 2
) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
    """Returns vectors, lengths and labels, a fifth of which are missing."""
    chance = np.random.default_rng(seed)
    quality = chance.integers(0, 5, (count, tiers)) / 4
    quality[chance.random((count, tiers)) < 0.2] = np.nan
    quality[:2] = [[0.0] * tiers, [1.0] * tiers]
    lengths = np.log1p(chance.integers(5, 500, count))
    lengths[5] = np.nan
    return unit(chance.normal(size=(count, DIMENSIONS))), lengths, quality


def fitted(seed: int = 0, **figures: float) -> QualityPredictor:
    return fit_predictor(*sample(seed), PredictorParameters(**figures))  # type: ignore[arg-type]


def plain_prediction(
    vector: Floats, length: float | None, seed: int, figures: PredictorParameters
) -> list[tuple[float, float]]:
    """Returns quality and support per tier by the formula, with a fit for each row left out."""
    vectors, lengths, quality = sample(seed)
    known = lengths[~np.isnan(lengths)]
    scaled = np.nan_to_num((lengths - known.mean()) / known.std()) * figures.length_scale
    rows = np.hstack([vectors, scaled[:, np.newaxis]]).astype(float)
    at = 0.0 if length is None else (length - known.mean()) / known.std() * figures.length_scale
    query = np.append(vector.astype(float), at)
    found = []
    for labels in quality.T:
        has = np.flatnonzero(~np.isnan(labels))

        def regression(
            kept: NDArray[np.int64], labels: NDArray[np.float64] = labels
        ) -> NDArray[np.float64]:
            centered = rows[kept] - rows[kept].mean(0)
            gram = centered.T @ centered + figures.penalties[0] * np.eye(rows.shape[1])
            moved = labels[kept] - labels[kept].mean()
            weights = np.linalg.solve(gram, centered.T @ moved)
            offset = labels[kept].mean() - weights @ rows[kept].mean(0)
            return np.append(weights, offset)

        whole = regression(has)
        residuals = np.array(
            [labels[one] - np.append(rows[one], 1) @ regression(has[has != one]) for one in has]
        )
        weights = np.exp(figures.sharpness * (vectors[has] @ vector - 1.0))
        support = weights.sum()
        lift = (weights * residuals).sum() / (support + figures.credibility)
        found.append((float(np.append(query, 1) @ whole + lift), float(support)))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [None, 4.0])
def test_it_agrees_with_the_formula_written_out(seed: int, length: float | None) -> None:
    figures = PredictorParameters(penalties=(2.0,), least_support=0.0)
    predictor = fit_predictor(*sample(seed), figures)
    vector = unit(np.random.default_rng(seed + 100).normal(size=DIMENSIONS))

    predictions = predictor.predict(vector, length)

    for one, (quality, support) in zip(
        predictions, plain_prediction(vector, length, seed, figures), strict=True
    ):
        assert one.quality == pytest.approx(min(max(quality, 0.0), 1.0), abs=2e-4)
        assert one.support == pytest.approx(support, rel=1e-4)


def test_residuals_are_those_of_fits_without_the_row() -> None:
    vectors, _, quality = sample(1)
    targets = np.nan_to_num(quality[:, 0])
    found = RidgeRows(vectors).fit(targets, 3.0).residuals
    for one in range(5):
        rest = np.arange(len(targets)) != one
        rows, labels = vectors[rest].astype(float), targets[rest]
        centered = rows - rows.mean(0)
        weights = np.linalg.solve(
            centered.T @ centered + 3.0 * np.eye(DIMENSIONS), centered.T @ (labels - labels.mean())
        )
        expected = labels.mean() + weights @ (vectors[one] - rows.mean(0))
        assert found[one] == pytest.approx(targets[one] - expected, abs=1e-3)


def test_the_error_is_that_of_the_differences_between_tiers() -> None:
    nan = np.nan
    both = np.array([[1.0, 1.0], [0.5, 0.0], [3.0, nan]], dtype=np.float32)
    assert contrast_error(both) == pytest.approx(2 * 0.25**2 / 4)
    apart = np.array([[1.0, nan], [nan, 2.0]], dtype=np.float32)
    assert contrast_error(apart) == pytest.approx(2.5)


@pytest.mark.parametrize(("noisy", "penalty"), [(True, 1e6), (False, 0.01)])
def test_the_penalty_suits_what_the_rows_tell(noisy: bool, penalty: float) -> None:
    chance = np.random.default_rng(3)
    rows = unit(chance.normal(size=(200, DIMENSIONS)))
    signal = chance.random(200) if noisy else (rows[:, 0].astype(float) + 1) / 2
    quality = np.stack([signal, np.full(200, 0.5)], axis=1)
    lengths = np.full(200, 4.0)
    choice = fit_predictor(rows, lengths, quality, PredictorParameters(penalties=(0.01, 1e6)))
    alone = fit_predictor(rows, lengths, quality, PredictorParameters(penalties=(penalty,)))
    assert choice.predict(rows[0], None) == alone.predict(rows[0], None)


@given(seed=st.integers(0, 30), query=st.integers(0, 1000), known=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_prediction_lies_in_its_interval_and_that_within_0_and_1(
    seed: int, query: int, known: bool
) -> None:
    vector = unit(np.random.default_rng(query).normal(size=DIMENSIONS))
    for one in fitted(seed, least_support=0.0).predict(vector, 3.0 if known else None):
        assert 0.0 <= one.lower <= one.quality <= one.upper <= 1.0


@given(seed=st.integers(0, 20), order=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_evidence_makes_no_difference(seed: int, order: object) -> None:
    vectors, lengths, quality = sample(seed)
    places = list(range(len(vectors)))
    order.shuffle(places)  # type: ignore[attr-defined]
    vector = unit(np.random.default_rng(seed).normal(size=DIMENSIONS))
    figures = PredictorParameters(least_support=0.0)
    one = fit_predictor(vectors, lengths, quality, figures).predict(vector, 4.0)
    two = fit_predictor(vectors[places], lengths[places], quality[places], figures).predict(
        vector, 4.0
    )
    for left, right in zip(one, two, strict=True):
        assert left.quality == pytest.approx(right.quality, abs=1e-3)
        assert left.lower == pytest.approx(right.lower, abs=1e-3)


def test_labels_that_are_all_alike_are_what_is_expected() -> None:
    vectors, lengths, _ = sample(4)
    quality = np.tile([0.25, 1.0], (len(vectors), 1))
    found = fit_predictor(vectors, lengths, quality).predict(vectors[0], None)
    assert [one.quality for one in found] == pytest.approx([0.25, 1.0], abs=1e-5)
    assert found[1].lower < 1.0


def test_more_evidence_nearby_narrows_the_interval() -> None:
    vectors, lengths, _ = sample(5)
    quality = np.full((len(vectors), 1), 0.5)
    near = np.vstack([vectors, np.repeat(vectors[:1], 30, axis=0)])
    more = np.full((len(near), 1), 0.5)
    far = np.concatenate([lengths, np.full(30, 4.0)])
    (before,) = fit_predictor(vectors, lengths, quality).predict(vectors[0], None)
    (after,) = fit_predictor(near, far, more).predict(vectors[0], None)
    assert after.support == pytest.approx(before.support + 30, rel=1e-5)
    assert after.upper - after.lower < 0.7 * (before.upper - before.lower)


def test_nothing_is_predicted_far_from_the_evidence_of_any_tier() -> None:
    vectors, lengths, quality = sample(6)
    predictor = fit_predictor(vectors, lengths, quality, PredictorParameters(sharpness=50.0))
    assert predictor.predict(vectors[0], None)
    away = unit(-vectors.mean(axis=0).astype(float))
    assert predictor.predict(away, None) == []
    quality[:, 1] = np.nan
    quality[10, 1] = 1.0
    lonely = fit_predictor(vectors, lengths, quality, PredictorParameters(sharpness=50.0))
    assert lonely.predict(vectors[0], None) == []
    assert lonely.predict(vectors[10], None)


def test_a_prompt_of_unknown_length_is_taken_for_one_of_the_usual() -> None:
    predictor = fitted(7, least_support=0.0)
    _, lengths, _ = sample(7)
    vector = unit(np.ones(DIMENSIONS))
    usual = predictor.predict(vector, float(np.nanmean(lengths)))
    assert [one.quality for one in predictor.predict(vector, None)] == pytest.approx(
        [one.quality for one in usual], abs=1e-6
    )


def test_length_counts_characters_by_their_logarithm() -> None:
    assert length_of("") == 0.0
    assert length_of("x" * 99) == pytest.approx(math.log(100))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalties", ()),
        ("penalties", (0.0,)),
        ("length_scale", -1.0),
        ("neighbors", 0),
        ("sharpness", -1.0),
        ("credibility", 0.0),
        ("least_support", -1.0),
        ("observations", 0.0),
        ("confidence_z", -1.0),
    ],
)
def test_figures_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        PredictorParameters(**{name: value})  # type: ignore[arg-type]


def test_other_figures_have_another_id() -> None:
    ids = {PredictorParameters().predictor_id, PredictorParameters(neighbors=7).predictor_id}
    assert len(ids) == 2
