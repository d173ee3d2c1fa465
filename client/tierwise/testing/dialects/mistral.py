"""Mistral's chat completions: OpenAI's format with other errors, stricter order, other reasoning.

Sources: Mistral's API specification; bodies of errors as users quote them in public bug reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import (
    ErrorForm,
    Event,
    RateState,
    Rejected,
    Rendering,
    compact,
    objects,
    retry_after,
)
from tierwise.testing.dialects.chat_completions import FINISH_REASONS, ChatCompletions, whole_call
from tierwise.testing.replies import Failure

_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")

_ORDER = "invalid_request_message_order"

# Which roles may follow which; `None` is the start. Mistral names the pair that it does not allow.
_FOLLOWERS: Mapping[str | None, tuple[str, ...]] = {
    None: ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("system", "user", "assistant"),
    "assistant": ("system", "user", "assistant", "tool"),
    "tool": ("assistant", "tool"),
}


@dataclass(frozen=True, slots=True)
class _Known:
    status: int
    message: str
    error_type: str
    code: str | None = None


_ERRORS = {
    ErrorClass.RATE_LIMITED: _Known(429, "Rate limit exceeded", "rate_limited", "1300"),
    ErrorClass.OVERLOADED: _Known(
        503,
        "Service tier capacity exceeded for this model.",
        "service_tier_capacity_exceeded",
        "3505",
    ),
    ErrorClass.SERVER_ERROR: _Known(500, "Internal server error", "internal_server_error", "1000"),
    ErrorClass.CONTEXT_TOO_LONG: _Known(
        400,
        "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
        "invalid_request_error",
    ),
    # Mistral documents none; this is its usual form with the type that others use.
    ErrorClass.CONTENT_POLICY: _Known(
        403, "The request was blocked by content moderation.", "content_policy_violation"
    ),
    ErrorClass.INVALID_REQUEST: _Known(
        400, "Invalid model: no-such-model", "invalid_model", "1500"
    ),
}

# What the gateway in front of the API says, in forms of its own.
_GATEWAY_ERRORS: Mapping[ErrorClass, tuple[int, str, str]] = {
    ErrorClass.AUTHENTICATION: (401, "detail", "Unauthorized"),
    ErrorClass.QUOTA_EXHAUSTED: (402, "message", "Payment required"),
    ErrorClass.TIMEOUT: (504, "message", "The upstream server is timing out"),
}


class Mistral(ChatCompletions):
    """The dialect of Mistral's own API."""

    blocks_with_error = True
    request_id_header: ClassVar[str] = "mistral-correlation-id"

    def __init__(self) -> None:
        super().__init__("mistral")

    def check(self, call: ReceivedCall) -> None:
        """Refuses what Mistral refuses of fields, roles, call ids and tool results."""
        for name in ("model", "messages"):
            if name not in call.body:
                detail = [{"type": "missing", "loc": ["body", name], "msg": "Field required"}]
                raise Rejected(_form(422, {"detail": detail}, "invalid_request_error"))
        messages = objects(call.body["messages"])
        if not messages:
            raise _rejected("Conversation must have at least one message", _ORDER, "3230")
        self._check_roles(messages)
        self._check_calls(messages)

    def _check_roles(self, messages: Sequence[Mapping[str, Any]]) -> None:
        before: str | None = None
        for message in messages:
            role = message.get("role")
            if role not in _FOLLOWERS[before]:
                after = f" after role '{before}'" if before else ""
                raise _rejected(f"Unexpected role '{role}'{after}", _ORDER, "3230")
            before = role
        if before not in {"user", "tool"} and messages[-1].get("prefix") is not True:
            raise _rejected(
                "Expected last role User or Tool (or Assistant with prefix True) for serving but "
                f"got {before}",
                _ORDER,
                "3230",
            )

    def _check_calls(self, messages: Sequence[Mapping[str, Any]]) -> None:
        open_calls: list[str] = []
        for message in messages:
            if message["role"] == "tool":
                call_id = message.get("tool_call_id")
                if call_id not in open_calls:
                    raise _rejected(
                        f"Unexpected tool call id {call_id} in tool results", _ORDER, "3230"
                    )
                open_calls.remove(call_id)
                continue
            _refuse_unanswered(open_calls)
            open_calls = [str(one.get("id")) for one in objects(message.get("tool_calls"))]
            for call_id in open_calls:
                if not _CALL_ID.fullmatch(call_id):
                    raise _rejected(
                        f"Tool call id was {call_id} but must be a-z, A-Z, 0-9, with a length of "
                        "9.",
                        "invalid_function_call",
                        "3280",
                    )
        _refuse_unanswered(open_calls)

    def answer(self, rendering: Rendering) -> Mapping[str, Any]:
        """Returns a `chat.completion`; reasoning makes the content a list of parts."""
        completion = rendering.completion
        content: str | list[Any] = completion.text
        if completion.reasoning:
            content = [_thinking(completion.reasoning) | {"closed": True}]
            content += [{"type": "text", "text": completion.text}] if completion.text else []
        calls = [whole_call(call) for call in completion.tool_calls] or None
        choice = {
            "index": 0,
            "finish_reason": FINISH_REASONS[completion.finish_reason],
            "message": {"role": "assistant", "tool_calls": calls, "content": content},
        }
        return {
            **self._head(rendering, "chat.completion"),
            "usage": self._usage(rendering),
            "choices": [choice],
        }

    def events(self, rendering: Rendering) -> tuple[Event, ...]:
        """Returns chunks with whole tool calls, the last with the usage, and `[DONE]`."""
        completion = rendering.completion
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": [_thinking(piece)]} for piece in rendering.reasoning_pieces]
        deltas += [{"content": piece} for piece in rendering.pieces]
        deltas.append({"content": ""})
        if completion.tool_calls:
            deltas[-1]["tool_calls"] = [
                whole_call(call) | {"index": index}
                for index, call in enumerate(completion.tool_calls)
            ]
        chunks = [self._chunk(rendering, delta) for delta in deltas[:-1]]
        finish_reason = FINISH_REASONS[completion.finish_reason]
        last = self._chunk(rendering, deltas[-1], finish_reason)
        chunks.append(last | {"usage": self._usage(rendering)})
        return (*(Event(data=compact(chunk)) for chunk in chunks), Event(data="[DONE]"))

    def _chunk(
        self, rendering: Rendering, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return self._head(rendering, "chat.completion.chunk") | {"choices": [choice]}

    def _head(self, rendering: Rendering, kind: str) -> dict[str, Any]:
        return {
            "id": rendering.call.request_id,
            "object": kind,
            "created": rendering.created,
            "model": rendering.model,
        }

    def _usage(self, rendering: Rendering) -> dict[str, Any]:
        usage = super()._usage(rendering)
        del usage["completion_tokens_details"]
        return usage

    def error(self, failure: Failure, _call: ReceivedCall) -> ErrorForm:
        """Returns `{"object": "error", "message", "type", "param", "code"}`, or the gateway's."""
        headers = retry_after(failure)
        if failure.error_class in _GATEWAY_ERRORS:
            status, name, message = _GATEWAY_ERRORS[failure.error_class]
            body = {name: failure.message or message}
            return ErrorForm(status=failure.status or status, body=body, headers=headers)
        known = _ERRORS[failure.error_class]
        return _form(
            failure.status or known.status,
            failure.message or known.message,
            known.error_type,
            known.code,
            headers,
        )

    def key_rejected(self, _key: str, call: ReceivedCall) -> ErrorForm:
        """Returns a 401."""
        return self.error(Failure(error_class=ErrorClass.AUTHENTICATION), call)

    def not_json(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 422, as for any body that does not validate."""
        detail = [{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error"}]
        return _form(422, {"detail": detail}, "invalid_request_error")

    def not_found(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 404 of the gateway."""
        body = {"message": "no Route matched with those values"}
        return ErrorForm(status=404, body=body)

    def too_large(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 413 of the gateway."""
        return ErrorForm(status=413, body={"message": "Request size limit exceeded"})

    def error_events(self, form: ErrorForm) -> tuple[Event, ...]:
        """Returns the error's body as an event."""
        return (Event(data=compact(form.body)),)

    def rate_headers(self, state: RateState) -> Mapping[str, str]:
        """Returns `x-ratelimit-*` for requests. Mistral names no time."""
        return {
            "x-ratelimit-limit-req-minute": str(state.limit),
            "x-ratelimit-remaining-req-minute": str(state.remaining),
        }


def _form(
    status: int,
    message: str | Mapping[str, Any],
    error_type: str,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ErrorForm:
    body = {
        "object": "error",
        "message": message,
        "type": error_type,
        "param": None,
        "code": code,
    }
    return ErrorForm(status=status, body=body, headers=headers or {})


def _rejected(message: str, error_type: str, code: str) -> Rejected:
    return Rejected(_form(400, message, error_type, code))


def _refuse_unanswered(call_ids: Sequence[str]) -> None:
    if call_ids:
        raise _rejected("Not the same number of function calls and responses", _ORDER, "3230")


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
