"""Scores of an answer's text that need no model. Each function returns a pure function."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tierwise.answers import Answer
from tierwise.validators import json_schema as schema_validator
from tierwise_server.catalog.patterns import compile_pattern

Scorer = Callable[[str], float]

_WORD: Final = re.compile(r"\w+")
_NUMBER: Final = re.compile(r"(?<![\w.])[-+\N{MINUS SIGN}]?\d+(?:,\d{3})*(?:\.\d+)?")
_FENCE: Final = re.compile(r"\A\s*```[\w-]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_SENTENCE_START: Final = re.compile(r"(?:\A|[.!?:\n]|[-*\u2022]\s)\W*\Z")
_EDGES: Final = " \t\n.,;:!\"'`*_()[]"
MOST_ROUGE_WORDS: Final = 5000
"""Words of an answer and of a reference that ROUGE-L looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of a length. None means none."""

    min_words: int | None = None
    max_words: int | None = None
    min_characters: int | None = None
    max_characters: int | None = None


def plain(text: str) -> str:
    """Returns text without what makes no difference: case, white space, marks at its ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


def exact(references: Sequence[str]) -> Scorer:
    """Scores 1 when the answer is a reference, but for case, space and marks at the ends."""
    accepted = frozenset(map(plain, references))
    return lambda answer: float(plain(answer) in accepted)


def contains(texts: Sequence[str]) -> Scorer:
    """Scores the share of the texts that the answer contains, whatever their case."""
    wanted = tuple(map(plain, texts))

    def score(answer: str) -> float:
        found = plain(answer)
        return sum(one in found for one in wanted) / len(wanted)

    return score


def regex(pattern: str) -> Scorer:
    """Scores 1 when the pattern occurs in the answer. RE2, so that no pattern takes for ever.

    Raises:
        InvalidPatternError: RE2 does not compile it.
    """
    compiled = compile_pattern(pattern)
    return lambda answer: float(compiled.search(answer.encode("utf-8", "replace")) is not None)


def last_number(text: str) -> float | None:
    """Returns the last number of a text, with commas between thousands; None where it has none."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    return float(found[-1].replace(",", "").replace("\N{MINUS SIGN}", "-"))


def numeric(values: Sequence[float], absolute: float, relative: float) -> Scorer:
    """Scores 1 when the last number of the answer is one of the values, within a tolerance.

    Args:
        values: Accepted values.
        absolute: Accepted distance.
        relative: Accepted distance as a share of the value; the larger of the two holds.
    """

    def score(answer: str) -> float:
        given = last_number(answer)
        if given is None:
            return 0.0
        return float(any(is_close(given, one, absolute, relative) for one in values))

    return score


def is_close(given: float, value: float, absolute: float, relative: float) -> bool:
    """Returns whether a number is within the tolerance, rounding of decimals allowed for."""
    return abs(given - value) <= max(absolute, relative * abs(value)) + 1e-9 * max(1, abs(value))


def rouge_l(references: Sequence[str], full_at: float) -> Scorer:
    """Scores the F measure of ROUGE-L against the nearest reference.

    With `c` the length of the longest common subsequence of words, `P = c / words of the answer`
    and `R = c / words of the reference`, it is `2PR / (P + R)`: C.-Y. Lin, "ROUGE: A Package for
    Automatic Evaluation of Summaries", 2004, section 3, with beta 1.

    Args:
        references: Good answers.
        full_at: F from which on the score is 1. Good answers in other words reach some 0.4 to 0.6,
            so that a bar for quality needs a scale.
    """
    known = tuple(map(_words, references))

    def score(answer: str) -> float:
        given = _words(answer)
        return min(1.0, max(_f_measure(given, one) for one in known) / full_at)

    return score


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())[:MOST_ROUGE_WORDS])


def _f_measure(given: Sequence[str], reference: Sequence[str]) -> float:
    common = _common_subsequence(given, reference)
    return 2 * common / (len(given) + len(reference)) if common else 0.0


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence.

    Bit-parallel, one addition of long integers for each word: H. Hyyrö, "Bit-Parallel LCS-length
    Computation Revisited", 2004.
    """
    places: dict[str, int] = {}
    for position, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << position
    everything = (1 << len(left)) - 1
    row = everything
    for word in right:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(left) - row.bit_count()


def json_schema(schema: Mapping[str, Any]) -> Scorer:
    """Scores 1 when the answer is JSON that keeps to a schema, in a code fence or without.

    Raises:
        ConfigurationError: The package `jsonschema` is not installed.
        InvalidRequestError: The schema is no valid schema.
    """
    check = schema_validator(schema).check

    def score(answer: str) -> float:
        fenced = _FENCE.match(answer)
        return float(check(Answer(text=fenced[1] if fenced else answer)) is True)

    return score


def length(bounds: Bounds) -> Scorer:
    """Scores 1 within the bounds, and outside them by how far: twice as long as allowed is 0.5."""

    def score(answer: str) -> float:
        words, characters = len(answer.split()), len(answer.strip())
        return min(
            _within(words, bounds.min_words, bounds.max_words),
            _within(characters, bounds.min_characters, bounds.max_characters),
        )

    return score


def _within(count: int, least: int | None, most: int | None) -> float:
    if least is not None and count < least:
        return count / least
    return most / count if most is not None and count > most else 1.0


def keywords(require: Sequence[str], forbid: Sequence[str]) -> Scorer:
    """Scores the share of required words that occur, and 0 when a forbidden one does.

    Words and phrases count as wholes, whatever their case.
    """
    required, forbidden = map(_phrases, (require, forbid))

    def score(answer: str) -> float:
        found = f" {' '.join(_words(answer))} "
        if any(one in found for one in forbidden):
            return 0.0
        return sum(one in found for one in required) / len(required) if required else 1.0

    return score


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f" {' '.join(_words(one))} " for one in texts)


def facts(stated: Sequence[Sequence[str]], source: str, *, grounded: bool) -> Scorer:
    """Scores how many of the facts the answer states, times how much of it the source bears out.

    What is borne out are the answer's numbers, and its words with a capital letter that do not
    begin a sentence: names, most of them. Each has to occur in the source. That finds invented
    figures and names, which is what summaries get wrong, and not a wrong relation between them.

    Args:
        stated: Facts, each as its spellings, of which one has to occur in the answer.
        source: The text that the facts are from.
        grounded: Whether the second factor counts.
    """
    spellings = tuple(tuple(map(plain, one)) for one in stated)
    known_words = frozenset(_words(source))
    known_numbers = frozenset(_numbers(source))

    def score(answer: str) -> float:
        found = plain(answer)
        share = 1.0
        if spellings:
            share = sum(any(one in found for one in fact) for fact in spellings) / len(spellings)
        if grounded:
            claims = [number in known_numbers for number in _numbers(answer)]
            claims += [set(_words(name)) <= known_words for name in _names(answer)]
            share *= sum(claims) / len(claims) if claims else 1.0
        return share

    return score


def _numbers(text: str) -> list[float]:
    return [
        abs(float(one.replace(",", "").lstrip("-+\N{MINUS SIGN}"))) for one in _NUMBER.findall(text)
    ]


def _names(text: str) -> list[str]:
    return [
        word
        for found in re.finditer(r"\b[^\W\d_][\w'\N{RIGHT SINGLE QUOTATION MARK}]+", text)
        if (word := re.sub(r"['\N{RIGHT SINGLE QUOTATION MARK}]s$", "", found[0]))[0].isupper()
        and not _SENTENCE_START.search(text[: found.start()][-8:])
    ]
