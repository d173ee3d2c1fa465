"""OpenAI's chat completions, as OpenAI and the many providers that copied the format speak it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tierwise.answers import FinishReason
from tierwise.error_class import ErrorClass
from tierwise.messages import ToolCall
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects import chat_errors
from tierwise.testing.dialects.base import (
    ARGUMENTS_PIECE_LENGTH,
    UNKNOWN_FINISH_REASON,
    Asked,
    ErrorForm,
    Event,
    Prompt,
    RateState,
    Rejected,
    Rendering,
    compact,
    objects,
    pieces,
    server_sent,
    text_of,
    tokens,
)
from tierwise.testing.replies import Failure, Withheld

# Where providers serve the format below their own host, by their documentation.
_BASE_PATHS = {
    "groq": "/openai/v1",
    "openrouter": "/api/v1",
    "azure": "/openai/v1",
    "deepseek": "",
}
_AZURE_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<model>[^/]+)/chat/completions")

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")

FINISH_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.OTHER: UNKNOWN_FINISH_REASON,
}

# Where each provider that shows its models' reasoning puts it, by their documentation.
_REASONING_FIELDS = {
    "deepseek": "reasoning_content",
    "vllm": "reasoning_content",
    "llama-cpp": "reasoning_content",
    "groq": "reasoning",
    "openrouter": "reasoning",
    "cerebras": "reasoning",
    "ollama": "reasoning",
}


class ChatCompletions:
    """The format with the peculiarities of one provider."""

    stream_content_type = "text/event-stream; charset=utf-8"
    blocks_with_error = True
    request_id_header: ClassVar[str] = "x-request-id"

    def __init__(self, provider: str = "openai") -> None:
        self._provider = provider
        self.base_path = _BASE_PATHS.get(provider, "/v1")

    def asked(self, path: str, body: Mapping[str, Any]) -> Asked | None:
        """Returns model and streaming from the body, or Azure's deployment from the path."""
        deployment = _AZURE_DEPLOYMENT.fullmatch(path) if self._provider == "azure" else None
        if deployment is None and path != f"{self.base_path}/chat/completions":
            return None
        model = deployment["model"] if deployment else body.get("model")
        return Asked(
            model=model if isinstance(model, str) else "", streamed=body.get("stream") is True
        )

    def key(self, call: ReceivedCall) -> str:
        """Returns the bearer token, or with Azure the value of `api-key`."""
        if self._provider == "azure" and call.headers.get("api-key"):
            return call.headers["api-key"]
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def check(self, call: ReceivedCall) -> None:
        """Refuses what OpenAI refuses of model, roles and tool results."""
        if not call.model:
            raise self._rejected("you must provide a model parameter")
        messages = call.body.get("messages")
        if messages is None:
            raise self._rejected(
                "Missing required parameter: 'messages'.",
                code="missing_required_parameter",
                param="messages",
            )
        if not isinstance(messages, list) or not messages:
            raise self._rejected(
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got "
                "an empty array instead.",
                code="empty_array",
                param="messages",
            )
        self._check_order(objects(messages))

    def _check_order(self, messages: Sequence[Mapping[str, Any]]) -> None:
        open_calls: list[str] = []
        answerable = False
        for index, message in enumerate(messages):
            role = message.get("role")
            if role not in _ROLES:
                raise self._rejected(
                    f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', "
                    "'user', 'function', 'tool', and 'developer'.",
                    code="invalid_value",
                    param=f"messages[{index}].role",
                )
            if role == "tool":
                if not answerable or message.get("tool_call_id") not in open_calls:
                    raise self._rejected(
                        "Invalid parameter: messages with role 'tool' must be a response to a "
                        "preceeding message with 'tool_calls'.",
                        param=f"messages.[{index}].role",
                    )
                open_calls.remove(message["tool_call_id"])
                continue
            self._refuse_unanswered(open_calls, index)
            open_calls = [str(call.get("id")) for call in objects(message.get("tool_calls"))]
            answerable = role == "assistant" and bool(open_calls)
        self._refuse_unanswered(open_calls, len(messages))

    def _refuse_unanswered(self, call_ids: Sequence[str], index: int) -> None:
        if call_ids:
            raise self._rejected(
                "An assistant message with 'tool_calls' must be followed by tool messages "
                "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                f"response messages: {', '.join(call_ids)}",
                param=f"messages.[{index}].role",
            )

    def _rejected(
        self, message: str, *, code: str | None = None, param: str | None = None
    ) -> Rejected:
        return Rejected(self._form(400, message, code=code, param=param))

    def _form(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> ErrorForm:
        if self._provider == "openrouter":
            body = chat_errors.openrouter_body(status, message)
        else:
            body = chat_errors.body_of(message, code=code, param=param)
        return ErrorForm(status=status, body=body)

    def prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Returns the text of all messages."""
        messages = objects(body.get("messages"))
        said = [text_of(one.get("content")) for one in messages if one.get("role") == "user"]
        return Prompt(
            texts=tuple(text_of(one.get("content")) for one in messages),
            last_user_text=said[-1] if said else "",
        )

    def answer(self, rendering: Rendering) -> Mapping[str, Any]:
        """Returns a `chat.completion`."""
        completion = rendering.completion
        choice: dict[str, Any] = {
            "index": 0,
            "message": self._message(rendering),
            "logprobs": None,
            "finish_reason": self._finish_reason(rendering),
        }
        if rendering.call.body.get("logprobs") is True:
            choice["logprobs"] = _logprobs(tokens(completion.text), completion.logprob)
        return {
            **self._head(rendering, "chat.completion"),
            "choices": [choice],
            "usage": self._usage(rendering),
        }

    def _message(self, rendering: Rendering) -> dict[str, Any]:
        completion = rendering.completion
        refused = completion.withheld is Withheld.REFUSED
        silent = refused or (completion.tool_calls and not completion.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if silent else completion.text,
            "refusal": completion.text if refused else None,
        }
        if completion.reasoning and self._provider in _REASONING_FIELDS:
            message[_REASONING_FIELDS[self._provider]] = completion.reasoning
        if completion.tool_calls:
            message["tool_calls"] = [whole_call(call) for call in completion.tool_calls]
        return message

    def events(self, rendering: Rendering) -> tuple[Event, ...]:
        """Returns `chat.completion.chunk`s and the closing `[DONE]`."""
        chunks = [self._chunk(rendering, delta) for delta in self._deltas(rendering)]
        chunks.append(self._chunk(rendering, {}, self._finish_reason(rendering)))
        if self._provider == "azure":
            filtered = self._head(rendering, "") | {"choices": [], "prompt_filter_results": []}
            chunks.insert(0, filtered)
        if self._wants_usage(rendering.call):
            usage = {"choices": [], "usage": self._usage(rendering)}
            chunks.append(self._head(rendering, "chat.completion.chunk") | usage)
        return (*(Event(data=compact(chunk)) for chunk in chunks), Event(data="[DONE]"))

    def _deltas(self, rendering: Rendering) -> list[dict[str, Any]]:
        completion = rendering.completion
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
        if self._provider in _REASONING_FIELDS:
            name = _REASONING_FIELDS[self._provider]
            deltas += [{name: piece} for piece in rendering.reasoning_pieces]
        name = "refusal" if completion.withheld is Withheld.REFUSED else "content"
        deltas += [{name: piece} for piece in rendering.pieces]
        for index, call in enumerate(completion.tool_calls):
            start = whole_call(call) | {"index": index}
            start["function"] = {"name": call.name, "arguments": ""}
            deltas.append({"tool_calls": [start]})
            deltas += [
                {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                for piece in pieces(call.arguments_json, ARGUMENTS_PIECE_LENGTH)
            ]
        return deltas

    def _chunk(
        self, rendering: Rendering, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        logprobs = None
        if rendering.call.body.get("logprobs") is True and delta.get("content"):
            logprobs = _logprobs((delta["content"],), rendering.completion.logprob)
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = self._head(rendering, "chat.completion.chunk") | {"choices": [choice]}
        if self._wants_usage(rendering.call):
            chunk["usage"] = None
        return chunk

    def _head(self, rendering: Rendering, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{rendering.call.request_id}",
            "object": kind,
            "created": rendering.created,
            "model": rendering.model,
            "system_fingerprint": None,
        }

    def _usage(self, rendering: Rendering) -> dict[str, Any]:
        usage = rendering.usage
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }

    def _wants_usage(self, call: ReceivedCall) -> bool:
        if self._provider == "cerebras":  # which tells it unasked
            return True
        options = call.body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True

    def _finish_reason(self, rendering: Rendering) -> str:
        if rendering.completion.withheld is Withheld.FILTERED:
            return "content_filter"
        return FINISH_REASONS[rendering.completion.finish_reason]

    def encoded(self, events: Sequence[Event], _call: ReceivedCall) -> tuple[bytes, ...]:
        """Returns server-sent events; OpenRouter's start with a comment."""
        parts = tuple(server_sent(event) for event in events)
        if self._provider == "openrouter" and parts:
            return (b": OPENROUTER PROCESSING\n\n" + parts[0], *parts[1:])
        return parts

    def error(self, failure: Failure, call: ReceivedCall) -> ErrorForm:
        """Returns `{"error": {"message", "type", "param", "code"}}`, or OpenRouter's form."""
        return chat_errors.error_form(self._provider, failure, call, self.key(call))

    def key_rejected(self, key: str, call: ReceivedCall) -> ErrorForm:
        """Returns a 401 that quotes the key's ends, as OpenAI does."""
        if key or self._provider != "openai":
            failure = Failure(error_class=ErrorClass.AUTHENTICATION)
            return chat_errors.error_form(self._provider, failure, call, key)
        return self._form(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )

    def not_json(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 400."""
        return self._form(
            400,
            "We could not parse the JSON body of your request. The OpenAI API expects a JSON "
            "payload, but what was sent was not valid JSON.",
        )

    def not_found(self, call: ReceivedCall) -> ErrorForm:
        """Returns a 404."""
        return self._form(404, f"Invalid URL ({call.method} {call.path})", code="unknown_url")

    def too_large(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 413."""
        return self._form(413, "Maximum content size limit exceeded.")

    def error_events(self, form: ErrorForm) -> tuple[Event, ...]:
        """Returns the error's body as an event; OpenRouter's has an empty choice besides."""
        if self._provider != "openrouter":
            return (Event(data=compact(form.body)),)
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return (Event(data=compact({**form.body, "choices": [choice]})), Event(data="[DONE]"))

    def request_headers(self, call: ReceivedCall) -> Mapping[str, str]:
        """Returns the request's id."""
        return {self.request_id_header: call.request_id}

    def rate_headers(self, state: RateState) -> Mapping[str, str]:
        """Returns `x-ratelimit-*` for requests, the time as OpenAI writes it: `1s`, `120ms`."""
        milliseconds = math.ceil(state.reset_s * 1000)
        whole = milliseconds % 1000 == 0
        return {
            "x-ratelimit-limit-requests": str(state.limit),
            "x-ratelimit-remaining-requests": str(state.remaining),
            "x-ratelimit-reset-requests": (
                f"{milliseconds // 1000}s" if whole else f"{milliseconds}ms"
            ),
        }


def whole_call(call: ToolCall) -> dict[str, Any]:
    """Returns a tool call as an answer that is not streamed holds it."""
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": call.id, "type": "function", "function": function}


def _logprobs(words: Sequence[str], logprob: float) -> dict[str, Any]:
    content = [
        {"token": word, "logprob": logprob, "bytes": list(word.encode()), "top_logprobs": []}
        for word in words
    ]
    return {"content": content, "refusal": None}
