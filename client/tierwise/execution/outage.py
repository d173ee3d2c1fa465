"""Whether the router is away, why and since when.

Says when that goes on for long, and keeps a router that does not answer from costing every chat
its whole time limit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import grpc

from tierwise.decisions import RouterlessCause
from tierwise.errors import RouterError
from tierwise.hooks import Hooks, RouterOutageEvent, notify
from tierwise.v1.error_reason_pb2 import ErrorReason

_log = logging.getLogger(__name__)

SAY_AFTER_S: Final = 60.0
"""How long an outage goes on before it is said loudly, and between one such word and the next."""

PATIENCE: Final = 3
"""Failures in a row after which only one chat in `PROBE_EVERY_S` asks the router."""

PROBE_EVERY_S: Final = 1.0

_CAUSES: Final = {
    grpc.StatusCode.UNAVAILABLE: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: RouterlessCause.TIMEOUT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RouterlessCause.OVERLOADED,
    # A fault of the router's own, which is no reason for the caller's call to fail.
    grpc.StatusCode.INTERNAL: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: RouterlessCause.UNAVAILABLE,
    # What gRPC makes of the 404 of a proxy that has no router behind it just now.
    grpc.StatusCode.UNIMPLEMENTED: RouterlessCause.UNAVAILABLE,
}
"""Failures of the router that a chat goes on after. Others lie in the request or the set-up."""


def routerless_cause(error: RouterError) -> RouterlessCause | None:
    """Returns why a chat goes on without the router; None when the failure is the caller's."""
    if error.reason == ErrorReason.ERROR_REASON_SPEND_LIMIT_REACHED:
        # The router does answer: it refuses, and going round it would make the limit none.
        return None
    return _CAUSES.get(error.code)


class Outage:
    """What is known of the router's absence. Thread-safe."""

    def __init__(self, hooks: Hooks, clock: Callable[[], float]) -> None:
        self._hooks = hooks
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._away_since: float | None = None
        self._decided = 0
        self._total = 0
        self._asked_at = 0.0
        self._said_at = 0.0
        self._cause = RouterlessCause.UNAVAILABLE

    @property
    def total(self) -> int:
        """Decisions that were made without the router since the client was made."""
        return self._total

    @property
    def cause(self) -> RouterlessCause:
        """Why the router did not answer last."""
        return self._cause

    def should_ask(self) -> bool:
        """Returns whether this chat should try the router."""
        if self._failures < PATIENCE:
            return True
        with self._lock:
            now = self._clock()
            if now - self._asked_at < PROBE_EVERY_S:
                return False
            self._asked_at = now
            return True

    def answered(self) -> None:
        """Notes that the router answered."""
        with self._lock:
            self._failures = 0
            self._away_since = None
            self._decided = 0

    def failed(self, cause: RouterlessCause) -> None:
        """Notes that the router did not answer."""
        with self._lock:
            now = self._clock()
            self._failures += 1
            self._asked_at = now
            self._cause = cause
            if self._away_since is None:
                self._away_since = self._said_at = now

    def decided_without(self) -> None:
        """Notes a decision that was made without the router, and says so when that goes on."""
        with self._lock:
            now = self._clock()
            self._decided += 1
            self._total += 1
            if self._away_since is None or now - self._said_at < SAY_AFTER_S:
                return
            self._said_at = now
            event = RouterOutageEvent(
                since_s=now - self._away_since, routerless_decisions=self._decided
            )
        _log.error(
            "no router has answered for %.0f s; %d decisions were made without one",
            event.since_s,
            event.routerless_decisions,
        )
        notify(self._hooks.on_router_outage, event)
