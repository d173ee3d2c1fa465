"""Checks of an answer. One that fails is rejected, and the plan's next step is tried.

The rejected answer is paid for all the same: it counts towards the budget and the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tierwise.answers import Answer
from tierwise.declared_types import check_types
from tierwise.errors import ConfigurationError, InvalidRequestError

MAX_NAME_CHARACTERS: Final = 100

CheckResult = bool | str | None
"""What a check returns: False, or a text that says what is wrong, rejects the answer."""

Checking = Callable[[Answer], CheckResult | Awaitable[CheckResult]]

_REFUSAL: Final = re.compile(
    r"^\W*(?:(?:i'?m|i am) (?:really |very |so )?(?:sorry|afraid|unable|not able)"
    r"|sorry,? (?:but )?i\b"
    r"|i (?:cannot|can't|won't|must decline|have to decline|do not feel comfortable)\b"
    r"|as an ai\b"
    r"|unfortunately,? i (?:cannot|can't|am unable))",
    re.IGNORECASE,
)
_CURLY_APOSTROPHE: Final = "\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """A named check of an answer."""

    name: str
    """Shown in attempts and reports; at most 100 characters. Must hold nothing of the prompt."""
    check: Checking
    needs_logprobs: bool = False
    """Whether it can only judge answers to a request with `logprobs`."""

    def __post_init__(self) -> None:
        """Refuses what is no check, or has no name to tell it by."""
        check_types(self, "validator")
        if not 1 <= len(self.name) <= MAX_NAME_CHARACTERS:
            raise InvalidRequestError(
                f"must have from 1 to {MAX_NAME_CHARACTERS} characters", field="validator.name"
            )


def custom(name: str, check: Checking) -> Validator:
    """Returns a check by the caller's function, which with `AsyncClient` may be asynchronous."""
    return Validator(name=name, check=check)


def non_empty() -> Validator:
    """Returns a check that there is text other than white space, or a tool call."""

    def check(answer: Answer) -> CheckResult:
        return bool(answer.text.strip() or answer.tool_calls) or "the answer is empty"

    return Validator(name="non-empty", check=check)


def no_refusal() -> Validator:
    """Returns a check that the text does not begin like a refusal, in English.

    It goes by phrases, so it is a guess. Refusals that the provider itself marks as such are
    failures of the class `content-policy` and never reach a validator.
    """

    def check(answer: Answer) -> CheckResult:
        text = answer.text.replace(_CURLY_APOSTROPHE, "'")
        return not _REFUSAL.match(text) or "the answer reads like a refusal"

    return Validator(name="no-refusal", check=check)


def matches(pattern: str) -> Validator:
    """Returns a check that a regular expression is found in the text.

    Raises:
        InvalidRequestError: The pattern is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidRequestError(f"no regular expression: {error}", field="pattern") from error

    def check(answer: Answer) -> CheckResult:
        return compiled.search(answer.text) is not None or "the pattern is not in the answer"

    return Validator(name="matches", check=check)


def min_mean_logprob(least: float) -> Validator:
    """Returns a check that the tokens' mean natural log-probability is at least so high.

    The request must ask for `logprobs`. An answer without them is rejected.
    """

    def check(answer: Answer) -> CheckResult:
        if answer.mean_logprob is None:
            return "the answer came without log-probabilities"
        return answer.mean_logprob >= least or (
            f"the mean log-probability is {answer.mean_logprob:.3f}, below {least}"
        )

    return Validator(name="min-mean-logprob", check=check, needs_logprobs=True)


def json_schema(schema: Mapping[str, Any]) -> Validator:
    """Returns a check that the text is JSON that keeps to a schema (draft 2020-12 by default).

    Raises:
        ConfigurationError: The package `jsonschema` is not installed.
        InvalidRequestError: The schema is no valid schema.
    """
    try:
        # Heavy to import, and needed by few.
        import jsonschema  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "checking answers by a JSON schema needs pip install 'tierwise[json-schema]'"
        ) from error
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise InvalidRequestError(f"no JSON schema: {error.message}", field="schema") from error
    validator = kind(schema)

    def check(answer: Answer) -> CheckResult:
        try:
            document = json.loads(answer.text, parse_constant=_no_constant)
            fault = next(validator.iter_errors(document), None)
        except ValueError:
            return "the answer is no JSON"
        except RecursionError:
            return "the answer's JSON is nested too deep"
        # The path alone: the message would quote the answer.
        return fault is None or f"the JSON breaks the schema at {fault.json_path}"

    return Validator(name="json-schema", check=check)


def _no_constant(name: str) -> None:
    """Refuses `NaN` and `Infinity`, which Python reads though they are no JSON."""
    raise ValueError(name)
