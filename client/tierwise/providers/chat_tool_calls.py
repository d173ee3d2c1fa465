"""Puts the tool calls of an answer of chat completions together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tierwise.answers import Delta, ToolCallDelta
from tierwise.messages import ToolCall
from tierwise.providers.untrusted_json import count, mapping, parsed, sequence, text


class MalformedCallError(Exception):
    """A tool call makes no sense; the message says why, in our own words."""


@dataclass(slots=True)
class _Call:
    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    """Of the arguments."""
    told: bool = False
    """Whether a delta has named it."""

    @property
    def arguments(self) -> str:
        """The arguments as far as they came."""
        return "".join(self.pieces)


@dataclass(slots=True)
class CallsDraft:
    """The calls received so far."""

    _calls: list[_Call] = field(default_factory=list)
    _by_index: dict[int, _Call] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    def add(self, content: Mapping[str, Any], *, whole: bool) -> list[Delta]:
        """Takes the calls of a message, or pieces of calls, and returns what they add.

        Args:
            content: The message, or a chunk's delta.
            whole: Whether it is a message, whose calls are not in pieces.

        Raises:
            MalformedCallError: They make no sense.
        """
        pieces = content.get("tool_calls")
        if pieces is None and content.get("function_call"):
            # As models called functions before they called tools; some proxies still answer so.
            pieces = [{"index": 0, "function": content["function_call"]}]
        if pieces is not None and not isinstance(pieces, list):
            raise MalformedCallError("its tool calls are no list")
        deltas: list[Delta] = []
        for piece in sequence(pieces):
            if not isinstance(piece, Mapping) or not isinstance(piece.get("function"), Mapping):
                raise MalformedCallError("a tool call is no function's")
            deltas += self._add(piece, mapping(piece["function"]), whole=whole)
        return deltas

    def whole(self, *, cut: bool, state: Mapping[str, Any]) -> tuple[ToolCall, ...]:
        """Returns the calls, which are complete.

        Args:
            cut: Whether the answer reached its limit, so that arguments may be broken off.
            state: What the provider wants back with them.

        Raises:
            MalformedCallError: One has no name, or its arguments are no JSON object.
        """
        calls = []
        for call in self._calls:
            # Models that have no arguments to give write nothing at all, or null.
            written = call.arguments
            arguments = "{}" if written.strip() in {"", "null"} else written
            if not call.name:
                raise MalformedCallError("a tool call has no name")
            if not cut and not isinstance(parsed(arguments), dict):
                raise MalformedCallError("a tool call's arguments are no JSON object")
            calls.append(
                ToolCall(
                    id=call.id,
                    name=call.name,
                    arguments_json=arguments,
                    provider_state={} if call.index else state,
                )
            )
        return tuple(calls)

    def partial(self) -> tuple[ToolCall, ...]:
        """Returns the calls as far as they came."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments_json=call.arguments)
            for call in self._calls
            if call.name
        )

    def _add(
        self, piece: Mapping[str, Any], function: Mapping[str, Any], *, whole: bool
    ) -> list[Delta]:
        call = self._call_of(piece, function, whole=whole)
        call.id = call.id or text(piece.get("id"))
        call.name = call.name or text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments)
        elif arguments is not None and not isinstance(arguments, str):
            raise MalformedCallError("a tool call's arguments are neither text nor an object")
        call.pieces.append(text(arguments))
        if not call.name:
            return []
        if call.told:
            return [ToolCallDelta(index=call.index, arguments_json=text(arguments))]
        call.id = call.id or f"call{call.index}"
        call.told = True
        return [
            ToolCallDelta(
                index=call.index, id=call.id, name=call.name, arguments_json=call.arguments
            )
        ]

    def _call_of(
        self, piece: Mapping[str, Any], function: Mapping[str, Any], *, whole: bool
    ) -> _Call:
        """Returns the call that a piece goes on with, or a new one."""
        index, call_id = count(piece.get("index")), text(piece.get("id"))
        known = None
        if not whole and index is not None:
            known = self._by_index.get(index)
        elif not whole and self._calls:
            known = self._calls[-1]
        # Some servers number all calls 0, or none (Ollama); the id and name tell them apart.
        named = bool(call_id and function.get("name"))
        if known is None or (known.told and named and call_id != known.id):
            known = _Call(index=len(self._calls))
            self._calls.append(known)
            if index is not None:
                self._by_index[index] = known
        return known
