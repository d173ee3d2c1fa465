"""Owns the held-out cases: prompts and the tier that each must reach. They are never embedded."""

from dataclasses import dataclass
from enum import StrEnum

from tierwise_server.catalog.ids import Location, TaskId, TierId


class Role(StrEnum):
    """Who speaks in a turn of a conversation."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a case's conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A prompt or conversation and where it must go."""

    prompt: str | None
    """The prompt. None exactly when `messages` holds a conversation."""
    messages: tuple[Message, ...]
    """The conversation, with at least one user turn; empty when `prompt` is given."""
    tier: TierId | None
    """Tier that the case must reach. None means that it must match nothing."""
    task: TaskId | None
    """Task that the case must reach, of tier `tier`. None means any of the tier's."""
    tags: tuple[str, ...]
    """Free ids by which figures are grouped."""
    language: str | None
    """ISO 639-1 code of the prompt. None means not stated."""
    previous_tier: TierId | None
    """Tier of the turn before, as a client would send it. None means no turn before."""
    location: Location
