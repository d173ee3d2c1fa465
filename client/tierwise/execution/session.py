"""What all chats of one client share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.execution.breaker import Breakers
from tierwise.execution.escalations import EscalationGuard
from tierwise.execution.outage import Outage
from tierwise.execution.routerless import Routerless
from tierwise.providers.registry import ProviderRegistry
from tierwise.reporting.outcome import Outcome
from tierwise.settings import ClientSettings

if TYPE_CHECKING:
    # Needs an extra, and is never loaded unless the caller asks for it.
    from tierwise.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The state that outlives a chat, each part thread-safe, and the sources of time and chance."""

    settings: ClientSettings
    providers: ProviderRegistry
    breakers: Breakers
    guard: EscalationGuard
    routerless: Routerless
    outage: Outage
    report: Callable[[Outcome], object]
    """Takes an outcome for delivery; returns at once and never raises."""
    clock: Callable[[], float]
    """Seconds that only ever rise."""
    draw: Callable[[], float]
    """Chance, from 0 to 1."""
    tracing: Tracing | None = None
    """Makes spans. None makes none."""
