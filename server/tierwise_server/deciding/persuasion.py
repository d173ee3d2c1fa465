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

from tierwise_server.deciding.framing import end_of_framing, start_of_framing

LEAST_WORDS: Final = 3
"""Words of the shortest clause that is left out, unless it is in brackets or sets a value."""

LEAST_LEFT: Final = 2
"""Words that have to be left to ask something, unless one is none that persuasion is made of."""

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
# What is said to hang on the answer, who is said to want it, and how it should be found.
_STAKES: Final = _words(
    "baffled bonus breath bribe brutally career careers catastrophic ceo cfo clearance"
    " consequences crucial cto deceptively depend depends disaster disastrous essential"
    " executives exhaustive exhaustively fiendishly fired flawlessly geniuses hangs hinges"
    " important insanely laureate lawsuit livelihood mathematician meticulous meticulously"
    " notoriously paramount phds physicist privileged punish punished rigor rigorously"
    " rigour stake stakes stumped sue sued teaser tip unlimited unsolved urgency urgent"
    " urgently vip vital vitally"
)
# Further words of theirs, which are content as often.
_COMMON: Final = _words(
    "academic access accordingly account accuracy accurate accurately actually admin"
    " administrator afford again allowed already alternative alternatives although angle"
    " angles anyhow anyone appear appears approach approaches approval approved around"
    " attempt attempted attempts audit audited authorised authorization authorized before"
    " beg begging being believe between biggest billion billions board brutal caliber"
    " calibre capable careful cases certified classification classifying client clients"
    " colleagues company complete comprehensive compute concern concerns confidential"
    " consider considering constraint constraints correct correctly count counting counts"
    " court crack critical customer customers day days deadline deal death deliberate depth"
    " derivation derivations detail detailed details directors discipline dollar dollars"
    " domain easily easy edge elevated else emergency enterprise entire error errors euros"
    " even ever every everybody everyone experience failed failure few field fields final"
    " first fool fooled formal formally future get gets getting go goes government granted"
    " handle hard help hint hints hour hours how human humans hypotheses hypothesis"
    " incident investors issue issues justify know knowledge known knows last least life"
    " limit limits lives logic logical logically long look looks lose loses losing lost"
    " many mathematical mathematically member mess million millions mind minds mission"
    " mistake mistakes mode month months nation national nobody noone off offer office offs"
    " ok okay once only option options order organisation organization our over own p part"
    " paying payment penalty people perfectly permission platinum please ponder precise"
    " precisely president principles privileges professor professors promise proof proofs"
    " puzzle read reading reads real really relies rely relying resources response"
    " responses reward rewarded riddle s safety scholar scholars scientific scientist"
    " scientists screw second security seem seems sensitive setting settings several"
    " severity shortcut shortcuts silver simple single skill skills skipping somebody"
    " subscriber subscription subtle supreme swear talent talented team technical terminate"
    " terminated their theoretical they thing though thoughtful time times today token"
    " tokens tomorrow tonight took trade tradeoffs tried trivial trusting trying twice"
    " under understand understands usd verified week weeks weigh well while whole word year"
    " years yet"
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
_VOCABULARY: Final = _TELLING | _GRADES | _STAKES | _COMMON | _FILLERS
_ROUTER_VOCABULARY: Final = _TELLING | _GRADES | _FILLERS
_TRIGGERS: Final = _TELLING | _STAKES

_WORD: Final = re.compile(r"[a-z0-9']+")
_BRACKETED: Final = re.compile(
    r"\[[^\[\]]{1,80}\]+|\[\[[^\[\]]{1,80}\]\]|\([^()]{1,120}\)|<[^<>]{1,80}>"
)
_END: Final = re.compile(
    r"[.!?:;,\n\u2013\u2014]+(?=\s|$)|\s-+(?=\s)|(?<=[\])>])(?=\s)"
    # Many prompts end without a mark before the next sentence begins.
    r"|(?<=[a-z0-9\"')])(?=\s[A-Z][a-z']+\s)"
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

_COMMAND: Final = re.compile(
    r"(?i)\W*(?:please |just )?(?:escalate|upgrade|override|ultra-?think|think|reason)"
    r"(?: \w+){0,2}[.!:]+\s*"
)
"""A short sentence that tells the router what to do."""

_OF_ITSELF: Final = re.compile(
    r"(?i)\b(?:what follows|the following|(?:this|next) (?:one|question|problem|task|request|prompt"
    r"|message|item))\b"
)
"""A clause that speaks of the request that it stands beside."""

_REFERS: Final = re.compile(
    r"(?i)(?:[\w']+\W+){0,5}(?:he|she|they|him|her|them|it|that|those|there)\b"
)
"""A request that goes on about what was said before it."""

_ENDS_TRIED: Final = 5
_ROUNDS: Final = 3
_MARKS_BEFORE: Final = " \n\t,;:-\u2013\u2014])>"


def without_persuasion(text: str) -> str:
    """Returns the text without what is put around a request to have it taken for another."""
    looked_at = text
    if len(text) > 2 * _MOST_CHARACTERS:
        looked_at = f"{text[:_MOST_CHARACTERS]} {text[-_MOST_CHARACTERS:]}"
    # Nearly all prompts end here.
    words = _WORD.findall(looked_at.lower())
    speaks = not _TRIGGERS.isdisjoint(words) or _SETTING.search(looked_at) is not None
    speaks = speaks or (not _SIGNS.isdisjoint(words) and _speaks_of_itself(looked_at))
    for _ in range(_ROUNDS):
        before = text
        start = end_of_framing(text)
        if start and _asks_enough(text[start:].lstrip(_MARKS_BEFORE)):
            text = text[start:].lstrip(_MARKS_BEFORE)
        end = start_of_framing(text)
        if end < len(text) and _asks_enough(text[:end]):
            text = text[:end]
        if speaks:
            text = _without_last(_without_first(text))
        if text == before:
            break
    return text


def _without_first(text: str) -> str:
    """Returns the text without the clauses that it begins with, as many as speak to the router."""
    window = text[:_MOST_CHARACTERS]
    start, kept = 0, text
    for end in _ends(window)[:_ENDS_TRIED]:
        if not _may_belong(window[start:end]):
            break
        rest = text[end:].lstrip(_MARKS_BEFORE)
        is_apart = window[end - 1] != "," or not _TELLING.isdisjoint(_words_of(window[:end]))
        if is_apart and _is_persuasion(window[:end], rest) and _asks_enough(rest):
            kept = rest
        start = end
    return kept


def _without_last(text: str) -> str:
    """Returns the text without the clauses that it ends with, as many as speak to the router."""
    kept = text
    text = text.rstrip()
    window = text[-_MOST_CHARACTERS:]
    before, end = len(text) - len(window), len(window)
    starts = {one for one in _ends(window) if one < end}
    starts |= {one.start() for one in _BRACKETED.finditer(window) if one.end() == end}
    for start in sorted(starts, reverse=True)[:_ENDS_TRIED]:
        if not _may_belong(window[start:end]):
            break
        # The mark before it stays: it may be the request's question mark.
        rest = text[: before + start].rstrip(" \n\t,;-\u2013\u2014[(")
        is_apart = window[start - 1] != "," or not _TELLING.isdisjoint(_words_of(window[start:]))
        if is_apart and _is_persuasion(window[start:], "") and _asks_enough(rest):
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
    if _ASKS.match(clause) or clause.rstrip().endswith("?"):
        return False
    vocabulary, needed = _VOCABULARY, LEAST_KNOWN
    if not _TELLING.isdisjoint(words):
        vocabulary = _ROUTER_VOCABULARY
        if sum(one in _SIGNS for one in words) >= CLEAR_SIGNS:
            needed = LEAST_KNOWN_WHERE_CLEAR
    known = sum(one in vocabulary or one.isdigit() for one in words)
    if known >= needed * len(words):
        return True
    known = sum(one in _VOCABULARY or one.isdigit() for one in words)
    return len(words) >= LEAST_WORDS and known >= LEAST_KNOWN * len(words)


def _is_persuasion(clauses: str, rest: str) -> bool:
    """Returns whether clauses, none of which asks anything, speak to the router."""
    words = _words_of(clauses)
    is_marked = _SETTING.search(clauses) or _BRACKETED.fullmatch(clauses.strip())
    is_command = _COMMAND.fullmatch(clauses) is not None
    if len(words) < LEAST_WORDS and not (is_marked or is_command):
        return False
    if not _TELLING.isdisjoint(words):
        return True
    speaks = not _STAKES.isdisjoint(words)
    speaks = speaks or (not _SIGNS.isdisjoint(words) and _speaks_of_itself(clauses))
    # "My boss fired me. Can he do that?" is about the boss.
    return speaks and _REFERS.match(rest) is None


def _speaks_of_itself(text: str) -> bool:
    return _OF_ITSELF.search(text) is not None


def _words_of(clause: str) -> list[str]:
    words = _WORD.findall(_SETTING.sub(" model ", clause).lower())
    return [one.removesuffix("'s") for one in words]


def _asks_enough(text: str) -> bool:
    if len(text.split(maxsplit=LEAST_LEFT)) >= LEAST_LEFT:
        return True
    words = _WORD.findall(text.lower())
    return bool(text.strip()) and (not words or not _VOCABULARY.issuperset(words))
