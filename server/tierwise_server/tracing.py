"""OpenTelemetry spans of calls, continued from the caller's trace. Loaded only when asked for.

Where the spans go, how many are kept and what the service is called is up to the variables of
OpenTelemetry itself, such as `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_TRACES_SAMPLER`. No span holds
anything of a prompt.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tierwise.v1.decision_pb2 import Decision, DecisionKind
from tierwise.v1.routing_service_pb2 import RoutePromptRequest, RoutePromptResponse

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NANOS: Final = 1_000_000_000

_Request = TypeVar("_Request")
_Response = TypeVar("_Response", bound=Message)

Attributes = dict[str, str | bool | int | float]
Behaviour = Callable[[_Request, Any], Awaitable[_Response]]


def otlp_provider() -> TracerProvider:
    """Returns a provider that sends spans in batches, over OTLP and HTTP, on a thread of its own.

    What the collector does not take is dropped; calls never wait for it.
    """
    own = {"service.name": "tierwise", "service.version": version("tierwise")}
    resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes a span of each call of the service."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tierwise_server", version("tierwise"))

    def traced(
        self,
        method: str,
        behaviour: Behaviour[_Request, _Response],
        code_of: Callable[[BaseException], str],
    ) -> Behaviour[_Request, _Response]:
        """Returns a method that does the same in a span.

        Args:
            method: Full name, as in `package.Service/Method`.
            behaviour: The method.
            code_of: Returns the status code that a caller gets of an error.
        """
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}

        async def call(request: _Request, context: Any) -> _Response:  # noqa: ANN401 - gRPC's
            metadata = dict(context.invocation_metadata() or ())
            span = self._tracer.start_span(
                method,
                context=_PROPAGATOR.extract(metadata),
                kind=SpanKind.SERVER,
                attributes=attributes,
            )
            # The kind of an error alone: messages may quote the caller.
            with trace.use_span(
                span, end_on_exit=True, record_exception=False, set_status_on_exception=False
            ):
                try:
                    response = await behaviour(request, context)
                except BaseException as error:
                    span.set_status(Status(StatusCode.ERROR))
                    span.set_attribute("error.type", type(error).__qualname__)
                    span.set_attribute("rpc.response.status_code", code_of(error))
                    raise
                if span.is_recording():
                    span.set_attribute("rpc.response.status_code", "OK")
                    span.set_attributes(_told(request, response))
                return response

        return call

    async def close(self, timeout_s: float) -> None:
        """Sends what waits, for so long at most."""
        # On a thread that does not keep the process alive: a collector may hang.
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        ending.start()
        await asyncio.get_running_loop().run_in_executor(None, ending.join, timeout_s)


def _told(request: object, response: Message) -> Attributes:
    """Returns what a call's messages may tell."""
    if isinstance(request, RoutePromptRequest) and isinstance(response, RoutePromptResponse):
        return _decision(response.decision, keep_nothing=request.input.keep_nothing)
    return {}


def _decision(decision: Decision, *, keep_nothing: bool) -> Attributes:
    timings = decision.timings
    attributes: Attributes = {
        "tierwise.decision.id": decision.decision_id,
        "tierwise.decision.kind": DecisionKind.Name(decision.kind)
        .removeprefix("DECISION_KIND_")
        .lower(),
        "tierwise.catalog": decision.catalog,
        "tierwise.catalog.revision": decision.catalog_revision,
        "tierwise.tier": decision.tier_id,
        "tierwise.model": decision.model_id,
        "tierwise.vector_cached": timings.vector_cached,
        "tierwise.queue_s": _seconds(timings.queue_duration),
        "tierwise.encoding_s": _seconds(timings.encoding_duration),
        "tierwise.scoring_s": _seconds(timings.scoring_duration),
        "tierwise.total_s": _seconds(timings.total_duration),
    }
    if not keep_nothing:
        attributes["tierwise.task"] = decision.task_id
        if decision.HasField("score"):
            attributes["tierwise.score"] = decision.score
    return attributes


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / _NANOS
