"""What a provider is to answer, said once for every format, and what is to go wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tierwise.answers import FinishReason, Usage
from tierwise.error_class import ErrorClass
from tierwise.messages import ToolCall
from tierwise.testing.calls import ReceivedCall

DEFAULT_LOGPROB = -0.25
"""Natural log-probability of each token, where a request asks for them and a reply names none."""

STALL_LIMIT_S = 60.0
"""How long a stalled reply keeps its connection open, unless it says otherwise."""

_WITHOUT_ANSWER = (ErrorClass.REJECTED_BY_VALIDATOR, ErrorClass.CANCELLED)


class Withheld(Enum):
    """How a provider declines for reasons of content."""

    REFUSED = "refused"
    """The model declines in words."""
    FILTERED = "filtered"
    """A filter ends the answer where it stands."""
    BLOCKED = "blocked"
    """The prompt is turned away; there is no answer at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer of a model."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    withheld: Withheld | None = None
    usage: Usage | None = None
    """None counts it: a token is a word with the white space after it."""
    served_model: str = ""
    """Empty for the model that was asked for."""
    logprob: float = DEFAULT_LOGPROB
    piece_length: int | None = None
    """Characters of a piece of streamed text. None makes a piece of each word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error in the provider's own form."""

    error_class: ErrorClass
    retry_after_s: float | None = None
    status: int | None = None
    """None for the provider's own."""
    message: str | None = None
    """None for the provider's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """An HTTP response given as it is."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class FaultKind(Enum):
    """What goes wrong while an answer is sent."""

    CUT = "cut"
    """The connection closes, and the response is not whole."""
    CLEAN_END = "clean end"
    """The response ends as HTTP wants it, and what should follow is missing."""
    STALL = "stall"
    """Nothing more comes, and the connection stays open."""
    MALFORMED = "malformed"
    """An event that can't be read is put between the others."""
    ERROR = "error"
    """An error takes the place of what should follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and after how much of the answer."""

    kind: FaultKind
    after_events: int | None = None
    """Negative ones count from the end."""
    after_bytes: int | None = None
    """Of the body."""
    hold_s: float = STALL_LIMIT_S
    """Of a stall."""
    failure: Failure | None = None
    """Of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast an answer comes, and in what portions."""

    first_byte_s: float = 0.0
    pause_s: float = 0.0
    chunk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of a provider, whatever its format.

    It is made by `text`, `json`, `tool_calls`, `refusal`, `filtered`, `blocked`, `error`,
    `empty_stream` or `raw`. The methods that follow those return the same reply with something
    changed, and can be chained: `Reply.text("Hello there.").slow(pause_s=0.1).cut(after_events=2)`.
    Whether it is streamed depends on what the request asks for.
    """

    content: Completion | Failure | RawResponse
    fault: Fault | None = None
    pace: Pace = field(default_factory=Pace)

    @staticmethod
    def text(
        text: str,
        *,
        reasoning: str = "",
        finish_reason: FinishReason = FinishReason.STOP,
        usage: Usage | None = None,
        served_model: str = "",
        logprob: float = DEFAULT_LOGPROB,
    ) -> Reply:
        """Returns an answer that is text.

        Args:
            text: May be empty, which no provider should send.
            reasoning: What the model shows of its reasoning; left out where the provider shows
                none, as OpenAI does.
            finish_reason: Why the answer ends.
            usage: None counts the words of request and answer.
            served_model: Name of the model that answered; empty for the one that was asked for.
            logprob: Of each token, where the request asks for them and the provider has them.
        """
        return Reply(
            content=Completion(
                text=text,
                reasoning=reasoning,
                finish_reason=finish_reason,
                usage=usage,
                served_model=served_model,
                logprob=logprob,
            )
        )

    @staticmethod
    def json(value: Any, *, usage: Usage | None = None) -> Reply:  # noqa: ANN401 - any JSON value
        """Returns an answer whose text is a value in JSON."""
        return Reply.text(json.dumps(value), usage=usage)

    @staticmethod
    def tool_calls(
        *calls: ToolCall,
        text: str = "",
        reasoning: str = "",
        finish_reason: FinishReason = FinishReason.TOOL_CALLS,
        usage: Usage | None = None,
    ) -> Reply:
        """Returns an answer that wants tools called, after some text where that is given."""
        return Reply(
            content=Completion(
                text=text,
                reasoning=reasoning,
                tool_calls=calls,
                finish_reason=finish_reason,
                usage=usage,
            )
        )

    @staticmethod
    def refusal(text: str = "I can't help with that.") -> Reply:
        """Returns an answer in which the model declines, where the provider has a way to say so.

        Mistral has none: there it is an answer like any other.
        """
        return Reply(content=Completion(text=text, withheld=Withheld.REFUSED))

    @staticmethod
    def filtered(text: str = "") -> Reply:
        """Returns an answer that a content filter ends after some text.

        Mistral has no such thing: there it is an answer like any other.
        """
        return Reply(content=Completion(text=text, withheld=Withheld.FILTERED))

    @staticmethod
    def blocked() -> Reply:
        """Returns what a provider says of a prompt that it does not let through.

        With Gemini that is an answer with nothing in it, elsewhere an error. It is the same as
        `error` with the class `content-policy`.
        """
        return Reply.error(ErrorClass.CONTENT_POLICY)

    @staticmethod
    def error(
        error_class: ErrorClass,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        message: str | None = None,
    ) -> Reply:
        """Returns a failure, in the form that the provider gives it.

        A connection error closes the connection without a response. A malformed response has
        status 200 and a body that ends in the middle.

        Args:
            error_class: What goes wrong.
            retry_after_s: How long the provider asks to wait. Sent with its fraction, so that
                tests need not wait a whole second; real providers mostly send whole ones.
            status: Instead of the provider's own; 200 makes an error in a body that claims success.
            message: Instead of the provider's own.

        Raises:
            ValueError: The failure is none of a provider: `rejected-by-validator`, `cancelled`.
        """
        return Reply(content=_failure(error_class, retry_after_s, status, message))

    @staticmethod
    def empty_stream() -> Reply:
        """Returns a stream that ends without an event; without streaming, an empty body."""
        return Reply.text("").cut(after_events=0, clean=True)

    @staticmethod
    def raw(
        status: int, content: bytes | str = b"", *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Returns an HTTP response as it is given, whatever the request asks for.

        Headers that frame the body, such as `Content-Length`, are left out: the server makes them.

        Raises:
            ValueError: The status is not one of a final response.
        """
        if not 200 <= status <= 599:  # noqa: PLR2004 - the range of final statuses
            raise ValueError(f"a response has a status from 200 to 599, not {status}")
        content = content.encode() if isinstance(content, str) else content
        return Reply(
            content=RawResponse(status=status, headers=dict(headers or {}), content=content)
        )

    def slow(self, *, first_byte_s: float = 0.0, pause_s: float = 0.0) -> Reply:
        """Returns the reply delayed.

        Args:
            first_byte_s: Wait before anything is sent, the status line included.
            pause_s: Wait after each event of a stream but the last.
        """
        return replace(self, pace=replace(self.pace, first_byte_s=first_byte_s, pause_s=pause_s))

    def in_pieces(self, characters: int) -> Reply:
        """Returns the reply with its streamed text in pieces of so many characters, at least 1.

        Raises:
            ValueError: The reply has no text that could be split.
        """
        if not isinstance(self.content, Completion):
            raise ValueError("only an answer has text to split")  # noqa: TRY004 - a misuse of the API
        content = replace(self.content, piece_length=_at_least_one(characters, "characters"))
        return replace(self, content=content)

    def in_chunks(self, size: int) -> Reply:
        """Returns the reply with its body sent in portions of so many bytes, at least 1.

        A stream sends each as an HTTP chunk of its own, wherever that splits events and characters.
        """
        return replace(self, pace=replace(self.pace, chunk_bytes=_at_least_one(size, "size")))

    def cut(
        self,
        *,
        after_events: int | None = None,
        after_bytes: int | None = None,
        clean: bool = False,
    ) -> Reply:
        """Returns the reply breaking off.

        Args:
            after_events: How many events of a stream are sent; negative ones count from the end, so
                that -1 leaves out the last. A response that is not streamed is cut in its middle.
            after_bytes: How many bytes of the body are sent. Give either.
            clean: Whether the response then ends as HTTP wants it, so that only what it says shows
                that something is missing. Otherwise the connection closes in the middle of it.
        """
        kind = FaultKind.CLEAN_END if clean else FaultKind.CUT
        return replace(self, fault=_fault(kind, after_events, after_bytes))

    def stalled(
        self,
        *,
        after_events: int | None = None,
        after_bytes: int | None = None,
        hold_s: float = STALL_LIMIT_S,
    ) -> Reply:
        """Returns the reply going silent, as `cut` does.

        The connection stays open until the client leaves, the server stops, or `hold_s` is over;
        then it closes in the middle of the response.
        """
        return replace(
            self, fault=replace(_fault(FaultKind.STALL, after_events, after_bytes), hold_s=hold_s)
        )

    def malformed(self, *, after_events: int) -> Reply:
        """Returns the reply with an event that can't be read after the first so many events.

        A response that is not streamed ends in the middle of its body.
        """
        return replace(self, fault=_fault(FaultKind.MALFORMED, after_events, None))

    def failing(
        self, error_class: ErrorClass, *, after_events: int, message: str | None = None
    ) -> Reply:
        """Returns the reply breaking off with an error as an event of the stream.

        A response that is not streamed is that error alone.

        Raises:
            ValueError: The failure has no form of a provider's.
        """
        failure = _failure(error_class, None, None, message)
        if error_class in {ErrorClass.CONNECTION, ErrorClass.MALFORMED_RESPONSE}:
            raise ValueError(f"{error_class.word} is no event; use `cut` or `malformed`")
        fault = replace(_fault(FaultKind.ERROR, after_events, None), failure=failure)
        return replace(self, fault=fault)


Answerer = Reply | Callable[[ReceivedCall], Reply]
"""A reply, or a function that chooses one for a call. The function runs on the server's own thread:
it must be quick."""


def _failure(
    error_class: ErrorClass, retry_after_s: float | None, status: int | None, message: str | None
) -> Failure:
    if error_class in _WITHOUT_ANSWER:
        raise ValueError(f"no provider answers with {error_class.word}: it arises in the client")
    return Failure(
        error_class=error_class, retry_after_s=retry_after_s, status=status, message=message
    )


def _fault(kind: FaultKind, after_events: int | None, after_bytes: int | None) -> Fault:
    if (after_events is None) == (after_bytes is None):
        raise ValueError("give either `after_events` or `after_bytes`")
    return Fault(kind=kind, after_events=after_events, after_bytes=after_bytes)


def _at_least_one(value: int, name: str) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value
