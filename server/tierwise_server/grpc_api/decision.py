"""From a decision to the contract's message."""

from __future__ import annotations

import os
import time

from google.protobuf import duration_pb2

from tierwise.v1 import decision_pb2
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.deciding.semantic import Abstention
from tierwise_server.grpc_api.decision_token import DecisionToken, encode_token
from tierwise_server.router import Routed, Timings

_KINDS = {
    kind: decision_pb2.DecisionKind.Value(f"DECISION_KIND_{kind.name}") for kind in DecisionKind
}
_ABSTENTIONS = {
    abstention: decision_pb2.SemanticAbstention.Value(f"SEMANTIC_ABSTENTION_{abstention.name}")
    for abstention in Abstention
}


def new_decision_id(now_ms: int) -> str:
    """Returns an identifier of 32 hex digits that sorts by time: 12 of time, 20 of chance."""
    return f"{now_ms:012x}{os.urandom(10).hex()}"


def decision_message(routed: Routed, *, with_token: bool = True) -> decision_pb2.Decision:
    """Returns a decision as callers get it.

    Args:
        routed: The decision and what it rests on.
        with_token: Whether outcomes may be reported for it.
    """
    verdict, snapshot = routed.verdict, routed.snapshot
    now_ms = time.time_ns() // 1_000_000
    decision_id = new_decision_id(now_ms)
    message = decision_pb2.Decision(
        decision_id=decision_id,
        catalog=routed.catalog,
        tier_id=verdict.tier.id,
        task_id=verdict.task.id if verdict.task is not None else "",
        kind=_KINDS[verdict.kind],
        rule_name=verdict.rule.name if verdict.rule is not None else "",
        catalog_revision=snapshot.revision,
        encoder_id=snapshot.encoder_id,
        timings=_timings_message(routed.timings),
        reason=verdict.reason,
    )
    if verdict.abstention is not None:
        message.semantic_abstention = _ABSTENTIONS[verdict.abstention]
    outcome = verdict.semantic
    if outcome is not None:
        message.score = outcome.best.score
        message.score_threshold = outcome.threshold
        message.scorer_id = snapshot.scorer.scorer_id
        if outcome.margin is not None:
            message.margin = outcome.margin
        if verdict.similarity is not None:
            message.similarity = verdict.similarity
    if with_token:
        message.decision_token = encode_token(_token(routed, decision_id, now_ms))
    return message


def _token(routed: Routed, decision_id: str, now_ms: int) -> DecisionToken:
    verdict, request = routed.verdict, routed.opening.request
    return DecisionToken(
        decision_id=decision_id,
        decision_time_ms=now_ms,
        catalog=routed.catalog,
        catalog_revision=routed.snapshot.revision,
        tier=verdict.tier.id,
        task=verdict.task.id if verdict.task is not None else "",
        kind=int(verdict.kind),
        model="",
        baseline_model="",
        estimated_cost_nano_usd=None,
        counterfactual_cost_nano_usd=None,
        propensity=None,
        caller=request.caller,
        expected_tier=request.expected_tier,
        keep_nothing=request.keep_nothing,
    )


def _timings_message(timings: Timings) -> decision_pb2.StageTimings:
    return decision_pb2.StageTimings(
        queue_duration=_duration(timings.queue_s),
        encoding_duration=_duration(timings.encoding_s),
        scoring_duration=_duration(timings.scoring_s),
        total_duration=_duration(timings.total_s),
        vector_cached=timings.vector_cached,
    )


def _duration(seconds: float) -> duration_pb2.Duration:
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))
