"""What comes back from one call of a model, in the same form from every provider."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tierwise.messages import Message, Role, ToolCall


class FinishReason(Enum):
    """Why an answer ended. A refusal is no reason but a failure, `content-policy`."""

    STOP = "stop"
    LENGTH = "length"
    """The limit on the output, or the context window, was reached."""
    TOOL_CALLS = "tool-calls"
    OTHER = "other"
    """A reason that this library does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, as the provider counted them."""

    input_tokens: int = 0
    """Cached ones, read or written, included."""
    cached_input_tokens: int = 0
    """Of the input, those that the provider had cached."""
    cache_write_tokens: int = 0
    """Of the input, those that the provider stored in its cache for later calls."""
    output_tokens: int = 0
    """Reasoning included."""
    reasoning_tokens: int = 0
    """Of the output, those that were spent on reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHeadroom:
    """What is left of a provider's rate limits, as its headers say. None where they don't."""

    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_s: float | None = None
    """Until the windows are full again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One call's answer; whole, or what was received before a stream broke off."""

    text: str = ""
    reasoning: str = ""
    """What the model shows of its reasoning, where the provider hands it out."""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    """None in an answer that broke off."""
    usage: Usage | None = None
    """None where the provider did not say."""
    served_model: str = ""
    """Model that answered, as the provider names it. Empty where it did not say."""
    request_id: str = ""
    """The provider's identifier of the call. Empty where it did not say."""
    mean_logprob: float | None = None
    """Mean natural log-probability of the text's tokens; None unless asked for and given."""
    cost_nano_usd: int | None = None
    """Cost as the provider itself states it; None with most."""
    headroom: RateHeadroom | None = None

    @property
    def message(self) -> Message:
        """The answer as a turn to go on from."""
        return Message(role=Role.ASSISTANT, content=self.text, tool_calls=self.tool_calls)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A further piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A further piece of the reasoning that the model shows."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A further piece of a tool call. The first piece of a call carries its id and name."""

    index: int
    """Which call of the answer, from 0."""
    id: str = ""
    name: str = ""
    arguments_json: str = ""
    """The next piece of the arguments."""


Delta = TextDelta | ReasoningDelta | ToolCallDelta
