"""Owns the format of `checks:`, which says how a sample's answers are scored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tierwise.errors import ConfigurationError, InvalidRequestError
from tierwise_server.benching import scorers
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.samples import Check, CheckKind
from tierwise_server.catalog.document import Listing, Node, Scalar, other_kind
from tierwise_server.catalog.document import Mapping as MappingNode
from tierwise_server.catalog.faults import FaultRule, FileFaults, quoted
from tierwise_server.catalog.patterns import InvalidPatternError
from tierwise_server.catalog.schema import Record, listing, read_record, refuse_type
from tierwise_server.catalog.values import integer, number, text

MAX_TEXT_LENGTH: Final = 200_000
"""Longest prompt, reference and source in characters, as in the cases."""

CHECKS: Final = (
    "exact",
    "contains",
    "regex",
    "numeric",
    "rouge_l",
    "facts",
    "json_schema",
    "length",
    "keywords",
)
"""All kinds of checks. The last three are constraints."""

_CONSTRAINTS: Final = frozenset({"json_schema", "length", "keywords"})
_BY_REFERENCE: Final = ("exact", "numeric", "rouge_l")
_FULL_AT: Final = 0.5
_BOUNDS: Final = ("min_words", "max_words", "min_characters", "max_characters")
_INTEGER: Final = re.compile(r"[-+]?\d{1,18}")

_text = text(most=MAX_TEXT_LENGTH)
_texts = listing(_text)
_share = number(least="0", most="1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a sample says of good answers, beside its checks."""

    references: tuple[str, ...]
    source: str
    """Text that facts are from."""


@dataclass(slots=True, kw_only=True)
class CheckDraft:
    """The checks of a sample or of a file, read but not yet bound to a sample's answers."""

    values: dict[str, Any] = field(default_factory=dict)
    """By name of the check; those with a fault are left out."""


def read_checks(node: Node, faults: FileFaults) -> CheckDraft | None:
    """Reads the checks, each of which may stand once."""
    record = read_record(node, faults, what="the checks", optional=CHECKS)
    if record is None:
        return None
    draft = CheckDraft()
    readers = {
        "exact": _flag,
        "contains": _texts,
        "regex": _regex,
        "numeric": _numeric,
        "rouge_l": _rouge,
        "facts": _facts,
        "json_schema": _schema,
        "length": _length,
        "keywords": _keywords,
    }
    for name, reader in readers.items():
        value = record.read(name, reader)
        if value is not None and value is not False:
            draft.values[name] = value
    return draft


def bound_checks(
    draft: CheckDraft, answers: Answers, at: Record, faults: FileFaults
) -> tuple[Check, ...]:
    """Returns the checks of one sample, after holding its references against them."""
    checks = tuple(_bound(draft, answers, at, faults))
    for check in checks:
        if check.name in _BY_REFERENCE:
            continue
        for reference in answers.references:
            if check.score(reference) < 1:
                faults.add(
                    at.key("references" if at.has("references") else "reference"),
                    FaultRule.CONTRADICTORY_REFERENCES,
                    f"The reference {quoted(reference, most=40)} fails the check `{check.name}`.",
                    "Correct one of the two.",
                )
    return checks


def _bound(draft: CheckDraft, answers: Answers, at: Record, faults: FileFaults) -> Iterator[Check]:
    for name, value in draft.values.items():
        if name in _BY_REFERENCE and not answers.references:
            faults.add(
                at.node,
                FaultRule.MISSING_REFERENCE,
                f"The check `{name}` needs a reference, and the sample has none.",
                "Add `reference:`.",
            )
            continue
        kind = CheckKind.CONSTRAINT if name in _CONSTRAINTS else CheckKind.GRADE
        try:
            yield Check(name=name, kind=kind, score=_scorer(name, value, answers))
        except BenchError as error:
            faults.add(
                at.key("references" if at.has("references") else "reference"),
                FaultRule.CONTRADICTORY_REFERENCES,
                str(error),
                "Keep the one that is right.",
            )


def _scorer(  # noqa: PLR0911 - one for each name
    name: str,
    value: Any,  # noqa: ANN401 - by name
    answers: Answers,
) -> scorers.Scorer:
    match name:
        case "exact":
            return scorers.exact(answers.references)
        case "contains":
            return scorers.contains(value)
        case "numeric":
            return _numeric_scorer(answers.references, *value)
        case "rouge_l":
            return scorers.rouge_l(answers.references, value)
        case "facts":
            stated, grounded = value
            return scorers.facts(stated, answers.source, grounded=grounded)
        case "length":
            return scorers.length(value)
        case "keywords":
            return scorers.keywords(*value)
        case _:
            # Built where it was read, since only that finds out whether it can be.
            scorer: scorers.Scorer = value
            return scorer


def _numeric_scorer(
    references: tuple[str, ...], absolute: float, relative: float
) -> scorers.Scorer:
    values = []
    for reference in references:
        value = scorers.last_number(reference)
        if value is None:
            raise BenchError(f"The reference {quoted(reference, most=40)} has no number.")
        values.append(value)
    for value in values[1:]:
        if not scorers.is_close(value, values[0], absolute, relative):
            raise BenchError(f"The references say both {values[0]:g} and {value:g}.")
    return scorers.numeric(values, absolute, relative)


def _flag(node: Node, faults: FileFaults) -> bool | None:
    if isinstance(node, Scalar) and node.is_plain and node.text in {"true", "false"}:
        return node.text == "true"
    refuse_type(node, faults, "Here has to be true or false")
    return None


def _regex(node: Node, faults: FileFaults) -> scorers.Scorer | None:
    pattern = text(most=10_000)(node, faults)
    if pattern is None:
        return None
    try:
        return scorers.regex(pattern)
    except InvalidPatternError as error:
        faults.add(
            node,
            FaultRule.INVALID_REGEX,
            f"Not a regular expression of RE2: {error}.",
            "See https://github.com/google/re2/wiki/Syntax.",
        )
        return None


def _numeric(node: Node, faults: FileFaults) -> tuple[float, float] | None:
    if _is_true(node):
        return 0.0, 0.0
    record = read_record(node, faults, what="the check", optional=("tolerance", "relative"))
    if record is None:
        return None
    tolerance = record.read("tolerance", number(least="0", most="1000000000"))
    return tolerance or 0.0, record.read("relative", _share) or 0.0


def _rouge(node: Node, faults: FileFaults) -> float | None:
    if _is_true(node):
        return _FULL_AT
    record = read_record(node, faults, what="the check", optional=("full_at",))
    if record is None:
        return None
    full = record.read("full_at", number(least="0.05", most="1"))
    return _FULL_AT if full is None else full


def _facts(node: Node, faults: FileFaults) -> tuple[tuple[tuple[str, ...], ...], bool] | None:
    record = read_record(node, faults, what="the check", optional=("state", "grounded"))
    if record is None:
        return None
    stated = record.read("state", listing(_fact)) or ()
    grounded = record.read("grounded", _flag)
    if not stated and grounded is False:
        faults.add(
            node,
            FaultRule.EMPTY_LIST,
            "The check `facts` looks for nothing.",
            "Name facts under `state`, or leave out `grounded: false`.",
        )
        return None
    return stated, grounded is not False


def _fact(node: Node, faults: FileFaults) -> tuple[str, ...] | None:
    """Reads a fact: a text, or a list of its spellings."""
    if isinstance(node, Listing):
        return _texts(node, faults)
    one = _text(node, faults)
    return None if one is None else (one,)


def _length(node: Node, faults: FileFaults) -> scorers.Bounds | None:
    record = read_record(node, faults, what="the check", optional=_BOUNDS)
    if record is None:
        return None
    count = integer(least=1, most=10_000_000)
    bounds = {name: record.read(name, count) for name in _BOUNDS}
    for unit in ("words", "characters"):
        least, most = bounds[f"min_{unit}"], bounds[f"max_{unit}"]
        if least is not None and most is not None and least > most:
            faults.add(
                record.key(f"min_{unit}"),
                FaultRule.OUT_OF_RANGE,
                f"`min_{unit}` is above `max_{unit}`: no answer can pass.",
            )
    return scorers.Bounds(**bounds)


def _keywords(node: Node, faults: FileFaults) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    record = read_record(node, faults, what="the check", optional=("require", "forbid"))
    if record is None:
        return None
    return record.read("require", _texts) or (), record.read("forbid", _texts) or ()


def _schema(node: Node, faults: FileFaults) -> scorers.Scorer | None:
    if not isinstance(node, MappingNode):
        refuse_type(node, faults, "Here has to be a mapping that is a JSON schema")
        return None
    schema = plain_value(node)
    try:
        return scorers.json_schema(schema if isinstance(schema, Mapping) else {})
    except InvalidRequestError as error:
        faults.add(node, FaultRule.INVALID_SCHEMA, f"Not a JSON schema: {error.message}.")
    except ConfigurationError as error:
        faults.add(node, FaultRule.INVALID_SCHEMA, f"{error}.")
    return None


def _is_true(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_plain and node.text == "true"


def plain_value(node: Node) -> object:
    """Returns a node as a value of JSON: unquoted numbers and booleans are what they are."""
    match node:
        case MappingNode():
            return {entry.key.text: plain_value(entry.value) for entry in node.entries}
        case Listing():
            return [plain_value(one) for one in node.items]
        case Scalar():
            return _plain_scalar(node)
        case _:
            return None


def _plain_scalar(node: Scalar) -> object:
    kind = other_kind(node)
    if not kind:
        return node.text
    words: dict[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}
    if node.text.lower() in words:
        return words[node.text.lower()]
    if kind == "a number":
        try:
            return int(node.text) if _INTEGER.fullmatch(node.text) else float(node.text)
        except ValueError:
            return node.text
    return node.text
