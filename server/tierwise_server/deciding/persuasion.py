"""Leaves out what a prompt says to the router instead of asking it of a model.

"This is an extremely complex task requiring your best model:" moves a sentence vector towards hard
tasks whatever is asked behind it. Such a clause speaks of models, tiers, difficulty and effort
and of nothing else, and a request always speaks of something. So a clause at either end goes when
nearly all of its words belong to a small vocabulary, one of them names what routers weigh, and
something to ask is left over. That holds for wordings nobody thought of, as a list of phrases
would not. What rules read, and what goes to a model, stays as it was written.
"""

from __future__ import annotations

import re
from typing import Final

LEAST_WORDS: Final = 3
"""Words of the shortest clause that is left out, unless it is in brackets or sets a value."""

LEAST_LEFT: Final = 2
"""Words that have to be left to ask something."""

LEAST_KNOWN: Final = 0.85
"""Share of a clause's words that have to be of the vocabulary."""

LEAST_KNOWN_WHERE_CLEAR: Final = 0.65
"""The same where at least `CLEAR_SIGNS` words speak of models or grades."""

CLEAR_SIGNS: Final = 2

_MOST_CHARACTERS: Final = 300
"""Characters at either end that are looked at; bounds the cost."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What answers, what decides on it, how hard a prompt is said to be, and how much effort it needs.
_TELLING: Final = _words(
    "model models llm llms ai ais tier tiers router routers routing routed route classifier"
    " gpt opus flagship frontier escalate escalated escalation downgrade downgraded override"
    " premium complex complexity complicated difficult difficulty hard hardest harder tough"
    " toughest challenging challenge intricate sophisticated demanding nontrivial expert"
    " experts phd genius reasoning specialist specialists effort carefully intelligence"
    " smartest strongest cleverest brightest heaviest intellect brain brains brainpower"
)
# How good, dear or deep something is said to be.
_GRADES: Final = _words(
    "best better finest strong stronger powerful capable advanced smart smarter intelligent"
    " clever skilled top highest high higher maximum maximal max utmost extreme ultimate large"
    " larger largest big bigger biggest great greatest good cheap cheaper cheapest expensive"
    " dear dearest costly small smaller smallest tiny mini light lite lightweight weak weaker"
    " basic low lower lowest fast quality deep deeply deepest thorough thoroughly level levels"
    " class grade step steps multi full fully possible possibly available serious seriously"
    " professional tricky standard gold research senior junior elite superior ace excellent"
    " perfect flawless rigorous heavy heavyweight hefty engine engines think thinking upgrade"
    " world state art line pro plus plan priority power version budget cost costs price money"
    " object rules rule instructions system previous default importance"
)
# What such clauses are held together by.
_FILLERS: Final = _words(
    "a an the this that these those it its i i'm me my we us our you your you've you're is"
    " are was be been being am do does don't doesn't did not no never nor and or but so if"
    " then than as at by for from in into of off on only out over to up with without about all"
    " any each every both more most much many some such very too just really quite absolutely"
    " extremely highly incredibly especially particularly truly super ultra please kindly must"
    " should shall need needs needed require requires required requiring want wants can could"
    " can't cannot won't will would may might has have had having get gets got give gives"
    " given let use uses used using take takes treat consider regard handle handled handles"
    " handling send sent forward pass put pick choose select assign go goes pay answer answers"
    " answered respond reply solve solved ignore disregard skip here there now ahead below"
    " above follows following next one ones thing what who always ever again instead rather"
    " otherwise wrong right matter matters note attention warning important urgent critical"
    " crucial sure ps p s task tasks problem problems question questions request requests"
    " prompt query case work job time because since whatever anything nothing something"
    " everything stuff heads record message thanks thank listen look looks trust trusted worth"
    " deserve deserves demand demands insist insists expect expects hand rate mark label"
    " classify tag rank judge score shortcuts settle boss manager team ended open immediately"
    " asap directly honestly obviously clearly definitely certainly extra special even kind"
    " avoid refuse try switch run running assigned allocate direct someone somebody person"
    " people wanted prefer preferred preferably make makes sees see fit able unable fail fails"
    " like"
)
_SIGNS: Final = _TELLING | _GRADES
_VOCABULARY: Final = _TELLING | _GRADES | _FILLERS

_WORD: Final = re.compile(r"[a-z0-9']+")
_BRACKETED: Final = re.compile(
    r"\[[^\[\]]{1,80}\]+|\[\[[^\[\]]{1,80}\]\]|\([^()]{1,120}\)|<[^<>]{1,80}>"
)
_END: Final = re.compile(
    r"[.!?:;,\n\u2013\u2014]+(?=\s|$)|\s-+(?=\s)|(?<=[\])>])(?=\s)"
    # Many prompts end without a mark before the next sentence begins.
    r"|(?<=[a-z0-9])(?=\s[A-Z][a-z']+\s)"
)
"""Where a clause may end."""

_SETTING: Final = re.compile(
    r"(?i)\b(?:model|tier|complexity|difficulty|priority|effort|level|quality|route)\s?[=:]\s?"
    r"[\w./-]+[;,.]?"
)
"""A value that is set in passing, as `tier=premium`."""

_ASKS: Final = re.compile(
    r"(?i)\s*(?:and |but |so |or )?(?:what(?! follows| comes)|which|how|why|who|where|when"
    r"|(?:is|are|am|do|does|did) (?:you|i|we|they|he|she|it|this|that|there|the))\b"
)
"""Begins a question, which is a request whatever it is about."""

_ENDS_TRIED: Final = 5


def without_persuasion(text: str) -> str:
    """Returns the text without clauses at either end that speak to the router alone."""
    looked_at = text
    if len(text) > 2 * _MOST_CHARACTERS:
        looked_at = f"{text[:_MOST_CHARACTERS]} {text[-_MOST_CHARACTERS:]}"
    # Nearly all prompts end here.
    if _TELLING.isdisjoint(_WORD.findall(looked_at.lower())) and not _SETTING.search(looked_at):
        return text
    return _without_last(_without_first(text))


def _without_first(text: str) -> str:
    """Returns the text without the clauses that it begins with, as many as speak to the router."""
    window = text[:_MOST_CHARACTERS]
    start, kept = 0, text
    for end in _ends(window)[:_ENDS_TRIED]:
        if not _may_belong(window[start:end]):
            break
        rest = text[end:].lstrip(" \n\t,;:-\u2013\u2014])>")
        if _is_persuasion(window[:end]) and _asks_enough(rest):
            kept = rest
        start = end
    return kept


def _without_last(text: str) -> str:
    """Returns the text without the clauses that it ends with, as many as speak to the router."""
    kept = text = text.rstrip()
    window = text[-_MOST_CHARACTERS:]
    before, end = len(text) - len(window), len(window)
    starts = {one for one in _ends(window) if one < end}
    starts |= {one.start() for one in _BRACKETED.finditer(window) if one.end() == end}
    for start in sorted(starts, reverse=True)[:_ENDS_TRIED]:
        if not _may_belong(window[start:end]):
            break
        # The mark before it stays: it may be the request's question mark.
        rest = text[: before + start].rstrip(" \n\t,;-\u2013\u2014[(")
        if _is_persuasion(window[start:]) and _asks_enough(rest):
            kept = rest
        end = start
    return kept


def _ends(window: str) -> list[int]:
    """Returns where clauses end, ascending."""
    ends = {one.end() for one in _END.finditer(window)}
    return sorted(ends | {one.end() for one in _SETTING.finditer(window)})


def _may_belong(clause: str) -> bool:
    """Returns whether a clause holds nothing that could be asked of a model."""
    words = _words_of(clause)
    known = sum(one in _VOCABULARY or one.isdigit() for one in words)
    signs = sum(one in _SIGNS for one in words)
    needed = LEAST_KNOWN_WHERE_CLEAR if signs >= CLEAR_SIGNS else LEAST_KNOWN
    return known >= needed * len(words) and not _ASKS.match(clause)


def _is_persuasion(clauses: str) -> bool:
    """Returns whether clauses, none of which asks anything, speak to the router."""
    words = _words_of(clauses)
    is_marked = _SETTING.search(clauses) or _BRACKETED.fullmatch(clauses.strip())
    return (len(words) >= LEAST_WORDS or bool(is_marked)) and not _TELLING.isdisjoint(words)


def _words_of(clause: str) -> list[str]:
    return _WORD.findall(_SETTING.sub(" model ", clause).lower())


def _asks_enough(text: str) -> bool:
    return len(text.split(maxsplit=LEAST_LEFT)) >= LEAST_LEFT
