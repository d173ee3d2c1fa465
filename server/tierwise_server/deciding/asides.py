"""Tells when the dearest tier may rest on a clause beside the request alone.

A short sentence before or behind small talk ("one wrong word and the merger collapses") is enough
to make it look a little like hard work, whatever its words. Hard work looks a lot like it. So where
the dearest tier leads by little likeness, the prompt is looked at without its first and without its
last clause as well, and the lowest tier counts. That costs up to two encodings more, for 2 in 100
of the shipped cases, as many of MMLU's questions, and next to none of CLINC150's prompts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tierwise_server.scoring.scorer import Lead

WEAK_SCORE: Final = 0.35
"""Score of the dearest tier from which it is believed at once. Nine in ten of the shipped cases
that reach that tier have it."""

MOST_ASIDE_WORDS: Final = 12
"""Words of the longest clause that is taken for an aside; longer ones tell what is asked about."""

LEAST_LEFT: Final = 4
"""Words that have to be left; fewer may go on about what the clause said ("next step?")."""

_MOST_CHARACTERS: Final = 1_000
_END: Final = re.compile(r":\n+|[.!?:;>\]|]+(?=\s)|\n+|\s-+(?=\s)|[\u2013\u2014]+")


def is_weak(leads: Sequence[Lead], margin: float) -> bool:
    """Returns whether the dearest tier may win, and by little likeness.

    Args:
        leads: Each tier's best task, cheapest first.
        margin: Score by which the best tier must lead; closer ones are tied.
    """
    dearest = leads[-1].score
    return dearest < WEAK_SCORE and dearest >= max(one.score for one in leads) - margin


def without_asides(text: str) -> list[str]:
    """Returns the text without its first clause and without its last, where it has such."""
    if len(text) > _MOST_CHARACTERS:
        return []
    text = text.strip()
    ends = [one.span() for one in _END.finditer(text) if one.end() < len(text)]
    if not ends:
        return []
    parts = [(text[: ends[0][1]], text[ends[0][1] :])]
    # The last of several lines is the end of a list or a paste.
    if "\n" not in text:
        parts.append((text[ends[-1][1] :], text[: ends[-1][0] + 1]))
    return [rest.strip() for aside, rest in parts if _is_aside(aside) and _stands_alone(rest)]


def _is_aside(clause: str) -> bool:
    # What ends in a colon and a new line asks something of what stands below.
    is_request = "?" in clause or ":\n" in clause
    return not is_request and len(clause.split()) <= MOST_ASIDE_WORDS


def _stands_alone(text: str) -> bool:
    return len(text.split(maxsplit=LEAST_LEFT)) >= LEAST_LEFT
