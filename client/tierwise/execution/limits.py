"""Checks a step of a plan against the caller's limits, once more before each attempt.

The router keeps these limits too. They are checked again because a plan may be an old one, used
while no router answers, and because a limit that is kept in one place only is kept until the first
mistake there.
"""

from __future__ import annotations

from tierwise import tokens
from tierwise.contract import needed_capabilities
from tierwise.decisions import Model, Plan, PlanStep
from tierwise.messages import ChatRequest
from tierwise.routing import RoutingOptions


def violation(
    step: PlanStep, request: ChatRequest, options: RoutingOptions, input_tokens: int
) -> str:
    """Returns the limit that a step breaks, in words; empty when it keeps all of them."""
    model = step.model
    return (
        _not_pinned(model, options)
        or _not_allowed(model, options)
        or _lacking(model, request, options)
        or _too_long(model, request, input_tokens)
        or _too_dear(step, options)
    )


def _not_pinned(model: Model, options: RoutingOptions) -> str:
    if options.model and model.model_id != options.model:
        return f"model {options.model} is pinned"
    if options.tier and model.tier_id and model.tier_id != options.tier:
        return f"tier {options.tier} is pinned"
    return ""


def _not_allowed(model: Model, options: RoutingOptions) -> str:
    if options.allowed_providers and model.provider_id not in options.allowed_providers:
        return f"provider {model.provider_id} is not allowed"
    if model.provider_id in options.denied_providers:
        return f"provider {model.provider_id} is denied"
    if options.allowed_models and model.model_id not in options.allowed_models:
        return "the model is not allowed"
    if model.model_id in options.denied_models:
        return "the model is denied"
    return ""


def _lacking(model: Model, request: ChatRequest, options: RoutingOptions) -> str:
    missing = (options.required_capabilities | needed_capabilities(request)) - model.capabilities
    if missing:
        return f"it lacks {', '.join(sorted(one.name.lower() for one in missing))}"
    for key, value in options.required_labels.items():
        if model.labels.get(key) != value:
            return f"its label {key} is not {value}"
    return ""


def _too_long(model: Model, request: ChatRequest, input_tokens: int) -> str:
    output = request.max_output_tokens or 0
    if model.output_limit_tokens and output > model.output_limit_tokens:
        return f"its output limit is {model.output_limit_tokens} tokens"
    if model.context_window_tokens and input_tokens + output > model.context_window_tokens:
        return f"its context window is {model.context_window_tokens} tokens"
    return ""


def _too_dear(step: PlanStep, options: RoutingOptions) -> str:
    ceiling = options.cost_ceiling_nano_usd
    if ceiling is None:
        return ""
    if step.estimated_cost_nano_usd is None:
        return "its price is unknown, and there is a ceiling on the cost"
    if step.estimated_cost_nano_usd > ceiling:
        return "it costs more than the ceiling"
    return ""


def input_tokens(request: ChatRequest, plan: Plan, *, routed: bool) -> int:
    """Returns about how many tokens of input a request has: as the router counts, where it can."""
    if routed and plan.estimated_input_tokens:
        return plan.estimated_input_tokens
    return tokens.input_tokens(request)
