"""The edge of the service: bytes come in, a response or one well-formed error goes out.

Every method is wrapped once, when it is registered, so that nothing of this is written per method:
messages that cannot be read, errors, the deadline, metrics and the log line of a call.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from tierwise_server.grpc_api.access import AccessControl
from tierwise_server.grpc_api.errors import (
    FAILURES,
    Failure,
    MalformedMessageError,
    TooMuchInFlightError,
    failure_of,
)
from tierwise_server.telemetry import Telemetry

if TYPE_CHECKING:
    # Needs an extra, and is loaded only where the settings ask for it.
    from tierwise_server.tracing import Tracing

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Awaitable[Message]]


MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Most that the requests being answered may have in all. Prompts wait for the encoder in memory,
and a few hundred large ones would fill it."""


class CallContext(Protocol):
    """What the methods need to know of a call."""

    def time_remaining(self) -> float | None:
        """Returns the seconds until the caller stops waiting; None means for ever."""


class InFlight:
    """Bytes of the requests that a server is answering."""

    def __init__(self) -> None:
        self.byte_count = 0

    def add(self, size: int) -> None:
        """Counts a request that begins.

        Raises:
            TooMuchInFlightError: There is no room for it. One alone always has room.
        """
        if self.byte_count and self.byte_count + size > MAX_BYTES_IN_FLIGHT:
            raise TooMuchInFlightError(MAX_BYTES_IN_FLIGHT)
        self.byte_count += size

    def remove(self, size: int) -> None:
        """Counts a request that has ended."""
        self.byte_count -= size


class _Unreadable:
    """Stands for a request that could not be read; gRPC itself would call that INTERNAL."""


def service_handler(
    service: ServiceDescriptor,
    servicer: object,
    telemetry: Telemetry,
    tracing: Tracing | None = None,
    *,
    access: AccessControl | None = None,
    in_flight: InFlight | None = None,
) -> grpc.GenericRpcHandler:
    """Returns the handler of a service whose methods the servicer has by their names.

    Args:
        service: The service.
        servicer: Has a method for each of the service's.
        telemetry: Counts calls.
        tracing: Makes spans. None makes none.
        access: Admits calls. None admits all.
        in_flight: Bounds what the requests being answered have in all, over several services.
    """

    def behaviour(method: MethodDescriptor) -> Behaviour:
        own: Behaviour = getattr(servicer, method.name)
        name = f"{service.full_name}/{method.name}"
        return own if tracing is None else tracing.traced(name, own, _code_of)

    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _guarded(method.name, behaviour(method), telemetry, access, in_flight or InFlight()),
            request_deserializer=_reader(method),
            response_serializer=_serialize,
        )
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def deadline_of(context: CallContext) -> float | None:
    """Returns when the caller stops waiting, by `time.monotonic()`; None means never."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def _code_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    if isinstance(error, Exception) and type(error) in FAILURES:
        return failure_of(error).code.name
    return grpc.StatusCode.INTERNAL.name


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _reader(method: MethodDescriptor) -> Callable[[bytes], Message | _Unreadable]:
    parse = message_factory.GetMessageClass(method.input_type).FromString

    def read(data: bytes) -> Message | _Unreadable:
        try:
            return parse(data)
        except DecodeError:
            return _Unreadable()

    return read


def _guarded(
    name: str,
    behaviour: Behaviour,
    telemetry: Telemetry,
    access: AccessControl | None,
    in_flight: InFlight,
) -> Behaviour:
    known = tuple(FAILURES)
    message_name = f"{name}Request"

    async def call(request: Message | _Unreadable, context: Context) -> Message:
        started = time.perf_counter()
        failure: Failure | None = None
        try:
            if access is not None:
                access.admit(name, request, context.invocation_metadata() or ())
            if isinstance(request, _Unreadable):
                raise MalformedMessageError(  # noqa: TRY301 - one path for every failure
                    f"the request is no {message_name}, or has text that is not UTF-8"
                )
            size = request.ByteSize()
            in_flight.add(size)
            try:
                response = await behaviour(request, context)
            finally:
                in_flight.remove(size)
        except known as error:
            failure = failure_of(error)
        except asyncio.CancelledError:
            telemetry.call_ended(name, "CANCELLED", time.perf_counter() - started)
            raise
        except Exception:
            # Our own bug: the caller learns an identifier, the log has the rest.
            incident = uuid.uuid4().hex
            logger.exception("unexpected error", extra={"method": name, "incident": incident})
            telemetry.call_ended(name, "INTERNAL", time.perf_counter() - started)
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error, incident {incident}")
        if failure is not None:
            telemetry.call_ended(name, failure.code.name, time.perf_counter() - started)
            await context.abort_with_status(rpc_status.to_status(failure.status()))
        telemetry.call_ended(name, "OK", time.perf_counter() - started)
        return response

    return call
