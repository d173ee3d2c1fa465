"""What is reported: the outcome of a chat, or a judgement that comes later, and their messages.

A message keeps the limits of the contract, whatever a provider answered, so that the router never
rejects an outcome for its form and loses what the call cost.
"""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tierwise.answers import RateHeadroom, Usage
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision
from tierwise.error_class import ErrorClass
from tierwise.errors import InvalidRequestError
from tierwise.v1 import decision_pb2, error_class_pb2, outcome_pb2

MAX_ATTEMPTS = 50
MAX_ID_CHARACTERS = 100
MAX_NAME_CHARACTERS = 200
"""Of the provider's identifier of a call, by contract; of names that a provider gives, our own."""
MAX_TOKENS = 1_000_000_000
MAX_CALL_S = 7 * 24 * 3600.0
MAX_COST_NANO_USD = 10**15
"""A million dollars for one call; the router takes no more."""
_MAX_INT64 = 2**63 - 1


class Verdict(IntEnum):
    """A reader's verdict on an answer. The numbers are those of the contract."""

    POSITIVE = 1
    NEGATIVE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision once models were called.

    Raises:
        InvalidRequestError: The quality is not from 0 to 1.
    """

    outcome_id: str
    """As `new_outcome_id` makes it. A repeat has no further effect."""
    decision: Decision
    attempts: tuple[Attempt, ...]
    """Oldest first; at least one unless there is a judgement. Of more than 50, the first 49 and
    the last one are reported."""
    quality: float | None = None
    """From 0 to 1, as judged by the caller. None means not judged; 0 means useless."""
    verdict: Verdict | None = None
    end_time: datetime
    """When the client was done; with time zone."""
    caller: str = ""
    """Who asked, as the router was told or would have been."""

    def __post_init__(self) -> None:
        """Checks what the caller judged."""
        _check_quality(self.quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judgement on the answer to a decision that was reported before.

    Raises:
        InvalidRequestError: It has neither quality nor verdict, the quality is not from 0 to 1, or
            the decision has no id of 1 to 100 characters.
    """

    outcome_id: str
    decision_id: str
    quality: float | None = None
    """As in `Outcome`."""
    verdict: Verdict | None = None
    end_time: datetime
    """When it was judged; with time zone."""

    def __post_init__(self) -> None:
        """Checks what the caller gave."""
        _check_quality(self.quality)
        if self.quality is None and self.verdict is None:
            raise InvalidRequestError("give a quality or a verdict", field="quality")
        if not 1 <= len(self.decision_id) <= MAX_ID_CHARACTERS:
            limits = f"must have from 1 to {MAX_ID_CHARACTERS} characters"
            raise InvalidRequestError(limits, field="decision_id")


def new_outcome_id() -> str:
    """Returns a UUID of version 7: ids sort by when they were made, to a quarter microsecond."""
    # RFC 9562, 6.2, method 3: the bits after the milliseconds hold the fraction of one.
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    value = (milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62)
    return str(UUID(int=value | secrets.randbits(62)))


def outcome_message(outcome: Outcome | Judgement) -> outcome_pb2.Outcome:
    """Returns the message, with everything cut to the limits of the contract."""
    message = outcome_pb2.Outcome(
        outcome_id=_cut(outcome.outcome_id, MAX_ID_CHARACTERS),
        end_time=_timestamp(outcome.end_time),
        quality=outcome.quality,
    )
    if outcome.verdict is not None:
        message.verdict = outcome_pb2.Verdict.ValueType(outcome.verdict)
    if isinstance(outcome, Judgement):
        message.decision_id = outcome.decision_id
        return message
    if outcome.decision.routerless_cause is not None:
        message.routerless_decision.CopyFrom(_routerless(outcome))
    else:
        message.decision_token = outcome.decision.decision_token
    attempts = outcome.attempts
    if len(attempts) > MAX_ATTEMPTS:
        # The last one says how it ended.
        attempts = (*attempts[: MAX_ATTEMPTS - 1], attempts[-1])
    message.attempts.extend(_attempt(attempt) for attempt in attempts)
    return message


def _check_quality(quality: float | None) -> None:
    if quality is not None and not 0.0 <= quality <= 1.0:
        raise InvalidRequestError(f"must be from 0 to 1, not {quality:g}", field="quality")


def _routerless(outcome: Outcome) -> outcome_pb2.RouterlessDecision:
    decision = outcome.decision
    # It was made right before the first call.
    made = outcome.attempts[0].start_time if outcome.attempts else outcome.end_time
    return outcome_pb2.RouterlessDecision(
        decision_id=_cut(decision.decision_id, MAX_ID_CHARACTERS),
        catalog=decision.catalog,
        tier_id=decision.tier_id,
        decision_time=_timestamp(made),
        caller=_cut(outcome.caller, MAX_ID_CHARACTERS),
        cause=outcome_pb2.RouterlessCause.ValueType(decision.routerless_cause or 0),
    )


def _attempt(attempt: Attempt) -> outcome_pb2.Attempt:
    first_token, usage, headroom = attempt.first_token_s, attempt.usage, attempt.headroom
    rejected = attempt.error_class is ErrorClass.REJECTED_BY_VALIDATOR
    return outcome_pb2.Attempt(
        model_id=attempt.model_id,
        provider_id=attempt.provider_id,
        served_model_name=_cut(attempt.served_model, MAX_NAME_CHARACTERS),
        step_kind=decision_pb2.PlanStepKind.ValueType(attempt.step_kind),
        error_class=error_class_pb2.ErrorClass.ValueType(attempt.error_class or 0),
        start_time=_timestamp(attempt.start_time),
        call_duration=_duration(attempt.duration_s),
        first_token_duration=None if first_token is None else _duration(first_token),
        usage=None if usage is None else _usage(usage),
        cost_nano_usd=_stated_cost(attempt),
        provider_request_id=_cut(attempt.request_id, MAX_NAME_CHARACTERS),
        validator=_cut(attempt.validator, MAX_ID_CHARACTERS) if rejected else "",
        partial=attempt.partial,
        rate_headroom=None if headroom is None else _headroom(headroom),
    )


def _stated_cost(attempt: Attempt) -> int | None:
    """Returns what the provider states; the router computes the rest from the usage itself."""
    cost = attempt.cost_nano_usd if attempt.stated_cost else None
    return min(cost, MAX_COST_NANO_USD) if cost is not None and cost >= 0 else None


def _usage(usage: Usage) -> outcome_pb2.Usage:
    cached, reasoning = _tokens(usage.cached_input_tokens), _tokens(usage.reasoning_tokens)
    # Some servers leave a part out of the whole; the larger of the two never undercounts.
    return outcome_pb2.Usage(
        input_token_count=max(_tokens(usage.input_tokens), cached),
        cached_input_token_count=cached,
        cache_write_token_count=_tokens(usage.cache_write_tokens),
        output_token_count=max(_tokens(usage.output_tokens), reasoning),
        reasoning_token_count=reasoning,
    )


def _headroom(headroom: RateHeadroom) -> outcome_pb2.RateHeadroom:
    requests, tokens = headroom.remaining_requests, headroom.remaining_tokens
    return outcome_pb2.RateHeadroom(
        remaining_request_count=None if requests is None else _within(requests, _MAX_INT64),
        remaining_token_count=None if tokens is None else _within(tokens, _MAX_INT64),
        reset_duration=None if headroom.reset_s is None else _duration(headroom.reset_s),
    )


def _tokens(count: int) -> int:
    return _within(count, MAX_TOKENS)


def _within(count: int, most: int) -> int:
    return min(max(count, 0), most)


def _duration(seconds: float) -> Duration:
    bounded = min(max(seconds, 0.0), MAX_CALL_S) if not math.isnan(seconds) else 0.0
    whole = int(bounded)
    return Duration(seconds=whole, nanos=int((bounded - whole) * 1e9))


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _cut(text: str, most: int) -> str:
    """Returns the beginning of a text, with what has no place in UTF-8 replaced."""
    return text[:most].encode(errors="replace").decode()
