"""Owns reading single values: text, ids, numbers, words of a closed set, languages.

Each returns a reader in the sense of `schema`, or is one.
"""

import re
import unicodedata
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.document import other_kind as kind_besides_text
from tierwise_server.catalog.faults import (
    FaultRule,
    FileFaults,
    did_you_mean_or_all,
    quoted,
)
from tierwise_server.catalog.ids import ID_PATTERN, MAX_ID_LENGTH
from tierwise_server.catalog.languages import LANGUAGE_CODES, intended_language
from tierwise_server.catalog.schema import Reader, refuse_type

E = TypeVar("E", bound=StrEnum)

_ID: Final = re.compile(ID_PATTERN)
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+)?(?<=[0-9])")
_MAX_NUMBER_LENGTH: Final = 24
# Long enough to show what was written instead of an id or a word.
_MAX_WORD_LENGTH: Final = 1000
# Line feed and tab are text; a byte order mark inside a text is an accident of copying.
_UNWANTED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


def text(*, most: int) -> Reader[str]:
    """Returns a reader of text, stripped of white space at both ends.

    Args:
        most: Longest text in characters.
    """

    def read(node: Node, faults: FileFaults) -> str | None:
        if not isinstance(node, Scalar):
            refuse_type(node, faults, "Here has to be a text")
            return None
        if kind := kind_besides_text(node):
            _refuse_kind(node, faults, kind)
            return None
        stripped = node.text.strip()
        # Nearly every text ends here: all of it prints, and its first character is no mark.
        if len(stripped) <= most and stripped.isprintable() and stripped[:1].isalnum():
            return stripped
        return stripped if _is_acceptable(stripped, most, node, faults) else None

    return read


def scalar_text(*, most: int) -> Reader[Scalar]:
    """Returns a reader of text that keeps its place; the text is stripped."""
    read_text = text(most=most)

    def read(node: Node, faults: FileFaults) -> Scalar | None:
        value = read_text(node, faults)
        if value is None or not isinstance(node, Scalar):
            return None
        return node if value == node.text else node._replace(text=value)

    return read


def identifier(node: Node, faults: FileFaults) -> Scalar | None:
    """Reads an id and keeps its place, so that a dangling reference can be reported there."""
    found = scalar_text(most=_MAX_WORD_LENGTH)(node, faults)
    if found is None:
        return None
    if len(found.text) <= MAX_ID_LENGTH and _ID.fullmatch(found.text):
        return found
    proposal = _id_like(found.text)
    faults.add(
        found,
        FaultRule.INVALID_ID,
        f"{quoted(found.text)} is not an id: small letters, digits and dashes, a letter first, "
        f"at most {MAX_ID_LENGTH} characters.",
        f"Write {quoted(proposal)}." if proposal else "",
    )
    return None


def decimal(*, least: str, most: str) -> Reader[Decimal]:
    """Returns a reader of a number, exactly as written, within inclusive bounds."""
    low, high = Decimal(least), Decimal(most)

    def read(node: Node, faults: FileFaults) -> Decimal | None:
        written = _number_text(node, faults, _DECIMAL, "a number such as 0.4")
        if written is None:
            return None
        value = Decimal(written)
        if low <= value <= high:
            return value
        faults.add(node, FaultRule.OUT_OF_RANGE, f"{written} is not between {least} and {most}.")
        return None

    return read


def number(*, least: str, most: str) -> Reader[float]:
    """Returns a reader of a floating-point number within inclusive bounds."""
    read_decimal = decimal(least=least, most=most)

    def read(node: Node, faults: FileFaults) -> float | None:
        value = read_decimal(node, faults)
        return None if value is None else float(value)

    return read


def integer(*, least: int, most: int) -> Reader[int]:
    """Returns a reader of a whole number within inclusive bounds."""

    def read(node: Node, faults: FileFaults) -> int | None:
        written = _number_text(node, faults, _INTEGER, "a whole number such as 1000")
        if written is None:
            return None
        value = int(written)
        if least <= value <= most:
            return value
        faults.add(node, FaultRule.OUT_OF_RANGE, f"{written} is not between {least} and {most}.")
        return None

    return read


def choice(members: type[E], rule: FaultRule = FaultRule.UNKNOWN_VALUE) -> Reader[E]:
    """Returns a reader of one of a closed set of words."""
    by_word = {str(member): member for member in members}
    read_text = text(most=_MAX_WORD_LENGTH)

    def read(node: Node, faults: FileFaults) -> E | None:
        word = read_text(node, faults)
        if word is None:
            return None
        if word not in by_word:
            faults.add(
                node, rule, f"Unknown value {quoted(word)}.", did_you_mean_or_all(word, by_word)
            )
        return by_word.get(word)

    return read


def language(node: Node, faults: FileFaults) -> str | None:
    """Reads an ISO 639-1 code."""
    code = text(most=_MAX_WORD_LENGTH)(node, faults)
    if code is None or code in LANGUAGE_CODES:
        return code
    meant = intended_language(code)
    faults.add(
        node,
        FaultRule.UNKNOWN_LANGUAGE,
        f"{quoted(code)} is not an ISO 639-1 code.",
        f"Write `{meant}`." if meant else "Use two small letters, such as `en`.",
    )
    return None


def _number_text(node: Node, faults: FileFaults, form: re.Pattern[str], what: str) -> str | None:
    if not isinstance(node, Scalar):
        refuse_type(node, faults, f"Here has to be {what}")
        return None
    written = node.text
    if node.is_plain and len(written) <= _MAX_NUMBER_LENGTH and form.fullmatch(written):
        return written
    meant = written.strip().replace("_", "").replace(",", ".")
    is_number = len(meant) <= _MAX_NUMBER_LENGTH and form.fullmatch(meant)
    faults.add(
        node,
        FaultRule.WRONG_TYPE,
        f"{quoted(written)} is not {what}.",
        f"Write {meant}." if is_number else "",
    )
    return None


def _is_acceptable(stripped: str, most: int, node: Scalar, faults: FileFaults) -> bool:
    if not any(map(_is_visible, stripped)):
        faults.add(node, FaultRule.EMPTY_TEXT, "The text is empty.", "Write it or remove it.")
    elif len(stripped) > most:
        faults.add(
            node,
            FaultRule.TEXT_TOO_LONG,
            f"The text has {len(stripped)} characters; the limit is {most}.",
            "Shorten it.",
        )
    elif unwanted := _UNWANTED.search(stripped):
        faults.add(
            node,
            FaultRule.INVALID_CHARACTER,
            f"The text holds the control character U+{ord(unwanted.group()):04X}.",
            "Remove it.",
        )
    else:
        return True
    return False


def _refuse_kind(node: Scalar, faults: FileFaults, kind: str) -> None:
    if not node.text:
        faults.add(node, FaultRule.EMPTY_TEXT, "The text is empty.", "Write it or remove it.")
        return
    faults.add(
        node,
        FaultRule.NOT_TEXT,
        f"YAML takes {quoted(node.text)} for {kind}, not for text.",
        f'Write "{node.text}" in quotes.' if len(node.text) <= _MAX_NUMBER_LENGTH else "Quote it.",
    )


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZC"


def _id_like(word: str) -> str:
    dashed = re.sub(r"[^a-z0-9]+", "-", word[:MAX_ID_LENGTH].casefold()).strip("-")
    return dashed if _ID.fullmatch(dashed) else ""
