from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierwise_server.scoring import Scorer, ScorerParameters, Scores, fit_scorer

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]


def units(drawn: NDArray[np.float64]) -> Matrix:
    vectors: Matrix = (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)
    return vectors


def catalog(
    seed: int, counts: list[int], dimensions: int = 32, noise: float = 0.8
) -> tuple[Matrix, Labels]:
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = chance.normal(size=(len(counts), dimensions))
    return units(centers[labels] + noise * chance.normal(size=(len(labels), dimensions))), labels


def queries(seed: int, count: int, dimensions: int = 32) -> Matrix:
    return units(np.random.default_rng(seed).normal(size=(count, dimensions)))


def everything(scores: Scores) -> Matrix:
    return np.concatenate([scores.task_scores, scores.task_similarities])


def assert_same(left: Scorer, right: Scorer, vectors: Matrix, tolerance: float) -> None:
    for vector in vectors:
        np.testing.assert_allclose(
            everything(left.score(vector)), everything(right.score(vector)), rtol=0, atol=tolerance
        )


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[Matrix, Labels, list[int]]:
    counts = draw(st.lists(st.integers(0, 12), min_size=1, max_size=9))
    tiers = draw(st.lists(st.integers(0, 3), min_size=len(counts), max_size=len(counts)))
    vectors, labels = catalog(draw(st.integers(0, 2**32 - 1)), counts, dimensions=12)
    return vectors, labels, tiers


@given(given_catalog=catalogs(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_scores_have_one_place_for_each_task(
    given_catalog: tuple[Matrix, Labels, list[int]], seed: int
) -> None:
    vectors, labels, tiers = given_catalog
    scores = fit_scorer(vectors, labels, tiers).score(queries(seed, 1, 12)[0])
    assert scores.task_scores.dtype == np.float32
    assert scores.task_similarities.dtype == np.float32
    assert scores.task_scores.shape == scores.task_similarities.shape == (len(tiers),)
    has_utterances = np.isin(np.arange(len(tiers)), labels)
    np.testing.assert_array_equal(np.isfinite(scores.task_scores), has_utterances)
    assert not np.isnan(everything(scores)).any()


@given(given_catalog=catalogs(), seed=st.integers(0, 2**32 - 1), near=st.booleans())
@settings(deadline=None)
def test_the_lead_of_a_tier_is_its_best_task_to_the_bit(
    given_catalog: tuple[Matrix, Labels, list[int]], seed: int, near: bool
) -> None:
    vectors, labels, tiers = given_catalog
    # An utterance itself, whose task is lifted, or any vector.
    query = vectors[seed % len(vectors)] if near and len(vectors) else queries(seed, 1, 12)[0]
    scorer = fit_scorer(vectors, labels, tiers, tier_count=5)
    scores = scorer.score(query)
    leads = scorer.leads(query)
    assert len(leads) == 5
    for tier, lead in enumerate(leads):
        own = [task for task, its_tier in enumerate(tiers) if its_tier == tier]
        if own:
            best = max(own, key=scores.task_scores.tolist().__getitem__)
            expected = (best, scores.task_scores[best], scores.task_similarities[best])
            assert (lead.task, lead.score, lead.similarity) == expected
            others = [float(scores.task_scores[task]) for task in own if task != best]
            assert lead.next_score == max(others, default=-np.inf)
        else:
            assert (lead.score, lead.similarity) == (-np.inf, -np.inf)


@given(given_catalog=catalogs(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_similarities_are_cosines_of_nearest_utterances(
    given_catalog: tuple[Matrix, Labels, list[int]], seed: int
) -> None:
    vectors, labels, tiers = given_catalog
    query = queries(seed, 1, 12)[0]
    similarities = fit_scorer(vectors, labels, tiers).score(query).task_similarities
    for task, similarity in enumerate(similarities):
        expected = (vectors[labels == task] @ query).max(initial=-np.inf)
        assert similarity == pytest.approx(expected, abs=1e-6)


@given(given_catalog=catalogs(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_order_of_utterances_does_not_change_a_bit(
    given_catalog: tuple[Matrix, Labels, list[int]], seed: int
) -> None:
    vectors, labels, tiers = given_catalog
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    assert_same(
        fit_scorer(vectors, labels, tiers),
        fit_scorer(vectors[shuffled], labels[shuffled], tiers),
        queries(seed, 3, 12),
        0.0,
    )


@given(given_catalog=catalogs(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_renumbering_tasks_changes_scores_by_rounding_alone(
    given_catalog: tuple[Matrix, Labels, list[int]], seed: int
) -> None:
    vectors, labels, tiers = given_catalog
    number = np.random.default_rng(seed).permutation(len(tiers))
    renumbered = np.empty(len(tiers), dtype=np.int64)
    renumbered[number] = tiers
    query = queries(seed, 1, 12)[0]
    left = fit_scorer(vectors, labels, tiers).score(query)
    right = fit_scorer(vectors, number[labels], renumbered).score(query)
    np.testing.assert_allclose(right.task_scores[number], left.task_scores, rtol=0, atol=1e-5)


@given(given_catalog=catalogs())
@settings(deadline=None)
def test_one_tier_leaves_no_trace_of_the_tier_head(
    given_catalog: tuple[Matrix, Labels, list[int]],
) -> None:
    vectors, labels, tiers = given_catalog
    one_tier = np.zeros_like(tiers)
    assert_same(
        fit_scorer(vectors, labels, one_tier, ScorerParameters(tier_weight=0.0)),
        fit_scorer(vectors, labels, one_tier, ScorerParameters(tier_weight=9.0)),
        queries(1, 3, 12),
        0.0,
    )


@given(given_catalog=catalogs())
@settings(deadline=None)
def test_a_zero_vector_has_finite_scores(
    given_catalog: tuple[Matrix, Labels, list[int]],
) -> None:
    vectors, labels, tiers = given_catalog
    scores = fit_scorer(vectors, labels, tiers).score(np.zeros(12, np.float32))
    present = np.unique(labels)
    assert np.isfinite(scores.task_scores[present]).all()
    assert (scores.task_similarities[present] == 0.0).all()


@given(given_catalog=catalogs())
@settings(deadline=None)
def test_an_utterance_itself_goes_to_its_own_task_with_a_score_of_one_or_more(
    given_catalog: tuple[Matrix, Labels, list[int]],
) -> None:
    vectors, labels, tiers = given_catalog
    scorer = fit_scorer(vectors, labels, tiers)
    for vector, task in zip(vectors, labels, strict=True):
        assert scorer.score(vector).task_scores[task] >= 1.0 - 1e-4


def test_the_only_utterance_is_scored_by_its_cosine() -> None:
    vector, query = queries(3, 2)
    scores = fit_scorer(vector[None], [0], [0]).score(query)
    cosine = float(vector @ query)
    assert everything(scores).tolist() == pytest.approx([cosine, cosine], abs=1e-6)


@pytest.mark.parametrize("counts", [[1], [7], [1, 1], [3] * 6, [1, 0, 2], [2000], [55] * 36])
def test_catalogs_of_any_size_find_their_own_tasks(counts: list[int]) -> None:
    vectors, labels = catalog(4, counts, dimensions=384, noise=0.3)
    scorer = fit_scorer(vectors, labels, np.arange(len(counts)) % 3)
    found = [int(scorer.score(vector).task_scores.argmax()) for vector in vectors[::7]]
    assert found == labels[::7].tolist()


def test_identical_utterances_in_all_tasks_are_scored_alike() -> None:
    vectors = np.repeat(queries(5, 1), 12, axis=0)
    scores = fit_scorer(vectors, np.repeat(np.arange(4), 3), [0, 0, 1, 1]).score(vectors[0])
    np.testing.assert_allclose(everything(scores), 1.0, atol=1e-5)


def test_zero_utterances_are_allowed() -> None:
    vectors, labels = catalog(6, [3, 3])
    vectors[labels == 1] = 0.0
    assert np.isfinite(everything(fit_scorer(vectors, labels, [0, 1]).score(vectors[0]))).all()


def test_an_empty_catalog_scores_nothing() -> None:
    scorer = fit_scorer(np.empty((0, 32), np.float32), [], [0, 1])
    query = queries(7, 1)[0]
    assert np.isneginf(everything(scorer.score(query))).all()
    assert scorer.leads(query) == ((0, -np.inf, -np.inf, -np.inf), (1, -np.inf, -np.inf, -np.inf))
    assert scorer.nearest(query, 3).utterances.shape == (0,)
    assert scorer.nearest(query, 3, task=1).utterances.shape == (0,)


def test_a_task_that_lost_its_utterances_keeps_its_place_without_a_score() -> None:
    vectors, labels = catalog(8, [3, 1, 3])
    kept = labels != 1
    scorer = fit_scorer(vectors[kept], labels[kept], [0, 1, 2])
    scores = scorer.score(vectors[3])
    assert np.isneginf(scores.task_scores).tolist() == [False, True, False]
    assert np.isneginf(scores.task_similarities).tolist() == [False, True, False]
    assert [lead.task for lead in scorer.leads(vectors[3])] == [0, 1, 2]
    assert scorer.nearest(vectors[3], 5, task=1).similarities.shape == (0,)


def test_taking_an_utterance_away_hardly_moves_other_tasks_of_a_large_catalog() -> None:
    vectors, labels = catalog(9, [30] * 20, noise=1.2)
    parameters = ScorerParameters(utterances_per_step=90)
    whole = fit_scorer(vectors, labels, [0] * 20, parameters)
    kept = np.arange(len(labels)) != 5
    reduced = fit_scorer(vectors[kept], labels[kept], [0] * 20, parameters)
    for query in vectors[300:330]:
        moved = np.abs(whole.score(query).task_scores - reduced.score(query).task_scores)
        assert moved[1:].max() < 0.004


def test_the_tier_head_finds_the_tier_where_tasks_follow_the_topic() -> None:
    chance = np.random.default_rng(10)
    topics, demands = chance.normal(size=(30, 64)), 0.35 * chance.normal(size=(3, 64))
    topic = np.repeat(np.arange(30), 12)
    tier = np.tile(np.arange(3), 120)
    vectors = units(topics[topic] + demands[tier] + chance.normal(size=(360, 64)))
    task = topic * 3 + tier
    train = np.arange(360) % 12 < 6

    def accuracy(weight: float) -> float:
        parameters = ScorerParameters(tier_weight=weight)
        scorer = fit_scorer(vectors[train], task[train], np.arange(90) % 3, parameters)
        found = [
            np.argmax([lead.score for lead in scorer.leads(vector)]) for vector in vectors[~train]
        ]
        return float((np.array(found) == tier[~train]).mean())

    assert accuracy(2.0) > accuracy(0.0) + 0.1


def test_nearest_lists_utterances_by_their_number_as_given() -> None:
    vectors, labels = catalog(11, [4, 4, 4])
    shuffled = np.random.default_rng(1).permutation(12)
    vectors, labels = vectors[shuffled], labels[shuffled]
    scorer = fit_scorer(vectors, labels, [0, 0, 1])
    query = queries(12, 1)[0]
    expected = np.argsort(-(vectors @ query))
    assert scorer.nearest(query, 5).utterances.tolist() == expected[:5].tolist()
    of_task = [number for number in expected if labels[number] == 1]
    found = scorer.nearest(query, 99, task=1)
    assert found.utterances.tolist() == of_task
    np.testing.assert_allclose(found.similarities, vectors[of_task] @ query, atol=1e-6)


def test_nearest_lists_equal_utterances_by_number() -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    scorer = fit_scorer(vectors, [1, 0, 1, 0, 1, 0], [0, 1])
    assert scorer.nearest(vectors[0], 4).utterances.tolist() == [0, 1, 2, 3]
    assert scorer.nearest(vectors[0], 2, task=1).utterances.tolist() == [0, 2]


@pytest.mark.parametrize("task", [-1, 2])
def test_nearest_refuses_a_task_that_does_not_exist(task: int) -> None:
    vectors, labels = catalog(13, [2, 2])
    with pytest.raises(ValueError, match="there is no task"):
        fit_scorer(vectors, labels, [0, 0]).nearest(vectors[0], 1, task=task)


def test_scores_cannot_be_written_to() -> None:
    vectors, labels = catalog(14, [2, 2])
    scores = fit_scorer(vectors, labels, [0, 1]).score(vectors[0])
    for array in (scores.task_scores, scores.task_similarities):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_fitting_neither_changes_nor_keeps_the_callers_vectors() -> None:
    vectors, labels = catalog(15, [3, 3])
    before = vectors.copy()
    scorer = fit_scorer(vectors, labels, [0, 1])
    np.testing.assert_array_equal(vectors, before)
    expected = everything(scorer.score(before[0]))
    vectors[:] = 0.0
    np.testing.assert_array_equal(everything(scorer.score(before[0])), expected)


def test_threads_get_the_same_bits() -> None:
    vectors, labels = catalog(16, [20] * 10)
    scorer = fit_scorer(vectors, labels, np.arange(10) % 3)
    asked = queries(17, 200)
    expected = [everything(scorer.score(query)).tobytes() for query in asked]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: everything(scorer.score(query)).tobytes(), asked))
    assert found == expected


def test_vectors_of_an_odd_number_of_dimensions_are_scored() -> None:
    vectors, labels = catalog(18, [5, 5], dimensions=7, noise=0.1)
    scorer = fit_scorer(vectors, labels, [0, 1])
    assert [int(scorer.score(vector).task_scores.argmax()) for vector in vectors] == labels.tolist()


def test_the_nearest_utterance_has_its_share_of_the_score() -> None:
    vectors, labels = catalog(22, [20, 20])
    # Half of its full weight at 20 utterances a task; the heads have the rest.
    half = fit_scorer(vectors, labels, [0, 0], ScorerParameters(nearest_weight=0.6))
    none = fit_scorer(vectors, labels, [0, 0], ScorerParameters(nearest_weight=0.0))
    for query in queries(23, 5):
        scores, heads = half.score(query), none.score(query)
        expected = 0.7 * heads.task_scores + 0.3 * scores.task_similarities
        np.testing.assert_allclose(scores.task_scores, expected, rtol=0, atol=1e-5)


def test_the_scorer_names_its_parameters() -> None:
    parameters = ScorerParameters(nearest_weight=0.5)
    vectors, labels = catalog(19, [2])
    assert fit_scorer(vectors, labels, [0], parameters).scorer_id == parameters.scorer_id


@pytest.mark.parametrize(
    ("labels", "tiers", "tier_count", "message"),
    [
        ([0, 0], [0], None, "do not fit together"),
        ([0, 0, 1], [0], None, "between 0 and 0"),
        ([0, 0, -1], [0], None, "between 0 and 0"),
        ([0, 0, 0], [3], 3, "between 0 and 2"),
        ([0, 0, 0], [-2], None, "tier numbers"),
        ([0, 0, 0], [[0]], None, "one dimension"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    labels: list[int], tiers: list[int], tier_count: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_scorer(queries(20, 3), labels, tiers, tier_count=tier_count)


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = queries(21, 3)
    vectors[1, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fit_scorer(vectors, [0, 0, 1], [0, 1])
