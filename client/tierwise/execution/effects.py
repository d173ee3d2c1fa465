"""What a script may ask its driver to do.

A script is a generator: it yields one of these, and is sent the result, or has the failure thrown
in at that place. Nothing else in this package waits, sends or reads.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from tierwise.answers import Answer, Delta
from tierwise.providers.base import HttpReply, StreamEvent
from tierwise.v1.routing_service_pb2 import RoutePromptRequest, RoutePromptResponse
from tierwise.validators import Checking, CheckResult


@dataclass(frozen=True, slots=True)
class AskRouter:
    """Route a prompt. Fails with `RouterError`."""

    request: RoutePromptRequest = field(repr=False)
    timeout_s: float
    metadata: tuple[tuple[str, str], ...] = ()
    """Of the call, beside the request: the context of a trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A call, ready to be sent as often as it takes."""

    provider_id: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call and read the whole reply. Fails with `ProviderError`."""

    post: Post
    timeout_s: float
    """For everything: connection, waiting and reading."""


@dataclass(frozen=True, slots=True)
class Open:
    """Send a call whose reply is a stream, and read its head. Fails with `ProviderError`.

    The stream stays open until it is closed, or until the script ends.
    """

    post: Post
    timeout_s: float
    """For the head."""
    gap_s: float
    """The longest that any `Read` will wait."""


@dataclass(frozen=True, slots=True)
class StreamHead:
    """A stream has begun."""

    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read the open stream's next event; None at its end. Fails with `ProviderError`."""

    timeout_s: float
    """For the whole event."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the open stream and its connection, if there is one."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """Have a function of the caller's judge an answer."""

    function: Checking
    answer: Answer


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand a piece of the answer over to the caller."""

    delta: Delta


Work = AskRouter | Send | Open | Read | Close | Sleep | Check
"""What a driver does by itself; what it hands over goes to the caller."""

Effect = Work | Emit

T = TypeVar("T")
Script = Generator[Effect, Any, T]


def ask_router(request: RoutePromptRequest, timeout_s: float) -> Script[RoutePromptResponse]:
    """Has a prompt routed."""
    return cast("RoutePromptResponse", (yield AskRouter(request, timeout_s)))


def send(post: Post, timeout_s: float) -> Script[HttpReply]:
    """Has a call sent and its reply read."""
    return cast("HttpReply", (yield Send(post, timeout_s)))


def open_stream(post: Post, timeout_s: float, gap_s: float) -> Script[StreamHead | HttpReply]:
    """Has a stream opened. What comes back whole is no stream: a failure, in most cases."""
    return cast("StreamHead | HttpReply", (yield Open(post, timeout_s, gap_s)))


def read(timeout_s: float) -> Script[StreamEvent | None]:
    """Has the next event read."""
    return cast("StreamEvent | None", (yield Read(timeout_s)))


def check(function: Checking, answer: Answer) -> Script[CheckResult]:
    """Has an answer judged."""
    return cast("CheckResult", (yield Check(function, answer)))
