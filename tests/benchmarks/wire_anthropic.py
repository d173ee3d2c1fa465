"""Recorded calls of Anthropic's messages API, for `wire.py`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from wire_records import Expected, ExpectedUsage, Rebuilt, Record

from tierwise.answers import FinishReason
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
from tierwise.messages import (
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
from tierwise.providers.base import Endpoint

PROVIDERS = ("anthropic",)

_WRITTEN = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream"),
        *("temperature", "top_p", "stop_sequences", "output_config"),
    }
)
_CHOICES = {"auto": ToolChoice.AUTO, "any": ToolChoice.REQUIRED, "none": ToolChoice.NONE}
_FINISHES = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
}
_ERRORS = {
    400: ErrorClass.INVALID_REQUEST,
    401: ErrorClass.AUTHENTICATION,
    403: ErrorClass.AUTHENTICATION,
    404: ErrorClass.INVALID_REQUEST,
    429: ErrorClass.RATE_LIMITED,
    500: ErrorClass.SERVER_ERROR,
    529: ErrorClass.OVERLOADED,
}


class _NoWordsError(Exception):
    """Our types have no words for something; the text says what."""


def rebuild(record: Record) -> Rebuilt | str:
    """Returns the recorded request in our types, or the reason why they have no words for it."""
    try:
        request = _request(record.request)
    except _NoWordsError as reason:
        return str(reason)
    model = Model(
        model_id="recorded", provider_id="anthropic", upstream_name=record.request["model"]
    )
    endpoint = Endpoint(base_url="https://api.anthropic.com", key="none")
    return Rebuilt(request=request, model=model, endpoint=endpoint)


def _request(body: dict[str, Any]) -> ChatRequest:
    messages = [Message(role=Role.SYSTEM, content=text) for text in _texts(body.get("system", []))]
    for turn in body["messages"]:
        messages += _messages(turn)
    extras = {name: value for name, value in body.items() if name not in _WRITTEN}
    config = dict(body.get("output_config", {}))
    form = config.pop("format", None)
    choice = body.get("tool_choice", {})
    return ChatRequest(
        messages=tuple(messages),
        tools=tuple(map(_tool, body.get("tools", []))),
        tool_choice=NamedTool(name=choice["name"])
        if choice.get("type") == "tool"
        else _CHOICES.get(choice.get("type")),
        parallel_tool_calls=False if choice.get("disable_parallel_tool_use") else None,
        **({"answer_format": JsonSchema(schema=form["schema"])} if form else {}),
        max_output_tokens=body["max_tokens"],
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=tuple(body.get("stop_sequences", ())),
        extras={"anthropic": {**extras, **({"output_config": config} if config else {})}},
    )


def _tool(tool: dict[str, Any]) -> Tool:
    if tool.get("type", "custom") != "custom":
        raise _NoWordsError(f"a tool of Anthropic's own: {tool['type']}")
    unknown = tool.keys() - {"type", "name", "description", "input_schema", "strict"}
    if unknown:
        raise _NoWordsError(f"a tool with {', '.join(sorted(unknown))}")
    return Tool(
        name=tool["name"],
        description=tool.get("description", ""),
        parameters=tool["input_schema"],
        strict=tool.get("strict"),
    )


def _messages(turn: dict[str, Any]) -> Iterator[Message]:
    if turn["role"] == "system":
        raise _NoWordsError("a system message between the turns")
    blocks = _blocks(turn["content"])
    for block in blocks:
        if block["type"] not in {"text", "image", "tool_use", "tool_result", "thinking"}:
            raise _NoWordsError(f"a block of type {block['type']}")
        if "cache_control" in block:
            raise _NoWordsError("a mark of the cache within a message")
    if turn["role"] == "assistant":
        yield _assistant(blocks)
        return
    parts: list[Part] = []
    for block in blocks:
        if block["type"] != "tool_result":
            parts.append(_part(block))
            continue
        if block.get("is_error"):
            raise _NoWordsError("a tool's result that is marked as an error")
        yield Message(
            role=Role.TOOL,
            tool_call_id=block["tool_use_id"],
            content=tuple(map(_part, _blocks(block.get("content", [])))),
        )
    if parts:
        yield Message(role=Role.USER, content=tuple(parts))


def _assistant(blocks: list[dict[str, Any]]) -> Message:
    calls = [
        ToolCall(id=block["id"], name=block["name"], arguments_json=json.dumps(block["input"]))
        for block in blocks
        if block["type"] == "tool_use"
    ]
    if any(block["type"] == "thinking" for block in blocks):
        if not calls:
            raise _NoWordsError("reasoning sent back without calls of tools")
        calls[0] = ToolCall(
            id=calls[0].id,
            name=calls[0].name,
            arguments_json=calls[0].arguments_json,
            provider_state={"anthropic": {"content": blocks}},
        )
    texts = tuple(Text(block["text"]) for block in blocks if block["type"] == "text")
    return Message(role=Role.ASSISTANT, content=texts, tool_calls=tuple(calls))


def _part(block: dict[str, Any]) -> Part:
    if block["type"] == "text":
        return Text(block["text"])
    if block["type"] != "image":
        raise _NoWordsError(f"a block of type {block['type']}")
    source = block["source"]
    if source["type"] == "url":
        return Image(url=source["url"])
    if source["type"] != "base64":
        raise _NoWordsError(f"an image from a source of type {source['type']}")
    return Image(data=base64.b64decode(source["data"]), media_type=source["media_type"])


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [block["text"] for block in _blocks(content)]


def equivalent(sent_body: dict[str, Any], recorded_body: dict[str, Any]) -> str:
    """Returns the first difference that means something to Anthropic; empty when there is none."""
    sent, recorded = _meaning(sent_body), _meaning(recorded_body)
    for name in sorted(sent.keys() | recorded.keys()):
        if sent.get(name) != recorded.get(name):
            return f"{name}: sent {sent.get(name)!r:.300}, recorded {recorded.get(name)!r:.300}"
    return ""


def _meaning(body: dict[str, Any]) -> dict[str, Any]:
    """Returns a body in which what means the same is the same."""
    # Through JSON, as it travels.
    body = json.loads(json.dumps(body))
    turns: list[dict[str, Any]] = []
    for turn in body["messages"]:
        content = [_block_meaning(block) for block in _blocks(turn["content"])]
        # "Consecutive user or assistant turns in your request will be combined into a single turn"
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += content
        else:
            turns.append({"role": turn["role"], "content": content})
    body["messages"] = turns
    body["system"] = "\n\n".join(_texts(body.get("system") or []))
    for tool in body.get("tools", []):
        if tool.get("type") == "custom":
            del tool["type"]
        tool["description"] = tool.get("description", "")
    body["stream"] = body.get("stream", False)
    return body


def _block_meaning(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "tool_result":
        block.setdefault("is_error", False)
        block["content"] = [_block_meaning(one) for one in _blocks(block.get("content", []))]
    return {name: value for name, value in block.items() if value is not None}


def expected(record: Record) -> Expected:
    """Returns what the recorded response says."""
    message = _streamed(record.body) if record.kind == "stream" else json.loads(record.body)
    if record.status != 200:
        return Expected(error_class=_ERRORS[record.status])
    if message["stop_reason"] == "refusal":
        return Expected(error_class=ErrorClass.CONTENT_POLICY)
    content, usage = message["content"], message["usage"]
    calls = tuple((one["name"], one["input"]) for one in content if one["type"] == "tool_use")
    finish = _FINISHES.get(message["stop_reason"], FinishReason.OTHER)
    said = "".join(one["text"] for one in content if one["type"] == "text")
    if not said and not calls and finish is not FinishReason.LENGTH:
        return Expected(error_class=ErrorClass.MALFORMED_RESPONSE)
    cached = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return Expected(
        text=said,
        tool_calls=calls,
        finish_reason=finish,
        usage=ExpectedUsage(
            input_tokens=usage["input_tokens"] + cached + written,
            output_tokens=usage["output_tokens"],
            cached_input_tokens=usage.get("cache_read_input_tokens"),
            reasoning_tokens=thinking,
            cache_write_tokens=usage.get("cache_creation_input_tokens"),
        ),
    )


def _streamed(body: str) -> dict[str, Any]:
    """Puts a streamed message together, after the documentation's description of the events."""
    message: dict[str, Any] = {}
    pieces: dict[int, list[str]] = {}
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line.removeprefix("data:"))
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "input_json_delta":
                pieces.setdefault(event["index"], []).append(delta["partial_json"])
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for index, written in pieces.items():
        message["content"][index]["input"] = json.loads("".join(written) or "{}")
    return message
