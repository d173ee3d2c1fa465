"""From the models of a catalog, and the plan to call them, to the contract's messages."""

from __future__ import annotations

import datetime
import functools

from google.protobuf import duration_pb2

from tierwise.v1 import decision_pb2, error_class_pb2, model_pb2
from tierwise_server.catalog.registry import Capability
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import CALL_TIMEOUT_S, RETRY_RULES, Plan, StepKind
from tierwise_server.planning.prices import ResolvedPrice
from tierwise_server.planning.registry import PricedModel

_CAPABILITIES = {one: model_pb2.Capability.Value(f"CAPABILITY_{one.name}") for one in Capability}
_STEP_KINDS = {
    kind: decision_pb2.PlanStepKind.Value(f"PLAN_STEP_KIND_{kind.name}") for kind in StepKind
}
_ERROR_CLASSES = {
    one: error_class_pb2.ErrorClass.Value(f"ERROR_CLASS_{one.name}") for one in ErrorClass
}


@functools.lru_cache(maxsize=10_000)
def model_message(priced: PricedModel) -> model_pb2.Model:
    """Returns a model as callers see it: one message for all, never to be changed."""
    model = priced.model
    return model_pb2.Model(
        model_id=model.id,
        provider_id=model.provider,
        upstream_name=model.name,
        tier_id=model.tier,
        price=_price(priced.price) if priced.price is not None else None,
        context_window_token_count=model.context_window,
        output_limit_token_count=model.max_output_tokens,
        capabilities=sorted(_CAPABILITIES[one] for one in model.capabilities),
        labels=model.labels,
        base_url=model.base_url or "",
        quality=model.quality,
        request_limit_per_minute=model.limits.requests_per_minute,
        token_limit_per_minute=model.limits.tokens_per_minute,
    )


def fill_plan(message: decision_pb2.Plan, plan: Plan) -> None:
    """Fills in a plan as callers get it."""
    message.estimated_input_token_count = plan.estimated_input_tokens
    message.assumed_output_token_count = plan.assumed_output_tokens
    if plan.worst_case_cost_nano_usd is not None:
        message.worst_case_cost_nano_usd = plan.worst_case_cost_nano_usd
    for step in plan.steps:
        filled = message.steps.add()
        filled.CopyFrom(_step(step.model, step.kind, step.error_classes))
        if step.estimated_cost_nano_usd is not None:
            filled.estimated_cost_nano_usd = step.estimated_cost_nano_usd


@functools.lru_cache(maxsize=10_000)
def _step(
    model: PricedModel, kind: StepKind, classes: tuple[ErrorClass, ...]
) -> decision_pb2.PlanStep:
    """Returns a step without its cost: one message for all like it, never to be changed."""
    return decision_pb2.PlanStep(
        model=model_message(model),
        kind=_STEP_KINDS[kind],
        error_classes=[_ERROR_CLASSES[one] for one in classes],
        retry_rules=[
            decision_pb2.RetryRule(
                error_class=_ERROR_CLASSES[rule.error_class], retry_limit=rule.retry_limit
            )
            for rule in RETRY_RULES
        ],
        call_timeout=duration_pb2.Duration(seconds=int(CALL_TIMEOUT_S)),
    )


def _price(price: ResolvedPrice) -> model_pb2.Price:
    message = model_pb2.Price(
        input_nano_usd_per_million=price.base.input,
        output_nano_usd_per_million=price.base.output,
        cached_input_nano_usd_per_million=price.base.cached_input,
        cache_write_nano_usd_per_million=price.base.cache_write,
        call_nano_usd=price.per_call,
        source=price.source,
    )
    if price.source_date is not None:
        midnight = datetime.datetime.combine(price.source_date, datetime.time(tzinfo=datetime.UTC))
        message.source_time.FromDatetime(midnight)
    return message
