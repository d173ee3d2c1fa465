"""Gemini's generateContent.

Sources: Google, "Gemini API reference: Generating content", "Troubleshooting" and "Rate limits";
bodies of errors as users quote them in public bug reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tierwise.answers import FinishReason
from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import (
    UNKNOWN_FINISH_REASON,
    Asked,
    ErrorForm,
    Event,
    Prompt,
    RateState,
    Rendering,
    compact,
    objects,
    server_sent,
    text_of,
    tokens,
)
from tierwise.testing.dialects.gemini_errors import (
    FEEDBACK,
    RATING,
    check,
    error_form,
    rejected,
    status_form,
)
from tierwise.testing.replies import Failure, Withheld

_PATH = re.compile(
    r"/v1(?:beta|alpha)?/models/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)"
)
_THOUGHT_SIGNATURE = "c2lnbmF0dXJl"
_FINISH_REASONS = {
    FinishReason.STOP: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.OTHER: UNKNOWN_FINISH_REASON.upper(),
}


class Gemini:
    """The dialect of the Gemini API."""

    base_path = ""
    stream_content_type = "text/event-stream"
    blocks_with_error = False

    def asked(self, path: str, _body: Mapping[str, Any]) -> Asked | None:
        """Returns model and streaming from the path."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        return Asked(model=match["model"], streamed=match["verb"] == "streamGenerateContent")

    def key(self, call: ReceivedCall) -> str:
        """Returns the value of `x-goog-api-key`, else of the query's `key`."""
        return call.headers.get("x-goog-api-key", "").strip() or call.query.get("key", "")

    def check(self, call: ReceivedCall) -> None:
        """Refuses what Gemini refuses of contents, roles and function responses."""
        check(call)

    def prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Returns the instructions and the text of all contents."""
        contents = objects(body.get("contents"))
        instructions = body.get("systemInstruction") or body.get("system_instruction") or {}
        said = [_text(one) for one in contents if one.get("role", "user") == "user"]
        return Prompt(
            texts=tuple(_text(content) for content in (instructions, *contents)),
            last_user_text=next(filter(None, reversed(said)), ""),
        )

    def answer(self, rendering: Rendering) -> Mapping[str, Any]:
        """Returns a `GenerateContentResponse`."""
        completion = rendering.completion
        if completion.withheld is Withheld.BLOCKED:
            return _blocked(rendering)
        parts: list[dict[str, Any]] = []
        if completion.reasoning:
            parts.append({"text": completion.reasoning, "thought": True})
        if completion.text:
            parts.append({"text": completion.text})
        parts += _call_parts(rendering)
        logprobs = _logprobs(rendering, tokens(completion.text))
        return _response(rendering, parts, _finish_reason(rendering), logprobs)

    def events(self, rendering: Rendering) -> tuple[Event, ...]:
        """Returns `GenerateContentResponse`s, the last with the reason for the end."""
        completion = rendering.completion
        if completion.withheld is Withheld.BLOCKED:
            return (Event(data=compact(_blocked(rendering))),)
        portions: list[tuple[list[dict[str, Any]], tuple[str, ...]]] = [
            ([{"text": piece, "thought": True}], ()) for piece in rendering.reasoning_pieces
        ]
        portions += [([{"text": piece}], (piece,)) for piece in rendering.pieces]
        portions += [([part], ()) for part in _call_parts(rendering)]
        if not portions or completion.withheld is not None:
            portions.append(([], ()))
        last = len(portions) - 1
        return tuple(
            Event(
                data=compact(
                    _response(
                        rendering,
                        parts,
                        _finish_reason(rendering) if index == last else None,
                        _logprobs(rendering, words),
                    )
                )
            )
            for index, (parts, words) in enumerate(portions)
        )

    def encoded(self, events: Sequence[Event], call: ReceivedCall) -> tuple[bytes, ...]:
        """Returns server-sent events if `alt=sse` asks for them, else the parts of a JSON array."""
        if call.query.get("alt") == "sse":
            return tuple(server_sent(event, "\r\n") for event in events)
        last = len(events) - 1
        return tuple(
            (
                ("[" if index == 0 else ",\r\n") + event.data + ("]" if index == last else "")
            ).encode()
            for index, event in enumerate(events)
        )

    def error(self, failure: Failure, call: ReceivedCall) -> ErrorForm:
        """Returns a `google.rpc.Status`; a time to wait is a detail of it, and no header."""
        return error_form(failure, call)

    def key_rejected(self, key: str, call: ReceivedCall) -> ErrorForm:
        """Returns a 400 for a wrong key and a 403 for none, as Gemini does."""
        if key:
            return self.error(Failure(error_class=ErrorClass.AUTHENTICATION), call)
        return status_form(
            403,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )

    def not_json(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 400."""
        return rejected("Invalid JSON payload received. Unexpected token.").form

    def not_found(self, call: ReceivedCall) -> ErrorForm:
        """Returns a 404."""
        return status_form(404, "NOT_FOUND", f"Requested entity was not found: {call.path}")

    def too_large(self, _call: ReceivedCall) -> ErrorForm:
        """Returns a 400, which is what Gemini answers."""
        return rejected("Request payload size exceeds the limit: 20971520 bytes.").form

    def error_events(self, form: ErrorForm) -> tuple[Event, ...]:
        """Returns the status as an event."""
        return (Event(data=compact(form.body)),)

    def request_headers(self, _call: ReceivedCall) -> Mapping[str, str]:
        """Returns nothing: the body's `responseId` identifies the request."""
        return {}

    def rate_headers(self, _state: RateState) -> Mapping[str, str]:
        """Returns nothing: Gemini tells its limits in errors alone."""
        return {}


def _text(content: Any) -> str:  # noqa: ANN401 - whatever a request holds
    return text_of(objects(content.get("parts"))) if isinstance(content, Mapping) else ""


def _response(
    rendering: Rendering,
    parts: Sequence[Mapping[str, Any]],
    finish_reason: str | None,
    logprobs: Mapping[str, Any],
) -> dict[str, Any]:
    content = {"parts": list(parts), "role": "model"} if parts else {}
    candidate: dict[str, Any] = {"content": content, "index": 0, **logprobs}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    if finish_reason == "SAFETY":
        candidate["safetyRatings"] = [RATING | {"blocked": True}]
    return {"candidates": [candidate], **_tail(rendering)}


def _blocked(rendering: Rendering) -> dict[str, Any]:
    return {"promptFeedback": FEEDBACK, **_tail(rendering)}


def _tail(rendering: Rendering) -> dict[str, Any]:
    usage = rendering.usage
    counts: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    optional = {
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
    }
    # As protocol buffers become JSON, a count of zero is left out.
    counts |= {name: count for name, count in optional.items() if count}
    return {
        "usageMetadata": counts,
        "modelVersion": rendering.model,
        "responseId": rendering.call.request_id,
    }


def _finish_reason(rendering: Rendering) -> str:
    if rendering.completion.withheld is not None:
        return "SAFETY"
    return _FINISH_REASONS[rendering.completion.finish_reason]


def _call_parts(rendering: Rendering) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for call in rendering.completion.tool_calls:
        try:
            arguments = call.arguments
        except ValueError:  # arguments that were cut, which this format can't show
            arguments = {}
        parts.append({"functionCall": {"name": call.name, "args": arguments}})
    if parts:
        parts[0]["thoughtSignature"] = _THOUGHT_SIGNATURE
    return parts


def _logprobs(rendering: Rendering, words: Sequence[str]) -> dict[str, Any]:
    configuration = rendering.call.body.get("generationConfig")
    if not isinstance(configuration, Mapping) or not configuration.get("responseLogprobs"):
        return {}
    if not words:
        return {}
    logprob = rendering.completion.logprob
    chosen = [{"token": word, "tokenId": 0, "logProbability": logprob} for word in words]
    return {"avgLogprobs": logprob, "logprobsResult": {"chosenCandidates": chosen}}
