"""Estimates how many tokens a text has, before the call, from its characters.

Tokenizers differ by family of models, and which one a provider uses today is not always public, so
an estimate is a constant for the call plus a weight for each kind of character. Only a sample of
the text is read, so that a million characters cost as little as two thousand.

The constants were fitted to recorded calls whose input is text alone, and the weights of Latin
letters, space, digits and marks to recorded answers as well. Errors on the calls, each text once,
by `tests/benchmarks/token_estimates.py`, as shares of the recorded count (what a provider adds to a
call, up to 72 tokens, dominates in short texts, and most recordings are short):

| family | calls | median | 95th percentile | median from 300 characters on | worst of those |
|---|---|---|---|---|---|
| openai | 34 | 15 % | 43 % | 16 % | 31 % |
| anthropic | 27 | 16 % | 55 % | 9 % | 29 % |
| gemini | 14 | 13 % | 100 % | 18 % | 25 % |
| mistral | 6 | 22 % | 75 % | 22 % | 22 % |
| other | 15 | 18 % | 76 % | none recorded | none recorded |

`upper_bound`, the estimate with its safety share and `SAFETY_TOKENS`, covers 97 % of the calls of
openai and all of the other families; two calls into which a provider put a prompt of its own are
left out. No recording is in another script: the weights of `other` and `wide` are cautious
assumptions, and few calls stand behind mistral and other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple


class TokenFamily(IntEnum):
    """Models whose tokenizers cut text alike. The numbers are positions in `FAMILIES`."""

    OPENAI = 0
    ANTHROPIC = 1
    GEMINI = 2
    MISTRAL = 3
    OTHER = 4
    """Llama, Qwen, DeepSeek, GLM and whatever else is served openly."""


FAMILIES: Final = tuple(TokenFamily)
"""All families, in the order of their numbers."""


class CharacterKinds(NamedTuple):
    """A number for each kind of character: how many there are, or how many tokens one makes."""

    letter: float
    """Letters of the Latin script."""
    space: float
    """White space, most of which joins the word after it."""
    digit: float
    mark: float
    """Punctuation and signs."""
    other: float
    """Letters of scripts that are written with a few dozen letters: Cyrillic, Arabic, Thai, …"""
    wide: float
    """Chinese, Japanese and Korean characters, and emoji."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """How one family makes tokens of text."""

    overhead: int
    """Tokens of a call beside its text: roles, separators and what the provider adds."""
    kinds: CharacterKinds
    """Tokens that one character of each kind makes."""
    safety_share: float
    """Share by which a call may exceed its estimate; see `upper_bound`."""


RATES: Final = (
    TokenRates(
        overhead=8,
        kinds=CharacterKinds(0.224, 0.035, 0.66, 0.60, 0.5, 0.9),
        safety_share=0.20,
    ),
    TokenRates(
        overhead=10,
        kinds=CharacterKinds(0.238, 0.032, 0.77, 0.82, 0.5, 0.9),
        safety_share=0.45,
    ),
    TokenRates(
        overhead=2,
        kinds=CharacterKinds(0.220, 0.034, 0.98, 0.74, 0.5, 0.9),
        safety_share=0.15,
    ),
    TokenRates(
        overhead=5,
        kinds=CharacterKinds(0.232, 0.031, 0.53, 0.51, 0.5, 0.9),
        safety_share=0.15,
    ),
    TokenRates(
        overhead=10,
        kinds=CharacterKinds(0.251, 0.031, 0.50, 0.51, 0.5, 0.9),
        safety_share=0.20,
    ),
)
"""Rates of each family, in the order of `FAMILIES`."""

SAFETY_TOKENS: Final = 80
"""Tokens by which any call may exceed its estimate: instructions that providers put before the
prompt, up to 72 in the recordings. Nothing against a context window, much against a short text."""

SAMPLE_CHARACTERS: Final = 700
"""Characters read at the start, in the middle and at the end of a long text."""

_FAMILY_BY_PROVIDER: Final = {
    "openai": TokenFamily.OPENAI,
    "azure": TokenFamily.OPENAI,
    "azure-openai": TokenFamily.OPENAI,
    "anthropic": TokenFamily.ANTHROPIC,
    "google": TokenFamily.GEMINI,
    "gemini": TokenFamily.GEMINI,
    "vertex": TokenFamily.GEMINI,
    "mistral": TokenFamily.MISTRAL,
}
_FAMILY_BY_NAME: Final = {
    "gpt-oss": TokenFamily.OTHER,
    "gpt": TokenFamily.OPENAI,
    "claude": TokenFamily.ANTHROPIC,
    "gemini": TokenFamily.GEMINI,
    "gemma": TokenFamily.GEMINI,
    "mistral": TokenFamily.MISTRAL,
    "ministral": TokenFamily.MISTRAL,
    "magistral": TokenFamily.MISTRAL,
    "devstral": TokenFamily.MISTRAL,
    "codestral": TokenFamily.MISTRAL,
}

# Kinds are counted on UTF-8 bytes, each character by its first one, since deleting bytes by a
# table runs at the speed of memory.
_LETTERS: Final = bytes(
    (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1), *range(0xC3, 0xCB))
)
_SPACES: Final = b" \t\n\r\v\f"
_DIGITS: Final = b"0123456789"
_OTHER: Final = bytes((*range(0xCB, 0xE0), 0xE0, 0xE1))
_WIDE: Final = bytes(range(0xE3, 0xF5))


_PLAIN: Final = CharacterKinds(0.78, 0.16, 0.01, 0.05, 0.0, 0.0)
"""Kinds of English prose, for texts that are not there to be read."""
_WIDE_TEXT: Final = CharacterKinds(0.02, 0.02, 0.02, 0.06, 0.0, 0.88)
_OTHER_TEXT: Final = CharacterKinds(0.02, 0.15, 0.01, 0.05, 0.77, 0.0)
_WIDE_LANGUAGES: Final = frozenset({"zh", "ja", "ko"})
_OTHER_LANGUAGES: Final = frozenset(
    {"am", "ar", "be", "bg", "bn", "el", "fa", "gu", "he", "hi", "hy", "ka", "kk", "km", "kn"}
    | {"ky", "lo", "mk", "ml", "mn", "mr", "my", "ne", "or", "pa", "ps", "ru", "sa", "sd", "si"}
    | {"sr", "ta", "te", "tg", "th", "ug", "uk", "ur", "yi"}
)


def family_of(provider: str, name: str, token_family: str | None) -> TokenFamily:
    """Returns the token family of a model.

    Args:
        provider: Provider in kebab-case.
        name: Name as the provider spells it.
        token_family: What the catalog says. None means by provider, else by name.
    """
    if token_family is not None:
        stated = token_family.upper().replace("-", "_")
        if stated in TokenFamily.__members__:
            return TokenFamily[stated]
        provider = name = token_family
    family = _FAMILY_BY_PROVIDER.get(provider)
    return _by_name(name) if family is None else family


def _by_name(name: str) -> TokenFamily:
    # Gateways put the maker in front of the name.
    short = name.rsplit("/", 1)[-1].lower()
    for start, family in _FAMILY_BY_NAME.items():
        if short.startswith(start):
            return family
    return TokenFamily.OTHER


def character_kinds(text: str) -> CharacterKinds:
    """Returns the share of each kind of character in a text, from a sample of it."""
    if len(text) > 3 * SAMPLE_CHARACTERS:
        middle = (len(text) - SAMPLE_CHARACTERS) // 2
        text = (
            text[:SAMPLE_CHARACTERS]
            + text[middle : middle + SAMPLE_CHARACTERS]
            + text[-SAMPLE_CHARACTERS:]
        )
    if not text:
        return _PLAIN
    total = len(text)
    encoded = text.encode("utf-8", "replace")
    letter, space, digit = (_share(encoded, one, total) for one in (_LETTERS, _SPACES, _DIGITS))
    other = wide = 0.0
    if len(encoded) > total:
        other, wide = _share(encoded, _OTHER, total), _share(encoded, _WIDE, total)
    mark = max(0.0, 1.0 - letter - space - digit - other - wide)
    return CharacterKinds(letter, space, digit, mark, other, wide)


def _share(encoded: bytes, kind: bytes, total: int) -> float:
    return (len(encoded) - len(encoded.translate(None, kind))) / total


def kinds_of_language(language: str) -> CharacterKinds:
    """Returns the usual shares of a language, for texts that are not there to be read."""
    if language in _WIDE_LANGUAGES:
        return _WIDE_TEXT
    return _OTHER_TEXT if language in _OTHER_LANGUAGES else _PLAIN


def estimate_tokens(family: TokenFamily, characters: int, kinds: CharacterKinds) -> int:
    """Returns how many tokens a call's text makes, whatever else the call holds not counted.

    Args:
        family: Family of the model.
        characters: Characters of all turns.
        kinds: Share of each kind among them.
    """
    rates = RATES[family]
    each, share = rates.kinds, kinds
    # Written out, since every request comes by here once for each family.
    rate = (
        each.letter * share.letter
        + each.space * share.space
        + each.digit * share.digit
        + each.mark * share.mark
        + each.other * share.other
        + each.wide * share.wide
    )
    return rates.overhead + math.ceil(characters * rate)


def upper_bound(family: TokenFamily, tokens: int) -> int:
    """Returns how many tokens a call may turn out to have that was estimated at `tokens`.

    Covers at least 95 % of the recorded calls of every family.
    """
    return tokens + SAFETY_TOKENS + math.ceil(tokens * RATES[family].safety_share)
