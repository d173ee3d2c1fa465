"""Recorded calls of Gemini's generateContent API, there and on Vertex AI, for `wire.py`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
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

PROVIDERS = ("gemini",)

_WRITTEN = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})
_CONFIG = {
    "maxOutputTokens": "max_output_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "seed": "seed",
    "responseLogprobs": "logprobs",
}
_CHOICES = {"AUTO": ToolChoice.AUTO, "ANY": ToolChoice.REQUIRED, "NONE": ToolChoice.NONE}
_FREE_FORM = frozenset({"args", "response", "parameters", "parametersJsonSchema"})
"""Fields whose content is the caller's, names included."""
_NO_SIGNATURES = frozenset(
    base64.b64encode(word).decode()
    for word in (b"skip_thought_signature_validator", b"context_engineering_is_the_way_to_go")
)
"""By the documentation, both say no more than that there is no signature."""
_REFUSALS = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"})
_SENSELESS = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"})
_ERRORS = {
    400: ErrorClass.INVALID_REQUEST,
    401: ErrorClass.AUTHENTICATION,
    403: ErrorClass.AUTHENTICATION,
    404: ErrorClass.INVALID_REQUEST,
    429: ErrorClass.RATE_LIMITED,
    500: ErrorClass.SERVER_ERROR,
    503: ErrorClass.OVERLOADED,
}


class _NoWordsError(Exception):
    """Our types have no words for something; the text says what."""


def rebuild(record: Record) -> Rebuilt | str:
    """Returns the recorded request in our types, or the reason why they have no words for it."""
    try:
        request = _request(_camel(record.request))
    except _NoWordsError as reason:
        return str(reason)
    found = re.fullmatch(r"(/.*?)/(?:publishers/google/)?models/([^:]+):\w+", record.path)
    if found is None:
        raise ValueError(f"{record.name}: no path of a model: {record.path}")
    prefix, name = found.groups()
    vertex = "/projects/" in prefix
    base_url = (
        f"https://aiplatform.googleapis.com{prefix}"
        if vertex
        else "https://generativelanguage.googleapis.com"
    )
    model = Model(model_id="recorded", provider_id="google", upstream_name=name)
    return Rebuilt(request=request, model=model, endpoint=Endpoint(base_url=base_url, key="none"))


def _request(body: dict[str, Any]) -> ChatRequest:
    messages = [
        Message(role=Role.SYSTEM, content=part["text"])
        for part in body.get("systemInstruction", {}).get("parts", [])
    ]
    for content in _merged(body["contents"]):
        messages += _messages(content)
    extras = {name: value for name, value in body.items() if name not in _WRITTEN}
    config = dict(body.get("generationConfig", {}))
    fields = {ours: config.pop(theirs) for theirs, ours in _CONFIG.items() if theirs in config}
    schema = config.pop("responseJsonSchema", None)
    if config.get("responseMimeType") == "application/json":
        del config["responseMimeType"]
        fields["answer_format"] = JsonSchema(schema=schema) if schema else AnswerFormat.JSON_OBJECT
    elif schema:
        raise _NoWordsError("a schema for an answer that is no JSON")
    calling = dict(body.get("toolConfig", {}))
    choice = _choice(calling.get("functionCallingConfig", {}))
    if choice is not None:
        del calling["functionCallingConfig"]
    extras |= {"generationConfig": config} if config else {}
    extras |= {"toolConfig": calling} if calling else {}
    return ChatRequest(
        messages=tuple(messages),
        tools=tuple(_tools(_listed(body.get("tools", [])))),
        tool_choice=choice,
        stop=tuple(config.pop("stopSequences", ())),
        extras={"google": extras},
        **fields,
    )


def _choice(config: dict[str, Any]) -> ToolChoice | NamedTool | None:
    names = config.get("allowedFunctionNames")
    if config.get("mode") == "ANY" and names and len(names) == 1:
        return NamedTool(name=names[0])
    return None if names else _CHOICES.get(config.get("mode", ""))


def _tools(tools: list[dict[str, Any]]) -> Iterator[Tool]:
    for tool in tools:
        if tool.keys() != {"functionDeclarations"}:
            raise _NoWordsError(f"a tool of Google's own: {', '.join(tool)}")
        for one in tool["functionDeclarations"]:
            yield Tool(
                name=one["name"],
                description=one.get("description", ""),
                parameters=_schema(one),
            )


def _listed(tools: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Returns tools as a list; the API takes a lone one for a list of it."""
    return tools if isinstance(tools, list) else [tools]


def _schema(declaration: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    empty = {"type": "object", "properties": {}}
    return declaration.get("parametersJsonSchema", declaration.get("parameters", empty))


def _messages(content: dict[str, Any]) -> Iterator[Message]:
    if content["role"] == "model":
        yield _assistant(content["parts"])
        return
    parts: list[Part] = []
    for part in content["parts"]:
        if "functionResponse" not in part:
            parts.append(_part(part))
            continue
        result = part["functionResponse"]
        said = Text(json.dumps(result["response"]))
        yield Message(
            role=Role.TOOL,
            tool_call_id=result["id"],
            content=(said, *map(_part, result.get("parts", ()))),
        )
    if parts:
        yield Message(role=Role.USER, content=tuple(parts))


def _assistant(parts: list[dict[str, Any]]) -> Message:
    texts, calls = [], []
    for part in parts:
        signature = part.get("thoughtSignature")
        if "functionCall" in part:
            call = part["functionCall"]
            calls.append(
                ToolCall(
                    id=call["id"],
                    name=call["name"],
                    arguments_json=json.dumps(call["args"]),
                    provider_state={"google": {"thoughtSignature": signature}} if signature else {},
                )
            )
        elif signature:
            raise _NoWordsError("a signature of something else than a call")
        else:
            texts.append(_text(part))
    return Message(role=Role.ASSISTANT, content=tuple(texts), tool_calls=tuple(calls))


def _part(part: dict[str, Any]) -> Part:
    for kind in ("inlineData", "fileData"):
        if kind not in part:
            continue
        content = part[kind]
        if not content["mimeType"].startswith("image/"):
            raise _NoWordsError(f"a file of type {content['mimeType']}")
        if kind == "fileData":
            return Image(url=content["fileUri"])
        data = base64.b64decode(_plain_base64(content["data"]))
        return Image(data=data, media_type=content["mimeType"])
    return _text(part)


def _text(part: dict[str, Any]) -> Text:
    if part.keys() != {"text"}:
        raise _NoWordsError(f"a part with {', '.join(sorted(part))}")
    return Text(part["text"])


def equivalent(sent_body: dict[str, Any], recorded_body: dict[str, Any]) -> str:
    """Returns the first difference that means something to Gemini; empty when there is none."""
    sent, recorded = _meaning(sent_body), _meaning(recorded_body)
    for name in sorted(sent.keys() | recorded.keys()):
        if sent.get(name) != recorded.get(name):
            return f"{name}: sent {sent.get(name)!r:.300}, recorded {recorded.get(name)!r:.300}"
    return ""


def _meaning(body: dict[str, Any]) -> dict[str, Any]:
    """Returns a body in which what means the same is the same."""
    # Through JSON, as it travels.
    body = _camel(json.loads(json.dumps(body)))
    body["contents"] = _merged(body["contents"])
    for content in body["contents"]:
        for part in content["parts"]:
            if part.get("thoughtSignature") in _NO_SIGNATURES:
                del part["thoughtSignature"]
            for one in (part, *part.get("functionResponse", {}).get("parts", ())):
                # Of an address, the type is but a hint.
                one.get("fileData", {}).pop("mimeType", None)
                if "inlineData" in one:
                    one["inlineData"]["data"] = _plain_base64(one["inlineData"]["data"])
    body.get("systemInstruction", {}).pop("role", None)
    body["tools"] = _listed(body.get("tools", []))
    for tool in body["tools"]:
        tool["functionDeclarations"] = [
            {
                "name": one["name"],
                "description": one.get("description", ""),
                "parameters": _schema(one),
            }
            for one in tool.get("functionDeclarations", [])
        ]
    config = body.get("generationConfig", {})
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
    body["generationConfig"] = config
    return body


def _plain_base64(text: str) -> str:
    """Returns base64 in the usual alphabet; the API takes that for addresses as well."""
    return text.replace("-", "+").replace("_", "/")


def _merged(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns contents of which those that follow one another from one side are one."""
    merged: list[dict[str, Any]] = []
    for content in contents:
        if merged and merged[-1]["role"] == content["role"]:
            merged[-1]["parts"] += content["parts"]
        else:
            merged.append({"role": content["role"], "parts": list(content["parts"])})
    return merged


def _camel(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Returns a body with its fields named as documented; the API takes `snake_case` as well."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda letter: letter[1].upper(), key): key for key in value}
    return {
        name: value[key] if name in _FREE_FORM else _camel(value[key])
        for name, key in named.items()
    }


def expected(record: Record) -> Expected:
    """Returns what the recorded response says."""
    if record.status != 200:
        return Expected(error_class=_ERRORS[record.status])
    chunks = (
        [json.loads(line[5:]) for line in record.body.splitlines() if line.startswith("data:")]
        if record.kind == "stream"
        else [json.loads(record.body)]
    )
    candidates = [chunk["candidates"][0] for chunk in chunks if chunk.get("candidates")]
    parts = [part for one in candidates for part in one.get("content", {}).get("parts", ())]
    calls = tuple(
        (part["functionCall"]["name"], part["functionCall"].get("args") or {})
        for part in parts
        if "functionCall" in part
    )
    said = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    finish = [one["finishReason"] for one in candidates if "finishReason" in one][-1]
    if finish in _REFUSALS:
        return Expected(error_class=ErrorClass.CONTENT_POLICY)
    if finish in _SENSELESS or not (said or calls or finish == "MAX_TOKENS"):
        return Expected(error_class=ErrorClass.MALFORMED_RESPONSE)
    reason = {"STOP": FinishReason.STOP, "MAX_TOKENS": FinishReason.LENGTH}[finish]
    usage = chunks[-1]["usageMetadata"]
    return Expected(
        text=said,
        tool_calls=calls,
        finish_reason=FinishReason.TOOL_CALLS if calls and finish == "STOP" else reason,
        usage=ExpectedUsage(
            input_tokens=usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
            # What is in neither of them is thoughts and answer.
            output_tokens=usage["totalTokenCount"]
            - usage["promptTokenCount"]
            - usage.get("toolUsePromptTokenCount", 0),
            cached_input_tokens=usage.get("cachedContentTokenCount"),
            reasoning_tokens=usage.get("thoughtsTokenCount"),
        ),
    )
