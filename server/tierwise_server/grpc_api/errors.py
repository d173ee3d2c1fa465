"""From the server's own errors to what a caller gets: one table, and nothing else decides."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tierwise.errors import ERROR_DOMAIN
from tierwise.v1 import error_reason_pb2
from tierwise.v1.error_reason_pb2 import ErrorReason
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.deciding.errors import (
    EncoderMismatchError,
    InvalidFieldsError,
    UnknownModelError,
    UnknownTierError,
)
from tierwise_server.encoder.lanes import DeadlinePassedError, QueueFullError
from tierwise_server.live_catalog import RevisionMismatchError
from tierwise_server.router import UnknownCatalogError

MAX_VIOLATIONS = 100
"""Violations listed in one answer: trailers are limited to some kilobytes."""


class MalformedMessageError(Exception):
    """Bytes that are no message of the contract."""


class NotReadyError(Exception):
    """The server is starting or stopping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a caller gets of an error."""

    code: grpc.StatusCode
    reason: ErrorReason.ValueType
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    detail: Message | None = None
    """One standard detail of `google.rpc`, beside the `ErrorInfo` that each failure has."""

    def status(self) -> status_pb2.Status:
        """Returns the failure as it goes over the wire."""
        info = error_details_pb2.ErrorInfo(
            reason=ErrorReason.Name(self.reason), domain=ERROR_DOMAIN, metadata=self.metadata
        )
        details = [_packed(info)] + ([_packed(self.detail)] if self.detail is not None else [])
        code: int = self.code.value[0]
        return status_pb2.Status(code=code, message=self.message, details=details)


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromTimedelta(datetime.timedelta(seconds=seconds))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _bad_request(*violations: tuple[str, str]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=name, description=description)
            for name, description in violations[:MAX_VIOLATIONS]
        ]
    )


def _invalid_fields(error: InvalidFieldsError) -> Failure:
    return Failure(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=error_reason_pb2.ERROR_REASON_INVALID_FIELD,
        message=str(error)[:1000],
        metadata={"field": error.faults[0].field},
        detail=_bad_request(*((fault.field, fault.description) for fault in error.faults)),
    )


def _malformed(error: MalformedMessageError) -> Failure:
    return Failure(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=error_reason_pb2.ERROR_REASON_INVALID_FIELD,
        message=str(error),
        metadata={"field": ""},
        detail=_bad_request(("", str(error))),
    )


def _encoder_mismatch(error: EncoderMismatchError) -> Failure:
    return Failure(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=error_reason_pb2.ERROR_REASON_ENCODER_MISMATCH,
        message=str(error),
        metadata={
            "field": error.field,
            "expected_encoder_id": error.expected,
            "actual_encoder_id": error.actual,
        },
        detail=_bad_request((error.field, str(error))),
    )


def _unknown_catalog(error: UnknownCatalogError) -> Failure:
    return Failure(
        code=grpc.StatusCode.NOT_FOUND,
        reason=error_reason_pb2.ERROR_REASON_CATALOG_NOT_FOUND,
        message=str(error),
        metadata={"field": "catalog", "catalog": error.name},
    )


def _unknown_tier(error: UnknownTierError) -> Failure:
    return Failure(
        code=grpc.StatusCode.NOT_FOUND,
        reason=error_reason_pb2.ERROR_REASON_TIER_NOT_FOUND,
        message=str(error),
        metadata={"field": error.field, "tier_id": error.tier},
    )


def _unknown_model(error: UnknownModelError) -> Failure:
    return Failure(
        code=grpc.StatusCode.NOT_FOUND,
        reason=error_reason_pb2.ERROR_REASON_MODEL_NOT_FOUND,
        message=str(error),
        metadata={"field": error.field, "model_id": error.model},
    )


def _catalog_invalid(error: CatalogInvalidError) -> Failure:
    count = len(error.faults)
    return Failure(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=error_reason_pb2.ERROR_REASON_CATALOG_INVALID,
        message=f"the catalog's files have {count} faults; what was served before stays",
        metadata={"fault_count": str(count)},
        detail=error_details_pb2.PreconditionFailure(
            violations=[
                error_details_pb2.PreconditionFailure.Violation(
                    type=fault.rule,
                    subject=f"{fault.file}:{fault.line}",
                    description=" ".join((fault.message, fault.suggestion or "")).strip(),
                )
                for fault in error.faults[:MAX_VIOLATIONS]
            ]
        ),
    )


def _revision_mismatch(error: RevisionMismatchError) -> Failure:
    return Failure(
        code=grpc.StatusCode.ABORTED,
        reason=error_reason_pb2.ERROR_REASON_REVISION_MISMATCH,
        message=str(error),
        metadata={"expected_revision": error.expected, "actual_revision": error.actual},
    )


def _queue_full(error: QueueFullError) -> Failure:
    return Failure(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=error_reason_pb2.ERROR_REASON_OVERLOADED,
        message=str(error),
        metadata={"queue_limit": str(error.queue_limit)},
        detail=_retry_info(error.retry_after_s),
    )


def _deadline_passed(_: DeadlinePassedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        reason=error_reason_pb2.ERROR_REASON_DEADLINE_PASSED,
        message="the deadline passed before the prompt could be embedded",
    )


def _not_ready(error: NotReadyError) -> Failure:
    return Failure(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=error_reason_pb2.ERROR_REASON_NOT_READY,
        message=str(error),
        detail=_retry_info(1.0),
    )


_Error = TypeVar("_Error", bound=Exception)

FAILURES: dict[type[Exception], Callable[[Any], Failure]] = {
    InvalidFieldsError: _invalid_fields,
    MalformedMessageError: _malformed,
    EncoderMismatchError: _encoder_mismatch,
    UnknownCatalogError: _unknown_catalog,
    UnknownTierError: _unknown_tier,
    UnknownModelError: _unknown_model,
    CatalogInvalidError: _catalog_invalid,
    RevisionMismatchError: _revision_mismatch,
    QueueFullError: _queue_full,
    DeadlinePassedError: _deadline_passed,
    NotReadyError: _not_ready,
}
"""Every error that a caller can do something about. All others are our own bugs."""


def failure_of(error: Exception) -> Failure:
    """Returns what a caller gets of one of the errors in `FAILURES`."""
    return FAILURES[type(error)](error)
