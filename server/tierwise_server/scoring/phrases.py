"""Scores tiers by the words of a prompt, with naive Bayes.

A sentence vector tells what a prompt is about, and much less what is asked: "spell", "prove" and
"in one line" hardly move it. The words themselves say that best. A *phrase* is a word, or two words
that follow each other; a tier's weight for a phrase is the logarithm of how often its utterances
hold it over how often they would if it had nothing to do with tiers.

Phrases are kept as numbers, so that nothing here holds a prompt's text.
"""

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Phrases: TypeAlias = NDArray[np.uint32]
"""Numbers of a text's phrases, ascending, each once. Two of 50,000 phrases share a number with a
chance of one in four, which costs nothing that could be measured."""

NO_PHRASES: Phrases = np.empty(0, dtype=np.uint32)
"""Those of an empty text, and of a prompt that is known by its vector alone."""

_WORD = re.compile(r"\w+")
_START = "^"
"""Stands before the first word: instructions begin with their verb more often than not."""


def phrases_of(text: str) -> Phrases:
    """Returns the phrases of a text. Case and punctuation make no difference."""
    words = _WORD.findall(text.casefold())
    if not words:
        return NO_PHRASES
    pairs = (f"{one} {other}" for one, other in itertools.pairwise([_START, *words]))
    crc32 = zlib.crc32
    numbers = {crc32(phrase.encode(errors="replace")) for phrase in (*words, *pairs)}
    # Sorted here, since `np.unique` takes longer than everything before it.
    return np.array(sorted(numbers), dtype=np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhraseHead:
    """What phrases say of tiers. Immutable."""

    numbers: Phrases
    """The phrases that utterances hold, ascending."""
    weights: NDArray[np.float32]
    """float32 of shape (phrases, tiers). A phrase's weights sum up to 0."""

    def scores(self, phrases: Phrases) -> NDArray[np.float32]:
        """Returns the tiers' scores, which sum up to 0: float32 of shape (tiers,).

        The square root of the number of phrases, not the number itself, divides them: two phrases
        that agree say more than one.
        """
        if len(self.numbers) == 0 or len(phrases) == 0:
            return np.zeros(self.weights.shape[1], dtype=np.float32)
        places = np.searchsorted(self.numbers, phrases)
        np.minimum(places, len(self.numbers) - 1, out=places)
        known = places[self.numbers[places] == phrases]
        total: NDArray[np.float32] = self.weights[known].sum(axis=0)
        return total / np.float32(np.sqrt(len(phrases)))

    @classmethod
    def fit(
        cls,
        phrases: Sequence[Phrases],
        tiers: NDArray[np.int64],
        tier_count: int,
        smoothing: float,
    ) -> Self:
        """Fits the weights.

        Counts are compared with what the tier's share of all utterances lets expect, both raised
        by the smoothing. So a phrase that is rare, or a tier that has few utterances, says little.

        Args:
            phrases: Those of each utterance.
            tiers: Tier of each utterance, from 0.
            tier_count: Number of tiers.
            smoothing: Above 0; more makes rare phrases say less.
        """
        lengths = np.array([len(one) for one in phrases], dtype=np.int64)
        if lengths.sum() == 0:
            return cls(numbers=NO_PHRASES, weights=np.zeros((0, tier_count), dtype=np.float32))
        numbers, places = np.unique(np.concatenate(phrases), return_inverse=True)
        # A long utterance has many phrases, each of which says less.
        shares = np.repeat(1.0 / np.sqrt(np.maximum(lengths, 1)), lengths)
        cells = places * tier_count + np.repeat(tiers, lengths)
        counts = np.bincount(cells, shares, len(numbers) * tier_count)
        counts = counts.reshape(len(numbers), tier_count)
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0) / counts.sum())
        weights = np.log((counts + smoothing) / (expected + smoothing))
        weights -= weights.mean(axis=1, keepdims=True)
        return cls(numbers=numbers, weights=weights.astype(np.float32))
