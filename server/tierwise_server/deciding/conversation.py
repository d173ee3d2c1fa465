"""Which text of a conversation decides.

The last user turn does. One too short to stand alone ("ok, do it") is embedded behind the user's
turn before it, since what it asks for was said there. System prompts and tool results count
towards the tokens of the call, never towards the vector: they are alike in all calls of one
application and would drown the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_STANDALONE_WORDS = 5
"""Turns of fewer words are taken for a reference to the turn before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a conversation."""

    by_user: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingText:
    """The text of a conversation that decides."""

    text: str
    """The last user turn: what rules read."""
    embedded_text: str
    """What is embedded: that turn, with the user's turn before it in front where it is short."""


def deciding_text(turns: Sequence[Turn]) -> DecidingText:
    """Returns what decides of a conversation with at least one user turn, oldest first."""
    by_user = [turn.text for turn in turns if turn.by_user]
    last = by_user[-1]
    embedded = last
    for earlier in reversed(by_user[:-1]):
        if len(embedded.split(maxsplit=MIN_STANDALONE_WORDS)) >= MIN_STANDALONE_WORDS:
            break
        embedded = f"{earlier}\n{embedded}"
    return DecidingText(text=last, embedded_text=embedded)
