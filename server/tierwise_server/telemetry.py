"""What the server tells about itself: metrics and structured logs, never a prompt.

One place for every metric's name, labels and buckets.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tierwise_server.live_catalog import LiveCatalog
from tierwise_server.router import Routed

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1.0, 4.0)
_SCORES = tuple(step / 20 for step in range(-4, 21))

access_logger = logging.getLogger("tierwise_server.access")


class Telemetry:
    """Metrics and the access log of one server."""

    def __init__(self, *, log_requests: str = "failures") -> None:
        self.registry = CollectorRegistry()
        self._log_ok = log_requests == "all"
        self._log_failures = log_requests != "none"
        self._calls = Counter(
            "tierwise_calls",
            "Calls by method and status code.",
            ("method", "code"),
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "tierwise_call_seconds",
            "Time of a call in the service.",
            ("method",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._decisions = Counter(
            "tierwise_decisions",
            "Decisions by catalog, tier and kind; explanations are not counted.",
            ("catalog", "tier", "kind"),
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "tierwise_stage_seconds",
            "Time of a decision by stage.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._scores = Histogram(
            "tierwise_score",
            "Score of the best tier, of decisions that compared the prompt with utterances.",
            ("catalog",),
            buckets=_SCORES,
            registry=self.registry,
        )
        self._vectors = Counter(
            "tierwise_vectors",
            "Vectors by where they came from: cache, encoder or caller.",
            ("source",),
            registry=self.registry,
        )
        self._reloads = Counter(
            "tierwise_reloads",
            "Looks at changed catalog files by result: loaded or faulty.",
            ("catalog", "result"),
            registry=self.registry,
        )
        self._faults = Gauge(
            "tierwise_catalog_faults",
            "Faults in the files of a catalog; above 0 means that an older revision is served.",
            ("catalog",),
            registry=self.registry,
        )
        self._load_time = Gauge(
            "tierwise_catalog_load_timestamp_seconds",
            "When the revision in service was loaded.",
            ("catalog",),
            registry=self.registry,
        )
        self._reload_seconds = Histogram(
            "tierwise_reload_seconds",
            "Time to put changed files into service.",
            ("catalog",),
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "tierwise_encoder_queue_depth",
            "Prompts that wait for an encoding lane.",
            registry=self.registry,
        )
        # Looking a child up by its labels costs more than counting, so the common ones are kept.
        self._children: dict[tuple[object, ...], Any] = {}

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts a call and, where the settings say so, logs it."""
        self._child(self._calls, method, code).inc()
        self._child(self._call_seconds, method).observe(seconds)
        if self._log_ok if code == "OK" else self._log_failures:
            access_logger.log(
                logging.INFO if code == "OK" else logging.WARNING,
                "call",
                extra={"method": method, "code": code, "ms": round(seconds * 1e3, 3)},
            )

    def decided(self, routed: Routed) -> None:
        """Counts a decision that a caller asked for."""
        verdict, timings = routed.verdict, routed.timings
        self._child(self._decisions, routed.catalog, verdict.tier.id, verdict.kind.name).inc()
        self._child(self._stage_seconds, "total").observe(timings.total_s)
        if routed.scores is None:
            return
        self._child(self._stage_seconds, "scoring").observe(timings.scoring_s)
        if verdict.semantic is not None:
            self._child(self._scores, routed.catalog).observe(verdict.semantic.best.score)
        if timings.vector_cached:
            source = "cache"
        elif timings.encoding_s > 0.0:
            source = "encoder"
            self._child(self._stage_seconds, "queue").observe(timings.queue_s)
            self._child(self._stage_seconds, "encoding").observe(timings.encoding_s)
        else:
            source = "caller"
        self._child(self._vectors, source).inc()

    def catalog_checked(self, live: LiveCatalog, seconds: float) -> None:
        """Records a look at changed catalog files."""
        faults = len(live.status.faults)
        self._reloads.labels(live.name, "faulty" if faults else "loaded").inc()
        self._reload_seconds.labels(live.name).observe(seconds)
        self.catalog_in_service(live)

    def catalog_in_service(self, live: LiveCatalog) -> None:
        """Records how a catalog stands to its files."""
        self._faults.labels(live.name).set(len(live.status.faults))
        self._load_time.labels(live.name).set(live.snapshot.load_time.timestamp())

    def _child(self, metric: Any, *labels: str) -> Any:  # noqa: ANN401 - counters and histograms share no type
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> Any:  # noqa: ANN401 - the library's pair of server and thread
    """Serves the metrics over HTTP on threads of their own."""
    return prometheus_client.start_http_server(port, addr=host, registry=registry)


_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}


class TextFormatter(logging.Formatter):
    """Formats a record as a line for people, its fields behind the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Returns the line."""
        line = super().formatMessage(record)
        fields = " ".join(f"{key}={value}" for key, value in _extra_fields(record).items())
        return f"{line}  {fields}" if fields else line


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        fields: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= _extra_fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def configure_logging(level: str, log_format: str) -> None:
    """Sends log lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
