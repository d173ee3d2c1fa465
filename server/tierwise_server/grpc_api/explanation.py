"""From an explanation to the contract's message."""

from __future__ import annotations

from tierwise.v1 import explanation_pb2
from tierwise_server.explaining import (
    Flip,
    RuleShowing,
    TaskShowing,
    TierShowing,
    UtteranceMatch,
)
from tierwise_server.grpc_api.evidence import evidence_showing
from tierwise_server.routing import Explained


def explanation_message(explained: Explained) -> explanation_pb2.Explanation:
    """Returns an explanation as callers get it."""
    explanation = explained.explanation
    return explanation_pb2.Explanation(
        tiers=[_tier(one) for one in explanation.tiers],
        tasks=[_task(one) for one in explanation.tasks],
        rules=[_rule(one) for one in explanation.rules],
        flips=[_flip(one) for one in explanation.flips],
        dropped_models=[
            explanation_pb2.DroppedModel(
                model_id=one.model_id, constraint=one.constraint, description=one.description
            )
            for one in explained.dropped_models
        ],
        language=explained.routed.opening.language,
        evidence=(
            evidence_showing(explained.routed.snapshot, explanation.evidence)
            if explanation.evidence is not None
            else None
        ),
    )


def _tier(showing: TierShowing) -> explanation_pb2.TierCandidate:
    return explanation_pb2.TierCandidate(
        tier_id=showing.tier.id,
        score=showing.score,
        score_threshold=showing.threshold,
        task_id=showing.task.id,
    )


def _task(showing: TaskShowing) -> explanation_pb2.TaskCandidate:
    return explanation_pb2.TaskCandidate(
        task_id=showing.task.id,
        tier_id=showing.task.tier,
        score=showing.score,
        score_threshold=showing.threshold,
        similarity=showing.similarity,
        utterance_matches=[_match(one) for one in showing.nearest],
    )


def _match(match: UtteranceMatch) -> explanation_pb2.UtteranceMatch:
    location = match.utterance.location
    return explanation_pb2.UtteranceMatch(
        utterance=match.utterance.text,
        similarity=match.similarity,
        source_file=location.file,
        source_line=location.line,
    )


def _rule(showing: RuleShowing) -> explanation_pb2.RuleMatch:
    return explanation_pb2.RuleMatch(
        rule_name=showing.rule.name,
        source_file=showing.rule.location.file,
        source_line=showing.rule.location.line,
        override=showing.override,
        applied=showing.applied,
    )


def _flip(flip: Flip) -> explanation_pb2.Flip:
    task = flip.verdict.task
    message = explanation_pb2.Flip(
        tier_id=flip.verdict.tier.id, task_id=task.id if task is not None else ""
    )
    if flip.threshold is not None:
        message.threshold = flip.threshold
    elif flip.bar is not None:
        message.quality_bar = flip.bar
    else:
        message.utterance_removal.utterance_matches.extend(_match(one) for one in flip.without)
    return message
