"""Anthropic's messages API: requests in its format, and the adapter itself.

Format: https://platform.claude.com/docs/en/api/messages/create. How answers and failures are read
is in `anthropic_answers` and `anthropic_errors`, how streams are in `anthropic_stream`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tierwise.answers import Answer
from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError, ProviderError
from tierwise.messages import (
    AnswerFormat,
    ChatRequest,
    Image,
    JsonSchema,
    Message,
    NamedTool,
    Part,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
)
from tierwise.providers.anthropic_answers import PROVIDER_ID, answer_of_reply, kept_blocks
from tierwise.providers.anthropic_errors import failure_of_reply
from tierwise.providers.anthropic_stream import MessageStreamReader
from tierwise.providers.base import Endpoint, HttpCall, HttpReply
from tierwise.providers.known import KnownProvider

API_VERSION = "2023-06-01"
"""Of the format. https://platform.claude.com/docs/en/api/versioning"""

DEFAULT_MAX_TOKENS = 4096
"""Limit on the output where neither the request nor the model names one, since the API wants one.
The lowest limit of any Claude 3 or later model, hence accepted by all."""

HIGHEST_TEMPERATURE = 1.0
"""https://platform.claude.com/docs/en/api/messages/create"""

_MERGED_EXTRAS = frozenset({"output_config"})
"""Objects of which both this adapter and the caller's extras may fill fields."""


class AnthropicProvider:
    """Speaks Anthropic's messages API."""

    def call(
        self, request: ChatRequest, model: Model, endpoint: Endpoint, *, stream: bool
    ) -> HttpCall:
        """Returns the request as Anthropic wants it.

        Raises:
            InvalidRequestError: It asks for what the API does not have: log-probabilities, JSON
                without a schema, a temperature above 1, or images of the system or the assistant.
        """
        _check(request)
        body = _body(request, model)
        if stream:
            body["stream"] = True
        for name, extra in request.extras.get(model.provider_id, {}).items():
            merged = name in _MERGED_EXTRAS and isinstance(extra, Mapping)
            body[name] = {**body.get(name, {}), **extra} if merged else extra
        headers = {"anthropic-version": API_VERSION}
        if endpoint.key:
            headers["x-api-key"] = endpoint.key
        return HttpCall(url=f"{endpoint.base_url}/v1/messages", headers=headers, body=body)

    def answer(self, reply: HttpReply) -> Answer:
        """Reads the response to a call that was not streamed, of any status."""
        return answer_of_reply(reply)

    def failure(self, reply: HttpReply) -> ProviderError:
        """Reads a response that is a failure, or no stream where one was due."""
        return failure_of_reply(reply)

    def reader(self, headers: Mapping[str, str]) -> MessageStreamReader:
        """Returns a reader for a stream whose response has these headers."""
        return MessageStreamReader(headers)


ANTHROPIC = KnownProvider(
    provider_id=PROVIDER_ID,
    provider=AnthropicProvider(),
    base_url="https://api.anthropic.com",
    key_variable="ANTHROPIC_API_KEY",
    base_url_variable="ANTHROPIC_BASE_URL",
)

KNOWN = (ANTHROPIC,)


def _check(request: ChatRequest) -> None:
    if request.logprobs:
        raise InvalidRequestError("Anthropic gives no log-probabilities", field="logprobs")
    if request.answer_format is AnswerFormat.JSON_OBJECT:
        raise InvalidRequestError(
            "Anthropic has no JSON answers without a schema; give a JsonSchema",
            field="answer_format",
        )
    if request.temperature is not None and request.temperature > HIGHEST_TEMPERATURE:
        raise InvalidRequestError(
            f"Anthropic takes {HIGHEST_TEMPERATURE:g} at most", field="temperature"
        )
    for index, message in enumerate(request.messages):
        if message.role is Role.USER and not any(map(_holds, message.parts)):
            raise InvalidRequestError(
                "Anthropic takes no empty turn of the user", field=f"messages[{index}].content"
            )
        for number, part in enumerate(message.parts):
            if isinstance(part, Image) and message.role in (Role.SYSTEM, Role.ASSISTANT):
                raise InvalidRequestError(
                    "Anthropic takes images of users and tools alone",
                    field=f"messages[{index}].content[{number}]",
                )


def _body(request: ChatRequest, model: Model) -> dict[str, Any]:
    messages = request.messages_for(model.model_id)
    # Only the newest models take system text between the turns; in front of them all do.
    instructions = [one.text for one in messages if one.role is Role.SYSTEM and one.text]
    output = None
    if isinstance(request.answer_format, JsonSchema):
        output = {"format": {"type": "json_schema", "schema": request.answer_format.schema}}
    fields = {
        "model": model.upstream_name,
        "max_tokens": request.max_output_tokens or model.output_limit_tokens or DEFAULT_MAX_TOKENS,
        "system": "\n\n".join(instructions) or None,
        "messages": _turns(messages),
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "output_config": output,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Returns the turns, those that follow one another from one side put into one.

    The API wants the results of parallel calls in one turn.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    parts = [_part(part) for part in message.parts if _holds(part)]
    if message.role is Role.TOOL:
        result: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": _tool_id(message.tool_call_id or ""),
        }
        return [{**result, "content": parts} if parts else result]
    if message.role is Role.ASSISTANT:
        return _assistant_blocks(parts, message.tool_calls)
    return parts


def _assistant_blocks(
    parts: list[dict[str, Any]], calls: tuple[ToolCall, ...]
) -> list[dict[str, Any]]:
    uses = [
        {"type": "tool_use", "id": _tool_id(one.id), "name": one.name, "input": one.arguments}
        for one in calls
    ]
    kept = kept_blocks(calls)
    if _says(kept) == _says([*parts, *uses]):
        return kept
    # The caller changed the turn. Reasoning leads it all the same: the API wants that where the
    # turn has calls.
    reasoning = [block for block in kept if "thinking" in block["type"]]
    return [*reasoning, *parts, *uses]


def _says(blocks: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Returns the turn's text and calls, whatever else stands between them."""
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    uses = [block for block in blocks if block["type"] == "tool_use"]
    return text, [(use["id"], use["name"], use["input"]) for use in uses]


def _holds(part: Part) -> bool:
    """Returns whether there is something in a part. The API refuses blocks of empty text."""
    return isinstance(part, Image) or bool(part.text)


def _part(part: Part) -> dict[str, Any]:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    if part.url is not None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    source = {"type": "base64", "media_type": part.media_type, "data": part.base64}
    return {"type": "image", "source": source}


def _tool_id(call_id: str) -> str:
    """Returns an identifier in the characters that the API allows.

    Calls that another provider's model made may have others.
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _tool_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice: dict[str, Any]
    match request.tool_choice:
        case NamedTool(name=name):
            choice = {"type": "tool", "name": name}
        case ToolChoice.NONE:
            return {"type": "none"}
        case ToolChoice.REQUIRED:
            choice = {"type": "any"}
        case ToolChoice.AUTO:
            choice = {"type": "auto"}
        case None:
            if request.parallel_tool_calls is not False or not request.tools:
                return None
            choice = {"type": "auto"}
    if request.parallel_tool_calls is False:
        choice["disable_parallel_tool_use"] = True
    return choice
