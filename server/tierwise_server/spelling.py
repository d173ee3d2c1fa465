"""Puts misspelt words right before a prompt is compared with utterances.

One typo moves a sentence vector further than any other harmless change: it breaks a word into
pieces that mean something else. So a word that the catalog doesn't know becomes one that it does
know, where a single slip of the finger tells them apart. What rules read, and what goes to a model,
stays as it was written.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

LEAST_LETTERS = 4
"""Shorter words are left alone: too many others are one slip away."""

LEAST_OCCURRENCES = 2
"""Utterances that have to use a word before another is taken for it."""

MOST_CORRECTIONS = 20
"""Words looked at in one text; bounds the time spent on a text that is not English."""

_WORD = re.compile(rf"[A-Za-z]{{{LEAST_LETTERS},20}}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spelling:
    """The words of one catalog. Immutable and thread-safe."""

    known: frozenset[str]
    """Every word of the utterances, in lower case."""
    common: dict[str, int]
    """Words that another may be taken for, with the number of their occurrences."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Learns the words of some texts."""
        counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
        common = {
            word: count
            for word, count in counts.items()
            if count >= LEAST_OCCURRENCES and len(word) >= LEAST_LETTERS
        }
        return cls(known=frozenset(counts), common=common)

    def corrected(self, text: str) -> str:
        """Returns the text with what looks like a typo put right; everything else stays."""
        unknown = [one for one in _WORD.finditer(text) if one.group().lower() not in self.known]
        for found in reversed(unknown[:MOST_CORRECTIONS]):
            meant = self._meant(found.group().lower())
            if meant:
                text = f"{text[: found.start()]}{meant}{text[found.end() :]}"
        return text

    def _meant(self, word: str) -> str:
        """Returns the most used word that one slip turns into this one, or nothing.

        The first letter stays: it is rarely mistyped, and words that differ in it are often both
        right.
        """
        near = {one for one in _one_slip_away(word) if one in self.common}
        return max(sorted(near), key=self.common.__getitem__, default="")


def _one_slip_away(word: str) -> Iterator[str]:
    """Yields the words in which a letter is missing, too many, wrong or swapped with the next."""
    for place in range(1, len(word) + 1):
        head, tail = word[:place], word[place:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in string.ascii_lowercase:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
