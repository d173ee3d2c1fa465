"""A collector of traces on this machine, which reads what it is sent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True, slots=True)
class Received:
    """A span, with its attributes as plain values."""

    span: Span
    service: str

    @property
    def name(self) -> str:
        """The span's name."""
        return self.span.name

    @property
    def attributes(self) -> dict[str, Any]:
        """The span's attributes."""
        return {one.key: _plain(one.value) for one in self.span.attributes}

    @property
    def failed(self) -> bool:
        """Whether the span says so."""
        return self.span.status.code == Status.STATUS_CODE_ERROR


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any type
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind)


@dataclass(slots=True)
class Collector:
    """Takes spans over OTLP and HTTP, as collectors do."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def endpoint(self) -> str:
        """Where spans go."""
        return f"http://127.0.0.1:{self.port}"

    def spans(self, trace_id: bytes | None = None) -> list[Received]:
        """Returns the spans that came, of one trace where it is named, by their start."""
        found = []
        for body in tuple(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                told = {one.key: _plain(one.value) for one in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found += [Received(one, told.get("service.name", "")) for one in scope.spans]
        return sorted(
            (one for one in found if trace_id in (None, one.span.trace_id)),
            key=lambda one: one.span.start_time_unix_nano,
        )

    def wait_for_new(self, name: str, known: set[bytes]) -> Received:
        """Returns a span of a name that is not among those known by their ids, once it came."""
        end = time.monotonic() + 20
        with self.came:
            while True:
                for one in self.spans():
                    if one.name == name and one.span.span_id not in known:
                        return one
                assert self.came.wait(end - time.monotonic()), name

    def wait_for(self, count: int, trace_id: bytes | None = None) -> list[Received]:
        """Returns the spans of a trace once there are so many."""
        end = time.monotonic() + 20
        with self.came:
            while len(found := self.spans(trace_id)) < count:
                assert self.came.wait(end - time.monotonic()), [one.name for one in found]
        return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector on a free port."""
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with received.came:
                received.bodies.append(body)
                received.headers.append({key.lower(): one for key, one in self.headers.items()})
                received.paths.append(self.path)
                received.came.notify_all()
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield received
    server.shutdown()
    server.server_close()
    thread.join()
