"""Requests in the format of OpenAI's chat completions, in each dialect of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError
from tierwise.messages import (
    AnswerFormat,
    ChatRequest,
    Image,
    JsonSchema,
    Message,
    NamedTool,
    Part,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)
from tierwise.providers.chat_dialect import Dialect

_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def check(request: ChatRequest, dialect: Dialect) -> None:
    """Refuses what chat completions, or a dialect of it, has no way to say.

    Raises:
        InvalidRequestError: It has none.
    """
    if request.logprobs and not dialect.takes_logprobs:
        raise InvalidRequestError(f"{dialect.name} gives no log-probabilities", field="logprobs")
    if isinstance(request.answer_format, JsonSchema) and not dialect.takes_json_schema:
        raise InvalidRequestError(
            f"{dialect.name} has no JSON schema answers; ask for AnswerFormat.JSON_OBJECT",
            field="answer_format",
        )
    if dialect.max_stop is not None and len(request.stop) > dialect.max_stop:
        raise InvalidRequestError(
            f"{dialect.name} stops at {dialect.max_stop} sequences at most", field="stop"
        )
    for index, tool in enumerate(request.tools):
        if dialect.tool_name is not None and not dialect.tool_name.fullmatch(tool.name):
            raise InvalidRequestError(
                f"{dialect.name} wants it to match {dialect.tool_name.pattern}",
                field=f"tools[{index}].name",
            )
    for index, message in enumerate(request.messages):
        _check_images(message, f"messages[{index}].content", dialect)
    if dialect.strict_order:
        _check_order(request.messages, dialect)


def body_of(
    request: ChatRequest, model: Model, dialect: Dialect, *, stream: bool
) -> dict[str, Any]:
    """Returns the body of a request that was checked, the caller's extras over our fields."""
    messages = request.messages_for(model.model_id)
    fields: dict[str, Any] = {
        "model": model.upstream_name,
        "messages": [_message(message, dialect) for message in messages],
        dialect.output_limit_field: request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        dialect.seed_field: request.seed,
        "stop": list(request.stop) or None,
        "logprobs": request.logprobs or None,
        "response_format": _response_format(request.answer_format),
        **_tool_fields(request, dialect),
    }
    if stream:
        fields["stream"] = True
        if dialect.takes_stream_options:
            fields["stream_options"] = {"include_usage": True}
    body = {name: value for name, value in fields.items() if value is not None}
    return {**body, **request.extras.get(model.provider_id, {})}


def _check_images(message: Message, path: str, dialect: Dialect) -> None:
    for number, part in enumerate(message.parts):
        if not isinstance(part, Image):
            continue
        where = f"{path}[{number}]"
        if message.role is not Role.USER:
            raise InvalidRequestError("only a user's message can hold images here", field=where)
        if part.url is not None and not dialect.takes_image_urls:
            raise InvalidRequestError(
                f"{dialect.name} fetches no images; give the image's bytes", field=f"{where}.url"
            )


def _check_order(messages: tuple[Message, ...], dialect: Dialect) -> None:
    for index in range(1, len(messages)):
        before, role = messages[index - 1].role, messages[index].role
        if before is Role.TOOL and role is Role.USER:
            raise InvalidRequestError(
                f"{dialect.name} takes no user's message straight after a tool's; put the"
                " assistant's in between",
                field=f"messages[{index}].role",
            )
    for index, message in enumerate(messages):
        if message.role is Role.ASSISTANT and not message.parts and not message.tool_calls:
            raise InvalidRequestError(
                f"{dialect.name} wants text or tool calls in it", field=f"messages[{index}].content"
            )
    if messages[-1].role is Role.ASSISTANT:
        raise InvalidRequestError(
            f"{dialect.name} wants the last message to be a user's or a tool's",
            field=f"messages[{len(messages) - 1}].role",
        )


def _message(message: Message, dialect: Dialect) -> dict[str, Any]:
    if message.role is Role.TOOL:
        call_id = _call_id(message.tool_call_id or "", dialect)
        return {"role": "tool", "tool_call_id": call_id, "content": message.text}
    if message.role is Role.ASSISTANT and message.tool_calls:
        return {
            "role": "assistant",
            "content": message.text or None,
            **_returned(message.tool_calls, dialect),
            "tool_calls": [_tool_call(call, dialect) for call in message.tool_calls],
        }
    # Not every server takes parts from others than the user, and text alone needs none.
    plain = message.role is not Role.USER or isinstance(message.content, str)
    content = message.text if plain else list(_parts(message.parts))
    return {"role": message.role.value, "content": content}


def _parts(parts: tuple[Part, ...]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, Text):
            yield {"type": "text", "text": part.text}
        else:
            image = {"url": part.url or f"data:{part.media_type};base64,{part.base64}"}
            if part.detail is not None:
                image["detail"] = part.detail
            yield {"type": "image_url", "image_url": image}


def _tool_call(call: ToolCall, dialect: Dialect) -> dict[str, Any]:
    return {
        "id": _call_id(call.id, dialect),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
    }


def _call_id(call_id: str, dialect: Dialect) -> str:
    """Returns an id as it is where the server takes it, else one made out of it."""
    if dialect.call_id is None or dialect.call_id.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode()).digest()
    return "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in digest[:9])


def _returned(calls: tuple[ToolCall, ...], dialect: Dialect) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for call in calls:
        for name in dialect.returned_fields:
            if name in call.provider_state:
                kept.setdefault(name, call.provider_state[name])
    return kept


def _tool_fields(request: ChatRequest, dialect: Dialect) -> Mapping[str, Any]:
    # Without tools there is nothing to choose among, and some servers refuse the fields then.
    if not request.tools:
        return {}
    return {
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": _tool_choice(request.tool_choice, dialect),
        "parallel_tool_calls": request.parallel_tool_calls,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | NamedTool | None, dialect: Dialect) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}}
    if choice is ToolChoice.REQUIRED:
        return dialect.required_tool_choice
    return choice.value if choice is not None else None


def _response_format(form: AnswerFormat | JsonSchema) -> dict[str, Any] | None:
    if form is AnswerFormat.JSON_OBJECT:
        return {"type": "json_object"}
    if not isinstance(form, JsonSchema):
        return None
    schema: dict[str, Any] = {"name": form.name, "schema": form.schema}
    if form.description:
        schema["description"] = form.description
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}
