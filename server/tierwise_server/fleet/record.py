"""What is known of one model: the last results, latencies, headroom and use of its limits."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tierwise_server.catalog.registry import RateLimits
from tierwise_server.fleet.breaker import (
    ANSWERED,
    CLOSED,
    MODEL_FAULTS,
    Breaker,
    Phase,
    answered,
    failed,
    is_failing,
    probe_level,
    rested,
)
from tierwise_server.fleet.figures import (
    MinuteRate,
    stepped_headroom,
    stepped_latency,
    stepped_usage,
    typical_latency,
)
from tierwise_server.planning.fleet import USAGE_LEVELS, ModelHealth

if TYPE_CHECKING:
    from tierwise_server.ledger.records import AttemptRecord

WINDOW_CALLS: Final = 50
"""Calls that the error rate is taken over."""

WINDOW_S: Final = 60.0
"""Age from which on a result does not count."""

LATENCY_SAMPLES: Final = 128
SAMPLES_A_SECOND: Final = 8
"""Latencies that are taken in a second, so that the samples span more than the last moment."""

HEADROOM_S: Final = 60.0
"""How long a report of headroom holds that does not say when it ends: limits are by the minute."""

LONGEST_HEADROOM_S: Final = 300.0
"""How long one holds at most: the next call tells anew."""

_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of a model, in figures for people."""

    phase: Phase
    error_share: float
    """Of the last calls; 0 without any."""
    latency_s: float | None
    first_token_s: float | None
    remaining_requests: int | None
    remaining_tokens: int | None
    requests_per_minute: float
    tokens_per_minute: float


class _Latencies:
    """Some latencies of the last minutes."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=LATENCY_SAMPLES)
        self._second = -math.inf
        self._taken = 0

    def add(self, microseconds: int | None, now_s: float) -> None:
        if microseconds is None:
            return
        if not 0 <= now_s - self._second < 1:
            self._second, self._taken = now_s, 0
        if self._taken < SAMPLES_A_SECOND:
            self._taken += 1
            self._samples.append((now_s, microseconds / _MICROSECONDS))

    def typical(self, now_s: float) -> float | None:
        return typical_latency(self._samples, now_s)


class ModelRecord:
    """Takes the attempts of one model, in bounded memory. For one thread at a time."""

    def __init__(self) -> None:
        self._breaker: Breaker = CLOSED
        self._results: deque[tuple[float, bool]] = deque(maxlen=WINDOW_CALLS)
        self._latencies = _Latencies()
        self._first_tokens = _Latencies()
        self._requests = MinuteRate()
        self._tokens = MinuteRate()
        self._remaining_requests: int | None = None
        self._remaining_tokens: int | None = None
        self._headroom_until_s = -math.inf
        self._health = ModelHealth()

    def observe(self, attempt: AttemptRecord, called_s: float, now_s: float) -> None:
        """Takes what became of one call.

        Args:
            attempt: The call.
            called_s: When its plan was made, as far as is known.
            now_s: The time, as of all others by a monotonic clock.
        """
        self._requests.add(1, now_s)
        if attempt.tokens is not None:
            self._tokens.add(attempt.tokens.input + attempt.tokens.output, now_s)
        self._note_headroom(attempt, now_s)
        if attempt.error_class in MODEL_FAULTS:
            self._results.append((now_s, True))
            self._breaker = failed(
                rested(self._breaker, now_s),
                called_s,
                now_s,
                failing=is_failing(self._recent(now_s)),
            )
        elif attempt.error_class in ANSWERED:
            self._results.append((now_s, False))
            self._latencies.add(attempt.duration_us, now_s)
            self._first_tokens.add(attempt.first_token_us, now_s)
            before = self._breaker
            self._breaker = answered(rested(before, now_s), called_s)
            if self._breaker is CLOSED and before is not CLOSED:
                # What it failed at before its rest says nothing of it any more.
                self._results.clear()

    def health(self, limits: RateLimits, now_s: float) -> ModelHealth:
        """Returns what plans go by, in steps, so that it seldom changes."""
        self._breaker = rested(self._breaker, now_s)
        headroom = now_s < self._headroom_until_s
        before = self._health
        self._health = ModelHealth(
            available=self._breaker.phase is Phase.CLOSED,
            probe_level=probe_level(self._breaker, now_s),
            latency_s=stepped_latency(self._latencies.typical(now_s), before.latency_s),
            remaining_requests=stepped_headroom(self._remaining_requests) if headroom else None,
            remaining_tokens=stepped_headroom(self._remaining_tokens) if headroom else None,
            usage_level=stepped_usage(
                self._used_share(limits, now_s), USAGE_LEVELS, before.usage_level
            ),
        )
        return self._health

    def observed(self, now_s: float) -> Observed:
        """Returns what is known, for people."""
        recent = list(self._recent(now_s))
        headroom = now_s < self._headroom_until_s
        return Observed(
            phase=rested(self._breaker, now_s).phase,
            error_share=sum(recent) / len(recent) if recent else 0.0,
            latency_s=self._latencies.typical(now_s),
            first_token_s=self._first_tokens.typical(now_s),
            remaining_requests=self._remaining_requests if headroom else None,
            remaining_tokens=self._remaining_tokens if headroom else None,
            requests_per_minute=self._requests.per_minute(now_s),
            tokens_per_minute=self._tokens.per_minute(now_s),
        )

    def _recent(self, now_s: float) -> Iterable[bool]:
        return (is_failure for at_s, is_failure in self._results if now_s - at_s <= WINDOW_S)

    def _note_headroom(self, attempt: AttemptRecord, now_s: float) -> None:
        headroom = attempt.headroom
        if headroom is None:
            return
        self._remaining_requests = headroom.remaining_requests
        self._remaining_tokens = headroom.remaining_tokens
        holds_s = HEADROOM_S if headroom.reset_s is None else headroom.reset_s
        self._headroom_until_s = now_s + min(holds_s, LONGEST_HEADROOM_S)

    def _used_share(self, limits: RateLimits, now_s: float) -> float:
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        return max(
            self._requests.per_minute(now_s) / requests if requests else 0.0,
            self._tokens.per_minute(now_s) / tokens if tokens else 0.0,
        )
