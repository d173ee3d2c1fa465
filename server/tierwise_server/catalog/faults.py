"""Owns faults: what is wrong in the files, where, by which rule, and what would mend it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

MAX_FAULTS: Final = 1000
"""Most faults that one load reports. A file of another kind would otherwise give one a line."""

_MAX_COMPARED_LENGTH: Final = 100
_MAX_CANDIDATES: Final = 2000


class FaultRule(StrEnum):
    """Rules that catalog files are held to. Ids are stable; new ones may be added."""

    # The folder and its files.
    MISSING_FOLDER = "missing-folder"
    MISSING_FILE = "missing-file"
    UNKNOWN_FILE = "unknown-file"
    UNREADABLE_FILE = "unreadable-file"
    LINK_OUTSIDE = "link-outside"
    NOT_A_FILE = "not-a-file"
    FILE_TOO_LARGE = "file-too-large"
    TOO_MANY_FILES = "too-many-files"
    CHANGING_FILES = "changing-files"
    # The YAML of one file.
    INVALID_ENCODING = "invalid-encoding"
    INVALID_CHARACTER = "invalid-character"
    SYNTAX = "syntax"
    EMPTY_FILE = "empty-file"
    SEVERAL_DOCUMENTS = "several-documents"
    TOO_DEEP = "too-deep"
    TOO_MANY_VALUES = "too-many-values"
    ALIAS = "alias"
    TAG = "tag"
    MERGE_KEY = "merge-key"
    DUPLICATE_KEY = "duplicate-key"
    KEY_NOT_TEXT = "key-not-text"
    # One value.
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    NOT_TEXT = "not-text"
    EMPTY_TEXT = "empty-text"
    TEXT_TOO_LONG = "text-too-long"
    EMPTY_LIST = "empty-list"
    LIST_TOO_LONG = "list-too-long"
    DUPLICATE_ITEM = "duplicate-item"
    OUT_OF_RANGE = "out-of-range"
    UNKNOWN_VALUE = "unknown-value"
    UNKNOWN_LANGUAGE = "unknown-language"
    INVALID_ID = "invalid-id"
    RESERVED_ID = "reserved-id"
    INVALID_URL = "invalid-url"
    INVALID_REGEX = "invalid-regex"
    # References.
    UNKNOWN_TIER = "unknown-tier"
    UNKNOWN_TASK = "unknown-task"
    UNKNOWN_MODEL = "unknown-model"
    # Tiers and tasks.
    MISSING_TIER_FILE = "missing-tier-file"
    UNLISTED_TIER_FILE = "unlisted-tier-file"
    MISNAMED_TIER_FILE = "misnamed-tier-file"
    EMPTY_TASKS = "empty-tasks"
    TOO_MANY_TASKS = "too-many-tasks"
    TOO_MANY_UTTERANCES = "too-many-utterances"
    DUPLICATE_TASK = "duplicate-task"
    AMBIGUOUS_ID = "ambiguous-id"
    DUPLICATE_UTTERANCE = "duplicate-utterance"
    # Rules.
    DUPLICATE_RULE = "duplicate-rule"
    EMPTY_CONDITION = "empty-condition"
    NEVER_MATCHES = "never-matches"
    SHADOWED_RULE = "shadowed-rule"
    EMPTY_YIELD = "empty-yield"
    SEVERAL_TARGETS = "several-targets"
    REQUIRE_AFTER_MATCHING = "require-after-matching"
    # Models.
    DUPLICATE_MODEL = "duplicate-model"
    NEGATIVE_PRICE = "negative-price"
    UNUSABLE_PRICE = "unusable-price"
    UNKNOWN_CAPABILITY = "unknown-capability"
    OUTPUT_EXCEEDS_WINDOW = "output-exceeds-window"
    EMPTY_TIER = "empty-tier"
    DEFAULT_TIER_WITHOUT_MODEL = "default-tier-without-model"
    # Limits.
    DUPLICATE_LIMIT = "duplicate-limit"
    # Evidence.
    INVALID_EVIDENCE = "invalid-evidence"
    TOO_MUCH_EVIDENCE = "too-much-evidence"
    # Cases.
    CASE_WITHOUT_PROMPT = "case-without-prompt"
    TASK_OF_OTHER_TIER = "task-of-other-tier"
    DUPLICATE_CASE = "duplicate-case"
    LEAKED_CASE = "leaked-case"
    SELF_TEST = "self-test"
    # Samples of the benchmark.
    DUPLICATE_SAMPLE = "duplicate-sample"
    UNSCORED_SAMPLE = "unscored-sample"
    MISSING_REFERENCE = "missing-reference"
    CONTRADICTORY_REFERENCES = "contradictory-references"
    INVALID_SCHEMA = "invalid-schema"
    # The report itself.
    TOO_MANY_FAULTS = "too-many-faults"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One thing that is wrong in the files. Sorts by file, then line, then column."""

    file: str
    """Path inside the catalog folder, with forward slashes; `.` for the folder itself."""
    line: int
    """Line in the file, counted from 1. A fault of the whole file is on line 1."""
    column: int
    """Column in the line, counted from 1."""
    rule: FaultRule
    message: str
    """What is wrong, in one sentence."""
    suggestion: str = ""
    """What would mend it, in one sentence. Empty when the message says enough."""

    def __str__(self) -> str:
        """Returns the fault on one line, in the form that compilers use."""
        text = f"{self.file}:{self.line}:{self.column}: {self.rule}: {self.message}"
        return f"{text} {self.suggestion}" if self.suggestion else text


class CatalogInvalidError(Exception):
    """The files do not make a catalog. Carries every fault, sorted by file and line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(faults))
        super().__init__(self.faults)

    def __str__(self) -> str:
        """Returns the count and one line a fault."""
        count = len(self.faults)
        head = f"{count} fault{'' if count == 1 else 's'} in the catalog"
        return "\n".join((f"{head}:", *map(str, self.faults)))


class Position(Protocol):
    """Anything that knows its place in a file, counted from 1."""

    @property
    def line(self) -> int:
        """Line, counted from 1."""

    @property
    def column(self) -> int:
        """Column, counted from 1."""


class FaultLog:
    """Collects the faults of one load."""

    def __init__(self) -> None:
        self._faults: dict[Fault, None] = {}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults so far, in the order they were found, each once."""
        return tuple(self._faults)

    @property
    def is_full(self) -> bool:
        """Whether further faults are dropped."""
        return len(self._faults) > MAX_FAULTS

    def add(self, fault: Fault) -> None:
        """Adds a fault, or once too many were found, one that says so."""
        if self.is_full:
            return
        if len(self._faults) == MAX_FAULTS:
            fault = Fault(
                file=fault.file,
                line=fault.line,
                column=fault.column,
                rule=FaultRule.TOO_MANY_FAULTS,
                message=f"More than {MAX_FAULTS} faults; the rest is not shown.",
            )
        self._faults[fault] = None

    def in_file(self, file: str) -> "FileFaults":
        """Returns a log for the faults of one file."""
        return FileFaults(self, file)


class FileFaults:
    """Collects the faults of one file."""

    def __init__(self, log: FaultLog, file: str) -> None:
        self.file = file
        self._log = log

    def add(self, at: Position, rule: FaultRule, message: str, suggestion: str = "") -> None:
        """Adds a fault at a place in this file."""
        self._log.add(
            Fault(
                file=self.file,
                line=at.line,
                column=at.column,
                rule=rule,
                message=message,
                suggestion=suggestion,
            )
        )


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Returns the candidate that is closest to the word, or "" when none is close."""
    if len(word) > _MAX_COMPARED_LENGTH:
        return ""
    known = sorted(candidates)[:_MAX_CANDIDATES]
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), "")


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Returns the closest candidate as a question, or "" when none is close."""
    found = nearest(word, candidates)
    return f"Did you mean {quoted(found)}?" if found else ""


def did_you_mean_or_all(word: str, candidates: Iterable[str]) -> str:
    """Returns the closest candidate as a question, or all of a small set of candidates."""
    known = sorted(candidates)
    return did_you_mean(word, known) or f"Use one of: {', '.join(known)}."


def quoted(text: str, *, most: int = 60) -> str:
    """Returns the text in backquotes on one line, shortened, with nothing that moves a cursor."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return f"`{''.join(one if one.isprintable() else '�' for one in shown)}`"
