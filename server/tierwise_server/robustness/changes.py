"""Changes of a prompt that should not change where it goes: typos, greetings and case."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

Change = Callable[[str], str]

WORDS_PER_TYPO: Final = 10
LEAST_WORD: Final = 4
"""Letters of the shortest word that gets a typo."""

GREETINGS: Final = ("Hi, ", "Hello! ", "Hey there, ", "Good morning, ", "Dear assistant, ")
NEIGHBOURS: Final = {
    **dict(zip("qwertyuiop", "wertyuiopo", strict=True)),
    **dict(zip("asdfghjkl", "sdfghjklk", strict=True)),
    **dict(zip("zxcvbnm", "xcvbnmn", strict=True)),
}
"""A key beside each key of a keyboard."""


def with_typos(text: str, dice: random.Random) -> str:
    """Returns the text with a typo for every ten words, begun ones included."""
    words = list(re.finditer(rf"[A-Za-z]{{{LEAST_WORD},}}", text))
    count = -(-len(text.split()) // WORDS_PER_TYPO)
    for found in sorted(dice.sample(words, min(count, len(words))), key=lambda one: -one.start()):
        text = text[: found.start()] + misspelt(found.group(), dice) + text[found.end() :]
    return text


def misspelt(word: str, dice: random.Random) -> str:
    """Returns a word with two letters swapped, one dropped, doubled, or hit beside its key."""
    place = dice.randrange(1, len(word) - 1)
    one, other = word[place], word[place + 1]
    wrong = dice.choice((other + one, other, one + one + other, NEIGHBOURS[one.lower()] + other))
    return word[:place] + wrong + word[place + 2 :]


def greeted(text: str, dice: random.Random) -> str:
    """Returns the text behind a greeting."""
    return dice.choice(GREETINGS) + text
