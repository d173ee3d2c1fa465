"""Exact search over unit vectors, with FAISS.

The one place that imports FAISS. A similarity is always the cosine of unit vectors, from -1 to
1, higher is closer. Nothing here is approximate: tasks are scored from every utterance, never
from the first few neighbours.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray


class FlatIndex:
    """An immutable set of vectors that answers inner products exactly.

    Safe to read from several threads. A search runs on the calling thread alone.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Copies the vectors into a flat index.

        Args:
            vectors: float32 of shape (n, dimensions), n may be 0. For the results to be cosines
                every row has length 1; a row of zeros is allowed and is at 0 from everything.

        Raises:
            ValueError: The array is not two-dimensional, has no columns, or holds a value that is
                not finite.
        """
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] == 0:  # noqa: PLR2004
            raise ValueError(f"vectors must have shape (n, dimensions), not {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("vectors must be finite")
        # `Any` because FAISS's type stubs leave out `compute_distance_subset`.
        self._index: Any = faiss.IndexFlatIP(rows.shape[1])
        self._index.add(rows)
        # A view of the index's own copy.
        stored = faiss.rev_swig_ptr(self._index.get_xb(), rows.size)
        self._rows: NDArray[np.float32] = stored.reshape(rows.shape)
        self.dimensions: int = rows.shape[1]
        """Number of components of a vector."""

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self._rows)

    def similarities(
        self, vector: NDArray[np.float32], start: int = 0, end: int | None = None
    ) -> NDArray[np.float32]:
        """Returns the inner product with each vector from `start` up to `end`, in their order.

        Args:
            vector: float32 of shape (dimensions,).
            start: First position, from 0 to n.
            end: Position behind the last, from `start` to n; None means n.
        """
        query = self._query(vector)
        end = len(self) if end is None else end
        if not 0 <= start <= end <= len(self):
            raise ValueError(f"positions {start} to {end} do not lie in 0 to {len(self)}")
        found = np.empty(end - start, dtype=np.float32)
        if end > start:
            # Not the index's own search: that sorts, and takes a team of OpenMP threads whose
            # waking costs more than the products. The pointers stay valid during the call.
            faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]  # made by SWIG
                faiss.swig_ptr(found),
                faiss.swig_ptr(query),
                faiss.swig_ptr(self._rows[start:end]),
                self.dimensions,
                end - start,
            )
        return found

    def nearest(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns the k nearest vectors, closest first, the lower position first among equals.

        Args:
            vector: float32 of shape (dimensions,).
            k: How many to return at most, at least 0; more than there are returns all.

        Returns:
            Positions (int64) and inner products (float32), both of shape (min(k, n),).
        """
        return closest(self.similarities(vector), k)

    def _query(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self.dimensions,):
            raise ValueError(f"the vector must have shape ({self.dimensions},), not {query.shape}")
        return query


def closest(
    similarities: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns positions and values of the k highest similarities, lower position first if equal."""
    if k < 0:
        raise ValueError(f"k must not be negative, is {k}")
    kept = np.arange(len(similarities))
    if 0 < k < len(similarities):
        # Every position at or above the k-th highest value, so that equal values at the cut are
        # chosen by position and not by the order in which partition leaves them.
        kept = np.flatnonzero(similarities >= np.partition(similarities, -k)[-k])
    order = kept[np.argsort(-similarities[kept], kind="stable")][:k]
    return order.astype(np.int64), similarities[order]
