"""Deciding while no router answers: by the last plans seen, or by configured models.

Says when that goes on for long, and keeps a router that does not answer from costing every chat
its whole time limit.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import grpc

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
from tierwise.errors import RouterError
from tierwise.execution.limits import input_tokens, violation
from tierwise.hooks import Hooks, RouterOutageEvent, notify
from tierwise.messages import ChatRequest
from tierwise.money import usage_cost
from tierwise.routing import RequiredQuality, RoutingOptions
from tierwise.settings import RouterlessDefaults
from tierwise.v1.error_reason_pb2 import ErrorReason

_log = logging.getLogger(__name__)

SAY_AFTER_S: Final = 60.0
"""How long an outage goes on before it is said loudly, and between one such word and the next."""

PATIENCE: Final = 3
"""Failures in a row after which only one chat in `PROBE_EVERY_S` asks the router."""

PROBE_EVERY_S: Final = 1.0

_REMEMBERED: Final = 64
"""Most plans that are kept."""

_ASSUMED_OUTPUT_TOKENS: Final = 500
"""Of an answer, where neither the caller nor the plan says: what the router assumes."""

_CAUSES: Final = {
    grpc.StatusCode.UNAVAILABLE: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: RouterlessCause.TIMEOUT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RouterlessCause.OVERLOADED,
    # A fault of the router's own, which is no reason for the caller's call to fail.
    grpc.StatusCode.INTERNAL: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS: RouterlessCause.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: RouterlessCause.UNAVAILABLE,
    # What gRPC makes of the 404 of a proxy that has no router behind it just now.
    grpc.StatusCode.UNIMPLEMENTED: RouterlessCause.UNAVAILABLE,
}
"""Failures of the router that a chat goes on after. Others lie in the request or the set-up."""

_STAND_IN_AFTER: Final = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.TIMEOUT,
        ErrorClass.OVERLOADED,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONNECTION,
    }
)


def routerless_cause(error: RouterError) -> RouterlessCause | None:
    """Returns why a chat goes on without the router; None when the failure is the caller's."""
    if error.reason == ErrorReason.ERROR_REASON_SPEND_LIMIT_REACHED:
        # The router does answer: it refuses, and going round it would make the limit none.
        return None
    return _CAUSES.get(error.code)


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

    def __init__(
        self, defaults: RouterlessDefaults, hooks: Hooks, clock: Callable[[], float]
    ) -> None:
        self._defaults = defaults
        self._hooks = hooks
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[object, ...], _Seen] = {}
        self._failures = 0
        self._away_since: float | None = None
        self._decided = 0
        self._total = 0
        self._asked_at = 0.0
        self._said_at = 0.0
        self._last_cause = RouterlessCause.UNAVAILABLE

    @property
    def total(self) -> int:
        """Decisions that were made without the router since the client was made."""
        return self._total

    @property
    def is_prepared(self) -> bool:
        """Whether there is anything to go by without the router: a plan, or configured models."""
        return bool(self._seen or self._defaults.models)

    def should_ask(self) -> bool:
        """Returns whether this chat should try the router."""
        if self._failures < PATIENCE:
            return True
        with self._lock:
            now = self._clock()
            if now - self._asked_at < PROBE_EVERY_S:
                return False
            self._asked_at = now
            return True

    def answered(self, options: RoutingOptions, decision: Decision) -> None:
        """Notes that the router answered, and remembers the plan for later."""
        with self._lock:
            self._failures = 0
            self._away_since = None
            self._decided = 0
            if decision.plan is not None:
                by_default = decision.kind is DecisionKind.DEFAULT
                self._remember(options, _Seen(decision.tier_id, by_default, decision.plan))

    def _remember(self, options: RoutingOptions, seen: _Seen) -> None:
        """Keeps the newest plan of each sort, so that a busy tier does not push out the others."""
        model_id = seen.plan.steps[0].model.model_id
        sort = (_limits_of(options), seen.tier_id, model_id, seen.by_default)
        self._seen.pop(sort, None)
        self._seen[sort] = seen
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def failed(self, cause: RouterlessCause) -> None:
        """Notes that the router did not answer."""
        with self._lock:
            now = self._clock()
            self._failures += 1
            self._asked_at = now
            self._last_cause = cause
            if self._away_since is None:
                self._away_since = self._said_at = now

    def decide(self, request: ChatRequest, options: RoutingOptions) -> Decision | None:
        """Returns a decision without the router; None when nothing is known to call."""
        for tier, candidate in self._candidates(options):
            needed = input_tokens(request, candidate, routed=False)
            plan = _estimated_for(candidate, request, options, needed)
            if not violation(plan.steps[0], request, options, needed):
                self._count()
                return Decision(
                    decision_id=uuid.uuid4().hex,
                    catalog=options.catalog,
                    tier_id=tier,
                    kind=DecisionKind.DEFAULT,
                    model_id=plan.steps[0].model.model_id,
                    plan=plan,
                    estimated_cost_nano_usd=plan.steps[0].estimated_cost_nano_usd,
                    reason="No router answered; this is by an earlier plan or a configured model.",
                    routerless_cause=self._last_cause,
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

    def _count(self) -> None:
        with self._lock:
            now = self._clock()
            self._decided += 1
            self._total += 1
            if self._away_since is None or now - self._said_at < SAY_AFTER_S:
                return
            self._said_at = now
            event = RouterOutageEvent(
                since_s=now - self._away_since, routerless_decisions=self._decided
            )
        _log.error(
            "no router has answered for %.0f s; %d decisions were made without one",
            event.since_s,
            event.routerless_decisions,
        )
        notify(self._hooks.on_router_outage, event)


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
