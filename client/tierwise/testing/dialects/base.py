"""What a dialect is: one provider's way of writing answers, streams and errors, and its checks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tierwise.answers import Usage
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.replies import Completion, Failure

ARGUMENTS_PIECE_LENGTH = 8
"""Characters of a piece of a tool call's arguments, where a dialect streams them in pieces."""

UNKNOWN_FINISH_REASON = "something_new"
"""What is sent for `FinishReason.OTHER`: a reason that no documentation names."""

_TOKEN = re.compile(r"\s*\S+\s*|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorForm:
    """An error as a provider writes it."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Rejected(Exception):  # noqa: N818 - the word of the field for it
    """The provider refuses the request as it stands."""

    def __init__(self, form: ErrorForm) -> None:
        super().__init__(form.status)
        self.form = form


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What path and body of a request ask for."""

    model: str
    streamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a request says, as far as echoing and counting need it."""

    texts: tuple[str, ...]
    """Everything, instructions and tool results included."""
    last_user_text: str

    @property
    def token_count(self) -> int:
        """Words of the whole prompt."""
        return sum(len(tokens(text)) for text in self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A server-sent event."""

    data: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """An answer with all that a dialect needs to write it."""

    completion: Completion
    call: ReceivedCall
    usage: Usage
    created: int
    """Seconds since 1970."""

    @property
    def model(self) -> str:
        """Name of the model that claims to have answered."""
        return self.completion.served_model or self.call.model

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text as it is streamed."""
        return pieces(self.completion.text, self.completion.piece_length)

    @property
    def reasoning_pieces(self) -> tuple[str, ...]:
        """The reasoning as it is streamed."""
        return pieces(self.completion.reasoning, self.completion.piece_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateState:
    """Where a caller stands in a limit on requests."""

    limit: int
    remaining: int
    reset_s: float
    """Until the window is free again."""


class Dialect(Protocol):
    """One way of speaking. Holds no state."""

    base_path: str
    """What follows host and provider in the address that clients are given. Empty for none."""
    stream_content_type: str
    blocks_with_error: bool
    """Whether a prompt that is not let through gets an error. If not, it gets an answer without
    content."""

    def asked(self, path: str, body: Mapping[str, Any], /) -> Asked | None:
        """Returns what is asked for. None where the path is not one of this dialect.

        Args:
            path: Below the provider's own prefix, with a slash at its start.
            body: Empty where it is no JSON object.
        """

    def key(self, call: ReceivedCall, /) -> str:
        """Returns the key that the request carries. Empty where it carries none."""

    def check(self, call: ReceivedCall, /) -> None:
        """Does what the provider checks before it asks a model.

        Raises:
            Rejected: It refuses the request.
        """

    def prompt(self, body: Mapping[str, Any], /) -> Prompt:
        """Returns what a request says that passed `check`."""

    def answer(self, rendering: Rendering, /) -> Mapping[str, Any]:
        """Returns an answer that is not streamed."""

    def events(self, rendering: Rendering, /) -> tuple[Event, ...]:
        """Returns the events of a streamed answer, the terminal one included."""

    def encoded(self, events: Sequence[Event], call: ReceivedCall, /) -> tuple[bytes, ...]:
        """Returns events as they go over the wire, one part each."""

    def error(self, failure: Failure, call: ReceivedCall, /) -> ErrorForm:
        """Returns an error in the provider's form."""

    def key_rejected(self, key: str, call: ReceivedCall, /) -> ErrorForm:
        """Returns what the provider says of a key that it does not know, or of none."""

    def not_json(self, call: ReceivedCall, /) -> ErrorForm:
        """Returns what the provider says of a body that is no JSON object."""

    def not_found(self, call: ReceivedCall, /) -> ErrorForm:
        """Returns what the provider says of a path that it does not have."""

    def too_large(self, call: ReceivedCall, /) -> ErrorForm:
        """Returns what the provider says of a body beyond its limit."""

    def error_events(self, form: ErrorForm, /) -> tuple[Event, ...]:
        """Returns an error as it comes in the middle of a stream."""

    def request_headers(self, call: ReceivedCall, /) -> Mapping[str, str]:
        """Returns the response's headers that identify the request."""

    def rate_headers(self, state: RateState, /) -> Mapping[str, str]:
        """Returns the response's headers that tell the rate limit."""


def compact(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Returns a value in JSON, as providers write events."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def server_sent(event: Event, line_end: str = "\n") -> bytes:
    """Returns an event in the format of server-sent events."""
    name = f"event: {event.name}{line_end}" if event.name else ""
    return f"{name}data: {event.data}{line_end}{line_end}".encode()


def tokens(text: str) -> tuple[str, ...]:
    """Returns the words of a text, each with the white space after it; joined they are the text."""
    return tuple(_TOKEN.findall(text))


def pieces(text: str, length: int | None) -> tuple[str, ...]:
    """Returns a text in pieces of so many characters, or of a word each."""
    if length is None:
        return tokens(text)
    return tuple(text[start : start + length] for start in range(0, len(text), length))


def seconds(value: float) -> str:
    """Returns a number of seconds as headers write it, with a fraction only where there is one."""
    return f"{value:g}" if value != math.floor(value) else str(int(value))


def retry_after(failure: Failure) -> dict[str, str]:
    """Returns the header that asks to wait, where the failure names a time."""
    if failure.retry_after_s is None:
        return {}
    return {"retry-after": seconds(failure.retry_after_s)}


def text_of(content: Any) -> str:  # noqa: ANN401 - whatever a request holds
    """Returns the text of a message's content: itself, or that of its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(part) for part in content)
    if isinstance(content, Mapping):
        return text_of(content.get("text") or content.get("content") or "")
    return ""


def objects(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - whatever a request holds
    """Returns the objects in a list. Empty where it is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
