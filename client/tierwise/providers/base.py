"""What every provider's adapter is: a translator that does no input or output of its own.

An adapter writes a request in its provider's format, reads answers and streams, and names each
failure by one class of `ErrorClass`. Sending is the transport's, so that one adapter serves the
synchronous client and the asynchronous one, and a test can feed it recorded bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tierwise.answers import Answer, Delta
from tierwise.decisions import Model
from tierwise.errors import ProviderError
from tierwise.messages import ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where and as whom to call a provider."""

    base_url: str
    """Without a slash at the end."""
    key: str = field(default="", repr=False)
    """Empty for servers that want none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """A `POST` request to be sent."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """To be sent as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status says that there is an answer."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of successes


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A server-sent event."""

    data: str
    event: str = ""
    """Empty when the provider names none."""


class StreamReader(Protocol):
    """Puts one streamed answer together. Used once."""

    def feed(self, event: StreamEvent) -> tuple[Delta, ...]:
        """Takes the next event and returns what it adds to the answer.

        Raises:
            ProviderError: The event reports a failure, or makes no sense. `partial` is not set.
        """

    def end(self) -> Answer:
        """Returns the whole answer, after the last event.

        Raises:
            ProviderError: The stream ended before the provider said that the answer was whole, or
                the answer is empty, or it was withheld for its content. `partial` is not set.
        """

    def partial(self) -> Answer:
        """Returns what was received so far."""


class Provider(Protocol):
    """An adapter for the API of one provider, or of several that speak alike."""

    def call(
        self, request: ChatRequest, model: Model, endpoint: Endpoint, *, stream: bool
    ) -> HttpCall:
        """Returns the request as the provider wants it.

        Raises:
            InvalidRequestError: The provider can't take such a request.
        """

    def answer(self, reply: HttpReply) -> Answer:
        """Reads the response to a call that was not streamed, of any status.

        Raises:
            ProviderError: It is a failure, or makes no sense.
        """

    def failure(self, reply: HttpReply) -> ProviderError:
        """Reads a response whose status is not 2xx, or that is no stream where one was due."""

    def reader(self, headers: Mapping[str, str]) -> StreamReader:
        """Returns a reader for a stream whose response has these headers, named in lower case."""
