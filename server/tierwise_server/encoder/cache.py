"""Exact-match cache of prompt vectors, in memory.

Keyed by a digest, so that no prompt text outlives its request.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIGEST_BYTES = 16


class VectorCache:
    """Least-recently-used map from text to unit vector.

    Not thread-safe: use it from the event loop's thread only.
    """

    def __init__(self, capacity: int) -> None:
        """Creates an empty cache.

        Args:
            capacity: The most vectors it keeps; 0 turns it off.
        """
        if capacity < 0:
            raise ValueError(f"capacity must not be negative: {capacity}")
        self.hits = 0
        self.misses = 0
        self._capacity = capacity
        self._vectors: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        """Returns how many vectors are kept."""
        return len(self._vectors)

    def get(self, text: str) -> NDArray[np.float32] | None:
        """Returns the vector put for `text`, or None, and counts which it was."""
        key = _digest(text)
        vector = self._vectors.get(key)
        if vector is None:
            self.misses += 1
            return None
        self.hits += 1
        self._vectors.move_to_end(key)
        return vector

    def put(self, text: str, vector: NDArray[np.float32]) -> None:
        """Keeps `vector` for `text`; the one longest unused makes room."""
        key = _digest(text)
        self._vectors[key] = vector
        self._vectors.move_to_end(key)
        if len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)

    def clear(self) -> None:
        """Forgets all vectors; the counts go on."""
        self._vectors.clear()


def _digest(text: str) -> bytes:
    # Lone surrogates are passed through: the key must exist for any text and tell all apart.
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
