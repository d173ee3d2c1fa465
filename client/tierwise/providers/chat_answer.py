"""Puts an answer of chat completions together, from a whole response or from a stream's chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tierwise.answers import Answer, Delta, FinishReason, ReasoningDelta, TextDelta
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import ToolCall
from tierwise.providers import http_errors
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.chat_failures import failure_of_body, is_error
from tierwise.providers.chat_tool_calls import CallsDraft, MalformedCallError
from tierwise.providers.chat_usage import cost_nano_usd, usage_of
from tierwise.providers.untrusted_json import mapping, number, sequence, text

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}

_FAILED_FINISHES: Mapping[str, ErrorClass] = {
    "content_filter": ErrorClass.CONTENT_POLICY,
    "refusal": ErrorClass.CONTENT_POLICY,
    "error": ErrorClass.SERVER_ERROR,
    "abort": ErrorClass.SERVER_ERROR,
    "insufficient_system_resource": ErrorClass.OVERLOADED,
}
"""Finish reasons that are failures: of OpenAI, Mistral and OpenRouter, vLLM, DeepSeek."""

_SUCCESS = 200


@dataclass(slots=True)
class AnswerDraft:
    """What has been received of one answer."""

    dialect: Dialect
    headers: Mapping[str, str]
    finish: str = ""
    """Why it ended, in the server's word. Empty until it says so."""
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _refusal: list[str] = field(default_factory=list)
    _calls: CallsDraft = field(default_factory=CallsDraft)
    _details: list[dict[str, Any]] = field(default_factory=list)
    _usage: Mapping[str, Any] = field(default_factory=dict)
    _model: str = ""
    _id: str = ""
    _logprob_sum: float = 0.0
    _logprob_count: int = 0

    def add(self, chunk: Mapping[str, Any], *, part: str) -> tuple[Delta, ...]:
        """Takes a chunk, or a whole response, and returns what it adds.

        Args:
            chunk: The JSON object.
            part: Where its choices hold content: `delta` or `message`.

        Raises:
            ProviderError: It reports a failure, or makes no sense.
        """
        self._model = self._model or text(chunk.get("model"))
        self._id = self._id or text(chunk.get("id"))
        self._usage = (
            mapping(chunk.get("usage"))
            or mapping(mapping(chunk.get("x_groq")).get("usage"))
            or self._usage
        )
        if is_error(chunk):
            raise self._reported(chunk)
        choices = chunk.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise self.malformed("its choices are no list")
        for choice in sequence(choices):
            if not isinstance(choice, Mapping):
                raise self.malformed("a choice is no object")
            if choice.get("index") in (None, 0):
                return self._add_choice(choice, part)
        return ()

    def whole(self) -> Answer:
        """Returns the answer, which is complete.

        Raises:
            ProviderError: It was withheld or failed, is empty, or makes no sense.
        """
        self.check_finish()
        reason = _FINISH_REASONS.get(self.finish, FinishReason.OTHER)
        try:
            calls = self._calls.whole(cut=reason is FinishReason.LENGTH, state=self._state())
        except MalformedCallError as error:
            raise self.malformed(str(error)) from None
        empty = not calls and not any(self._text)
        if empty and reason is not FinishReason.LENGTH:
            raise self.malformed("the answer is empty")
        return self._answer(calls, reason)

    def partial(self) -> Answer:
        """Returns what there is, finished or not. A refusal's text stands in for the answer's."""
        return self._answer(self._calls.partial(), None)

    @property
    def anything(self) -> bool:
        """Whether anything was received that is worth handing on."""
        return bool(self._text or self._reasoning or self._refusal or self._calls or self._usage)

    def check_finish(self) -> None:
        """Raises the failure that an answer ended with, when it did.

        Raises:
            ProviderError: It did.
        """
        if self._refusal:
            raise self._failure(ErrorClass.CONTENT_POLICY, "the model refused to answer")
        if self.finish in _FAILED_FINISHES:
            error_class = _FAILED_FINISHES[self.finish]
            raise self._failure(error_class, f"the answer ended with {self.finish}")

    def malformed(self, detail: str) -> ProviderError:
        """Returns the failure of an answer that makes no sense."""
        return self._failure(ErrorClass.MALFORMED_RESPONSE, detail)

    def broken(self) -> ProviderError:
        """Returns the failure of a stream that ended before the answer did."""
        return self._failure(ErrorClass.CONNECTION, "the stream ended before the answer was whole")

    def _failure(self, error_class: ErrorClass, detail: str) -> ProviderError:
        return http_errors.failure(
            error_class,
            status=_SUCCESS,
            headers=self.headers,
            detail=detail,
            call_id=self._id,
        )

    def _reported(self, content: Mapping[str, Any]) -> ProviderError:
        return failure_of_body(content, status=_SUCCESS, headers=self.headers, dialect=self.dialect)

    def _add_choice(self, choice: Mapping[str, Any], part: str) -> tuple[Delta, ...]:
        if choice.get("error"):
            raise self._reported(choice)
        body = choice.get(part)
        if body is not None and not isinstance(body, Mapping):
            raise self.malformed(f"a choice's {part} is no object")
        content = mapping(body)
        deltas = [
            *self._add_reasoning(content),
            *self._add_content(content.get("content")),
            *self._add_calls(content, whole=part == "message"),
        ]
        if refusal := text(content.get("refusal")):
            self._refusal.append(refusal)
        for token in sequence(mapping(choice.get("logprobs")).get("content")):
            logprob = number(mapping(token).get("logprob"))
            if logprob is not None:
                self._logprob_sum += logprob
                self._logprob_count += 1
        self.finish = text(choice.get("finish_reason")) or self.finish
        return tuple(deltas)

    def _add_reasoning(self, content: Mapping[str, Any]) -> list[Delta]:
        if "reasoning_details" in self.dialect.returned_fields:
            for piece in sequence(content.get("reasoning_details")):
                _join(self._details, mapping(piece))
        piece = text(content.get("reasoning_content")) or text(content.get("reasoning"))
        if not piece:
            return []
        self._reasoning.append(piece)
        return [ReasoningDelta(piece)]

    def _add_content(self, content: object) -> list[Delta]:
        if content is None:
            return []
        if isinstance(content, str):
            return self._add_text(content)
        if not isinstance(content, list):
            raise self.malformed("its content is neither text nor a list")
        deltas: list[Delta] = []
        for one in map(mapping, content):
            if one.get("type") == "thinking":
                thought = "".join(
                    text(mapping(piece).get("text")) for piece in sequence(one.get("thinking"))
                )
                deltas += self._add_reasoning({"reasoning": thought})
            else:
                deltas += self._add_text(one.get("text"))
        return deltas

    def _add_text(self, content: object) -> list[Delta]:
        piece = text(content)
        if not piece:
            return []
        self._text.append(piece)
        return [TextDelta(piece)]

    def _add_calls(self, content: Mapping[str, Any], *, whole: bool) -> list[Delta]:
        try:
            return self._calls.add(content, whole=whole)
        except MalformedCallError as error:
            raise self.malformed(str(error)) from None

    def _state(self) -> dict[str, Any]:
        kept = {"reasoning_content": "".join(self._reasoning), "reasoning_details": self._details}
        return {name: kept[name] for name in self.dialect.returned_fields if kept[name]}

    def _answer(self, calls: tuple[ToolCall, ...], reason: FinishReason | None) -> Answer:
        said = "".join(self._text)
        return Answer(
            text=said if reason is not None else said or "".join(self._refusal),
            reasoning="".join(self._reasoning),
            tool_calls=calls,
            finish_reason=reason,
            usage=usage_of(self._usage),
            served_model=self._model,
            request_id=http_errors.request_id_of(self.headers) or http_errors.request_id(self._id),
            mean_logprob=(self._logprob_sum / self._logprob_count if self._logprob_count else None),
            cost_nano_usd=cost_nano_usd(self._usage) if self.dialect.states_cost else None,
            headroom=http_errors.headroom(self.headers),
        )


def _join(details: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Adds a piece of a reasoning block to the block that it goes on with, or as a new block."""
    last = details[-1] if details else {}
    same = last and all(last.get(key) == piece.get(key) for key in ("type", "index"))
    if not same or piece.get("index") is None:
        details.append(dict(piece))
        return
    for name, value in piece.items():
        if name in {"text", "summary", "data"} and isinstance(last.get(name), str):
            last[name] += text(value)
        elif value is not None:
            last[name] = value
