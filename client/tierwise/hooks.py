"""The caller's own functions that hear of attempts, outcomes and a router that is away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tierwise.chat_response import Attempt
from tierwise.decisions import Decision
from tierwise.declared_types import check_types
from tierwise.error_class import ErrorClass

_log = logging.getLogger(__name__)

E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEvent:
    """A call of a model has ended."""

    decision: Decision
    attempt: Attempt
    """With its error class, cost and duration."""
    next_model_id: str
    """Model that is called next because of it: the same one for a retry. Empty when none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeEvent:
    """A chat has ended for which a model was called."""

    decision: Decision
    attempts: tuple[Attempt, ...]
    first_model_id: str
    """Model that the plan began with."""
    last_model_id: str
    """Model that was called last."""
    error_class: ErrorClass | None
    """None for a chat that succeeded."""
    cost_nano_usd: int | None
    """Of all attempts. None when the cost of one is not known."""
    duration_s: float
    """From the call of `chat` to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOutageEvent:
    """No router has answered for a while; chats go on by old plans and defaults."""

    since_s: float
    """For how long, in seconds."""
    routerless_decisions: int
    """How many decisions were made without it in that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions to call. They run in the midst of a chat: be quick. What they raise is logged."""

    on_attempt: Callable[[AttemptEvent], object] | None = None
    on_outcome: Callable[[OutcomeEvent], object] | None = None
    on_router_outage: Callable[[RouterOutageEvent], object] | None = None

    def __post_init__(self) -> None:
        """Refuses what is no function."""
        check_types(self, "hooks")


def notify(hook: Callable[[E], object] | None, event: E) -> None:
    """Calls a hook, if there is one. Its failure is logged and goes no further."""
    if hook is None:
        return
    try:
        hook(event)
    except Exception:  # noqa: BLE001 - a chat must not fail for a metric's sake
        _log.exception("a hook failed on %s", type(event).__name__)
