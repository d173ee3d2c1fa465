"""How long a text is going to take on a lane, by its length and what others took."""

from __future__ import annotations

from typing import Final

READ_BYTES: Final = 1024
"""About what of a text reaches the encoder; longer ones take no more time. See `excerpt`."""

SHORT_BYTES: Final = 256
"""Texts up to this length are short: some 60 tokens, which take half the time of the longest."""

_STEP: Final = 64
_WEIGHT: Final = 0.1
_BASE_S: Final = 0.001
_S_PER_BYTE: Final = 1.5e-5
"""Of a first estimate: about what the default encoder takes on one core of today."""


def read_bytes(text: str) -> int:
    """Returns about how much of a text the encoder reads, without a look at all of it."""
    # A letter that is not ASCII has two to four bytes, and is a larger part of a token.
    length = len(text) if text.isascii() else 2 * len(text)
    return min(length, READ_BYTES)


class EncodeTimes:
    """Means of measured times by length, each measurement a tenth of the new mean.

    A length that was not measured yet is estimated from those that were.
    """

    def __init__(self) -> None:
        self._means: list[float] = [
            _BASE_S + _S_PER_BYTE * _STEP * (number + 0.5)
            for number in range(READ_BYTES // _STEP + 1)
        ]
        self._measured = [False] * len(self._means)

    def of(self, length: int) -> float:
        """Returns the estimated time of a text in seconds."""
        return self._means[length // _STEP]

    def note(self, length: int, seconds: float) -> None:
        """Takes a measured time into account."""
        at = length // _STEP
        before = self._means[at]
        after = self._means[at] = before + _WEIGHT * (seconds - before)
        if not self._measured[at]:
            self._measured[at] = True
            # What is known of this length is the best guess for the others.
            for other, measured in enumerate(self._measured):
                if not measured:
                    self._means[other] *= after / before
