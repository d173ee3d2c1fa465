"""Errors that the library raises.

TierwiseError
├── ConfigurationError      the caller's set-up: a missing extra, key, provider or file
├── InvalidRequestError     the request is wrong in itself; found before anything was sent
├── RouterError             the router refused, failed or could not be reached
├── ProviderError           one call of a model failed
└── ChatError               a chat failed, all its attempts counted
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf import message as protobuf_message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tierwise.error_class import ErrorClass
from tierwise.v1.error_reason_pb2 import ErrorReason

if TYPE_CHECKING:
    from tierwise.answers import Answer
    from tierwise.chat_response import Attempt
    from tierwise.decisions import Decision

ERROR_DOMAIN = "tierwise"
"""Value of `google.rpc.ErrorInfo.domain` in every error of the router."""

_REFUSED = 400
"""HTTP statuses from here on say that there is no answer."""


class TierwiseError(Exception):
    """Base of every error that this library raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Makes errors survive pickling, which would call them with positional arguments alone."""
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(TierwiseError):
    """The caller's set-up lacks something; the message says what to do."""


def client_closed() -> ConfigurationError:
    """Returns what calls fail with that are under way when their client is closed."""
    return ConfigurationError("the client was closed while the call was under way")


class InvalidRequestError(TierwiseError):
    """The request is wrong in itself; nothing was sent."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.message = message
        self.field = field
        """Path of what is wrong. Example: `messages[2].tool_call_id`."""


class ProviderError(TierwiseError):
    """One call of a model failed.

    The message never holds a key, nor anything of the prompt that the provider quoted.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        status_code: int | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
        partial: Answer | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.status_code = status_code
        """Of the HTTP response. None when none came."""
        self.request_id = request_id
        """The provider's identifier of the call. Empty when it gave none."""
        self.retry_after_s = retry_after_s
        """How long the provider asks to wait. None when it did not say."""
        self.partial = partial
        """What was received before the failure, with the usage that the provider named. None when
        nothing was."""
        self.sent = sent
        """Whether the call reached the provider, as far as is known."""

    @property
    def free(self) -> bool:
        """Whether the provider certainly bills nothing: it was not reached, or it refused."""
        return not self.sent or (self.status_code is not None and self.status_code >= _REFUSED)


class ChatError(TierwiseError):
    """A chat failed: the last attempt did, and no step of the plan was left to take.

    Its cause is the `ProviderError` of the last attempt, where one was made.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass | None,
        decision: Decision,
        attempts: tuple[Attempt, ...],
        partial: Answer | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        """Of the last attempt. None when none could be made within the limits."""
        self.decision = decision
        self.attempts = attempts
        """All that were made, oldest first, with what they cost."""
        self.partial = partial
        """What was received before a stream broke off, or the answer that a validator rejected.
        None when nothing was."""


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


def rich_details(call: grpc.Call) -> Iterable[Any]:
    """Returns the `google.rpc` details of a failed call; nothing of those that make no sense."""
    try:
        status = rpc_status.from_call(call)
    except (ValueError, protobuf_message.DecodeError):  # They contradict the code, or are damaged.
        return ()
    return status.details if status is not None else ()


def router_error(error: grpc.RpcError) -> RouterError:
    """Returns what a failed call says, with its rich details read."""
    # Every error of a call is the call itself as well, which the types do not say.
    call = cast("grpc.Call", error)
    code, message = call.code(), call.details() or "no message"
    info = error_details_pb2.ErrorInfo()
    violations: list[str] = []
    for detail in rich_details(call):
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
