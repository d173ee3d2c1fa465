import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierwise_server.scoring.index import FlatIndex, closest

Matrix = NDArray[np.float32]


def brute_force(vectors: Matrix, query: Matrix, k: int) -> tuple[list[int], list[float]]:
    """Ten lines of plain arithmetic that the index has to agree with."""
    products = []
    for position, vector in enumerate(vectors.astype(np.float64)):
        products.append((-float(vector @ query.astype(np.float64)), position))
    chosen = sorted(products)[:k]
    return [position for _, position in chosen], [-product for product, _ in chosen]


def random_units(seed: int, count: int, dimensions: int) -> Matrix:
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    vectors: Matrix = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    dimensions=st.sampled_from([1, 2, 3, 7, 16, 33, 384]),
    k=st.integers(0, 70),
)
def test_nearest_agrees_with_brute_force(seed: int, count: int, dimensions: int, k: int) -> None:
    vectors = random_units(seed, count + 1, dimensions)
    positions, similarities = FlatIndex(vectors[1:]).nearest(vectors[0], k)
    _, expected = brute_force(vectors[1:], vectors[0], k)
    assert len(positions) == min(k, count)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
    # Neighbours closer to each other than rounding may change places; their products may not.
    np.testing.assert_allclose(vectors[1:][positions] @ vectors[0], expected, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(2, 6), k=st.integers(1, 20))
def test_duplicates_come_in_the_order_of_their_positions(seed: int, copies: int, k: int) -> None:
    # Whole numbers, so that equal products are equal to the bit.
    base = np.random.default_rng(seed).integers(-1, 2, size=(3, 4)).astype(np.float32)
    vectors = np.tile(base, (copies, 1))
    positions, similarities = FlatIndex(vectors).nearest(base[0], k)
    expected_positions, expected = brute_force(vectors, base[0], k)
    assert positions.tolist() == expected_positions
    assert similarities.tolist() == expected


def test_a_zero_vector_is_at_zero_from_everything() -> None:
    vectors = np.vstack([random_units(1, 3, 8), np.zeros((1, 8), np.float32)])
    index = FlatIndex(vectors)
    assert index.similarities(vectors[0])[3] == 0.0
    assert index.similarities(vectors[3]).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_vectors_that_are_not_unit_give_inner_products() -> None:
    index = FlatIndex(np.array([[3.0, 4.0], [-2.0, 0.0]], np.float32))
    assert index.similarities(np.array([2.0, 1.0], np.float32)).tolist() == [10.0, -4.0]


def test_an_empty_index_finds_nothing() -> None:
    index = FlatIndex(np.empty((0, 5), np.float32))
    query = np.ones(5, np.float32)
    positions, similarities = index.nearest(query, 3)
    assert len(index) == 0
    assert index.dimensions == 5
    assert index.similarities(query).shape == (0,)
    assert positions.shape == similarities.shape == (0,)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 4), (1, 3), (4, None), (9, 9), (9, None)])
def test_a_stretch_gives_the_same_bits_as_the_whole(start: int, end: int | None) -> None:
    vectors = random_units(2, 9, 384)
    index = FlatIndex(vectors)
    whole = index.similarities(vectors[0])
    np.testing.assert_allclose(
        index.similarities(vectors[0], start, end), whole[start:end], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 10), (10, None)])
def test_a_stretch_outside_the_index_is_refused(start: int, end: int | None) -> None:
    vectors = random_units(3, 9, 4)
    with pytest.raises(ValueError, match="do not lie in 0 to 9"):
        FlatIndex(vectors).similarities(vectors[0], start, end)


def test_the_index_keeps_its_own_copy() -> None:
    vectors = random_units(4, 5, 6)
    query = vectors[0].copy()
    index = FlatIndex(vectors)
    before = index.similarities(query)
    vectors[:] = 0.0
    assert index.similarities(query).tolist() == before.tolist()


def test_other_memory_layouts_give_the_same_result() -> None:
    vectors = random_units(5, 12, 10)
    fortran = np.asfortranarray(vectors)
    strided = np.repeat(vectors, 2, axis=1)[:, ::2]
    expected = FlatIndex(vectors).similarities(vectors[3]).tolist()
    assert FlatIndex(fortran).similarities(fortran[3]).tolist() == expected
    assert FlatIndex(strided).similarities(strided[3]).tolist() == expected


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (4, 0)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        FlatIndex(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        FlatIndex(np.array([[1.0, value]], np.float32))


def test_a_query_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(4,\), not \(3,\)"):
        FlatIndex(np.eye(4, dtype=np.float32)).similarities(np.ones(3, np.float32))


def test_a_negative_k_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        closest(np.ones(3, np.float32), -1)
