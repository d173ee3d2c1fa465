"""Owns rules: what each one matches and what it yields.

In which order rules are tried, and what their yield means for a decision, is not decided here.
"""

import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.patterns import TextPatterns, keyword_pattern
from tierwise_server.catalog.registry import Capability


class AttachmentKind(StrEnum):
    """What a prompt carries beside its text. The set is complete."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a rule matches. Every part that is given must hold; within a part, any entry will do."""

    keywords: tuple[str, ...] = ()
    """Whole words or phrases in the text, whatever their case."""
    regex: str | None = None
    """RE2 pattern that occurs in the text."""
    task_tags: frozenset[str] = frozenset()
    """Task tags, one of which the request carries."""
    languages: frozenset[str] = frozenset()
    """ISO 639-1 codes, one of which is the prompt's language."""
    min_characters: int | None = None
    """Fewest characters of the text."""
    max_characters: int | None = None
    """Most characters of the text."""
    attachments: frozenset[AttachmentKind] = frozenset()
    """Kinds, one of which the request carries."""

    def patterns(self) -> tuple[str, ...]:
        """Returns the RE2 patterns that must all occur in the text."""
        keywords = (keyword_pattern(self.keywords),) if self.keywords else ()
        return keywords if self.regex is None else (*keywords, self.regex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """What a rule gives when it matches: at most one target, and required capabilities."""

    tier: TierId | None = None
    task: TaskId | None = None
    model: ModelId | None = None
    required_capabilities: frozenset[Capability] = frozenset()

    @property
    def has_target(self) -> bool:
        """Whether the rule decides, rather than only adding a constraint."""
        return self.tier is not None or self.task is not None or self.model is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One deterministic matcher and what it yields."""

    name: str
    when: Condition
    then: Yield
    location: Location
    pattern_positions: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """Positions of this rule's patterns in the `TextPatterns` of its rule book."""

    def matches(self, subject: "RuleSubject") -> bool:
        """Returns whether every part of the condition holds for the subject.

        Args:
            subject: Made by the rule book that holds this rule.
        """
        when = self.when
        if when.task_tags and subject.task_tag not in when.task_tags:
            return False
        if when.languages and subject.language not in when.languages:
            return False
        if when.attachments and when.attachments.isdisjoint(subject.attachments):
            return False
        if when.min_characters is not None and subject.character_count < when.min_characters:
            return False
        if when.max_characters is not None and subject.character_count > when.max_characters:
            return False
        # Last, since only this part reads the text.
        return not self.pattern_positions or subject.has_patterns(self.pattern_positions)


class RuleSubject:
    """What rules look at in one request. Reads the text at most once, however many rules ask.

    Belongs to one request and one thread.
    """

    __slots__ = (
        "_found",
        "_patterns",
        "_text",
        "attachments",
        "character_count",
        "language",
        "task_tag",
    )

    def __init__(
        self,
        *,
        patterns: TextPatterns,
        text: str,
        task_tag: str,
        language: str,
        attachments: frozenset[AttachmentKind],
    ) -> None:
        self.character_count = len(text)
        self.task_tag = task_tag
        self.language = language
        self.attachments = attachments
        self._patterns = patterns
        self._text = text
        self._found: frozenset[int] | None = None

    def has_patterns(self, positions: tuple[int, ...]) -> bool:
        """Returns whether all the patterns at these positions occur in the text."""
        if self._found is None:
            # Keywords are kept in the same normal form. A lone surrogate has no UTF-8 form.
            text = unicodedata.normalize("NFC", self._text)
            self._found = self._patterns.matching(text.encode(errors="replace"))
        return self._found.issuperset(positions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """The rules of a catalog, in the order of the file."""

    override: tuple[Rule, ...] = ()
    """Tried before the embedding."""
    default: tuple[Rule, ...] = ()
    """Tried after it, when nothing matched."""
    patterns: TextPatterns = field(
        default_factory=lambda: TextPatterns(()), repr=False, compare=False
    )
    """Text patterns of all the rules; their positions are those in `Rule.pattern_positions`."""

    def subject(
        self,
        *,
        text: str,
        task_tag: str = "",
        language: str = "",
        attachments: frozenset[AttachmentKind] = frozenset(),
    ) -> RuleSubject:
        """Returns what this book's rules look at in one request.

        Args:
            text: The prompt. Empty where only a vector was sent; then no keyword or regex matches.
            task_tag: Task tag of the request. Empty means none.
            language: ISO 639-1 code. Empty means not known; then no language condition holds.
            attachments: Kinds that the request carries.
        """
        return RuleSubject(
            patterns=self.patterns,
            text=text,
            task_tag=task_tag,
            language=language,
            attachments=attachments,
        )
