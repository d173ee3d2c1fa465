"""Decisions and explanations as text for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from tierwise.v1.decision_pb2 import Decision, DecisionKind, PlanStepKind
from tierwise.v1.error_class_pb2 import ErrorClass
from tierwise.v1.evidence_pb2 import EvidenceShowing
from tierwise.v1.explanation_pb2 import Explanation, Flip, UtteranceMatch

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

NANO_PER_USD = 1_000_000_000


def counted(number: int, noun: str) -> str:
    """Returns a number and what it counts, as in `1 replica` and `2 replicas`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def milliseconds(duration: Duration) -> float:
    """Returns a duration in milliseconds."""
    return duration.seconds * 1e3 + duration.nanos / 1e6


def dollars(nano_usd: int) -> str:
    """Returns an amount with as many digits as small sums need."""
    return f"${nano_usd / NANO_PER_USD:.6f}"


def value_name(enum: _EnumTypeWrapper[Any], number: int) -> str:
    """Returns a value of an enum in the words of the documentation.

    A value of a newer server than these stubs is shown by its number.
    """
    found = enum.DESCRIPTOR.values_by_number.get(number)
    if found is None:
        return f"kind {number}"
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
    return found.name.removeprefix(prefix).lower().replace("_", "-")


def decision_lines(decision: Decision) -> Iterator[str]:
    """Yields a decision, the verdict first."""
    target = decision.tier_id + (f" / {decision.task_id}" if decision.task_id else "")
    yield f"{target}  ({value_name(DecisionKind, decision.kind).replace('-', ' ')})"
    yield f"  why       {decision.reason}"
    if decision.HasField("score"):
        margin = f", margin {decision.margin:.3f}" if decision.HasField("margin") else ""
        yield (
            f"  evidence  score {decision.score:.3f} of {decision.score_threshold:.3f} needed"
            f"{margin}, similarity {decision.similarity:.3f}"
        )
    if decision.HasField("confidence"):
        yield (
            f"  confident {decision.confidence:.3f} that it is right"
            f" (calibration {decision.calibration_id})"
        )
    if decision.model_id:
        yield f"  model     {decision.model_id}{_costs(decision)}"
        yield from _plan_lines(decision)
    timings = decision.timings
    yield (
        f"  time      {milliseconds(timings.total_duration):.2f} ms, of which"
        f" {milliseconds(timings.encoding_duration):.2f} ms encoding"
        f"{' (vector was cached)' if timings.vector_cached else ''}"
    )
    yield f"  catalog   {decision.catalog} at revision {decision.catalog_revision}"


def _costs(decision: Decision) -> str:
    if not decision.HasField("estimated_cost_nano_usd"):
        return ", of unknown price"
    text = f", about {dollars(decision.estimated_cost_nano_usd)} a call"
    if decision.HasField("counterfactual_cost_nano_usd"):
        text += (
            f" against {dollars(decision.counterfactual_cost_nano_usd)}"
            f" on {decision.baseline_model_id}"
        )
    return text


def _plan_lines(decision: Decision) -> Iterator[str]:
    for step in list(decision.plan.steps)[1:]:
        classes = ", ".join(value_name(ErrorClass, one) for one in step.error_classes)
        kind = value_name(PlanStepKind, step.kind)
        yield f"  then      {step.model.model_id} ({kind}) after {classes}"


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yields the evidence behind a decision."""
    if explanation.language:
        yield f"language    {explanation.language}"
    for tier in explanation.tiers:
        yield (
            f"tier        {tier.tier_id:<12} score {tier.score:6.3f} of {tier.score_threshold:.3f}"
            f"  (best task {tier.task_id})"
        )
    for task in explanation.tasks:
        yield (
            f"task        {task.tier_id}/{task.task_id}: score {task.score:.3f}"
            f" of {task.score_threshold:.3f}, similarity {task.similarity:.3f}"
        )
        yield from (f"              {_match(match)}" for match in task.utterance_matches)
    if explanation.HasField("evidence"):
        yield from _evidence_lines(explanation.evidence)
    for rule in explanation.rules:
        layer = "override" if rule.override else "default"
        yield (
            f"rule        {rule.rule_name} ({layer}, {rule.source_file}:{rule.source_line})"
            f"{' applied' if rule.applied else ''}"
        )
    for model in explanation.dropped_models:
        yield f"dropped     {model.model_id}: {model.constraint}: {model.description}"
    for flip in explanation.flips:
        yield from _flip_lines(flip, explanation)


def _evidence_lines(evidence: EvidenceShowing) -> Iterator[str]:
    for one in evidence.predictions:
        yield (
            f"expected    {one.tier_id:<12} quality {one.quality:.3f}, between"
            f" {one.lower_bound:.3f} and {one.upper_bound:.3f}; at least"
            f" {evidence.required_quality:.3f} required"
        )
    for match in evidence.evidence_matches:
        labels = ", ".join(
            f"{one.model_id or one.tier_id} {one.quality:.2f} ({one.source_file}:{one.source_line})"
            for one in match.labels
        )
        yield f"              {match.similarity:.3f}  {labels}  {match.prompt}".rstrip()
    yield f"evidence    {evidence.status.description}"


def _match(match: UtteranceMatch) -> str:
    where = f"{match.source_file}:{match.source_line}"
    return f"{match.similarity:.3f}  {where}  {match.utterance}"


def _flip_lines(flip: Flip, explanation: Explanation) -> Iterator[str]:
    target = flip.tier_id + (f" / {flip.task_id}" if flip.task_id else "")
    if flip.HasField("threshold"):
        best = explanation.tiers[0]
        side = "above" if best.score >= best.score_threshold else "below"
        yield f"would flip  to {target} with a threshold {side} {flip.threshold:.3f}"
        return
    if flip.HasField("quality_bar"):
        yield f"would flip  to {target} with a quality bar of about {flip.quality_bar:.3f}"
        return
    matches = flip.utterance_removal.utterance_matches
    yield f"would flip  to {target} without the nearest {len(matches)} utterances:"
    yield from (f"              {_match(match)}" for match in matches)
