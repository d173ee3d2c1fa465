"""Exact-match cache of what was found for a prompt, in memory.

Keyed by a digest, so that no prompt text outlives its request.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

_DIGEST_BYTES = 16

_Value = TypeVar("_Value")


class PromptCache(Generic[_Value]):
    """Least-recently-used map from the text of a prompt to a value.

    Not thread-safe: use it from the event loop's thread only.
    """

    def __init__(self, capacity: int) -> None:
        """Creates an empty cache.

        Args:
            capacity: The most values it keeps; 0 turns it off.
        """
        if capacity < 0:
            raise ValueError(f"capacity must not be negative: {capacity}")
        self.hits = 0
        self.misses = 0
        self._capacity = capacity
        self._values: OrderedDict[bytes, _Value] = OrderedDict()

    def __len__(self) -> int:
        """Returns how many values it keeps."""
        return len(self._values)

    def __contains__(self, text: str) -> bool:
        """Returns whether there is a value for `text`, and counts nothing."""
        return _digest(text) in self._values

    def get(self, text: str) -> _Value | None:
        """Returns the value put for `text`, or None, and counts which it was."""
        key = _digest(text)
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        self._values.move_to_end(key)
        return value

    def put(self, text: str, value: _Value) -> None:
        """Keeps `value` for `text`; the one longest unused makes room."""
        key = _digest(text)
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)

    def values(self) -> Iterable[_Value]:
        """Returns all values, the one longest unused first."""
        return self._values.values()

    def clear(self) -> None:
        """Forgets all values; the counts go on."""
        self._values.clear()


def _digest(text: str) -> bytes:
    # Lone surrogates are passed through: the key must exist for any text and tell all apart.
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
