"""Rough counts of a request's input tokens, where the router can't make a better one.

The router estimates from the text that it is shown. Tools, their calls and pictures it is not
shown, nor turns beyond what the contract takes.
"""

from __future__ import annotations

import json

from tierwise.messages import ChatRequest, Image

_CHARACTERS_PER_TOKEN = 4
"""The usual figure for English."""

_IMAGE_TOKENS = 1000
"""About what providers count for a picture of medium size."""


def input_tokens(request: ChatRequest) -> int:
    """Returns about how many tokens of input a request has."""
    return _text_tokens(request) + unshown_tokens(request)


def unshown_tokens(request: ChatRequest) -> int:
    """Returns about how many of them lie in what the router is not shown."""
    characters = sum(
        len(call.arguments_json) for message in request.messages for call in message.tool_calls
    )
    characters += sum(
        len(tool.description) + len(json.dumps(dict(tool.parameters))) for tool in request.tools
    )
    images = sum(isinstance(part, Image) for message in request.messages for part in message.parts)
    return characters // _CHARACTERS_PER_TOKEN + images * _IMAGE_TOKENS


def _text_tokens(request: ChatRequest) -> int:
    total = 0
    for message in request.messages:
        text = message.text
        ascii_characters = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
        # Of other scripts, a character makes about a token.
        total += ascii_characters // _CHARACTERS_PER_TOKEN + len(text) - ascii_characters
    return total
