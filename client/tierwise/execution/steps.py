"""Which step of a plan a failure leads to.

The plan says so, and the rules here hold whatever it says: they are what keeps a refusal or a wrong
request from being sent to dearer models until one gives in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tierwise.decisions import Model, PlanStep, StepKind
from tierwise.error_class import ErrorClass

_END_OF_PLAN = frozenset(
    {ErrorClass.CONTENT_POLICY, ErrorClass.INVALID_REQUEST, ErrorClass.CANCELLED}
)
"""Failures that no other model is asked after."""

_TRANSIENT = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.TIMEOUT,
        ErrorClass.OVERLOADED,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONNECTION,
        ErrorClass.MALFORMED_RESPONSE,
    }
)
"""Failures that the same call may not meet again."""


def retry_limit(step: PlanStep, error_class: ErrorClass) -> int:
    """Returns how often a step's model may be called again after a failure."""
    return step.retry_limits.get(error_class, 0) if error_class in _TRANSIENT else 0


def steps_after(steps: Sequence[PlanStep], position: int, error_class: ErrorClass) -> Iterator[int]:
    """Yields the positions of the steps that a failure of the step at `position` leads to."""
    if error_class in _END_OF_PLAN:
        return
    failed = steps[position].model
    for later in range(position + 1, len(steps)):
        step = steps[later]
        if error_class in step.error_classes and _mends(step, failed, error_class):
            yield later


def _mends(step: PlanStep, failed: Model, error_class: ErrorClass) -> bool:
    """Returns whether a step can do better after a failure than the model that failed."""
    model = step.model
    match error_class:
        case ErrorClass.AUTHENTICATION:
            return step.kind is StepKind.ALTERNATE and model.provider_id != failed.provider_id
        case ErrorClass.QUOTA_EXHAUSTED:
            return model.provider_id != failed.provider_id
        case ErrorClass.CONTEXT_TOO_LONG:
            return model.context_window_tokens > failed.context_window_tokens
        case ErrorClass.REJECTED_BY_VALIDATOR:
            # Two models of one higher tier are both escalations of the first step.
            return step.kind is StepKind.ESCALATION and model.tier_id != failed.tier_id
        case _:
            return True
