"""Deciding while no router answers: by the last plans seen, or by configured models."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tierwise.answers import Usage
from tierwise.decisions import (
    Decision,
    DecisionKind,
    Model,
    Plan,
    PlanStep,
    RouterlessCause,
    StepKind,
)
from tierwise.error_class import ErrorClass
from tierwise.execution.limits import input_tokens, violation
from tierwise.messages import ChatRequest
from tierwise.money import usage_cost
from tierwise.routing import RequiredQuality, RoutingOptions
from tierwise.settings import RouterlessDefaults

_REMEMBERED: Final = 64
"""Most plans that are kept."""

_ASSUMED_OUTPUT_TOKENS: Final = 500
"""Of an answer, where neither the caller nor the plan says: what the router assumes."""

_STAND_IN_AFTER: Final = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.TIMEOUT,
        ErrorClass.OVERLOADED,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONNECTION,
    }
)


def _limits_of(options: RoutingOptions) -> tuple[object, ...]:
    """Returns what must be equal for a plan to be of use: limits that only the router knows."""
    return (
        options.catalog,
        options.lowest_tier,
        options.highest_tier,
        options.required_quality,
        options.downgrade_allowed,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a decision: the plan, and nothing of what the prompt was about."""

    tier_id: str
    by_default: bool
    """Whether nothing about the prompt decided for it."""
    plan: Plan


class Routerless:
    """Remembers plans, and decides by them while the router is away. Thread-safe."""

    def __init__(self, defaults: RouterlessDefaults) -> None:
        self._defaults = defaults
        self._lock = threading.Lock()
        self._seen: dict[tuple[object, ...], _Seen] = {}

    @property
    def is_prepared(self) -> bool:
        """Whether there is anything to go by without the router: a plan, or configured models."""
        return bool(self._seen or self._defaults.models)

    def remember(self, options: RoutingOptions, decision: Decision) -> None:
        """Keeps the newest plan of each sort, so that a busy tier does not push out the others."""
        if decision.plan is None:
            return
        by_default = decision.kind is DecisionKind.DEFAULT
        sort = (_limits_of(options), decision.tier_id, decision.model_id, by_default)
        with self._lock:
            self._seen.pop(sort, None)
            self._seen[sort] = _Seen(decision.tier_id, by_default, decision.plan)
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]

    def decide(
        self, request: ChatRequest, options: RoutingOptions, cause: RouterlessCause
    ) -> Decision | None:
        """Returns a decision without the router; None when nothing is known to call.

        Args:
            request: What is to be answered.
            options: The caller's limits and wishes.
            cause: Why the router does not decide.
        """
        for tier, candidate in self._candidates(options):
            needed = input_tokens(request, candidate, routed=False)
            plan = _estimated_for(candidate, request, options, needed)
            if not violation(plan.steps[0], request, options, needed):
                return Decision(
                    decision_id=uuid.uuid4().hex,
                    catalog=options.catalog,
                    tier_id=tier,
                    kind=DecisionKind.DEFAULT,
                    model_id=plan.steps[0].model.model_id,
                    plan=plan,
                    estimated_cost_nano_usd=plan.steps[0].estimated_cost_nano_usd,
                    reason="No router answered; this is by an earlier plan or a configured model.",
                    routerless_cause=cause,
                )
        return None

    def _candidates(self, options: RoutingOptions) -> Iterator[tuple[str, Plan]]:
        with self._lock:
            seen = [one for sort, one in self._seen.items() if sort[0] == _limits_of(options)]
        wanted = options.tier or self._defaults.tier or options.previous_tier
        # The newest first; then the tier that was asked for, the router's own default, the dearest.
        seen.reverse()
        seen.sort(
            key=lambda one: (
                one.tier_id != wanted,
                not one.by_default,
                -_dearness(one.plan.steps[0].model),
            )
        )
        for one in seen:
            yield one.tier_id, one.plan
        models = tuple(one for one in self._defaults.models if _in_reach(one, options))
        for position, model in enumerate(models):
            yield model.tier_id or wanted or "default", _plan_of(models[position:])


def _in_reach(model: Model, options: RoutingOptions) -> bool:
    """Returns whether a configured model keeps the limits on tiers, as far as can be known.

    The order of the tiers is the router's knowledge, so only a bound itself is known to be within.
    """
    if options.tier:
        return model.tier_id == options.tier
    if options.required_quality not in {None, RequiredQuality.LOW}:
        return False
    return all(
        bound in {"", model.tier_id} for bound in (options.lowest_tier, options.highest_tier)
    )


def _dearness(model: Model) -> int:
    """Returns a figure by which models compare. A decision's own cost is that of its prompt."""
    price = model.price
    if price is None:
        return 0
    return price.input_nano_usd_per_million + price.output_nano_usd_per_million


def _estimated_for(
    plan: Plan, request: ChatRequest, options: RoutingOptions, input_tokens: int
) -> Plan:
    """Returns a plan with the costs of this request, in place of the one that it was made for."""
    output = options.expected_output_tokens
    if output is None:
        output = request.max_output_tokens
    if output is None:
        output = plan.assumed_output_tokens or _ASSUMED_OUTPUT_TOKENS
    size = Usage(input_tokens=input_tokens, output_tokens=output)
    costs = (
        None if (price := step.model.price) is None else usage_cost(size, price)
        for step in plan.steps
    )
    steps = tuple(
        replace(step, estimated_cost_nano_usd=cost)
        for step, cost in zip(plan.steps, costs, strict=True)
    )
    return Plan(steps=steps, estimated_input_tokens=input_tokens, assumed_output_tokens=output)


def _plan_of(models: tuple[Model, ...]) -> Plan:
    """Returns a plan that calls models in order, each when those before it fail transiently."""
    return Plan(
        steps=tuple(
            PlanStep(
                model=model,
                kind=StepKind.FIRST if position == 0 else StepKind.ALTERNATE,
                error_classes=_STAND_IN_AFTER if position else frozenset(),
                retry_limits=dict.fromkeys(_STAND_IN_AFTER, 1),
            )
            for position, model in enumerate(models)
        )
    )
