"""Takes reported outcomes one by one, so that a faulty one does not hold up the others."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tierwise.v1 import error_reason_pb2, outcome_pb2
from tierwise.v1.routing_service_pb2 import (
    OUTCOME_STATUS_ACCEPTED,
    OUTCOME_STATUS_DUPLICATE,
    OUTCOME_STATUS_REJECTED,
    OutcomeResult,
    OutcomeViolation,
)
from tierwise_server.grpc_api.access import authenticated_caller
from tierwise_server.grpc_api.decision_token import DecisionToken
from tierwise_server.grpc_api.outcome_checks import (
    MAX_NAME_CHARACTERS,
    TimeFrame,
    caller_violations,
    token_of,
    violations_of,
)
from tierwise_server.ledger.ledger import Ledger
from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.records import AttemptRecord, Origin, OutcomeRecord, RateHeadroom
from tierwise_server.planning.error_classes import ErrorClass

REMEMBERED_OUTCOMES: Final = 100_000
"""Identifiers of recent outcomes that duplicates are told by where there is no ledger."""

INLINE_OUTCOMES: Final = 20
"""Outcomes that are read on the event loop, some 50 us each; more are read on another thread."""

UNKNOWN_ERROR_CLASS: Final = -1
"""Stands in the ledger for a failure of a class that this server does not know."""

_KNOWN_CAUSES: Final = frozenset(outcome_pb2.RouterlessCause.values())


class OutcomeIntake:
    """Takes outcomes: each is accepted, a duplicate, or rejected with its faults."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        on_accepted: Callable[[Sequence[OutcomeRecord]], None] | None = None,
        remembered: int = REMEMBERED_OUTCOMES,
    ) -> None:
        """Takes where outcomes go.

        Args:
            ledger: Keeps them and tells duplicates. None means that only recent ones are told.
            on_accepted: Takes new outcomes where there is no ledger.
            remembered: How many are told then.
        """
        self._ledger = ledger
        self._on_accepted = on_accepted
        self._remembered = remembered
        self._recent: OrderedDict[str, None] = OrderedDict()

    async def take(self, outcomes: Sequence[outcome_pb2.Outcome]) -> list[OutcomeResult]:
        """Returns what became of each outcome, once those that are accepted are on disk.

        Raises:
            LedgerUnavailableError: The ledger takes nothing at the moment.
            LedgerQueueFullError: Too many outcomes wait to be written.
        """
        frame = TimeFrame(
            now_ms=time.time_ns() // 1_000_000,
            retention_days=self._ledger.retention_days if self._ledger is not None else 0,
        )
        caller = authenticated_caller.get()
        if len(outcomes) <= INLINE_OUTCOMES:
            read = [read_outcome(one, frame, caller) for one in outcomes]
        else:
            read = await asyncio.get_running_loop().run_in_executor(
                None, lambda: [read_outcome(one, frame, caller) for one in outcomes]
            )
        fresh = iter(await self._record([one for one in read if isinstance(one, OutcomeRecord)]))
        return [
            _result(one.outcome_id, fresh=next(fresh)) if isinstance(one, OutcomeRecord) else one
            for one in read
        ]

    async def _record(self, records: Sequence[OutcomeRecord]) -> list[bool]:
        """Returns which of the outcomes are new."""
        if self._ledger is None:
            fresh = [self._is_new(one.outcome_id) for one in records]
            if self._on_accepted is not None:
                self._on_accepted(list(compress(records, fresh)))
            return fresh
        return await self._ledger.report(records) if records else []

    def _is_new(self, outcome_id: str) -> bool:
        known = outcome_id in self._recent
        self._recent[outcome_id] = None
        self._recent.move_to_end(outcome_id)
        if len(self._recent) > self._remembered:
            self._recent.popitem(last=False)
        return not known


def _result(outcome_id: str, *, fresh: bool) -> OutcomeResult:
    status = OUTCOME_STATUS_ACCEPTED if fresh else OUTCOME_STATUS_DUPLICATE
    return OutcomeResult(outcome_id=outcome_id, status=status)


def read_outcome(
    outcome: outcome_pb2.Outcome, frame: TimeFrame, caller: str | None = None
) -> OutcomeRecord | OutcomeResult:
    """Returns an outcome as the ledger takes it, or its rejection.

    Args:
        outcome: What was reported.
        frame: The times that it may speak of.
        caller: Caller that the report's bearer token stands for. None where none is asked for.
    """
    token = token_of(outcome)
    violations = list(violations_of(outcome, token, frame))
    if caller is not None:
        violations += caller_violations(outcome, token, caller)
    if not violations:
        if isinstance(token, DecisionToken):
            return _of_token(outcome, token, frame.now_ms)
        return _without_token(outcome, frame.now_ms, caller or "")
    return OutcomeResult(
        outcome_id=outcome.outcome_id,
        status=OUTCOME_STATUS_REJECTED,
        violations=[
            OutcomeViolation(
                field=field,
                description=description,
                reason=error_reason_pb2.ERROR_REASON_INVALID_FIELD,
            )
            for field, description in violations
        ],
    )


def _without_token(outcome: outcome_pb2.Outcome, now_ms: int, caller: str) -> OutcomeRecord:
    """Returns a faultless outcome of a client's own decision, or a later judgement."""
    ended_ms = _milliseconds(outcome.end_time) if outcome.HasField("end_time") else None
    quality = outcome.quality if outcome.HasField("quality") else None
    if outcome.WhichOneof("origin") == "decision_id":
        return OutcomeRecord(
            outcome_id=outcome.outcome_id,
            origin=Origin.LATER,
            decision_id=outcome.decision_id,
            decided_ms=now_ms,
            recorded_ms=now_ms,
            ended_ms=ended_ms,
            quality=quality,
            verdict=outcome.verdict,
        )
    decision = outcome.routerless_decision
    known = decision.cause in _KNOWN_CAUSES
    return OutcomeRecord(
        outcome_id=outcome.outcome_id,
        origin=Origin.ROUTERLESS,
        decision_id=decision.decision_id,
        decided_ms=_milliseconds(decision.decision_time),
        recorded_ms=now_ms,
        ended_ms=ended_ms,
        routerless_cause=decision.cause if known else outcome_pb2.ROUTERLESS_CAUSE_UNAVAILABLE,
        catalog=decision.catalog,
        tier=decision.tier_id,
        caller=decision.caller or caller,
        attempts=tuple(_attempt(one, keep_nothing=False) for one in outcome.attempts),
        quality=quality,
        verdict=outcome.verdict,
    )


def _of_token(outcome: outcome_pb2.Outcome, token: DecisionToken, now_ms: int) -> OutcomeRecord:
    """Returns a faultless outcome of a router's decision.

    Where the caller of the decision forbade to keep anything of the prompt, the task, the expected
    tier and the provider's identifiers, by which the prompt could be looked up, are left out.
    """
    keep_nothing = token.keep_nothing
    return OutcomeRecord(
        outcome_id=outcome.outcome_id,
        origin=Origin.ROUTER,
        decision_id=token.decision_id,
        decided_ms=token.decision_time_ms,
        recorded_ms=now_ms,
        ended_ms=_milliseconds(outcome.end_time) if outcome.HasField("end_time") else None,
        catalog=token.catalog,
        catalog_revision=token.catalog_revision,
        tier=token.tier,
        task="" if keep_nothing else token.task,
        kind=token.kind,
        model_id=token.model,
        baseline_model_id=token.baseline_model,
        propensity=token.propensity,
        caller=token.caller,
        expected_tier="" if keep_nothing else token.expected_tier,
        keep_nothing=keep_nothing,
        attempts=tuple(_attempt(one, keep_nothing=keep_nothing) for one in outcome.attempts),
        quality=outcome.quality if outcome.HasField("quality") else None,
        verdict=outcome.verdict,
    )


def _attempt(attempt: outcome_pb2.Attempt, *, keep_nothing: bool) -> AttemptRecord:
    error_class: int = attempt.error_class
    if error_class and error_class not in ErrorClass.__members__.values():
        error_class = UNKNOWN_ERROR_CLASS
    usage = attempt.usage
    return AttemptRecord(
        model_id=attempt.model_id,
        provider_id=attempt.provider_id,
        served_model_name=attempt.served_model_name[:MAX_NAME_CHARACTERS],
        step_kind=attempt.step_kind,
        error_class=error_class,
        started_ms=_milliseconds(attempt.start_time) if attempt.HasField("start_time") else None,
        duration_us=_microseconds(attempt.call_duration)
        if attempt.HasField("call_duration")
        else None,
        first_token_us=_microseconds(attempt.first_token_duration)
        if attempt.HasField("first_token_duration")
        else None,
        tokens=Tokens(
            input=usage.input_token_count,
            cached_input=usage.cached_input_token_count,
            cache_write=usage.cache_write_token_count,
            output=usage.output_token_count,
            reasoning=usage.reasoning_token_count,
        )
        if attempt.HasField("usage")
        else None,
        stated_cost_nano_usd=attempt.cost_nano_usd if attempt.HasField("cost_nano_usd") else None,
        provider_request_id="" if keep_nothing else attempt.provider_request_id,
        validator=attempt.validator,
        partial=attempt.partial,
        headroom=_headroom(attempt.rate_headroom) if attempt.HasField("rate_headroom") else None,
    )


def _headroom(headroom: outcome_pb2.RateHeadroom) -> RateHeadroom:
    """Returns what is left of rate limits; below nothing is nothing."""
    requests = headroom.remaining_request_count
    tokens = headroom.remaining_token_count
    return RateHeadroom(
        remaining_requests=max(0, requests)
        if headroom.HasField("remaining_request_count")
        else None,
        remaining_tokens=max(0, tokens) if headroom.HasField("remaining_token_count") else None,
        reset_s=max(0.0, _microseconds(headroom.reset_duration) / 1e6)
        if headroom.HasField("reset_duration")
        else None,
    )


def _milliseconds(time_: Timestamp) -> int:
    return int(time_.seconds) * 1000 + int(time_.nanos) // 1_000_000


def _microseconds(duration: Duration) -> int:
    return int(duration.seconds) * 1_000_000 + int(duration.nanos) // 1_000
