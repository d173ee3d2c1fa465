"""Recorded calls of providers, and what a correct adapter makes of them.

A module `wire_<format>.py` stands for each format, with:

- `PROVIDERS: tuple[str, ...]`: folders of recordings in this format;
- `rebuild(record: Record) -> Rebuilt | str`: the recorded request in our types, or the reason why
  they have no words for it;
- `equivalent(sent_body, recorded_body) -> str`: the first difference that means something to the
  provider; empty when there is none;
- `expected(record: Record) -> Expected`: what the recorded response says, read by code that shares
  nothing with the adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierwise.answers import FinishReason
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
from tierwise.messages import ChatRequest
from tierwise.providers.base import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One recorded call."""

    provider: str
    """Folder that it is kept in. Example: `azure_openai`."""
    kind: str
    """`json`, `stream` or `error`."""
    name: str
    """Path in the data folder. Example: `openai/json/0000.json`."""
    path: str
    """Of the URL that was called."""
    request: dict[str, Any]
    """Body that was sent."""
    status: int
    headers: Mapping[str, str]
    """Of the response, names in lower case."""
    body: str
    """As received, the framing of events included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A recorded request in our types."""

    request: ChatRequest
    model: Model
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUsage:
    """Tokens that a response names. None where it does not."""

    input_tokens: int
    """Cached ones included, as in our own `Usage`."""
    output_tokens: int
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a recorded response says. Of a failure, only `error_class` counts."""

    error_class: ErrorClass | None = None
    """None for an answer."""
    text: str = ""
    tool_calls: tuple[tuple[str, Any], ...] = ()
    """Name and parsed arguments of each call, in order."""
    finish_reason: FinishReason | None = None
    usage: ExpectedUsage | None = None


def records(folder: Path, provider: str) -> Iterator[Record]:
    """Reads the recordings of a provider, in the order of their names."""
    for file in sorted((folder / provider).glob("*/*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        yield Record(
            provider=provider,
            kind=content["kind"],
            name=str(file.relative_to(folder)),
            path=content["path"],
            request=content["request"],
            status=content["status"],
            headers={name.lower(): value for name, value in content["headers"].items()},
            body=content["body"],
        )
