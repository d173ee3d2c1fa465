"""Gemini's generateContent API: requests in its format, and the adapter itself.

Format: https://ai.google.dev/api/generate-content. Vertex AI takes the same bodies. How answers and
streams are read is in `gemini_answers`, how failures are in `gemini_errors`.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

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
    ToolCall,
    ToolChoice,
)
from tierwise.providers.base import Endpoint, HttpCall, HttpReply
from tierwise.providers.gemini_answers import (
    PROVIDER_ID,
    SIGNATURE,
    GenerationReader,
    answer_of_reply,
)
from tierwise.providers.gemini_errors import failure_of_reply
from tierwise.providers.known import KnownProvider

MOST_STOP_SEQUENCES = 5
"""https://ai.google.dev/api/generate-content#GenerationConfig"""

_UNSIGNED = base64.b64encode(b"skip_thought_signature_validator").decode("ascii")
"""What the documentation says to sign calls with that Gemini did not make: since Gemini 3 a turn
whose first call has no signature is refused. https://ai.google.dev/gemini-api/docs/thought-signatures"""

_MERGED_EXTRAS = frozenset({"generationConfig", "toolConfig"})
"""Objects of which both this adapter and the caller's extras may fill fields."""

_MODES = {ToolChoice.AUTO: "AUTO", ToolChoice.NONE: "NONE", ToolChoice.REQUIRED: "ANY"}


class GeminiProvider:
    """Speaks Gemini's generateContent API."""

    def call(
        self, request: ChatRequest, model: Model, endpoint: Endpoint, *, stream: bool
    ) -> HttpCall:
        """Returns the request as Gemini wants it.

        A base address that names a project is one of Vertex AI, whose key is an access token.

        Raises:
            InvalidRequestError: It asks for what the API does not have: one call of a tool at a
                time, more than five stop sequences, or images in the system's messages or the
                assistant's turns.
        """
        _check(request)
        body = _body(request, model)
        for name, extra in request.extras.get(model.provider_id, {}).items():
            merged = name in _MERGED_EXTRAS and isinstance(extra, Mapping)
            body[name] = {**body.get(name, {}), **extra} if merged else extra
        vertex = "/projects/" in endpoint.base_url
        headers = {}
        if endpoint.key and vertex:
            headers["authorization"] = f"Bearer {endpoint.key}"
        elif endpoint.key:
            headers["x-goog-api-key"] = endpoint.key
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        url = f"{endpoint.base_url}/{_resource(model.upstream_name, vertex=vertex)}:{method}"
        return HttpCall(url=url, headers=headers, body=body)

    def answer(self, reply: HttpReply) -> Answer:
        """Reads the response to a call that was not streamed, of any status."""
        return answer_of_reply(reply)

    def failure(self, reply: HttpReply) -> ProviderError:
        """Reads a response that is a failure, or no stream where one was due."""
        return failure_of_reply(reply)

    def reader(self, headers: Mapping[str, str]) -> GenerationReader:
        """Returns a reader for a stream whose response has these headers."""
        return GenerationReader(headers)


GOOGLE = KnownProvider(
    provider_id=PROVIDER_ID,
    provider=GeminiProvider(),
    base_url="https://generativelanguage.googleapis.com",
    key_variable="GEMINI_API_KEY",
    base_url_variable="GOOGLE_GEMINI_BASE_URL",
)

KNOWN = (GOOGLE,)


def _resource(upstream_name: str, *, vertex: bool) -> str:
    """Returns the path of a model. `tunedModels/x` and the like are already resource names."""
    name = upstream_name if "/" in upstream_name else f"models/{upstream_name}"
    return f"{'publishers/google' if vertex else 'v1beta'}/{quote(name)}"


def _check(request: ChatRequest) -> None:
    if request.parallel_tool_calls is False:
        raise InvalidRequestError(
            "Gemini can't be held to one call at a time", field="parallel_tool_calls"
        )
    if len(request.stop) > MOST_STOP_SEQUENCES:
        raise InvalidRequestError(
            f"Gemini stops at {MOST_STOP_SEQUENCES} sequences at most", field="stop"
        )
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            if isinstance(part, Image) and message.role in (Role.SYSTEM, Role.ASSISTANT):
                raise InvalidRequestError(
                    "Gemini takes images of users and tools alone",
                    field=f"messages[{index}].content[{number}]",
                )


def _body(request: ChatRequest, model: Model) -> dict[str, Any]:
    messages = request.messages_for(model.model_id)
    instructions = [{"text": one.text} for one in messages if one.role is Role.SYSTEM and one.text]
    declarations = [
        {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": tool.parameters,
        }
        for tool in request.tools
    ]
    body: dict[str, Any] = {"contents": _contents(messages)}
    if instructions:
        body["systemInstruction"] = {"parts": instructions}
    if declarations:
        body["tools"] = [{"functionDeclarations": declarations}]
    if choice := _tool_choice(request.tool_choice):
        body["toolConfig"] = {"functionCallingConfig": choice}
    if config := _generation_config(request):
        body["generationConfig"] = config
    return body


def _contents(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    results: list[dict[str, Any]] | None = None
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        if message.role is Role.TOOL:
            # The results of parallel calls must come in one turn, and nothing else in it.
            if results is None:
                results = []
                contents.append({"role": "user", "parts": results})
            results.append(_function_response(message, names))
            continue
        results = None
        parts = [*map(_part, message.parts), *_function_calls(message.tool_calls)]
        names.update((call.id, call.name) for call in message.tool_calls)
        role = "model" if message.role is Role.ASSISTANT else "user"
        # A turn may say nothing, but not have nothing in it.
        contents.append({"role": role, "parts": parts or [{"text": ""}]})
    return contents


def _part(part: Part) -> dict[str, Any]:
    if not isinstance(part, Image):
        return {"text": part.text}
    if part.url is None:
        return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}
    media_type = part.media_type or mimetypes.guess_type(urlsplit(part.url).path)[0]
    file = {"fileUri": part.url}
    return {"fileData": {**file, "mimeType": media_type} if media_type else file}


def _function_calls(calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for call in calls:
        made = {"id": call.id, "name": call.name, "args": call.arguments}
        part: dict[str, Any] = {"functionCall": made}
        kept = call.provider_state.get(PROVIDER_ID)
        if isinstance(kept, Mapping) and SIGNATURE in kept:
            part[SIGNATURE] = kept[SIGNATURE]
        parts.append(part)
    if parts and not any(SIGNATURE in part for part in parts):
        parts[0][SIGNATURE] = _UNSIGNED
    return parts


def _function_response(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    call_id = message.tool_call_id or ""
    response: dict[str, Any] = {
        "id": call_id,
        "name": names[call_id],
        "response": _object(message.text),
    }
    if images := [_part(part) for part in message.parts if isinstance(part, Image)]:
        response["parts"] = images
    return {"functionResponse": response}


def _object(result: str) -> dict[str, Any]:
    """Returns a tool's result as the object that the API wants."""
    try:
        parsed = json.loads(result, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"result": result}


def _refuse_constant(name: str) -> None:
    # NaN and the infinities, which Python reads and no other JSON parser does.
    raise ValueError(name)


def _tool_choice(choice: ToolChoice | NamedTool | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, NamedTool):
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": _MODES[choice]}


def _generation_config(request: ChatRequest) -> dict[str, Any]:
    config: dict[str, Any] = {
        "maxOutputTokens": request.max_output_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "seed": request.seed,
        "stopSequences": list(request.stop) or None,
        "responseLogprobs": request.logprobs or None,
    }
    if request.answer_format is not AnswerFormat.TEXT:
        config["responseMimeType"] = "application/json"
    if isinstance(request.answer_format, JsonSchema):
        config["responseJsonSchema"] = request.answer_format.schema
    return {name: value for name, value in config.items() if value is not None}
