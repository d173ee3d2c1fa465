"""Measures what metrics and traces add to the CPU time of `RoutePrompt`.

`python tests/benchmarks/telemetry.py` prints, as JSON, microseconds of process CPU time per call of
the handler, without gRPC's own part, for prompts that the cache answers, where anything added
weighs most, and for new ones. The variants take turns in blocks; the median of the blocks counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from harness import SHIPPED_CATALOG, encoder_folder
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tierwise.v1 import routing_service_pb2
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.grpc_api.boundary import service_handler
from tierwise_server.grpc_api.servicers import RouterSlot, RoutingServicer
from tierwise_server.parts import load_parts
from tierwise_server.router import Router
from tierwise_server.routing import Routed
from tierwise_server.settings import Settings
from tierwise_server.telemetry import Telemetry
from tierwise_server.tracing import Tracing

Call = Callable[[RoutePromptRequest, Any], Awaitable[object]]

ROUTING = routing_service_pb2.DESCRIPTOR.services_by_name["RoutingService"]
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"


class Silent(Telemetry):
    """Counts nothing."""

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts nothing."""

    def decided(self, routed: Routed) -> None:
        """Counts nothing."""


class Context:
    """What the handler needs to know of a call."""

    def __init__(self, traceparent: str = "") -> None:
        self._metadata = (("traceparent", traceparent),) if traceparent else ()

    def time_remaining(self) -> float:
        """Returns the seconds until the caller stops waiting."""
        return 10.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns what came along with the call."""
        return self._metadata


class Dropping(SpanExporter):
    """Drops what it is to send."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drops spans."""
        return SpanExportResult.SUCCESS


class Details:
    """Names the method that is called."""

    method = f"/{ROUTING.full_name}/RoutePrompt"
    invocation_metadata = ()


def handler(slot: RouterSlot, telemetry: Telemetry, tracing: Tracing | None = None) -> Call:
    """Returns `RoutePrompt` as a server has it."""
    servicer = RoutingServicer(slot, telemetry)
    found = service_handler(ROUTING, servicer, telemetry, tracing).service(Details())
    assert isinstance(found, grpc.RpcMethodHandler)
    behaviour: Call = found.unary_unary
    return behaviour


async def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=200, help="calls of a block")
    parser.add_argument("--blocks", type=int, default=40, help="blocks of each variant")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as cache:
        settings = Settings(
            catalog=(str(SHIPPED_CATALOG),), encoder=str(encoder_folder()), cache_dir=cache
        )
        parts = load_parts(settings)
    lanes = EncodingLanes(parts.encoder, lane_count=1, queue_limit=512)
    slot = RouterSlot()
    slot.router = Router(
        parts.catalogs,
        lanes,
        PromptCache(8192),
        encoder_id=parts.encoder.encoder_id,
        dimensions=parts.encoder.dimensions,
    )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    tracing = Tracing(provider)
    variants = {
        "off": (handler(slot, Silent()), Context()),
        "metrics": (handler(slot, Telemetry()), Context()),
        "metrics, unsampled trace": (handler(slot, Telemetry(), tracing), Context(UNSAMPLED)),
        "metrics and trace": (handler(slot, Telemetry(), tracing), Context(SAMPLED)),
    }
    known = RoutePromptRequest(input=RoutingInput(prompt="summarize this email in two sentences"))
    number = 0

    def fresh() -> RoutePromptRequest:
        nonlocal number
        number += 1
        return RoutePromptRequest(input=RoutingInput(prompt=f"summarize article {number} briefly"))

    figures = {}
    for kind, request, calls in (
        ("cached", lambda: known, arguments.calls),
        ("new", fresh, max(1, arguments.calls // 10)),
    ):
        spent: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(arguments.blocks):
            for name, (call, context) in variants.items():
                messages = [request() for _ in range(calls)]
                began = time.process_time()
                for message in messages:
                    await call(message, context)
                spent[name].append((time.process_time() - began) / calls * 1e6)
        medians = {name: statistics.median(values) for name, values in spent.items()}
        figures[kind] = {
            name: {"us": round(value, 1), "ratio": round(value / medians["off"], 3)}
            for name, value in medians.items()
        }
    await lanes.close()
    provider.shutdown()
    for live in parts.catalogs.values():
        live.close()
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
