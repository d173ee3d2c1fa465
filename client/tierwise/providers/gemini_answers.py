"""Gemini's generateContent API: what generated content says, whole or in pieces.

A stream's events have the form of a whole response, so both are read by the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tierwise.answers import (
    Answer,
    Delta,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import ToolCall
from tierwise.providers import http_errors
from tierwise.providers.base import HttpReply, StreamEvent
from tierwise.providers.gemini_errors import error_in, failure_of_error, failure_of_reply
from tierwise.providers.untrusted_json import count, mapping, number, parsed, sequence, text

PROVIDER_ID = "google"

_SUCCESS = 200

SIGNATURE = "thoughtSignature"
"""Field of a part that seals the reasoning which led to it, and must come back with the part."""

_FINISH_REASONS = {"STOP": FinishReason.STOP, "MAX_TOKENS": FinishReason.LENGTH}
"""https://ai.google.dev/api/generate-content#FinishReason. What is in none of these tables is
another reason: `LANGUAGE`, `OTHER`, and whatever is new."""

_FAILURES = {
    "SAFETY": ErrorClass.CONTENT_POLICY,
    "RECITATION": ErrorClass.CONTENT_POLICY,
    "BLOCKLIST": ErrorClass.CONTENT_POLICY,
    "PROHIBITED_CONTENT": ErrorClass.CONTENT_POLICY,
    "SPII": ErrorClass.CONTENT_POLICY,
    "MODEL_ARMOR": ErrorClass.CONTENT_POLICY,
    "IMAGE_SAFETY": ErrorClass.CONTENT_POLICY,
    "IMAGE_PROHIBITED_CONTENT": ErrorClass.CONTENT_POLICY,
    "IMAGE_RECITATION": ErrorClass.CONTENT_POLICY,
    "MALFORMED_FUNCTION_CALL": ErrorClass.MALFORMED_RESPONSE,
    "MALFORMED_RESPONSE": ErrorClass.MALFORMED_RESPONSE,
    "UNEXPECTED_TOOL_CALL": ErrorClass.MALFORMED_RESPONSE,
    "TOO_MANY_TOOL_CALLS": ErrorClass.MALFORMED_RESPONSE,
    "MISSING_THOUGHT_SIGNATURE": ErrorClass.INVALID_REQUEST,
}


def answer_of_reply(reply: HttpReply) -> Answer:
    """Returns the content of a response that was not streamed.

    Raises:
        ProviderError: It has none, or none that is whole.
    """
    body = parsed(reply.content)
    generated = reply.succeeded and isinstance(body, dict)
    if not generated or error_in(body) is not None:
        raise failure_of_reply(reply)
    reader = GenerationReader(reply.headers, unfinished=ErrorClass.MALFORMED_RESPONSE)
    reader.take(mapping(body))
    try:
        return reader.end()
    except ProviderError as failure:
        failure.partial = reader.partial()
        raise


class GenerationReader:
    """Builds an answer out of the events of its stream."""

    def __init__(
        self, headers: Mapping[str, str], *, unfinished: ErrorClass = ErrorClass.CONNECTION
    ) -> None:
        self._headers = headers
        self._unfinished = unfinished
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[float] = []
        self._usage: Mapping[str, Any] = {}
        self._model = ""
        self._id = ""
        self._block_reason = ""
        self._finish = ""
        self._begun = False

    def feed(self, event: StreamEvent) -> tuple[Delta, ...]:
        """Takes the next event and returns what it adds to the answer."""
        body = parsed(event.data)
        error = error_in(body)
        if error is not None:
            raise failure_of_error(error, self._headers, status=_SUCCESS)
        if not isinstance(body, dict):
            raise self._malformed("an event of the stream is no JSON object")
        return self.take(body)

    def take(self, content: Mapping[str, Any]) -> tuple[Delta, ...]:
        """Takes generated content, or a piece of it, and returns what it adds to the answer.

        Raises:
            ProviderError: It makes no sense.
        """
        self._begun = True
        self._model = self._model or text(content.get("modelVersion"))
        self._id = self._id or text(content.get("responseId"))
        # Each event counts anew what came so far; the last one counts all.
        self._usage = mapping(content.get("usageMetadata")) or self._usage
        feedback = mapping(content.get("promptFeedback"))
        self._block_reason = text(feedback.get("blockReason")) or self._block_reason
        for candidate in map(mapping, self._list(content, "candidates")):
            if candidate.get("index", 0) == 0:
                return tuple(self._take_candidate(candidate))
        return ()

    def end(self) -> Answer:
        """Returns the whole answer, after the last event."""
        finish = self._finish_reason()
        answer = self._answer(finish)
        reason = self._block_reason or self._finish
        if self._block_reason:
            raise self._failure(ErrorClass.CONTENT_POLICY, reason)
        if self._finish in _FAILURES:
            raise self._failure(_FAILURES[self._finish], reason)
        if finish is None:
            raise self._failure(
                self._unfinished if self._begun else ErrorClass.MALFORMED_RESPONSE,
                detail="the answer ended without saying that it was whole",
            )
        if not (answer.text or answer.tool_calls or finish is FinishReason.LENGTH):
            raise self._failure(ErrorClass.MALFORMED_RESPONSE, reason, detail="the answer is empty")
        return answer

    def partial(self) -> Answer:
        """Returns what was received so far."""
        return self._answer(None)

    def _take_candidate(self, candidate: Mapping[str, Any]) -> Iterator[Delta]:
        for part in self._list(mapping(candidate.get("content")), "parts"):
            if not isinstance(part, Mapping):
                raise self._malformed("a part of the content is no object")
            if "functionCall" in part:
                yield self._take_call(part)
            elif piece := text(part.get("text")):
                thought = part.get("thought") is True
                (self._reasoning if thought else self._text).append(piece)
                yield ReasoningDelta(piece) if thought else TextDelta(piece)
        tokens = mapping(candidate.get("logprobsResult")).get("chosenCandidates")
        logprobs = (number(mapping(token).get("logProbability")) for token in sequence(tokens))
        self._logprobs += [logprob for logprob in logprobs if logprob is not None]
        self._finish = text(candidate.get("finishReason")) or self._finish

    def _take_call(self, part: Mapping[str, Any]) -> ToolCallDelta:
        call = mapping(part["functionCall"])
        name, arguments = text(call.get("name")), call.get("args")
        if not name or not isinstance(arguments, dict | None):
            raise self._malformed("a call of a function lacks its name or arguments")
        try:
            written = json.dumps(arguments or {}, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            raise self._malformed("the arguments of a call can't be written") from None
        arguments_json = text(written)
        index = len(self._calls)
        # Models before Gemini 3 give none. Ours is the same whenever the same answer is read, and
        # unlike those of the other turns, of which any provider may have to tell it.
        made = "_".join(filter(None, ("call", http_errors.request_id(self._id), str(index))))
        call_id = text(call.get("id")) or re.sub(r"[^A-Za-z0-9_-]", "-", made)
        signature = text(part.get(SIGNATURE))
        self._calls.append(
            ToolCall(
                id=call_id,
                name=name,
                arguments_json=arguments_json,
                provider_state={PROVIDER_ID: {SIGNATURE: signature}} if signature else {},
            )
        )
        return ToolCallDelta(index=index, id=call_id, name=name, arguments_json=arguments_json)

    def _finish_reason(self) -> FinishReason | None:
        if not self._finish:
            return None
        reason = _FINISH_REASONS.get(self._finish, FinishReason.OTHER)
        # Gemini stops for calls as it stops for anything else.
        return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and self._calls else reason

    def _answer(self, finish_reason: FinishReason | None) -> Answer:
        logprobs = self._logprobs
        return Answer(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._calls),
            finish_reason=finish_reason,
            usage=_usage(self._usage),
            served_model=self._model,
            request_id=http_errors.request_id(self._id),
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
        )

    def _list(self, fields: Mapping[str, Any], name: str) -> list[Any]:
        value = fields.get(name)
        if value is not None and not isinstance(value, list):
            raise self._malformed(f"its {name} are no list")
        return value or []

    def _malformed(self, detail: str) -> ProviderError:
        return self._failure(ErrorClass.MALFORMED_RESPONSE, detail=detail)

    def _failure(
        self, error_class: ErrorClass, reason: str = "", *, detail: str = ""
    ) -> ProviderError:
        return http_errors.failure(
            error_class,
            status=_SUCCESS,
            headers=self._headers,
            identifiers=(reason,),
            detail=detail,
            call_id=self._id,
        )


def _usage(stated: Mapping[str, Any]) -> Usage | None:
    prompt, answer = (
        count(stated.get("promptTokenCount")),
        count(stated.get("candidatesTokenCount")),
    )
    thoughts = count(stated.get("thoughtsTokenCount"))
    if prompt is None and answer is None and thoughts is None:
        return None
    return Usage(
        input_tokens=(prompt or 0) + (count(stated.get("toolUsePromptTokenCount")) or 0),
        cached_input_tokens=count(stated.get("cachedContentTokenCount")) or 0,
        # Unlike ours, Gemini's count of the answer leaves out the thoughts.
        output_tokens=(answer or 0) + (thoughts or 0),
        reasoning_tokens=thoughts or 0,
    )
