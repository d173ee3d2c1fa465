"""What each check takes and rejects, and that it quotes nothing of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tierwise.answers import Answer
from tierwise.errors import ConfigurationError, InvalidRequestError
from tierwise.messages import ToolCall
from tierwise.validators import (
    Validator,
    custom,
    json_schema,
    matches,
    min_mean_logprob,
    no_refusal,
    non_empty,
)

CALL = ToolCall(id="1", name="look", arguments_json="{}")
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}},
    "required": ["age"],
}


def verdict(validator: Validator, text: str = "", **fields: Any) -> object:  # noqa: ANN401 - any field
    return validator.check(Answer(text=text, **fields))


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_white_space_is_empty(text: str) -> None:
    assert verdict(non_empty(), text) == "the answer is empty"
    assert verdict(non_empty(), text, tool_calls=(CALL,)) is True
    assert verdict(non_empty(), text + "x") is True


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m really sorry.",
        "i am unable to do this",
        "Sorry, but I must not.",
        "I cannot assist.",
        "I can't do that",
        "I won't.",
        "As an AI language model, I",
        "Unfortunately, I am unable to",
        "**I must decline**",
    ],
)
def test_what_begins_like_a_refusal_is_one(text: str) -> None:
    assert verdict(no_refusal(), text) == "the answer reads like a refusal"


@pytest.mark.parametrize(
    "text",
    ["", "Sure: I can't stop here.", "I candidly agree.", "Sorry state of affairs", "I wonder why"],
)
def test_what_does_not_is_none(text: str) -> None:
    assert verdict(no_refusal(), text) is True


def test_a_pattern_is_looked_for_anywhere() -> None:
    assert verdict(matches(r"\d{3}"), "room 123.") is True
    assert verdict(matches(r"^\d"), "room 1") == "the pattern is not in the answer"


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^pattern: "):
        matches("(")


@pytest.mark.parametrize(
    ("mean", "accepted"), [(-0.5, True), (-1.0, True), (-1.001, False), (None, False)]
)
def test_a_mean_that_is_too_low_or_missing_is_rejected(mean: float | None, accepted: bool) -> None:
    validator = min_mean_logprob(-1.0)
    found = verdict(validator, mean_logprob=mean)
    assert (found is True) is accepted
    assert accepted or isinstance(found, str)
    assert validator.needs_logprobs


def test_a_check_of_the_callers_own_has_its_name() -> None:
    validator = custom("mine", lambda answer: answer.text == "x")
    assert (validator.name, validator.needs_logprobs) == ("mine", False)
    assert verdict(validator, "x") is True


# JSON --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "no", '{"age": 3', "```json\n{}\n```", '{"age": NaN}', "Infinity", "[" * 100_000],
)
def test_text_that_is_no_json_is_rejected(text: str) -> None:
    found = verdict(json_schema({}), text)
    assert found in {"the answer is no JSON", "the answer's JSON is nested too deep"}


def test_a_fault_is_named_by_its_place_without_a_quote() -> None:
    validator = json_schema(PERSON)
    assert verdict(validator, '{"age": 3}') is True
    found = verdict(validator, '{"age": "hidden"}')
    assert found == "the JSON breaks the schema at $.age"
    assert verdict(validator, "{}") == "the JSON breaks the schema at $"


def test_a_schema_may_name_its_draft() -> None:
    draft_4 = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "minimum": 3,
        "exclusiveMinimum": True,
    }
    assert verdict(json_schema(draft_4), "3") != True  # noqa: E712 - or a text
    assert verdict(json_schema(draft_4), "4") is True


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^schema: "):
        json_schema({"type": "colour"})


def test_documents_that_nest_as_deep_as_json_can_reject_instead_of_failing() -> None:
    nested = {"$ref": "#/$defs/list", "$defs": {"list": {"items": {"$ref": "#/$defs/list"}}}}
    text = json.dumps([])
    for _ in range(900):
        text = f"[{text}]"
    assert verdict(json_schema(nested), text) == "the answer's JSON is nested too deep"


def test_without_the_package_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from tierwise.errors import ConfigurationError\n"
        "from tierwise.validators import json_schema\n"
        "try: json_schema({})\n"
        "except ConfigurationError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install 'tierwise[json-schema]'" in said.stdout
    assert issubclass(ConfigurationError, Exception)
