"""Owns matching the text of a prompt against all keywords and regexes of a catalog in one pass.

One DFA over all patterns reads 10,000 characters in about the time that a single pattern needs, so
thirty rules cost what one does. RE2 keeps it linear in the length of the text.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, cast

import re2

PATTERN_MEMORY_BYTES: Final = 1 << 20
"""Bound on one compiled pattern. Counted repetition such as `(a{999}){999}` needs more."""

SET_MEMORY_BYTES: Final = 32 << 20
"""Bound on the automaton of all patterns together; it grows only as texts need it."""

# Characters that part words: ASCII that is in no word, then the punctuation and symbols of the
# scripts. Written as few ranges, since RE2's `\pL` makes each pattern a hundred times larger.
_PUNCTUATION: Final = (
    r"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f\x{80}-\x{a9}\x{ab}-\x{b4}\x{b6}-\x{b9}"
    r"\x{bb}-\x{bf}\x{d7}\x{f7}\x{37e}\x{387}\x{55a}-\x{55f}\x{589}\x{58a}\x{5be}\x{5c0}\x{5c3}\x{5c6}\x{5f3}\x{5f4}\x{60c}\x{61b}\x{61f}"
    r"\x{66a}-\x{66d}\x{6d4}\x{964}\x{965}\x{2000}-\x{200b}\x{200e}-\x{206f}\x{20a0}-\x{20cf}"
    r"\x{2190}-\x{2bff}\x{2e00}-\x{2e7f}\x{3000}-\x{303f}\x{fe10}-\x{fe6f}\x{ff00}-\x{ff0f}"
    r"\x{ff1a}-\x{ff20}\x{ff3b}-\x{ff3e}\x{ff40}\x{ff5b}-\x{ff65}\x{ffe0}-\x{ffff}"
    r"\x{1f000}-\x{1faff}"
)
# Thai to Myanmar, Khmer, kana, Han and, since it joins endings to words, Hangul.
_UNSPACED: Final = (
    r"\x{e00}-\x{109f}\x{1100}-\x{11ff}\x{1780}-\x{17ff}\x{3040}-\x{4dbf}\x{4e00}-\x{9fff}\x{a960}-\x{a97f}"
    r"\x{ac00}-\x{d7af}\x{f900}-\x{faff}\x{ff66}-\x{ffdf}\x{20000}-\x{3ffff}"
)
_BREAK: Final = f"[{_PUNCTUATION}{_UNSPACED}]"
_BREAKS: Final = re2.compile(_BREAK)

# An empty pattern would match at every place, and cost three times as much.
_END: Final = r"\z"


class InvalidPatternError(ValueError):
    """A regex that RE2 does not compile, or only with too much memory."""


class _Pattern(Protocol):
    """The part of a compiled RE2 pattern that is used here."""

    def search(self, text: bytes) -> object | None:
        """Returns a match or None."""


def compile_pattern(pattern: str) -> _Pattern:
    """Compiles a regex within the memory bound.

    Raises:
        InvalidPatternError: With RE2's message.
    """
    try:
        return cast("_Pattern", re2.compile(pattern.encode(), _options(PATTERN_MEMORY_BYTES)))
    except re2.error as error:
        reason = error.args[0] if error.args else error
        message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidPatternError(message) from error


def keyword_pattern(keywords: Iterable[str]) -> str:
    """Returns a regex for any of the keywords as whole words or phrases, whatever their case.

    Any run of white space matches a space in a keyword. An end of a keyword that is no letter or
    digit (`c++`), or of a script that does not part words by spaces, may touch what stands beside
    it.
    """
    bodies: dict[tuple[str, str], list[str]] = {}
    for keyword in keywords:
        words = keyword.split()
        before = "" if _BREAKS.search(words[0][0]) else f"(?:^|{_BREAK})"
        after = "" if _BREAKS.search(words[-1][-1]) else f"(?:$|{_BREAK})"
        body = r"\s+".join(re2.escape(word) for word in words)
        bodies.setdefault((before, after), []).append(body)
    groups = (f"{before}(?:{'|'.join(some)}){after}" for (before, after), some in bodies.items())
    return f"(?i:{'|'.join(groups)})"


class TextPatterns:
    """Matches a text against many patterns at once.

    Immutable after construction and safe to use from several threads.
    """

    __slots__ = ("_automaton", "_patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compiles the patterns.

        Raises:
            InvalidPatternError: If one of them does not compile.
        """
        self._patterns = tuple(compile_pattern(pattern) for pattern in patterns)
        self._automaton = _build_automaton(patterns)

    def matching(self, text: bytes) -> frozenset[int]:
        """Returns the positions of the patterns that occur in the UTF-8 text."""
        if not self._patterns:
            return frozenset()
        if self._automaton is not None:
            found = frozenset(self._automaton.Match(text) or ())
            # The last pattern matches any text. Its absence is the only sign that the automaton
            # ran out of memory, which must not read as "nothing matches".
            if len(self._patterns) in found:
                return found - {len(self._patterns)}
        return frozenset(
            position for position, one in enumerate(self._patterns) if one.search(text) is not None
        )


class _Automaton(Protocol):
    """The part of `re2.Set` that is used here."""

    def Match(self, text: bytes) -> list[int] | None:  # noqa: N802 - RE2's own name
        """Returns the positions of the patterns that occur in the text."""


def _build_automaton(patterns: Sequence[str]) -> _Automaton | None:
    automaton = re2.Set.SearchSet(_options(SET_MEMORY_BYTES))
    for pattern in (*patterns, _END):
        automaton.Add(pattern.encode())
    try:
        automaton.Compile()
    except re2.error:
        return None
    return cast("_Automaton", automaton)


def _options(memory_bytes: int) -> re2.Options:
    options = re2.Options()
    options.max_mem = memory_bytes
    options.log_errors = False
    options.never_capture = True
    return options
