"""From a decision to the contract's message."""

from __future__ import annotations

import functools
import os
import time
from typing import Final

from google.protobuf import duration_pb2

from tierwise.v1 import decision_pb2
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.deciding.semantic import Abstention
from tierwise_server.grpc_api.decision_token import DecisionToken, encode_token
from tierwise_server.grpc_api.models import fill_plan
from tierwise_server.planning.choice import REMEMBERED_CHOICES, ModelChoice
from tierwise_server.routing import Routed, Timings

_KINDS = {
    kind: decision_pb2.DecisionKind.Value(f"DECISION_KIND_{kind.name}") for kind in DecisionKind
}
_ABSTENTIONS = {
    abstention: decision_pb2.SemanticAbstention.Value(f"SEMANTIC_ABSTENTION_{abstention.name}")
    for abstention in Abstention
}


def new_decision_id(now_ms: int) -> str:
    """Returns an identifier of 32 hex digits that sorts by time: 12 of time, 20 of chance."""
    return f"{now_ms:012x}{_chance.take()}"


class _Chance:
    """Hex digits of the system's random numbers, fetched for many identifiers at once.

    A system call for each takes longer than anything else in making one.
    """

    _DIGITS: Final = 20
    _FETCHED_BYTES: Final = 4_000

    def __init__(self) -> None:
        self._digits = ""
        self._place = 0

    def take(self) -> str:
        """Returns digits that nobody got before. Of one thread."""
        start, end = self._place, self._place + self._DIGITS
        if end > len(self._digits):
            self._digits = os.urandom(self._FETCHED_BYTES).hex()
            start, end = 0, self._DIGITS
        self._place = end
        return self._digits[start:end]


_chance = _Chance()


def fill_decision(
    message: decision_pb2.Decision, routed: Routed, *, with_token: bool = True
) -> None:
    """Fills in a decision as callers get it.

    Into the message where it belongs, since putting a message into another copies it, and this one
    is made for every call.

    Args:
        message: An empty message.
        routed: The decision and what it rests on.
        with_token: Whether outcomes may be reported for it.
    """
    verdict, snapshot = routed.verdict, routed.snapshot
    now_ms = time.time_ns() // 1_000_000
    message.decision_id = new_decision_id(now_ms)
    message.catalog = routed.catalog
    message.tier_id = _tier_id(routed)
    message.kind = _KINDS[verdict.kind]
    message.catalog_revision = snapshot.revision
    message.fleet_revision = routed.fleet.revision
    message.encoder_id = snapshot.encoder_id
    message.reason = _reason(routed)
    _fill_timings(message.timings, routed.timings)
    if verdict.task is not None:
        message.task_id = verdict.task.id
    if verdict.rule is not None:
        message.rule_name = verdict.rule.name
    if verdict.abstention is not None:
        message.semantic_abstention = _ABSTENTIONS[verdict.abstention]
    _fill_evidence(message, routed)
    if routed.choice is not None:
        message.MergeFromString(_choice_part(routed.choice))
    if routed.draw is not None:
        message.arm = decision_pb2.CatalogArm.ValueType(routed.draw.arm)
        message.propensity = routed.draw.propensity * (message.propensity or 1.0)
    if with_token:
        message.decision_token = encode_token(_token(routed, message, now_ms))


def _fill_evidence(message: decision_pb2.Decision, routed: Routed) -> None:
    verdict = routed.verdict
    outcome = verdict.semantic
    if outcome is not None:
        message.score = outcome.best.score
        message.score_threshold = outcome.threshold
        message.scorer_id = routed.snapshot.scorer.scorer_id
        if outcome.margin is not None:
            message.margin = outcome.margin
        if verdict.similarity is not None:
            message.similarity = verdict.similarity
    calibration = routed.snapshot.catalog.calibration
    # Of the tier that was decided, not of one that stands in for it.
    is_decided = message.tier_id == verdict.tier.id
    if verdict.confidence is not None and calibration is not None and is_decided:
        message.confidence = verdict.confidence
        message.calibration_id = calibration.id


@functools.lru_cache(maxsize=REMEMBERED_CHOICES)
def _choice_part(choice: ModelChoice) -> bytes:
    """Returns what a choice adds to a decision, in the form that messages are merged from.

    Choices are made once for many calls, and reading a message of many parts is quicker than
    putting it together.
    """
    part = decision_pb2.Decision(
        model_id=choice.model.model.id,
        baseline_model_id=choice.baseline.model.id,
        estimated_cost_nano_usd=choice.estimated_cost_nano_usd,
        counterfactual_cost_nano_usd=choice.counterfactual_cost_nano_usd,
        propensity=choice.propensity,
    )
    fill_plan(part.plan, choice.plan)
    return part.SerializeToString()


def _reason(routed: Routed) -> str:
    tier = _tier_id(routed)
    if tier == routed.verdict.tier.id:
        return routed.verdict.reason
    return (
        f"{routed.verdict.reason} No model of {routed.verdict.tier.id} meets the request's limits,"
        f" so {tier} is used."
    )


def _tier_id(routed: Routed) -> str:
    """Returns the tier in use: the decided one, unless only another has a model that qualifies."""
    if routed.choice is None:
        return routed.verdict.tier.id
    return routed.choice.model.model.tier


def _token(routed: Routed, message: decision_pb2.Decision, now_ms: int) -> DecisionToken:
    verdict, request, choice = routed.verdict, routed.opening.request, routed.choice
    return DecisionToken(
        decision_id=message.decision_id,
        decision_time_ms=now_ms,
        catalog=routed.catalog,
        catalog_revision=routed.snapshot.revision,
        tier=message.tier_id,
        task=message.task_id,
        kind=int(verdict.kind),
        model=message.model_id,
        baseline_model=message.baseline_model_id,
        estimated_cost_nano_usd=choice.estimated_cost_nano_usd if choice is not None else None,
        counterfactual_cost_nano_usd=(
            choice.counterfactual_cost_nano_usd if choice is not None else None
        ),
        propensity=routed.propensity,
        caller=request.caller,
        expected_tier=request.expected_tier,
        keep_nothing=request.keep_nothing,
    )


def _fill_timings(message: decision_pb2.StageTimings, timings: Timings) -> None:
    _fill_duration(message.queue_duration, timings.queue_s)
    _fill_duration(message.encoding_duration, timings.encoding_s)
    _fill_duration(message.scoring_duration, timings.scoring_s)
    _fill_duration(message.total_duration, timings.total_s)
    message.vector_cached = timings.vector_cached


def _fill_duration(message: duration_pb2.Duration, seconds: float) -> None:
    message.SetInParent()
    message.seconds = whole = int(seconds)
    message.nanos = int((seconds - whole) * 1e9)
