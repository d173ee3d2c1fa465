"""Plans what to call, in which order, when the chosen model fails.

The plan starts with the chosen model, goes on with alternates of its tier, and then goes up, tier
by tier. Every step keeps the request's limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Final

from tierwise_server.planning.error_classes import RESPONSES, ErrorClass, Reach
from tierwise_server.planning.limits import Scope
from tierwise_server.planning.registry import PricedModel
from tierwise_server.planning.selection import PlanLimits, Shortlist, select_models

CALL_TIMEOUT_S: Final = 30
"""Time limit of one call, in seconds."""


class StepKind(IntEnum):
    """How a step stands to the first one. The numbers are those of the contract."""

    FIRST = 1
    ALTERNATE = 2
    ESCALATION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How often one failure may be answered by calling the same model again."""

    error_class: ErrorClass
    retry_limit: int
    """Most calls after the first one; above 0."""


RETRY_RULES: Final = tuple(
    RetryRule(error_class=error_class, retry_limit=response.retry_limit)
    for error_class, response in sorted(RESPONSES.items())
    if response.retry_limit
)
"""The same for every step: whether a call may be repeated depends on its failure alone."""

PAID_CALLS: Final = 1 + sum(one.retry_limit for one in RESPONSES.values() if one.paid)
"""Most calls of one step that may cost tokens: the first, and every retry after a failure for which
the provider may bill. Calls that the provider refuses cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanStep:
    """One attempt of a plan. `RETRY_RULES` and `CALL_TIMEOUT_S` hold for each."""

    model: PricedModel
    kind: StepKind
    error_classes: tuple[ErrorClass, ...]
    """Failures of the step before that lead to this one. Empty in the first step."""
    estimated_cost_nano_usd: int | None
    """Of one call. None means unpriced."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The attempts that a client may make, in order."""

    steps: tuple[PlanStep, ...]
    """At least one, the call of the chosen model."""
    worst_case_cost_nano_usd: int | None
    """Cost if every step is taken and every one of its calls that may be billed is, `PAID_CALLS`
    of them. None when the price of a step is unknown."""
    estimated_input_tokens: int
    """For the chosen model."""
    assumed_output_tokens: int


def plan_for(shortlist: Shortlist, limits: PlanLimits) -> Plan:
    """Returns the plan that starts with the chosen model."""
    scope = shortlist.scope
    call, first = scope.call, scope.registry.models[shortlist.first]
    steps = tuple(_steps(scope, select_models(shortlist, limits)))
    return Plan(
        steps=steps,
        worst_case_cost_nano_usd=_worst_case([step.estimated_cost_nano_usd for step in steps]),
        estimated_input_tokens=call.input_tokens[first.family],
        assumed_output_tokens=call.output_tokens,
    )


def _steps(scope: Scope, chosen: Sequence[int]) -> Iterator[PlanStep]:
    """Yields the steps; a model that no failure can lead to is left out."""
    before: list[PricedModel] = []
    for position in chosen:
        model = scope.registry.models[position]
        classes = _leading_to(model, before)
        if before and not classes:
            continue
        if not before:
            kind = StepKind.FIRST
        elif model.rank == before[0].rank:
            kind = StepKind.ALTERNATE
        else:
            kind = StepKind.ESCALATION
        yield PlanStep(
            model=model,
            kind=kind,
            error_classes=classes,
            estimated_cost_nano_usd=scope.cost(position),
        )
        before.append(model)


def _leading_to(model: PricedModel, before: Sequence[PricedModel]) -> tuple[ErrorClass, ...]:
    """Returns the failures that lead to a step, in the order of their numbers.

    A client skips steps that its failure does not lead to, so any of the steps before may be the
    one that failed, and a class is listed only where it holds after each of them.
    """
    if not before:
        return ()
    providers = {one.model.provider for one in before}
    window = max(one.model.context_window for one in before)
    rank = max(one.rank for one in before)
    return _classes(
        escalates=model.rank > before[0].rank,
        other_provider=model.model.provider not in providers,
        larger_window=model.model.context_window > window,
        higher_tier=model.rank > rank,
    )


@cache
def _classes(
    *, escalates: bool, other_provider: bool, larger_window: bool, higher_tier: bool
) -> tuple[ErrorClass, ...]:
    reached = {
        Reach.NONE: False,
        Reach.ANY: True,
        Reach.OTHER_PROVIDER: other_provider,
        Reach.LARGER_WINDOW: larger_window,
        Reach.HIGHER_TIER: higher_tier,
    }
    return tuple(
        error_class
        for error_class, response in sorted(RESPONSES.items())
        if reached[response.escalation if escalates else response.alternate]
    )


def _worst_case(costs: Sequence[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return PAID_CALLS * sum(known) if len(known) == len(costs) else None
