"""OpenTelemetry spans of chats: the chat, the router's decision, and each call of a model.

Needs the extra `otel`, and costs nothing where it is not asked for: `import tierwise` never comes
by here. Spans of calls carry the attributes of the semantic conventions for generative AI, which
tools such as Langfuse read. No span ever holds anything of a prompt or of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, TypeVar

from tierwise.answers import Answer, Usage
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, ConfigurationError, ProviderError, RouterError
from tierwise.execution.effects import AskRouter, Script

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ConfigurationError("tracing needs OpenTelemetry: pip install 'tierwise[otel]'") from error

if TYPE_CHECKING:
    from tierwise.chat_response import Attempt, ChatResponse
    from tierwise.decisions import Decision, PlanStep
    from tierwise.execution.attempts import AttemptRecord
    from tierwise.routing import RoutingOptions
    from tierwise.v1.routing_service_pb2 import RoutePromptResponse

NANO_PER_USD: Final = 1_000_000_000

ROUTE_METHOD: Final = "tierwise.v1.RoutingService/RoutePrompt"

PROVIDER_NAMES: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
}
"""Providers that the conventions name otherwise than the catalog does."""

Attributes = dict[str, str | bool | int | float]

T = TypeVar("T")

# The context of the trace alone: baggage is the application's own, and none of the router's.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans of what a client does, for `Client(tracing=...)`.

    A chat is a span `chat`, whose children are the router's decision and a span for each call of a
    model. The router continues the trace. While a hook or a check of the caller's runs, the span
    that it belongs to is the current one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        """Takes where spans go; None means the global provider, as the application sets it."""
        self._tracer = trace.get_tracer("tierwise", version("tierwise"), tracer_provider)

    def chat(self, script: Script[ChatResponse], options: RoutingOptions) -> Script[ChatResponse]:
        """Returns a script that does the same in a span of a chat."""
        span = self._tracer.start_span("chat")
        try:
            response = yield from _within(span, script)
        except BaseException as failure:
            _fail(span, failure)
            if isinstance(failure, ChatError):
                span.set_attributes(_decision(failure.decision, options))
                span.set_attributes(_attempts(failure.attempts))
            raise
        else:
            span.set_attributes(_decision(response.decision, options))
            span.set_attributes(_attempts(response.attempts))
            span.set_attribute("tierwise.outcome.id", response.outcome_id)
            return response
        finally:
            span.end()

    def route(
        self, script: Script[RoutePromptResponse], options: RoutingOptions
    ) -> Script[RoutePromptResponse]:
        """Returns a script that does the same in a span of a call of the router."""
        span = self._tracer.start_span(
            ROUTE_METHOD,
            kind=SpanKind.CLIENT,
            attributes={"rpc.system.name": "grpc", "rpc.method": ROUTE_METHOD},
        )
        try:
            response = yield from _within(span, script)
        except BaseException as failure:
            _fail(span, failure)
            if isinstance(failure, RouterError):
                span.set_attribute("rpc.response.status_code", failure.code.name)
            raise
        else:
            decision = response.decision
            attributes: Attributes = {
                "rpc.response.status_code": "OK",
                "tierwise.decision.id": decision.decision_id,
                "tierwise.tier": decision.tier_id,
                "tierwise.model": decision.model_id,
            }
            if not options.keep_nothing:
                attributes["tierwise.task"] = decision.task_id
            span.set_attributes(_said(attributes))
            return response
        finally:
            span.end()

    def attempt(
        self,
        script: Script[Answer],
        step: PlanStep,
        record: AttemptRecord,
        options: RoutingOptions,
    ) -> Script[Answer]:
        """Returns a script that does the same in a span of one call of a model.

        Args:
            script: Makes the call, and records it.
            step: What is called.
            record: Where the call is recorded.
            options: What the caller allows to be kept.
        """
        model = step.model
        known = len(record.attempts)
        span = self._tracer.start_span(
            f"chat {model.upstream_name}",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": PROVIDER_NAMES.get(model.provider_id, model.provider_id),
                "gen_ai.request.model": model.upstream_name,
                "tierwise.model": model.model_id,
                "tierwise.step": step.kind.name.lower(),
            },
        )
        try:
            answer = yield from _within(span, script)
        except BaseException as failure:
            _fail(span, failure)
            raise
        else:
            if answer.finish_reason is not None:
                reasons = [answer.finish_reason.value]
                span.set_attribute("gen_ai.response.finish_reasons", reasons)
            return answer
        finally:
            for one in record.attempts[known:]:
                span.set_attributes(_call(one, options))
            span.end()


def _within(span: Span, script: Script[T]) -> Script[T]:
    """Runs a script with a span as the current one whenever it is not waiting.

    Not while it waits: what is handed over to the caller would take the span along, and whoever
    ends a waiting script may do so in another context.
    """
    inside = trace.set_span_in_context(span)
    value, failure = None, None
    while True:
        token = context.attach(inside)
        try:
            effect = script.send(value) if failure is None else script.throw(failure)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            context.detach(token)
        if isinstance(effect, AskRouter) and not effect.metadata:
            # The innermost span comes first, and it is the one that asks.
            effect = replace(effect, metadata=_propagated(inside))
        value, failure = None, None
        try:
            value = yield effect
        except BaseException as raised:  # noqa: BLE001 - the script decides what it means
            failure = raised


def _propagated(inside: context.Context) -> tuple[tuple[str, str], ...]:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, inside)
    return tuple(carrier.items())


def _fail(span: Span, failure: BaseException) -> None:
    """Marks a span as failed, by the kind of failure alone: messages may quote anything."""
    match failure:
        case GeneratorExit() | asyncio.CancelledError():
            kind = ErrorClass.CANCELLED.word
        case ProviderError(error_class=known):
            kind = known.word
        case ChatError(error_class=known) if known is not None:
            kind = known.word
        case RouterError():
            kind = failure.code.name
        case _:
            kind = type(failure).__qualname__
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", kind)


def _decision(decision: Decision, options: RoutingOptions) -> Attributes:
    attributes: Attributes = {
        "tierwise.decision.id": decision.decision_id,
        "tierwise.decision.kind": decision.kind.name.lower(),
        "tierwise.catalog": decision.catalog,
        "tierwise.catalog.revision": decision.catalog_revision,
        "tierwise.tier": decision.tier_id,
        "tierwise.model": decision.model_id,
        "tierwise.caller": options.caller,
    }
    if decision.routerless_cause is not None:
        attributes["tierwise.routerless.cause"] = decision.routerless_cause.name.lower()
    if not options.keep_nothing:
        attributes["tierwise.task"] = decision.task_id
        if decision.score is not None:
            attributes["tierwise.score"] = decision.score
    return _said(attributes)


def _attempts(attempts: tuple[Attempt, ...]) -> Attributes:
    attributes: Attributes = {"tierwise.attempts": len(attempts)}
    costs = [one.cost_nano_usd for one in attempts]
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs):
        attributes["tierwise.cost_usd"] = sum(known) / NANO_PER_USD
    return attributes


def _call(attempt: Attempt, options: RoutingOptions) -> Attributes:
    attributes: Attributes = {"gen_ai.response.model": attempt.served_model}
    if attempt.usage is not None:
        attributes |= _usage(attempt.usage)
    if attempt.cost_nano_usd is not None:
        # Not of the conventions, but what Langfuse reads as the cost.
        attributes["gen_ai.usage.cost"] = attempt.cost_nano_usd / NANO_PER_USD
    if attempt.first_token_s is not None:
        attributes["gen_ai.request.stream"] = True
        attributes["gen_ai.response.time_to_first_chunk"] = attempt.first_token_s
    if attempt.validator:
        attributes["tierwise.validator"] = attempt.validator
    if not options.keep_nothing:
        # By which the prompt could be looked up with the provider.
        attributes["tierwise.provider.request_id"] = attempt.request_id
    return _said(attributes)


def _usage(usage: Usage) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def _said(attributes: Attributes) -> Attributes:
    """Returns the attributes that say something."""
    return {name: value for name, value in attributes.items() if value != ""}
