"""Recorded calls in OpenAI's chat completions format, of several providers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from wire_records import Expected, ExpectedUsage, Rebuilt, Record

from tierwise.answers import FinishReason
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
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
from tierwise.providers.base import Endpoint

PROVIDERS = ("openai", "azure_openai", "mistral", "groq", "openrouter", "deepseek", "cerebras")

_PATH = "/chat/completions"
_PROVIDER_IDS = {"azure_openai": "azure"}
_OURS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "seed",
        "random_seed",
        "stop",
        "logprobs",
    }
)
"""Fields of a body that are written from our types; others are handed on as extras."""

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class _NotModelledError(Exception):
    """Our types have no words for a request."""


def rebuild(record: Record) -> Rebuilt | str:
    """Returns the recorded request in our types, or the reason why they have no words for it."""
    provider_id = _PROVIDER_IDS.get(record.provider, record.provider)
    body = record.request
    extras = {name: value for name, value in body.items() if name not in _OURS}
    try:
        request = ChatRequest(
            messages=tuple(_message(one) for one in body["messages"]),
            tools=tuple(_tool(one) for one in body.get("tools") or ()),
            tool_choice=_tool_choice(body.get("tool_choice")),
            parallel_tool_calls=body.get("parallel_tool_calls"),
            answer_format=_answer_format(body.get("response_format") or {"type": "text"}),
            max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            seed=body.get("seed", body.get("random_seed")),
            stop=tuple(_listed(body.get("stop"))),
            logprobs=bool(body.get("logprobs")),
            extras={provider_id: extras},
        )
    except _NotModelledError as reason:
        return str(reason)
    model = Model(model_id="m", provider_id=provider_id, upstream_name=body["model"])
    path = record.path.removesuffix(_PATH)
    if provider_id == "azure":
        path = ""
    return Rebuilt(
        request=request,
        model=model,
        endpoint=Endpoint(base_url=f"https://recorded.example{path}", key="k"),
    )


def equivalent(sent_body: Mapping[str, Any], recorded_body: Mapping[str, Any]) -> str:
    """Returns the first difference that means something; empty when there is none."""
    sent, recorded = _normal(sent_body), _normal(recorded_body)
    for name in sorted({*sent, *recorded}):
        if sent.get(name) != recorded.get(name):
            return f"{name}: sent {_short(sent.get(name))}, recorded {_short(recorded.get(name))}"
    return ""


def expected(record: Record) -> Expected:
    """Returns what the recorded response says."""
    chunks = list(_chunks(record))
    for chunk in chunks:
        if "error" in chunk:
            return Expected(error_class=_error_class(record.status, chunk["error"]))
    field = "delta" if record.kind == "stream" else "message"
    choices = [
        choice for chunk in chunks for choice in chunk["choices"] if choice.get("index", 0) == 0
    ]
    pieces = [choice[field] for choice in choices]
    finish = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")][-1]
    if finish == "content_filter" or any(piece.get("refusal") for piece in pieces):
        return Expected(error_class=ErrorClass.CONTENT_POLICY)
    return Expected(
        text="".join(_text(piece.get("content")) for piece in pieces),
        tool_calls=tuple(_calls(pieces, whole=field == "message")),
        finish_reason=_FINISH_REASONS[finish],
        usage=_usage(chunks),
    )


def _message(message: Mapping[str, Any]) -> Message:
    known = {"role", "content", "tool_calls", "tool_call_id", "reasoning_content"}
    unknown = {
        name
        for name, value in message.items()
        if name not in known and value not in (None, [], False)
    }
    if unknown:
        raise _NotModelledError(f"a message's {', '.join(sorted(unknown))}")
    role = message["role"]
    if role == "developer":
        raise _NotModelledError("the role developer")
    state = {}
    if "reasoning_content" in message:
        state["reasoning_content"] = message["reasoning_content"]
    calls = tuple(_tool_call(call, state) for call in message.get("tool_calls") or ())
    content = message.get("content")
    if content is None and not calls:
        raise _NotModelledError("a message without content")
    return Message(
        role=Role(role),
        content=tuple(map(_part, content)) if isinstance(content, list) else content or "",
        tool_calls=calls,
        tool_call_id=message.get("tool_call_id"),
    )


def _part(part: Mapping[str, Any]) -> Part:
    kind = part["type"]
    unknown = set(part) - {"type", kind}
    if kind not in {"text", "image_url"} or unknown:
        raise _NotModelledError(f"a part's {', '.join(sorted(unknown) or [kind])}")
    if kind == "text":
        return Text(part["text"])
    image = part["image_url"]
    image = {"url": image} if isinstance(image, str) else image
    url, detail = image["url"], image.get("detail")
    if url.startswith("data:"):
        head, _, data = url.removeprefix("data:").partition(";base64,")
        return Image(data=base64.b64decode(data), media_type=head, detail=detail)
    return Image(url=url, detail=detail)


def _tool_call(call: Mapping[str, Any], state: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    return ToolCall(
        id=call["id"],
        name=function["name"],
        arguments_json=function["arguments"],
        provider_state=state,
    )


def _tool(tool: Mapping[str, Any]) -> Tool:
    if tool.get("type", "function") != "function":
        raise _NotModelledError(f"a tool of type {tool['type']}")
    if unknown := set(tool) - {"type", "function"}:
        raise _NotModelledError(f"a tool's {', '.join(sorted(unknown))}")
    function = tool["function"]
    return Tool(
        name=function["name"],
        parameters=function["parameters"],
        description=function.get("description", ""),
        strict=function.get("strict"),
    )


def _tool_choice(choice: Any) -> ToolChoice | NamedTool | None:  # noqa: ANN401 - a JSON value
    if choice is None:
        return None
    if isinstance(choice, Mapping):
        return NamedTool(name=choice["function"]["name"])
    return ToolChoice.REQUIRED if choice == "any" else ToolChoice(choice)


def _answer_format(form: Mapping[str, Any]) -> AnswerFormat | JsonSchema:
    if form["type"] != "json_schema":
        return AnswerFormat(form["type"].replace("_", "-"))
    schema = form["json_schema"]
    return JsonSchema(
        schema=schema["schema"],
        name=schema["name"],
        description=schema.get("description", ""),
        strict=schema.get("strict"),
    )


def _normal(body: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a body in one of the ways that mean the same."""
    normal = {name: value for name, value in body.items() if value is not None}
    for meaningless in ("stream_options", "logprobs" if not body.get("logprobs") else ""):
        normal.pop(meaningless, None)
    if "max_tokens" in normal:
        normal["max_completion_tokens"] = normal.pop("max_tokens")
    if not normal.get("stream"):
        normal.pop("stream", None)
    if "stop" in normal:
        normal["stop"] = _listed(normal["stop"])
    if normal.get("response_format") == {"type": "text"}:
        del normal["response_format"]
    if normal.get("tools"):
        normal["tools"] = [{"type": "function", **_normal_tool(tool)} for tool in normal["tools"]]
        if normal.get("tool_choice") == "any":
            normal["tool_choice"] = "required"
    else:
        normal.pop("tool_choice", None)
    normal["messages"] = [_normal_message(message) for message in normal["messages"]]
    return normal


def _normal_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool["function"].items() if value not in ("", None)}
    return {**tool, "function": function}


def _normal_message(message: Mapping[str, Any]) -> dict[str, Any]:
    normal = {name: value for name, value in message.items() if value not in (None, [], False)}
    content = normal.get("content")
    if isinstance(content, list) and message["role"] != "user":
        normal["content"] = _text(content)
    if not normal.get("content"):
        normal.pop("content", None)
    if calls := normal.get("tool_calls"):
        normal["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for call in calls
        ]
    return normal


def _chunks(record: Record) -> Iterator[dict[str, Any]]:
    if record.kind != "stream":
        yield json.loads(record.body)
        return
    for line in record.body.splitlines():
        if line.startswith("data:") and "[DONE]" not in line:
            yield json.loads(line.removeprefix("data:"))


def _error_class(status: int, error: Mapping[str, Any]) -> ErrorClass:
    by_code = {
        "content_filter": ErrorClass.CONTENT_POLICY,
        "tool_use_failed": ErrorClass.MALFORMED_RESPONSE,
    }
    if error.get("code") in by_code:
        return by_code[error["code"]]
    by_status = {400: ErrorClass.INVALID_REQUEST, 404: ErrorClass.INVALID_REQUEST}
    return {**by_status, 429: ErrorClass.RATE_LIMITED}[status]


def _calls(pieces: list[Mapping[str, Any]], *, whole: bool) -> Iterator[tuple[str, Any]]:
    written: dict[int, list[str]] = {}
    for piece in pieces:
        calls = list(piece.get("tool_calls") or ())
        if piece.get("function_call"):
            calls = [{"function": piece["function_call"]}]
        for number, call in enumerate(calls):
            function = call["function"]
            index = number if whole else call["index"]
            entry = written.setdefault(index, ["", ""])
            entry[0] = entry[0] or function.get("name") or ""
            entry[1] += function.get("arguments") or ""
    for name, arguments in written.values():
        yield name, json.loads(arguments or "{}")


def _usage(chunks: list[dict[str, Any]]) -> ExpectedUsage | None:
    stated = [
        usage
        for chunk in chunks
        if (usage := chunk.get("usage") or chunk.get("x_groq", {}).get("usage"))
    ]
    if not stated:
        return None
    last = stated[-1]
    prompt = last.get("prompt_tokens_details") or {}
    completion = last.get("completion_tokens_details") or {}
    return ExpectedUsage(
        input_tokens=last["prompt_tokens"],
        output_tokens=last["completion_tokens"],
        cached_input_tokens=prompt.get("cached_tokens", last.get("num_cached_tokens")),
        reasoning_tokens=completion.get("reasoning_tokens"),
        cache_write_tokens=prompt.get("cache_write_tokens"),
    )


def _text(content: Any) -> str:  # noqa: ANN401 - a JSON value
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _listed(value: Any) -> list[str]:  # noqa: ANN401 - a JSON value
    return [value] if isinstance(value, str) else list(value or ())


def _short(value: Any) -> str:  # noqa: ANN401 - a JSON value
    return json.dumps(value)[:200]
