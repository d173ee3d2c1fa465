"""One report to the router: what is sent, and what the answer or the failure means."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2

from tierwise.errors import rich_details
from tierwise.v1 import outcome_pb2, routing_service_pb2

MAX_BATCH = 1_000
"""Outcomes in one report, by contract."""
MAX_BATCH_BYTES = 1024 * 1024
"""Well below the 4 MiB that gRPC takes by default."""
CALL_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 60.0
MAX_ASKED_PAUSE_S = 300.0
"""As long as a server may ask to wait."""


class ReportOutcomes(Protocol):
    """The method of the stub."""

    def __call__(
        self, request: routing_service_pb2.ReportOutcomesRequest, /, *, timeout: float | None = None
    ) -> routing_service_pb2.ReportOutcomesResponse:
        """Sends a report."""


class ReportingStub(Protocol):
    """What is asked of a stub: `RoutingServiceStub` of a synchronous channel."""

    @property
    def ReportOutcomes(self) -> ReportOutcomes:  # noqa: N802 - named by the contract
        """Records what became of decisions."""


class MalformedReplyError(Exception):
    """The router's answer does not fit the report."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An outcome that is not to be sent again."""

    outcome_id: str
    reason: str
    """Each field that is at fault, and what is wrong with it."""


@dataclass(slots=True)
class Delivery:
    """What became of the outcomes of a report."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to wait before the next report."""

    seconds: float
    asked: bool = False
    """Whether the router asked for it; then no hurry cuts it short."""


def deliver(stub: ReportingStub, messages: Sequence[bytes]) -> Delivery:
    """Sends serialized outcomes in one report.

    Raises:
        grpc.RpcError: The call failed.
        MalformedReplyError: The answer has not one result for each outcome.
    """
    delivery = Delivery()
    outcomes = []
    for message in messages:
        try:
            outcomes.append(outcome_pb2.Outcome.FromString(message))
        except DecodeError:
            delivery.rejected.append(Rejection("?", "it was damaged in the spool"))
    if not outcomes:
        return delivery
    request = routing_service_pb2.ReportOutcomesRequest(outcomes=outcomes)
    response = stub.ReportOutcomes(request, timeout=CALL_TIMEOUT_S)
    if len(response.results) != len(outcomes):
        raise MalformedReplyError(
            f"{len(response.results)} results came for {len(outcomes)} outcomes"
        )
    for result in response.results:
        if result.status == routing_service_pb2.OUTCOME_STATUS_DUPLICATE:
            delivery.duplicates += 1
        elif result.status == routing_service_pb2.OUTCOME_STATUS_REJECTED:
            reasons = "; ".join(f"{one.field}: {one.description}" for one in result.violations)
            delivery.rejected.append(Rejection(result.outcome_id, reasons or "no reason given"))
        else:
            delivery.accepted += 1  # As the contract has it for values that are not known.
    return delivery


def is_invalid(error: grpc.RpcError) -> bool:
    """Returns whether the router refused the report as a whole for what it holds."""
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.INVALID_ARGUMENT


def said(error: Exception) -> str:
    """Returns what a failure says, in one line."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details() or 'no message'}"
    return f"{type(error).__name__}: {error}"


def pause_after(error: Exception, failures: int) -> Pause:
    """Returns how long to wait after so many failures in a row, of which this is the last."""
    asked = _retry_delay_s(error)
    if asked is not None:
        return Pause(min(asked, MAX_ASKED_PAUSE_S), asked=True)
    longest = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 30), MAX_PAUSE_S)
    # So that the clients of a router that comes back don't all call at once.
    return Pause(longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _retry_delay_s(error: Exception) -> float | None:
    if not isinstance(error, grpc.Call):
        return None
    retry = error_details_pb2.RetryInfo()
    for detail in rich_details(error):
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            return max(float(retry.retry_delay.ToTimedelta().total_seconds()), 0.0)
    return None
