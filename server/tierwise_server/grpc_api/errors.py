"""From the server's own errors to what a caller gets: one table, and nothing else decides."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tierwise.errors import ERROR_DOMAIN
from tierwise.v1 import error_reason_pb2
from tierwise.v1.error_reason_pb2 import ErrorReason
from tierwise_server.call_limits import CallLimitReachedError
from tierwise_server.deciding.errors import (
    EncoderMismatchError,
    InvalidFieldsError,
    UnknownModelError,
    UnknownTierError,
)
from tierwise_server.encoder.lanes import (
    DeadlinePassedError,
    LanesClosedError,
    QueueFullError,
    TooLateError,
)
from tierwise_server.grpc_api.access import PermissionDeniedError, UnauthenticatedError
from tierwise_server.ledger.errors import LedgerQueueFullError, LedgerUnavailableError
from tierwise_server.live_catalog import FaultyCatalogError, RevisionMismatchError
from tierwise_server.planning.errors import NoModelQualifiesError
from tierwise_server.router import UnknownCatalogError
from tierwise_server.spending.errors import SpendLimitReachedError

MAX_MESSAGE_BYTES = 500
MAX_METADATA_BYTES = 200
MAX_VIOLATION_BYTES = 2_500
"""Sizes of an error on the wire. gRPC drops calls whose trailers are over 8 KB, of which an error
takes about twice these: its message is in them once as text and once, with the violations, in
base64."""


class MalformedMessageError(Exception):
    """Bytes that are no message of the contract."""


class NotReadyError(Exception):
    """The server is starting or stopping."""


class TooMuchInFlightError(Exception):
    """The requests that are being answered hold all the memory that they may."""

    retry_after_s = 0.1

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"requests of {limit_bytes} bytes in all are being answered; retry later")
        self.queue_limit = limit_bytes


class NotServedError(Exception):
    """A method that the settings of this server switch off."""


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
            reason=ErrorReason.Name(self.reason),
            domain=ERROR_DOMAIN,
            metadata={key: _cut(value, MAX_METADATA_BYTES) for key, value in self.metadata.items()},
        )
        details = [_packed(info)] + ([_packed(self.detail)] if self.detail is not None else [])
        code: int = self.code.value[0]
        message = _cut(self.message, MAX_MESSAGE_BYTES)
        return status_pb2.Status(code=code, message=message, details=details)


def _cut(text: str, most_bytes: int) -> str:
    """Returns the text, cut to some bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - 6].decode(errors="ignore") + " (cut)"


_Violation = TypeVar("_Violation", bound=Message)


def _fitting(violations: Iterable[_Violation]) -> Iterator[_Violation]:
    """Yields violations for as long as they fit."""
    left = MAX_VIOLATION_BYTES
    for violation in violations:
        left -= violation.ByteSize()
        if left < 0:
            return
        yield violation


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
        field_violations=_fitting(
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(name, MAX_METADATA_BYTES), description=_cut(description, 300)
            )
            for name, description in violations
        )
    )


def _invalid_fields(error: InvalidFieldsError) -> Failure:
    return Failure(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=error_reason_pb2.ERROR_REASON_INVALID_FIELD,
        message=str(error),
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


def _no_model_qualifies(error: NoModelQualifiesError) -> Failure:
    return Failure(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=error_reason_pb2.ERROR_REASON_NO_MODEL_QUALIFIES,
        message=str(error),
        metadata={"field": error.field, "model_count": str(len(error.dropped))},
        detail=error_details_pb2.PreconditionFailure(
            violations=_fitting(
                error_details_pb2.PreconditionFailure.Violation(
                    type=one.constraint,
                    subject=one.model_id,
                    description=_cut(one.description, 300),
                )
                for one in error.dropped
            )
        ),
    )


def _unknown_catalog(error: UnknownCatalogError) -> Failure:
    return Failure(
        code=grpc.StatusCode.NOT_FOUND,
        reason=error_reason_pb2.ERROR_REASON_CATALOG_NOT_FOUND,
        message=str(error),
        metadata={"field": error.field, "catalog": error.name},
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


def _faulty_catalog(error: FaultyCatalogError) -> Failure:
    count = len(error.faults)
    return Failure(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=error_reason_pb2.ERROR_REASON_CATALOG_INVALID,
        message=f"{error}; what was served before stays, and `GetCatalogStatus` or `tierwise"
        " check` list all of them",
        metadata={"catalog": error.catalog, "fault_count": str(count)},
        detail=error_details_pb2.PreconditionFailure(
            violations=_fitting(
                error_details_pb2.PreconditionFailure.Violation(
                    type=fault.rule,
                    subject=f"{fault.file}:{fault.line}",
                    description=_cut(f"{fault.message} {fault.suggestion}".strip(), 300),
                )
                for fault in error.faults
            )
        ),
    )


def _revision_mismatch(error: RevisionMismatchError) -> Failure:
    return Failure(
        code=grpc.StatusCode.ABORTED,
        reason=error_reason_pb2.ERROR_REASON_REVISION_MISMATCH,
        message=str(error),
        metadata={"expected_revision": error.expected, "actual_revision": error.actual},
    )


def _overloaded(
    error: QueueFullError | TooLateError | TooMuchInFlightError | LedgerQueueFullError,
) -> Failure:
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


def _not_served(error: NotServedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.UNIMPLEMENTED,
        reason=error_reason_pb2.ERROR_REASON_NOT_SERVED,
        message=str(error),
    )


def _unauthenticated(error: UnauthenticatedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.UNAUTHENTICATED,
        reason=error_reason_pb2.ERROR_REASON_UNAUTHENTICATED,
        message=str(error),
    )


def _permission_denied(error: PermissionDeniedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.PERMISSION_DENIED,
        reason=error_reason_pb2.ERROR_REASON_PERMISSION_DENIED,
        message=str(error),
        metadata={"field": error.field},
    )


def _not_ready(error: NotReadyError | LanesClosedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=error_reason_pb2.ERROR_REASON_NOT_READY,
        message=str(error),
        detail=_retry_info(1.0),
    )


def _ledger_unavailable(error: LedgerUnavailableError) -> Failure:
    return Failure(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=error_reason_pb2.ERROR_REASON_NOT_READY,
        message=str(error),
        detail=_retry_info(error.retry_after_s),
    )


def _spend_limit_reached(error: SpendLimitReachedError) -> Failure:
    limit = error.limit
    return Failure(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=error_reason_pb2.ERROR_REASON_SPEND_LIMIT_REACHED,
        message=str(error),
        metadata={
            "caller": limit.caller,
            "period": str(limit.per),
            "limit_nano_usd": str(limit.nano_usd),
            "reset_time": f"{error.reset_time:%Y-%m-%dT%H:%M:%SZ}",
        },
        detail=error_details_pb2.QuotaFailure(
            violations=[
                error_details_pb2.QuotaFailure.Violation(
                    subject=f"caller:{limit.caller}", description=_cut(str(error), 300)
                )
            ]
        ),
    )


def _call_limit_reached(error: CallLimitReachedError) -> Failure:
    return Failure(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=error_reason_pb2.ERROR_REASON_CALL_LIMIT_REACHED,
        message=str(error),
        metadata={"caller": error.caller, "limit": error.limit},
        detail=_retry_info(error.retry_after_s),
    )


_Error = TypeVar("_Error", bound=Exception)

FAILURES: dict[type[Exception], Callable[[Any], Failure]] = {
    InvalidFieldsError: _invalid_fields,
    MalformedMessageError: _malformed,
    EncoderMismatchError: _encoder_mismatch,
    NoModelQualifiesError: _no_model_qualifies,
    UnknownCatalogError: _unknown_catalog,
    UnknownTierError: _unknown_tier,
    UnknownModelError: _unknown_model,
    FaultyCatalogError: _faulty_catalog,
    RevisionMismatchError: _revision_mismatch,
    QueueFullError: _overloaded,
    TooLateError: _overloaded,
    TooMuchInFlightError: _overloaded,
    LedgerQueueFullError: _overloaded,
    LedgerUnavailableError: _ledger_unavailable,
    DeadlinePassedError: _deadline_passed,
    NotReadyError: _not_ready,
    LanesClosedError: _not_ready,
    NotServedError: _not_served,
    UnauthenticatedError: _unauthenticated,
    PermissionDeniedError: _permission_denied,
    SpendLimitReachedError: _spend_limit_reached,
    CallLimitReachedError: _call_limit_reached,
}
"""Every error that a caller can do something about. All others are our own bugs."""


def failure_of(error: Exception) -> Failure:
    """Returns what a caller gets of one of the errors in `FAILURES`."""
    return FAILURES[type(error)](error)
