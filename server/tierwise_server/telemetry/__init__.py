"""What the server tells about itself: metrics and structured logs, never a prompt.

`metrics` has every metric's name, labels and buckets.
"""

from tierwise_server.telemetry.logs import (
    JsonFormatter,
    TextFormatter,
    access_logger,
    configure_logging,
)
from tierwise_server.telemetry.metrics import Metrics, serve_metrics
from tierwise_server.telemetry.recording import Telemetry

__all__ = [
    "JsonFormatter",
    "Metrics",
    "Telemetry",
    "TextFormatter",
    "access_logger",
    "configure_logging",
    "serve_metrics",
]
