"""Which models are being rested after failures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tierwise.error_class import ErrorClass

FAILURES_TO_OPEN: Final = 2
"""Failures in a row, each after its retries, that rest a model."""

REST_S: Final = 60.0
"""How long a model is rested."""

LONGEST_REST_S: Final = 300.0
"""Longest rest, whatever the provider asks: some name the hours until a daily quota is full."""

_MODELS_FAULT: Final = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.TIMEOUT,
        ErrorClass.OVERLOADED,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONNECTION,
        ErrorClass.AUTHENTICATION,
        ErrorClass.QUOTA_EXHAUSTED,
        ErrorClass.MALFORMED_RESPONSE,
    }
)
"""Failures that the next call would likely meet too; the others lie in the request."""


@dataclass(slots=True)
class _State:
    failures: int = 0
    resting_until: float = 0.0
    cause: ErrorClass | None = None
    """Why it rests. None while it does not."""
    probing_until: float = 0.0
    """Until when another caller's probe is given time to show a result."""


class Breakers:
    """A circuit breaker for each model, shared by all calls of a client. Thread-safe.

    Closed, a model is called. After `FAILURES_TO_OPEN` failures in a row it rests for `REST_S`, or
    for as long as the provider asked. Then one call is let through as a probe: its success closes
    the breaker, its failure makes the model rest again.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()

    def resting(self, model_id: str) -> ErrorClass | None:
        """Returns why a model is to be passed over now; None lets the call through.

        A caller that is let through after a rest is the probe, and must say how it went.
        """
        state = self._states.get(model_id)
        if state is None or state.cause is None:
            return None
        with self._lock:
            now = self._clock()
            if state.cause is None:
                return None
            if now < state.resting_until or now < state.probing_until:
                return state.cause
            state.probing_until = now + REST_S
            return None

    def rest_left_s(self, model_id: str) -> float:
        """Returns for how long a model will still rest, in seconds; 0 when it does not."""
        state = self._states.get(model_id)
        return max(0.0, state.resting_until - self._clock()) if state is not None else 0.0

    def failed(
        self, model_id: str, error_class: ErrorClass, retry_after_s: float | None = None
    ) -> None:
        """Counts a failure that the model's retries did not mend.

        One that lies in the request is not counted. A rejected answer is an answer.
        """
        if error_class is ErrorClass.REJECTED_BY_VALIDATOR:
            self.succeeded(model_id)
            return
        if error_class not in _MODELS_FAULT:
            self.undecided(model_id)
            return
        with self._lock:
            state = self._states.setdefault(model_id, _State())
            state.failures += 1
            asked = min(retry_after_s or 0.0, LONGEST_REST_S)
            if state.failures >= FAILURES_TO_OPEN or asked > 0:
                rest = REST_S if state.failures >= FAILURES_TO_OPEN else 0.0
                until = self._clock() + max(rest, asked)
                state.resting_until = max(state.resting_until, until)
                state.cause = error_class
            state.probing_until = 0.0

    def succeeded(self, model_id: str) -> None:
        """Closes a model's breaker."""
        if model_id in self._states:
            with self._lock:
                self._states.pop(model_id, None)

    def undecided(self, model_id: str) -> None:
        """Ends a probe that showed nothing of the model, as when the caller gave up.

        The next call is the probe then.
        """
        state = self._states.get(model_id)
        if state is not None:
            with self._lock:
                state.probing_until = 0.0
