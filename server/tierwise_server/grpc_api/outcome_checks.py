"""Finds what is wrong with a reported outcome: each fault by the path of its field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tierwise.v1 import decision_pb2, error_class_pb2, outcome_pb2
from tierwise_server.grpc_api.decision_token import (
    DecisionToken,
    InvalidTokenError,
    decode_token,
)
from tierwise_server.ledger.pricing import MAX_COST_NANO_USD

MAX_ATTEMPTS: Final = 50
MAX_ID_CHARACTERS: Final = 100
MAX_NAME_CHARACTERS: Final = 200
MAX_REQUEST_ID_CHARACTERS: Final = 200
MAX_TOKENS: Final = 1_000_000_000
MAX_CALL_SECONDS: Final = 7 * 24 * 3600
MAX_CLOCK_LEAD_MS: Final = 24 * 3600 * 1000
"""How far another machine's clock may be ahead of this one."""

_DAY_MS: Final = 24 * 3600 * 1000
_MAX_KIND: Final = 1_000
_NANOS: Final = 1_000_000_000

_Violation = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFrame:
    """The times that a report may speak of."""

    now_ms: int
    """Milliseconds since 1970 in UTC."""
    retention_days: int = 0
    """Age at which the ledger deletes decisions. 0 means never."""

    def fault(self, time_ms: int) -> str:
        """Returns what is wrong with a time; empty when nothing is."""
        if time_ms > self.now_ms + MAX_CLOCK_LEAD_MS:
            return "lies more than a day ahead of the server's clock"
        if time_ms < 0:
            return "lies before 1970"
        if self.retention_days and time_ms < self.now_ms - self.retention_days * _DAY_MS:
            return f"has expired: it lies more than {self.retention_days} days back"
        return ""


def token_of(outcome: outcome_pb2.Outcome) -> DecisionToken | InvalidTokenError | None:
    """Returns what an outcome's token says, or why it cannot be read; None where it has none."""
    if outcome.WhichOneof("origin") != "decision_token":
        return None
    try:
        return decode_token(outcome.decision_token)
    except InvalidTokenError as error:
        return error


def violations_of(
    outcome: outcome_pb2.Outcome, token: DecisionToken | InvalidTokenError | None, frame: TimeFrame
) -> Iterator[_Violation]:
    """Yields the path of each faulty field with what is wrong and what would be right.

    Args:
        outcome: What was reported.
        token: What `token_of` says of it.
        frame: The times that it may speak of.
    """
    if not 1 <= len(outcome.outcome_id) <= MAX_ID_CHARACTERS:
        yield "outcome_id", f"must have from 1 to {MAX_ID_CHARACTERS} characters"
    elif "\0" in outcome.outcome_id:
        yield "outcome_id", "must not have the character NUL"
    if token is not None:
        if fault := _token_fault(token, frame):
            yield "decision_token", fault
    else:
        yield from _origin_violations(outcome, frame)
    yield from _judgement_violations(outcome)
    if outcome.HasField("end_time") and (fault := _time_fault(outcome.end_time, frame)):
        yield "end_time", fault
    if len(outcome.attempts) > MAX_ATTEMPTS:
        yield "attempts", f"may have at most {MAX_ATTEMPTS} entries"
    for position, attempt in enumerate(outcome.attempts[:MAX_ATTEMPTS]):
        for field, description in _attempt_violations(attempt, frame):
            yield f"attempts[{position}].{field}", description


def caller_violations(
    outcome: outcome_pb2.Outcome, token: DecisionToken | InvalidTokenError | None, caller: str
) -> Iterator[_Violation]:
    """Yields a violation where an outcome is of another caller than its bearer token stands for.

    Otherwise anybody who may report could use up the spend limit of another caller.
    """
    if isinstance(token, DecisionToken) and token.caller != caller:
        yield "decision_token", "is of a decision for another caller"
    if outcome.routerless_decision.caller not in {"", caller}:
        yield "routerless_decision.caller", "is another caller than the bearer token stands for"


def _judgement_violations(outcome: outcome_pb2.Outcome) -> Iterator[_Violation]:
    judged = outcome.HasField("quality") or outcome.verdict
    if not outcome.attempts and not judged:
        yield "attempts", "an outcome without a judgement needs at least one attempt"
    if outcome.HasField("quality") and not 0.0 <= outcome.quality <= 1.0:
        yield "quality", f"must be from 0 to 1, not {outcome.quality:g}"
    if outcome.verdict not in outcome_pb2.Verdict.values():
        yield "verdict", f"{outcome.verdict} is no value that this server knows"


def _origin_violations(outcome: outcome_pb2.Outcome, frame: TimeFrame) -> Iterator[_Violation]:
    match outcome.WhichOneof("origin"):
        case "routerless_decision":
            yield from _routerless_violations(outcome.routerless_decision, frame)
        case "decision_id":
            if not 1 <= len(outcome.decision_id) <= MAX_ID_CHARACTERS:
                yield "decision_id", f"must have from 1 to {MAX_ID_CHARACTERS} characters"
            if outcome.attempts:
                yield "attempts", "an outcome by decision_id carries a judgement alone"
        case _:
            yield "origin", "give a decision_token, a routerless_decision or a decision_id"


def _token_fault(token: DecisionToken | InvalidTokenError, frame: TimeFrame) -> str:
    if isinstance(token, InvalidTokenError):
        return str(token)
    if not _is_sound(token):
        return "does not hold what a token of this version holds"
    fault = frame.fault(token.decision_time_ms)
    return f"is of a decision whose time {fault}" if fault else ""


def _is_sound(token: DecisionToken) -> bool:
    """Returns whether a token holds what a server would write: tokens are not signed."""
    texts = (token.decision_id, token.catalog, token.catalog_revision, token.tier, token.task)
    others = (token.model, token.baseline_model, token.caller, token.expected_tier)
    return (
        bool(token.decision_id)
        and all(len(one) <= MAX_ID_CHARACTERS for one in (*texts, *others))
        and 0 <= token.kind <= _MAX_KIND
        and (token.propensity is None or 0.0 < token.propensity <= 1.0)
    )


def _routerless_violations(
    decision: outcome_pb2.RouterlessDecision, frame: TimeFrame
) -> Iterator[_Violation]:
    if not 1 <= len(decision.decision_id) <= MAX_ID_CHARACTERS:
        yield (
            "routerless_decision.decision_id",
            f"must have from 1 to {MAX_ID_CHARACTERS} characters",
        )
    if not decision.tier_id:
        yield "routerless_decision.tier_id", "is needed"
    if not decision.HasField("decision_time"):
        yield "routerless_decision.decision_time", "is needed"
    elif fault := _time_fault(decision.decision_time, frame):
        yield "routerless_decision.decision_time", fault
    for field in ("catalog", "tier_id", "caller"):
        if len(getattr(decision, field)) > MAX_ID_CHARACTERS:
            yield f"routerless_decision.{field}", f"may have at most {MAX_ID_CHARACTERS} characters"
    if not decision.cause:
        yield "routerless_decision.cause", "is needed"


def _attempt_violations(attempt: outcome_pb2.Attempt, frame: TimeFrame) -> Iterator[_Violation]:
    if not attempt.model_id:
        yield "model_id", "is needed"
    yield from _length_violations(attempt)
    if attempt.validator and (
        attempt.error_class != error_class_pb2.ERROR_CLASS_REJECTED_BY_VALIDATOR
    ):
        yield "validator", "belongs to attempts of class ERROR_CLASS_REJECTED_BY_VALIDATOR only"
    if attempt.HasField("cost_nano_usd") and not 0 <= attempt.cost_nano_usd <= MAX_COST_NANO_USD:
        yield "cost_nano_usd", f"must be from 0 to {MAX_COST_NANO_USD}, not {attempt.cost_nano_usd}"
    if attempt.HasField("start_time") and (
        fault := _time_fault(attempt.start_time, TimeFrame(now_ms=frame.now_ms))
    ):
        yield "start_time", fault
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


def _length_violations(attempt: outcome_pb2.Attempt) -> Iterator[_Violation]:
    for field, most in (
        ("model_id", MAX_ID_CHARACTERS),
        ("provider_id", MAX_ID_CHARACTERS),
        ("provider_request_id", MAX_REQUEST_ID_CHARACTERS),
        ("validator", MAX_ID_CHARACTERS),
    ):
        if len(getattr(attempt, field)) > most:
            yield field, f"may have at most {most} characters"


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


def _time_fault(time: Timestamp, frame: TimeFrame) -> str:
    if not 0 <= time.nanos < _NANOS:
        return "is no time: `nanos` must be from 0 to 999,999,999"
    return frame.fault(time.seconds * 1000 + time.nanos // 1_000_000)
