"""The discriminant and its refinement against arithmetic written out in full."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tierwise_server.scoring.discriminant import Discriminant, Grouping, fit_discriminant
from tierwise_server.scoring.parameters import ScorerParameters
from tierwise_server.scoring.refinement import _leave_one_out_deductions, refine

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]


def clouds(seed: int, counts: list[int], dimensions: int, noise: float) -> tuple[Matrix, Labels]:
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = chance.normal(size=(len(counts), dimensions))
    rows = centers[labels] + noise * chance.normal(size=(len(labels), dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def fitted(rows: Matrix, labels: Labels, shrinkage: float) -> tuple[Grouping, Discriminant]:
    grouping = Grouping.of(labels)
    means = grouping.means(rows)
    return grouping, fit_discriminant(means, grouping.counts, rows, labels, shrinkage=shrinkage)


def test_scores_rank_groups_by_distance_under_the_shrunk_covariance() -> None:
    rows, labels = clouds(1, [6, 6, 6, 6], 5, 0.7)
    _, head = fitted(rows, labels, 0.4)
    means = np.stack([rows[labels == group].mean(axis=0) for group in range(4)]).astype(float)
    centered = rows - means[labels]
    covariance = centered.T @ centered / len(rows)
    variance = np.trace(covariance) / 5
    inverse = np.linalg.inv(0.6 * covariance / variance + 0.4 * np.eye(5))
    inverse *= 5 / np.trace(inverse)
    for query in rows:
        distances = [(query - mean) @ inverse @ (query - mean) for mean in means]
        scores = head.weights @ query + head.offsets
        # Half the negated distance, but for a term that all groups share.
        shared = scores + 0.5 * np.array(distances)
        np.testing.assert_allclose(shared, shared[0], atol=1e-5)


def test_groups_of_identical_rows_are_scored_by_plain_inner_product() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    _, head = fitted(rows, np.repeat(np.arange(3), 4), 0.9)
    np.testing.assert_array_equal(head.precision, np.eye(3))
    np.testing.assert_allclose(head.weights, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(head.offsets, 0.0, atol=1e-6)
    assert head.spread == pytest.approx(0.0, abs=1e-6)


def test_groups_of_one_row_each_have_no_spread() -> None:
    rows, labels = clouds(2, [1, 1, 1], 4, 0.5)
    _, head = fitted(rows, labels, 0.9)
    np.testing.assert_array_equal(head.precision, np.eye(4))
    assert head.spread == 0.0


def test_a_group_of_one_row_does_not_pay_for_its_long_mean() -> None:
    # 300 groups of one kind: half known by one row, half by forty.
    rows, labels = clouds(3, [1, 40] * 150, 200, 1.5)
    _, head = fitted(rows, labels, 1.0)
    assert head.offsets[::2].mean() == pytest.approx(head.offsets[1::2].mean(), abs=0.02)


def test_the_leave_one_out_deduction_is_what_omitting_the_row_takes_off_its_score() -> None:
    rows, labels = clouds(4, [2, 3, 7], 6, 0.6)
    # Shrinkage 1 makes the precision the identity, so that every row has the same length.
    grouping, head = fitted(rows, labels, 1.0)
    counts = grouping.counts.astype(np.float32)
    deductions = _leave_one_out_deductions(rows, labels, counts, head)
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        others = rows[(labels == label) & (np.arange(len(rows)) != place)].astype(float)
        mean = others.mean(axis=0)
        size = mean @ mean - head.spread / len(others)
        shared = head.offsets[label] + 0.5 * (head.mean_sizes[label] - head.spread / counts[label])
        omitted = mean @ row - 0.5 * size + shared
        kept = head.weights[label] @ row + head.offsets[label]
        assert deductions[place] == pytest.approx(kept - omitted, abs=1e-5)


def test_refinement_parts_twins_along_the_direction_that_tells_them_apart() -> None:
    # Twin groups differ slightly along one direction and vary strongly along another, at an angle
    # to it and each pair's own: neither means nor a shared covariance can show that.
    chance = np.random.default_rng(5)
    base, telling, varying = chance.normal(size=(3, 20, 64))
    varying += telling
    labels = np.repeat(np.arange(40), 40)
    twins, sign = labels // 2, (labels % 2 * 2 - 1)[:, None]
    drawn = base[twins] + 0.25 * sign * telling[twins]
    drawn += 0.5 * chance.normal(size=(len(labels), 1)) * varying[twins]
    drawn += 0.3 * chance.normal(size=drawn.shape)
    rows = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    train = np.arange(len(rows)) % 2 == 0
    known, tasks = rows[train], labels[train]
    grouping, head = fitted(known, tasks, 0.9)
    refined = refine(known, grouping, np.zeros_like(tasks), head, ScorerParameters())

    def accuracy(weights: Matrix) -> float:
        found = (rows[~train] @ weights.T + head.offsets).argmax(axis=1)
        return float((found == labels[~train]).mean())

    assert accuracy(refined) > accuracy(head.weights) + 0.05


def test_a_step_follows_the_leave_one_out_residuals() -> None:
    rows, labels = clouds(9, [2, 5, 9], 6, 0.6)
    # Shrinkage 1 makes the precision the identity, which leaves it out of the sum below.
    grouping, head = fitted(rows, labels, 1.0)
    parameters = ScorerParameters(step_count=1, step_size=0.25, sharpness=7.0)
    counts = grouping.counts.astype(np.float64)
    mass = np.sqrt(counts) * (counts - 1) / (counts + 3)
    deductions = _leave_one_out_deductions(rows, labels, counts.astype(np.float32), head)
    expected = head.weights.astype(np.float64)
    for row, label, deduction in zip(rows, labels, deductions, strict=True):
        scores = head.weights @ row + head.offsets
        scores[label] -= deduction
        likelihood = mass * np.exp(7.0 * scores.astype(np.float64))
        residual = np.eye(3)[label] - likelihood / likelihood.sum()
        expected += 0.25 * mass[label] / counts[label] * np.outer(residual, row)
    refined = refine(rows, grouping, np.zeros_like(labels), head, parameters)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


@pytest.mark.parametrize("counts", [[5], [1, 1, 1]])
def test_refinement_leaves_alone_what_it_cannot_judge(counts: list[int]) -> None:
    rows, labels = clouds(6, counts, 8, 0.5)
    grouping, head = fitted(rows, labels, 0.9)
    refined = refine(rows, grouping, np.zeros_like(labels), head, ScorerParameters())
    np.testing.assert_array_equal(refined, head.weights)


def test_a_group_of_one_row_is_not_moved_by_larger_ones() -> None:
    rows, labels = clouds(7, [1, 9, 9, 9], 8, 0.5)
    grouping, head = fitted(rows, labels, 0.9)
    refined = refine(rows, grouping, np.zeros_like(labels), head, ScorerParameters())
    np.testing.assert_array_equal(refined[0], head.weights[0])
    assert (refined[1:] != head.weights[1:]).any(axis=1).all()


def test_no_steps_leave_the_discriminant() -> None:
    rows, labels = clouds(8, [9, 9], 8, 0.5)
    grouping, head = fitted(rows, labels, 0.9)
    parameters = ScorerParameters(step_count=0)
    refined = refine(rows, grouping, np.zeros_like(labels), head, parameters)
    np.testing.assert_array_equal(refined, head.weights)
