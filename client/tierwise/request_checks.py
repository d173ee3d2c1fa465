"""What is wrong with a request for every provider alike, found before anything is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError
from tierwise.field_checks import check_text, check_token_count
from tierwise.messages import (
    ChatRequest,
    Image,
    JsonSchema,
    Message,
    NamedTool,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)

_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCHEMA_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_OWN_FIELDS = frozenset({"model", "stream"})
_DEEPEST_SCHEMA = 64
_HIGHEST_TEMPERATURE = 2.0


def check_request(request: ChatRequest) -> None:
    """Refuses a request that no provider takes.

    Raises:
        InvalidRequestError: It is wrong in itself; `field` says where.
    """
    check_types(request)
    _check_messages(request.messages)
    for model_id, instructions in request.instructions.items():
        check_text(instructions, f"instructions[{model_id!r}]")
    _check_tools(request)
    if isinstance(request.answer_format, JsonSchema):
        _check_answer_schema(request.answer_format)
    _check_sampling(request)
    for provider_id, extras in request.extras.items():
        _check_extras(extras, f"extras[{provider_id!r}]")


def _check_messages(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise InvalidRequestError("at least one message is needed", field="messages")
    unanswered: dict[str, str] = {}
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _check_content(message, path)
        if message.role is Role.USER and not _says_something(message):
            raise InvalidRequestError(
                "the user says nothing: give text or an image", field=f"{path}.content"
            )
        if message.role is Role.TOOL:
            _check_result(message, path, unanswered)
            continue
        if message.tool_call_id is not None:
            raise InvalidRequestError("only a tool's message has it", field=f"{path}.tool_call_id")
        _refuse_unanswered(unanswered)
        unanswered = _calls_of(message, path)
    _refuse_unanswered(unanswered)


def _check_result(message: Message, path: str, unanswered: dict[str, str]) -> None:
    if not message.tool_call_id:
        raise InvalidRequestError("say which call it answers", field=f"{path}.tool_call_id")
    if message.tool_calls:
        raise InvalidRequestError("only an assistant calls tools", field=f"{path}.tool_calls")
    if unanswered.pop(message.tool_call_id, None) is None:
        raise InvalidRequestError(
            "no call of the assistant's message before has this id and is still unanswered",
            field=f"{path}.tool_call_id",
        )


def _refuse_unanswered(unanswered: Mapping[str, str]) -> None:
    for path in unanswered.values():
        raise InvalidRequestError(
            "no tool's message answers this call; answer it before anything else", field=path
        )


def _calls_of(message: Message, path: str) -> dict[str, str]:
    """Returns the paths of a message's tool calls by their ids."""
    if message.tool_calls and message.role is not Role.ASSISTANT:
        raise InvalidRequestError("only an assistant calls tools", field=f"{path}.tool_calls")
    paths: dict[str, str] = {}
    for number, call in enumerate(message.tool_calls):
        where = f"{path}.tool_calls[{number}]"
        _check_call(call, where)
        if call.id in paths:
            raise InvalidRequestError("two calls have this id", field=f"{where}.id")
        paths[call.id] = where
    return paths


def _check_call(call: ToolCall, path: str) -> None:
    check_types(call, path)
    for name, value in (("id", call.id), ("name", call.name)):
        if not value:
            raise InvalidRequestError("it is empty", field=f"{path}.{name}")
        check_text(value, f"{path}.{name}")
    check_text(call.arguments_json, f"{path}.arguments_json")
    try:
        call.arguments  # noqa: B018 - parses them
    except (ValueError, RecursionError):
        # Without the cause: it quotes what could not be parsed.
        raise InvalidRequestError("it is no JSON object", field=f"{path}.arguments_json") from None


def _check_content(message: Message, path: str) -> None:
    check_types(message, path)
    if isinstance(message.content, str):
        check_text(message.content, f"{path}.content")
        return
    for number, part in enumerate(message.content):
        where = f"{path}.content[{number}]"
        check_types(part, where)
        if isinstance(part, Text):
            check_text(part.text, f"{where}.text")


def _says_something(message: Message) -> bool:
    return bool(message.text.strip()) or any(isinstance(part, Image) for part in message.parts)


def _check_tools(request: ChatRequest) -> None:
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        _check_tool(tool, path)
        if tool.name in names:
            raise InvalidRequestError("another tool has this name", field=f"{path}.name")
        names.add(tool.name)
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.name not in names:
        raise InvalidRequestError("it names a tool that is not among `tools`", field="tool_choice")
    if choice is ToolChoice.REQUIRED and not names:
        raise InvalidRequestError("there are no `tools` to call", field="tool_choice")


def _check_tool(tool: Tool, path: str) -> None:
    check_types(tool, path)
    if not tool.name:
        raise InvalidRequestError("it is empty", field=f"{path}.name")
    check_text(tool.name, f"{path}.name")
    check_text(tool.description, f"{path}.description")
    where = f"{path}.parameters"
    _check_schema(tool.parameters, where)
    if tool.parameters.get("type") != "object":
        raise InvalidRequestError("its type must be object", field=f"{where}.type")


def _check_answer_schema(form: JsonSchema) -> None:
    check_types(form, "answer_format")
    if not _SCHEMA_NAME.fullmatch(form.name):
        raise InvalidRequestError(
            "it must be 1 to 64 letters, digits, `_` and `-`", field="answer_format.name"
        )
    check_text(form.description, "answer_format.description")
    _check_schema(form.schema, "answer_format.schema")


def _check_schema(schema: object, path: str) -> None:
    """Refuses what is no JSON schema by its shape: mistakes that a provider names badly."""
    _check_json(schema, path)
    pending: list[tuple[object, str, int]] = [(schema, path, 0)]
    while pending:
        one, where, depth = pending.pop()
        if depth > _DEEPEST_SCHEMA:
            raise InvalidRequestError("it is nested too deep", field=path)
        if isinstance(one, bool) and depth:
            continue
        if not isinstance(one, Mapping):
            raise InvalidRequestError("it is no JSON schema", field=where)
        _check_keywords(one, where)
        pending += [(inner, place, depth + 1) for inner, place in _subschemas(one, where)]


def _check_keywords(schema: Mapping[str, Any], path: str) -> None:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list | tuple) else [] if kind is None else [kind]
    if not all(isinstance(one, str) and one in _SCHEMA_TYPES for one in kinds):
        raise InvalidRequestError(
            f"it is none of {', '.join(sorted(_SCHEMA_TYPES))}", field=f"{path}.type"
        )
    if not isinstance(schema.get("properties", {}), Mapping):
        raise InvalidRequestError("it is no mapping of schemas", field=f"{path}.properties")
    required = schema.get("required", [])
    if not isinstance(required, list | tuple) or not all(isinstance(one, str) for one in required):
        raise InvalidRequestError("it is no list of names", field=f"{path}.required")


def _subschemas(schema: Mapping[str, Any], path: str) -> Iterator[tuple[object, str]]:
    for keyword in ("properties", "$defs", "definitions"):
        inner = schema.get(keyword)
        if isinstance(inner, Mapping):
            yield from ((value, f"{path}.{keyword}.{name}") for name, value in inner.items())
    for keyword in ("anyOf", "oneOf", "allOf"):
        inner = schema.get(keyword)
        if isinstance(inner, list | tuple):
            yield from ((value, f"{path}.{keyword}[{n}]") for n, value in enumerate(inner))
    items = schema.get("items")
    if items is not None and not isinstance(items, list | tuple):
        yield items, f"{path}.items"


def _check_json(value: object, path: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequestError("it can't be written as JSON", field=path) from None


def _check_extras(extras: Mapping[str, Any], path: str) -> None:
    for name in extras:
        if name in _OWN_FIELDS:
            # Another model would answer than the one that is planned, paid for and reported.
            raise InvalidRequestError("it is said by the plan alone", field=f"{path}[{name!r}]")
    _check_json(extras, path)


def _check_sampling(request: ChatRequest) -> None:
    if request.max_output_tokens is not None:
        check_token_count(request.max_output_tokens, "max_output_tokens", least=1)
    for name, value, highest in (
        ("temperature", request.temperature, _HIGHEST_TEMPERATURE),
        ("top_p", request.top_p, 1.0),
    ):
        if value is not None and not (math.isfinite(value) and 0 <= value <= highest):
            raise InvalidRequestError(f"it must be from 0 to {highest:g}", field=name)
    for index, stop in enumerate(request.stop):
        if not stop:
            raise InvalidRequestError("it is empty", field=f"stop[{index}]")
        check_text(stop, f"stop[{index}]")
