"""Errors that the library raises.

TierwiseError
├── ConfigurationError      the caller's set-up: a missing extra, a missing file
└── RouterError             the router refused, failed or could not be reached
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tierwise.v1.error_reason_pb2 import ErrorReason

ERROR_DOMAIN = "tierwise"
"""Value of `google.rpc.ErrorInfo.domain` in every error of the router."""


class TierwiseError(Exception):
    """Base of every error that this library raises."""


class ConfigurationError(TierwiseError):
    """The caller's set-up lacks something; the message says what to do."""


class RouterError(TierwiseError):
    """The router refused, failed or could not be reached."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: int = ErrorReason.ERROR_REASON_UNSPECIFIED,
        metadata: Mapping[str, str] | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        """A value of `tierwise.v1.ErrorReason`; unspecified when the router gave none."""
        self.metadata = dict(metadata or {})
        self.details = details
        """One line for each violation that the router listed."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Makes the error survive pickling, which calls with positional arguments alone."""
        parts = (str(self), self.code, self.reason, self.metadata, self.details)
        return _unpickled, parts


def _unpickled(
    message: str,
    code: grpc.StatusCode,
    reason: int,
    metadata: dict[str, str],
    details: tuple[str, ...],
) -> RouterError:
    return RouterError(message, code=code, reason=reason, metadata=metadata, details=details)


def router_error(error: grpc.RpcError) -> RouterError:
    """Returns what a failed call says, with its rich details read."""
    # Every error of a call is the call itself as well, which the types do not say.
    call = cast("grpc.Call", error)
    code, message = call.code(), call.details() or "no message"
    status = rpc_status.from_call(call)
    info = error_details_pb2.ErrorInfo()
    violations: list[str] = []
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations += [f"{item.field}: {item.description}" for item in bad.field_violations]
        elif detail.Is(error_details_pb2.PreconditionFailure.DESCRIPTOR):
            failure = error_details_pb2.PreconditionFailure()
            detail.Unpack(failure)
            violations += [
                f"{item.subject}: {item.type}: {item.description}" for item in failure.violations
            ]
    known = info.domain == ERROR_DOMAIN and info.reason in dict(ErrorReason.items())
    return RouterError(
        message,
        code=code,
        reason=ErrorReason.Value(info.reason) if known else 0,
        metadata=info.metadata,
        details=tuple(violations),
    )
