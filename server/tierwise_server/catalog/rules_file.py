"""Owns the format of `rules.yaml`: override and default rules."""

import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults, Position, quoted
from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.models_file import CAPABILITIES
from tierwise_server.catalog.patterns import InvalidPatternError, TextPatterns, compile_pattern
from tierwise_server.catalog.rules import AttachmentKind, Condition, Rule, RuleBook, Yield
from tierwise_server.catalog.schema import Record, list_items, listing, read_record
from tierwise_server.catalog.values import choice, identifier, integer, language, text
from tierwise_server.catalog.wording import normalized

RULES_FILE: Final = "rules.yaml"
"""Path of the file inside the catalog folder."""

MAX_RULES: Final = 500
"""Most rules of a catalog."""

_MAX_KEYWORD_LENGTH: Final = 100
_MAX_REGEX_LENGTH: Final = 1000
_MAX_CHARACTERS: Final = 100_000_000
_PHASES: Final = ("override", "default")
_CONDITIONS: Final = (
    "keywords",
    "regex",
    "task_tag",
    "language",
    "min_characters",
    "max_characters",
    "attachments",
)
_TARGETS: Final = ("tier", "task", "model")


def read_rules(node: Node, faults: FileFaults, known: KnownIds) -> RuleBook | None:
    """Returns the rules, or None when the file holds nothing to read."""
    record = read_record(node, faults, what="the rules", optional=_PHASES)
    if record is None:
        return None
    reading = _Reading(faults, known)
    rules = {phase: reading.phase(record, phase) for phase in _PHASES}
    return _with_patterns(rules["override"], rules["default"])


@dataclass(frozen=True, slots=True)
class _Draft:
    rule: Rule
    at: Position


class _Reading:
    """Reads the rules of one file; remembers their names and conditions."""

    def __init__(self, faults: FileFaults, known: KnownIds) -> None:
        self._faults = faults
        self._known = known
        self._lines: dict[str, int] = {}

    def phase(self, record: Record, phase: str) -> tuple[Rule, ...]:
        """Returns the rules of one phase that have no fault of their own."""
        items = record.read(phase, list_items) or ()
        if len(items) > MAX_RULES:
            message = f"There are more than {MAX_RULES} {phase} rules."
            self._faults.add(items[MAX_RULES], FaultRule.LIST_TOO_LONG, message)
            return ()
        drafts = [draft for item in items if (draft := self._rule(item, phase)) is not None]
        deciding: dict[Condition, Rule] = {}
        for draft in drafts:
            condition = _comparable(draft.rule.when)
            if condition in deciding:
                first = deciding[condition]
                self._faults.add(
                    draft.at,
                    FaultRule.SHADOWED_RULE,
                    f"The rule {quoted(draft.rule.name)} is never reached: "
                    f"{quoted(first.name)} on line {first.location.line} matches the same.",
                    "Change its condition or remove it.",
                )
            elif draft.rule.then.has_target:
                deciding[condition] = draft.rule
        return tuple(draft.rule for draft in drafts)

    def _rule(self, node: Node, phase: str) -> _Draft | None:
        record = read_record(node, self._faults, what="a rule", required=("name", "when", "then"))
        if record is None:
            return None
        name = record.read("name", identifier)
        if name is not None:
            self._claim_name(name)
        when = record.read("when", self._condition)
        then = record.read("then", self._yield)
        if name is None or when is None or then is None:
            return None
        if phase == "default" and not then.has_target:
            self._faults.add(
                record.key("then"),
                FaultRule.REQUIRE_AFTER_MATCHING,
                "A default rule is tried after all else, so it has to name a tier, task or model.",
                "Move the rule to `override`, or add a tier.",
            )
        location = Location(file=self._faults.file, line=name.line)
        return _Draft(Rule(name=name.text, when=when, then=then, location=location), name)

    def _claim_name(self, name: Scalar) -> None:
        if name.text in self._lines:
            self._faults.add(
                name,
                FaultRule.DUPLICATE_RULE,
                f"The rule {quoted(name.text)} is already on line {self._lines[name.text]}.",
                "Give one of the two another name.",
            )
        self._lines.setdefault(name.text, name.line)

    def _condition(self, node: Node, faults: FileFaults) -> Condition | None:
        record = read_record(node, faults, what="a condition", optional=_CONDITIONS)
        if record is None:
            return None
        keywords = record.read("keywords", listing(_keyword, key=normalized))
        regex = record.read("regex", _regex)
        tags = record.read("task_tag", listing(identifier, key=lambda tag: tag.text))
        languages = record.read("language", listing(language, key=lambda code: code))
        least = record.read("min_characters", integer(least=1, most=_MAX_CHARACTERS))
        most = record.read("max_characters", integer(least=1, most=_MAX_CHARACTERS))
        kinds = record.read("attachments", listing(choice(AttachmentKind), key=lambda kind: kind))
        if not record.node.entries:
            faults.add(
                node,
                FaultRule.EMPTY_CONDITION,
                "The rule has no condition.",
                "Add one, or change `default_tier` if it is meant for all prompts.",
            )
            return None
        if least is not None and most is not None and least > most:
            faults.add(
                record.key("max_characters"),
                FaultRule.NEVER_MATCHES,
                f"No prompt has at least {least} and at most {most} characters.",
                "Swap the two.",
            )
        return Condition(
            keywords=keywords or (),
            regex=regex,
            task_tags=frozenset(tag.text for tag in tags or ()),
            languages=frozenset(languages or ()),
            min_characters=least,
            max_characters=most,
            attachments=frozenset(kinds or ()),
        )

    def _yield(self, node: Node, faults: FileFaults) -> Yield | None:
        record = read_record(
            node, faults, what="what a rule yields", optional=(*_TARGETS, "require")
        )
        if record is None:
            return None
        tier = record.read("tier", identifier)
        task = record.read("task", identifier)
        model = record.read("model", identifier)
        if tier is not None:
            self._known.check_tier(tier, faults)
        if task is not None:
            self._known.check_task(task, faults)
        if model is not None:
            self._known.check_model(model, faults)
        capabilities = record.read("require", CAPABILITIES)
        targets = [target for target in _TARGETS if record.has(target)]
        if len(targets) > 1:
            faults.add(
                record.key(targets[1]),
                FaultRule.SEVERAL_TARGETS,
                f"A rule yields one of tier, task and model, not {' and '.join(targets)}.",
                "Keep the most exact one.",
            )
        if not record.node.entries:
            faults.add(
                node,
                FaultRule.EMPTY_YIELD,
                "The rule yields nothing.",
                "Add a tier, task, model or `require`.",
            )
            return None
        return Yield(
            tier=TierId(tier.text) if tier else None,
            task=TaskId(task.text) if task else None,
            model=ModelId(model.text) if model else None,
            required_capabilities=frozenset(capabilities or ()),
        )


def _keyword(node: Node, faults: FileFaults) -> str | None:
    found = text(most=_MAX_KEYWORD_LENGTH)(node, faults)
    # Case stays: folding it here would turn "Straße" into "strasse", which RE2 does not match.
    return None if found is None else " ".join(unicodedata.normalize("NFC", found).split())


def _regex(node: Node, faults: FileFaults) -> str | None:
    if text(most=_MAX_REGEX_LENGTH)(node, faults) is None or not isinstance(node, Scalar):
        return None
    try:
        # As written: white space at either end of a pattern means something.
        compile_pattern(node.text)
    except InvalidPatternError as error:
        faults.add(
            node,
            FaultRule.INVALID_REGEX,
            f"RE2 does not take this pattern: {error}.",
            "RE2 has no look-around and no back-references, and bounds repetition.",
        )
        return None
    return node.text


def _comparable(condition: Condition) -> Condition:
    return replace(condition, keywords=tuple(sorted(map(normalized, condition.keywords))))


def _with_patterns(override: tuple[Rule, ...], default: tuple[Rule, ...]) -> RuleBook:
    patterns: list[str] = []

    def placed(rule: Rule) -> Rule:
        first = len(patterns)
        patterns.extend(rule.when.patterns())
        return replace(rule, pattern_positions=tuple(range(first, len(patterns))))

    placed_override = tuple(map(placed, override))
    placed_default = tuple(map(placed, default))
    return RuleBook(
        override=placed_override, default=placed_default, patterns=TextPatterns(patterns)
    )
