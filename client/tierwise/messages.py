"""What is sent to a model: messages with their parts, tools, and the form of the answer.

The types are those of no provider. Each adapter in `tierwise.providers` writes them in its
provider's format, and refuses what that provider can't take before anything is sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a message that is text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A part of a message that is a picture: its address, or its bytes with their media type."""

    url: str | None = None
    """An `https:` address that the provider fetches. Not every provider does."""
    data: bytes | None = field(default=None, repr=False)
    media_type: str | None = None
    """Of `data`. Example: `image/png`."""
    detail: str | None = None
    """How closely to look: `low`, `high` or `auto`. Ignored where a provider has no such choice."""

    def __post_init__(self) -> None:
        """Refuses an image that is given twice, not at all, or without its type."""
        if (self.url is None) == (self.data is None):
            raise InvalidRequestError("give an image either `url` or `data`", field="image")
        check_types(self, "image")
        if self.data is not None and not self.media_type:
            raise InvalidRequestError(
                "an image's bytes need their media type, such as image/png",
                field="image.media_type",
            )

    @property
    def base64(self) -> str:
        """The bytes in base64. Empty for an image that is given by address."""
        return base64.b64encode(self.data or b"").decode("ascii")


Part = Text | Image


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to have a tool called."""

    id: str
    """Made by the provider, or by its adapter where the provider has none."""
    name: str
    arguments_json: str
    """The arguments as the model wrote them: a JSON object, unless the answer was cut."""
    provider_state: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the provider wants back with the call in the next turn. Opaque; keep it."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed.

        Raises:
            ValueError: They are no JSON object, as when the answer was cut for its length.
        """
        parsed = json.loads(self.arguments_json or "{}")
        if not isinstance(parsed, dict):
            raise ValueError(f"the arguments of {self.name!r} are no JSON object")  # noqa: TRY004 - a value of the model, no misuse
        return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Only of the assistant."""
    tool_call_id: str | None = None
    """Which call a tool's message answers. Required for a tool's message."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, whichever way it was given. Empty text makes no part."""
        if isinstance(self.content, str):
            return (Text(self.content),) if self.content else ()
        return self.content

    @property
    def text(self) -> str:
        """The content's text alone."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))


def system(text: str) -> Message:
    """Returns instructions to the model."""
    return Message(role=Role.SYSTEM, content=text)


def user(*content: str | Part) -> Message:
    """Returns a turn of the user: text, or text and images in any order."""
    if len(content) == 1 and isinstance(content[0], str):
        return Message(role=Role.USER, content=content[0])
    parts = tuple(Text(one) if isinstance(one, str) else one for one in content)
    return Message(role=Role.USER, content=parts)


def assistant(text: str = "", *, tool_calls: tuple[ToolCall, ...] = ()) -> Message:
    """Returns a turn of the model."""
    return Message(role=Role.ASSISTANT, content=text, tool_calls=tool_calls)


def tool_result(call: ToolCall | str, text: str) -> Message:
    """Returns what a tool answered to a call, which is given by itself or by its id."""
    call_id = call if isinstance(call, str) else call.id
    return Message(role=Role.TOOL, content=text, tool_call_id=call_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask to have called."""

    name: str
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    """JSON schema of the arguments; of type `object`."""
    description: str = ""
    strict: bool | None = None
    """Whether the provider must hold the arguments to the schema. None leaves it to the provider;
    ignored where a provider has no such choice."""


class ToolChoice(Enum):
    """Whether the model may, must or must not call a tool."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTool:
    """The choice of one tool, which the model must call."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """The form that the answer's text must have."""

    schema: Mapping[str, Any]
    name: str = "answer"
    """Letters, digits, `_` and `-`; at most 64."""
    description: str = ""
    strict: bool | None = None
    """As in `Tool`."""


class AnswerFormat(Enum):
    """A form of the answer's text that needs no schema."""

    TEXT = "text"
    JSON_OBJECT = "json-object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A call, as any of a plan's models may get it."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | NamedTool | None = None
    """None leaves it to the provider."""
    parallel_tool_calls: bool | None = None
    answer_format: AnswerFormat | JsonSchema = AnswerFormat.TEXT
    max_output_tokens: int | None = None
    """None means the provider's own limit, or the model's where a provider wants one."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """Ignored where a provider has none."""
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    """Whether to ask for the log-probabilities of the answer's tokens."""
    instructions: Mapping[str, str] = field(default_factory=dict)
    """System text by model id, put before the messages for that model alone."""
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields by provider id that are put into the body as they are, over those made from here."""

    def messages_for(self, model_id: str) -> tuple[Message, ...]:
        """Returns the messages with the model's own instructions in front, where it has some."""
        own = self.instructions.get(model_id)
        return (system(own), *self.messages) if own else self.messages
