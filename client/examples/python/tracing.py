"""Sends the trace of a chat to Langfuse, or to any OpenTelemetry collector.

With LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY set it goes to Langfuse, which shows each call of a
model as a generation with its tokens and cost; else to where OTEL_EXPORTER_OTLP_ENDPOINT says. A
router that runs with `--tracing otlp` adds its own part to the trace. No prompt or answer is sent.
"""

from __future__ import annotations

import base64
import os
import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tierwise import Client
from tierwise.tracing import Tracing


def main(prompt: str) -> int:
    provider = TracerProvider(resource=Resource.create({"service.name": "tracing-example"}))
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    tracer = provider.get_tracer("tracing-example")
    try:
        # A span of the application's own, with what Langfuse groups traces by.
        with (
            tracer.start_as_current_span(
                "answer a question",
                attributes={
                    "langfuse.trace.name": "tracing example",
                    "langfuse.session.id": "session-1",
                    "langfuse.user.id": "user-1",
                },
            ) as span,
            Client(tracing=Tracing(provider)) as client,
        ):
            print(client.chat(prompt).text)
        print(f"trace {span.get_span_context().trace_id:032x}")
    finally:
        provider.shutdown()
    return 0


def exporter() -> OTLPSpanExporter:
    public = os.environ.get("LANGFUSE_PUBLIC_KEY")
    secret = os.environ.get("LANGFUSE_SECRET_KEY")
    if not (public and secret):
        return OTLPSpanExporter()
    host = os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com").rstrip("/")
    login = base64.b64encode(f"{public}:{secret}".encode()).decode()
    return OTLPSpanExporter(
        endpoint=f"{host}/api/public/otel/v1/traces",
        headers={"Authorization": f"Basic {login}", "x-langfuse-ingestion-version": "4"},
    )


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "Summarize in one sentence why the sky is blue."))
