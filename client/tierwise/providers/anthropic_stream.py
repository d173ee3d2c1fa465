"""Anthropic's messages API: putting a streamed message together.

Events: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tierwise.answers import Answer, Delta, ReasoningDelta, TextDelta, ToolCallDelta
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers import http_errors
from tierwise.providers.anthropic_answers import (
    SUCCESS,
    MalformedMessageError,
    answer_of_message,
    checked_block,
    headers_of_success,
    json_of,
    shortcoming,
)
from tierwise.providers.anthropic_errors import failure_of_error
from tierwise.providers.base import StreamEvent
from tierwise.providers.untrusted_json import mapping, parsed, text


class MessageStreamReader:
    """Builds a message out of the events of its stream."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers_of_success(headers)
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._arguments: dict[int, str] = {}
        self._ended = False

    def feed(self, event: StreamEvent) -> tuple[Delta, ...]:
        """Takes the next event and returns what it adds to the answer."""
        if self._ended or event.event == "ping":
            return ()
        fields = mapping(parsed(event.data))
        kind = fields.get("type")
        if kind == "error" or (event.event == "error" and "error" in fields):
            raise failure_of_error(fields, self._headers, status=SUCCESS)
        try:
            return self._take(kind, fields)
        except MalformedMessageError as error:
            raise self._failure(ErrorClass.MALFORMED_RESPONSE, str(error)) from None

    def end(self) -> Answer:
        """Returns the whole answer, after the last event."""
        if not self._ended and not self._message:
            raise self._failure(ErrorClass.MALFORMED_RESPONSE, "the stream has no message")
        if not self._ended:
            raise self._failure(ErrorClass.CONNECTION, "the stream ended before the message did")
        answer = self._answer()
        failure = shortcoming(answer, self._message, self._headers)
        if failure is not None:
            raise failure
        return answer

    def partial(self) -> Answer:
        """Returns what was received so far."""
        return replace(self._answer(), finish_reason=None)

    def _answer(self) -> Answer:
        return answer_of_message(
            self._message, self._blocks, self._headers, streamed_arguments=self._arguments
        )

    def _failure(self, error_class: ErrorClass, detail: str) -> ProviderError:
        return http_errors.failure(
            error_class,
            status=SUCCESS,
            headers=self._headers,
            detail=detail,
            call_id=text(self._message.get("id")),
        )

    def _take(self, kind: object, fields: Mapping[str, Any]) -> tuple[Delta, ...]:
        if not isinstance(kind, str):
            raise MalformedMessageError("an event of the stream is no JSON object with a type")
        if kind == "message_start":
            return self._start_message(mapping(fields.get("message")))
        if kind == "message_stop":
            self._stop()
        elif kind == "message_delta":
            self._message.update(mapping(fields.get("delta")))
            self._count(mapping(fields.get("usage")))
        elif kind == "content_block_start":
            return self._start_block(fields)
        elif kind == "content_block_delta":
            return self._extend_block(fields)
        elif kind == "content_block_stop":
            self._finish_block(self._index(fields))
        # Others are nothing to us: the documentation says that new ones may come.
        return ()

    def _start_message(self, message: Mapping[str, Any]) -> tuple[Delta, ...]:
        if self._message or not message:
            raise MalformedMessageError("the message begins twice, or with nothing")
        self._message = {**message, "usage": {}}
        self._count(mapping(message.get("usage")))
        return ()

    def _stop(self) -> None:
        if not self._message:
            raise MalformedMessageError("the message ended before it began")
        self._ended = True

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Takes the counts, which are totals; those that an event leaves out hold on."""
        said = {name: value for name, value in usage.items() if value is not None}
        self._message["usage"] = {**mapping(self._message.get("usage")), **said}

    def _start_block(self, fields: Mapping[str, Any]) -> tuple[Delta, ...]:
        if not self._message or fields.get("index") != len(self._blocks):
            raise MalformedMessageError("a block of the content is out of order")
        block = checked_block(fields.get("content_block"))
        self._blocks.append(block)
        kind = block["type"]
        if kind == "text" and block["text"]:
            return (TextDelta(block["text"]),)
        if kind == "thinking" and block["thinking"]:
            return (ReasoningDelta(block["thinking"]),)
        if kind == "tool_use":
            arguments = json_of(block["input"]) if block["input"] else ""
            call = self._call(len(self._blocks) - 1)
            name = text(block["name"])
            return (
                ToolCallDelta(
                    index=call, id=text(block["id"]), name=name, arguments_json=arguments
                ),
            )
        return ()

    def _extend_block(self, fields: Mapping[str, Any]) -> tuple[Delta, ...]:
        index = self._index(fields)
        block, delta = self._blocks[index], mapping(fields.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta" and block["type"] == "text":
            piece = text(delta.get("text"))
            block["text"] += piece
            return (TextDelta(piece),) if piece else ()
        if kind == "thinking_delta" and block["type"] == "thinking":
            piece = text(delta.get("thinking"))
            block["thinking"] += piece
            return (ReasoningDelta(piece),) if piece else ()
        if kind == "input_json_delta":
            piece = text(delta.get("partial_json"))
            self._arguments[index] = self._arguments.get(index, "") + piece
            if block["type"] == "tool_use" and piece:
                return (ToolCallDelta(index=self._call(index), arguments_json=piece),)
        elif kind == "signature_delta":
            block["signature"] = text(delta.get("signature"))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        elif kind in ("text_delta", "thinking_delta") or not isinstance(kind, str):
            raise MalformedMessageError("a piece of the content does not fit its block")
        return ()

    def _finish_block(self, index: int) -> None:
        arguments = parsed(self._arguments.get(index, ""))
        if isinstance(arguments, dict):
            self._blocks[index]["input"] = arguments

    def _index(self, fields: Mapping[str, Any]) -> int:
        index = fields.get("index")
        if type(index) is not int or not 0 <= index < len(self._blocks):
            raise MalformedMessageError("a piece of the content belongs to no block")
        return index

    def _call(self, index: int) -> int:
        """Returns which call of the answer the block at an index is, from 0."""
        return sum(block["type"] == "tool_use" for block in self._blocks[:index])
