"""Checks reported outcomes one by one, so that a faulty one does not hold up the others."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration

from tierwise.v1 import (
    decision_pb2,
    error_class_pb2,
    error_reason_pb2,
    outcome_pb2,
    routing_service_pb2,
)
from tierwise_server.grpc_api.decision_token import InvalidTokenError, decode_token

MAX_ATTEMPTS = 50
MAX_ID_CHARACTERS = 100
MAX_REQUEST_ID_CHARACTERS = 200
MAX_TOKENS = 1_000_000_000
MAX_CALL_SECONDS = 7 * 24 * 3600
REMEMBERED_OUTCOMES = 100_000
"""Identifiers of recent outcomes that duplicates are told by."""

_Violation = tuple[str, str]


class OutcomeIntake:
    """Takes outcomes: each is accepted, a duplicate, or rejected with its faults."""

    def __init__(self, remembered: int = REMEMBERED_OUTCOMES) -> None:
        self._remembered = remembered
        self._recent: OrderedDict[str, None] = OrderedDict()

    def take(self, outcome: outcome_pb2.Outcome) -> routing_service_pb2.OutcomeResult:
        """Returns what became of one outcome."""
        violations = list(_violations(outcome))
        if violations:
            return routing_service_pb2.OutcomeResult(
                outcome_id=outcome.outcome_id,
                status=routing_service_pb2.OUTCOME_STATUS_REJECTED,
                violations=[
                    routing_service_pb2.OutcomeViolation(
                        field=field,
                        description=description,
                        reason=error_reason_pb2.ERROR_REASON_INVALID_FIELD,
                    )
                    for field, description in violations
                ],
            )
        known = outcome.outcome_id in self._recent
        self._recent[outcome.outcome_id] = None
        self._recent.move_to_end(outcome.outcome_id)
        if len(self._recent) > self._remembered:
            self._recent.popitem(last=False)
        return routing_service_pb2.OutcomeResult(
            outcome_id=outcome.outcome_id,
            status=routing_service_pb2.OUTCOME_STATUS_DUPLICATE
            if known
            else routing_service_pb2.OUTCOME_STATUS_ACCEPTED,
        )


def _violations(outcome: outcome_pb2.Outcome) -> Iterator[_Violation]:
    if not 1 <= len(outcome.outcome_id) <= MAX_ID_CHARACTERS:
        yield "outcome_id", f"must have from 1 to {MAX_ID_CHARACTERS} characters"
    yield from _origin_violations(outcome)
    judged = outcome.HasField("quality") or outcome.verdict
    if not outcome.attempts and not judged:
        yield "attempts", "an outcome without a judgement needs at least one attempt"
    if len(outcome.attempts) > MAX_ATTEMPTS:
        yield "attempts", f"may have at most {MAX_ATTEMPTS} entries"
    if outcome.HasField("quality") and not 0.0 <= outcome.quality <= 1.0:
        yield "quality", f"must be from 0 to 1, not {outcome.quality:g}"
    if outcome.verdict not in outcome_pb2.Verdict.values():
        yield "verdict", f"{outcome.verdict} is no value that this server knows"
    for position, attempt in enumerate(outcome.attempts[:MAX_ATTEMPTS]):
        for field, description in _attempt_violations(attempt):
            yield f"attempts[{position}].{field}", description


def _origin_violations(outcome: outcome_pb2.Outcome) -> Iterator[_Violation]:
    match outcome.WhichOneof("origin"):
        case "decision_token":
            try:
                decode_token(outcome.decision_token)
            except InvalidTokenError as error:
                yield "decision_token", str(error)
        case "routerless_decision":
            yield from _routerless_violations(outcome.routerless_decision)
        case "decision_id":
            if not 1 <= len(outcome.decision_id) <= MAX_ID_CHARACTERS:
                yield "decision_id", f"must have from 1 to {MAX_ID_CHARACTERS} characters"
            if outcome.attempts:
                yield "attempts", "an outcome by decision_id carries a judgement alone"
        case _:
            yield "origin", "give a decision_token, a routerless_decision or a decision_id"


def _routerless_violations(decision: outcome_pb2.RouterlessDecision) -> Iterator[_Violation]:
    if not 1 <= len(decision.decision_id) <= MAX_ID_CHARACTERS:
        yield (
            "routerless_decision.decision_id",
            f"must have from 1 to {MAX_ID_CHARACTERS} characters",
        )
    if not decision.tier_id:
        yield "routerless_decision.tier_id", "is needed"
    if not decision.HasField("decision_time"):
        yield "routerless_decision.decision_time", "is needed"
    if len(decision.caller) > MAX_ID_CHARACTERS:
        yield "routerless_decision.caller", f"may have at most {MAX_ID_CHARACTERS} characters"
    if not decision.cause:
        yield "routerless_decision.cause", "is needed"


def _attempt_violations(attempt: outcome_pb2.Attempt) -> Iterator[_Violation]:
    if not attempt.model_id:
        yield "model_id", "is needed"
    if len(attempt.provider_request_id) > MAX_REQUEST_ID_CHARACTERS:
        yield "provider_request_id", f"may have at most {MAX_REQUEST_ID_CHARACTERS} characters"
    if len(attempt.validator) > MAX_ID_CHARACTERS:
        yield "validator", f"may have at most {MAX_ID_CHARACTERS} characters"
    if attempt.validator and (
        attempt.error_class != error_class_pb2.ERROR_CLASS_REJECTED_BY_VALIDATOR
    ):
        yield "validator", "belongs to attempts of class ERROR_CLASS_REJECTED_BY_VALIDATOR only"
    if attempt.HasField("cost_nano_usd") and attempt.cost_nano_usd < 0:
        yield "cost_nano_usd", f"must be at least 0, not {attempt.cost_nano_usd}"
    for field, duration in (
        ("call_duration", attempt.call_duration),
        ("first_token_duration", attempt.first_token_duration),
    ):
        if not 0 <= _seconds(duration) <= MAX_CALL_SECONDS:
            yield field, f"must be from 0 to {MAX_CALL_SECONDS} seconds"
    if attempt.step_kind not in decision_pb2.PlanStepKind.values():
        yield "step_kind", f"{attempt.step_kind} is no value that this server knows"
    if attempt.HasField("usage"):
        yield from _usage_violations(attempt.usage)


def _usage_violations(usage: outcome_pb2.Usage) -> Iterator[_Violation]:
    for field in usage.DESCRIPTOR.fields:
        count = getattr(usage, field.name)
        if not 0 <= count <= MAX_TOKENS:
            yield f"usage.{field.name}", f"must be from 0 to {MAX_TOKENS}, not {count}"
    for part, whole in (
        ("cached_input_token_count", "input_token_count"),
        ("reasoning_token_count", "output_token_count"),
    ):
        if getattr(usage, part) > getattr(usage, whole):
            yield f"usage.{part}", f"is part of {whole}, so it cannot be more"


def _seconds(duration: Duration) -> float:
    seconds = duration.seconds + duration.nanos / 1e9
    return seconds if math.isfinite(seconds) else -1.0
