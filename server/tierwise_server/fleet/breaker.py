"""When a model is passed over after failures, and how it comes back: pure functions.

A model whose last calls failed for the most part rests. After the rest, a small share of plans
probes it, and a growing one while nobody does; answers close the breaker, a failure makes it rest
again, for twice as long. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.fleet import PROBE_SHARES

LEAST_FAILURES: Final = 3
"""Failures in the window below which nothing is concluded: one client's call, retries included."""

FAILURE_SHARE: Final = 0.5
"""Share of failures among the calls of the window from which on a model rests."""

REST_S: Final = 60.0
"""First rest: as long as a client's own breaker stays open."""

LONGEST_REST_S: Final = 480.0
"""Each further rest is twice as long, up to this."""

ANSWERS_TO_CLOSE: Final = 2
"""Answers in a row that show that a model is well again."""

PROBE_STEP_S: Final = 5.0
"""Without a result for so long, twice as many plans probe."""

TOP_PROBE_LEVEL: Final = PROBE_SHARES.bit_length() - 1
"""Level at which every plan does."""

PATIENCE_S: Final = 120.0
"""Without a result for so long, a model is taken as well: nobody calls it, or nobody reports."""

MODEL_FAULTS: Final = frozenset(
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
"""Failures that the next call would likely meet too."""

ANSWERED: Final = frozenset({0, int(ErrorClass.REJECTED_BY_VALIDATOR)})
"""Results that show a model at work: an answer, and one that the caller's own check refused. What
is neither this nor a fault lies in the request, and says nothing of the model."""


class Phase(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    RESTING = "resting"
    PROBING = "probing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state of one model."""

    phase: Phase = Phase.CLOSED
    since_s: float = 0.0
    """When the phase began."""
    rest_s: float = REST_S
    """How long the present rest is, or the next one."""
    answers: int = 0
    """Answers since the rest began."""


CLOSED: Final = Breaker()


def is_failing(failed: Iterable[bool]) -> bool:
    """Returns whether the last calls, each of which failed or did not, are reason to rest."""
    results = list(failed)
    failures = sum(results)
    return failures >= LEAST_FAILURES and failures >= FAILURE_SHARE * len(results)


def rested(breaker: Breaker, now_s: float) -> Breaker:
    """Returns the breaker as time alone has moved it."""
    if breaker.phase is Phase.RESTING and now_s - breaker.since_s >= breaker.rest_s:
        since_s = breaker.since_s + breaker.rest_s
        breaker = Breaker(phase=Phase.PROBING, since_s=since_s, rest_s=breaker.rest_s)
    if breaker.phase is Phase.PROBING and now_s - breaker.since_s >= PATIENCE_S:
        return CLOSED
    return breaker


def answered(breaker: Breaker, called_s: float) -> Breaker:
    """Returns the breaker after a call that was answered.

    Args:
        breaker: As it stands.
        called_s: When the plan of the call was made. Of one made before the phase began, nothing
            is concluded.
    """
    if breaker.phase is Phase.CLOSED or called_s < breaker.since_s:
        return breaker
    if breaker.answers + 1 >= ANSWERS_TO_CLOSE:
        return CLOSED
    return Breaker(
        phase=breaker.phase,
        since_s=breaker.since_s,
        rest_s=breaker.rest_s,
        answers=breaker.answers + 1,
    )


def failed(breaker: Breaker, called_s: float, now_s: float, *, failing: bool) -> Breaker:
    """Returns the breaker after a call that failed for a fault of the model.

    Args:
        breaker: As it stands.
        called_s: As in `answered`.
        now_s: The time.
        failing: What `is_failing` says of the last calls, this one included.
    """
    match breaker.phase:
        case Phase.CLOSED if failing:
            return Breaker(phase=Phase.RESTING, since_s=now_s)
        case Phase.PROBING if called_s >= breaker.since_s:
            rest_s = min(2 * breaker.rest_s, LONGEST_REST_S)
            return Breaker(phase=Phase.RESTING, since_s=now_s, rest_s=rest_s)
        case _:
            return breaker


def probe_level(breaker: Breaker, now_s: float) -> int | None:
    """Returns which share of plans probes a model; None when none does."""
    if breaker.phase is not Phase.PROBING:
        return None
    return min(TOP_PROBE_LEVEL, int(max(0.0, now_s - breaker.since_s) / PROBE_STEP_S))
