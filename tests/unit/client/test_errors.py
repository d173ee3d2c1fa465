"""What the library makes of a failed call."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from concurrent import futures
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tierwise import errors
from tierwise.answers import Answer, Usage
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, Model, Plan, PlanStep, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import (
    ChatError,
    ConfigurationError,
    InvalidRequestError,
    ProviderError,
    RouterError,
    TierwiseError,
    router_error,
)
from tierwise.v1.error_reason_pb2 import ErrorReason


def packed(message: Message) -> any_pb2.Any:
    found = any_pb2.Any()
    found.Pack(message)
    return found


def failed_call(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> RouterError:
    """Makes a call fail on a real server, and returns what the library says of it."""
    status = status_pb2.Status(
        code=code.value[0], message=message, details=[packed(one) for one in details]
    )

    def behaviour(_: bytes, context: grpc.ServicerContext) -> bytes:
        if details:
            context.abort_with_status(rpc_status.to_status(status))
        context.abort(code, message)
        return b""

    handler = grpc.method_handlers_generic_handler(
        "s", {"M": grpc.unary_unary_rpc_method_handler(behaviour)}
    )
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/s/M")(b"", timeout=10)
            return router_error(caught.value)
    finally:
        server.stop(None).wait(5)


INFO = error_details_pb2.ErrorInfo(
    reason="ERROR_REASON_TIER_NOT_FOUND",
    domain="tierwise",
    metadata={"field": "input.previous_tier_id", "tier_id": "gold"},
)


def test_code_message_reason_and_metadata_are_read() -> None:
    error = failed_call(grpc.StatusCode.NOT_FOUND, "no tier 'gold'", [INFO])
    assert isinstance(error, TierwiseError)
    assert str(error) == "no tier 'gold'"
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.reason == ErrorReason.ERROR_REASON_TIER_NOT_FOUND
    assert error.metadata == {"field": "input.previous_tier_id", "tier_id": "gold"}
    assert error.details == ()


def test_each_violation_is_a_line() -> None:
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="a", description="is wrong"),
            error_details_pb2.BadRequest.FieldViolation(field="b[1]", description="too"),
        ]
    )
    error = failed_call(grpc.StatusCode.INVALID_ARGUMENT, "m", [INFO, bad])
    assert error.details == ("a: is wrong", "b[1]: too")


def test_each_failed_precondition_is_a_line() -> None:
    failure = error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(
                type="unknown-key", subject="catalog.yaml:5", description="No key `colour`."
            )
        ]
    )
    error = failed_call(grpc.StatusCode.FAILED_PRECONDITION, "m", [INFO, failure])
    assert error.details == ("catalog.yaml:5: unknown-key: No key `colour`.",)


@pytest.mark.parametrize(
    "info",
    [
        error_details_pb2.ErrorInfo(reason="ERROR_REASON_FROM_THE_FUTURE", domain="tierwise"),
        error_details_pb2.ErrorInfo(reason="ERROR_REASON_TIER_NOT_FOUND", domain="elsewhere"),
    ],
    ids=["unknown reason", "foreign domain"],
)
def test_a_reason_that_is_none_of_ours_is_unspecified(info: error_details_pb2.ErrorInfo) -> None:
    error = failed_call(grpc.StatusCode.NOT_FOUND, "m", [info])
    assert error.reason == ErrorReason.ERROR_REASON_UNSPECIFIED
    assert error.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK],
    ids=lambda c: c.name,
)
def test_a_call_that_fails_without_details_keeps_its_code(code: grpc.StatusCode) -> None:
    error = failed_call(code, "plain", [])
    assert (error.code, str(error), error.details) == (code, "plain", ())


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        grpc.insecure_channel("127.0.0.1:1") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/s/M")(b"", timeout=5)
    assert router_error(caught.value).code is grpc.StatusCode.UNAVAILABLE


def test_every_error_is_of_one_tree() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert TierwiseError in classes
    assert all(issubclass(one, TierwiseError) for one in classes)


@pytest.mark.parametrize(
    "details", [status_pb2.Status(code=3, message="another").SerializeToString(), b"\xff\xff"]
)
def test_details_that_make_no_sense_leave_code_and_message(details: bytes) -> None:
    """As a proxy between may make them, of an outage that must not look like a fault of ours."""
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", details)),
        details="no router",
    )
    told = router_error(error)
    assert (told.code, str(told), told.details) == (grpc.StatusCode.UNAVAILABLE, "no router", ())


def test_errors_survive_pickling() -> None:
    """As they must, to come back from a worker process."""
    original = failed_call(grpc.StatusCode.NOT_FOUND, "no tier 'gold'", [INFO])
    copy = pickle.loads(pickle.dumps(original))  # noqa: S301 - our own bytes
    assert isinstance(copy, RouterError)
    assert (str(copy), copy.code, copy.reason) == (str(original), original.code, original.reason)
    assert (copy.metadata, copy.details) == (original.metadata, original.details)
    assert str(pickle.loads(pickle.dumps(ConfigurationError("x")))) == "x"  # noqa: S301


PARTIAL = Answer(text="so far", usage=Usage(input_tokens=3))
STEP = PlanStep(
    model=Model(model_id="m", provider_id="p", upstream_name="m-1", labels={"region": "eu"}),
    retry_limits={ErrorClass.TIMEOUT: 2},
)
SAMPLES: list[TierwiseError] = [
    TierwiseError("x"),
    ConfigurationError("x"),
    InvalidRequestError("is wrong", field="messages[2]"),
    ProviderError(
        "it failed",
        error_class=ErrorClass.RATE_LIMITED,
        status_code=429,
        request_id="r",
        retry_after_s=1.5,
        partial=PARTIAL,
        sent=False,
    ),
    ChatError(
        "it failed",
        error_class=ErrorClass.TIMEOUT,
        decision=Decision(decision_id="d", tier_id="t", plan=Plan(steps=(STEP,))),
        attempts=(
            Attempt(
                model_id="m",
                provider_id="p",
                step_kind=StepKind.FIRST,
                start_time=datetime.now(UTC),
                duration_s=1.0,
            ),
        ),
        partial=PARTIAL,
    ),
    RouterError(
        "x",
        code=grpc.StatusCode.NOT_FOUND,
        reason=ErrorReason.ERROR_REASON_TIER_NOT_FOUND,
        metadata={"tier_id": "gold"},
        details=("a",),
    ),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda one: type(one).__name__)
def test_every_error_comes_back_whole(error: TierwiseError) -> None:
    """From a worker process, and from a copy."""
    for again in (
        *(
            pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_every_class_of_error_is_among_the_samples() -> None:
    tree = {TierwiseError, *TierwiseError.__subclasses__()}
    assert {type(one) for one in SAMPLES} == {
        one for one in tree if one.__module__ == errors.__name__
    }


@pytest.mark.parametrize(
    ("status_code", "sent", "free"),
    [
        (None, True, False),
        (None, False, True),
        (200, True, False),
        (399, True, False),
        (400, True, True),
        (503, True, True),
    ],
)
def test_only_a_call_that_was_refused_or_never_sent_is_certainly_free(
    status_code: int | None, sent: bool, free: bool
) -> None:
    error = ProviderError(
        "x", error_class=ErrorClass.SERVER_ERROR, status_code=status_code, sent=sent
    )
    assert error.free is free


def test_an_invalid_request_says_where_it_is_wrong() -> None:
    error = InvalidRequestError("is wrong", field="messages[2]")
    assert (str(error), error.message, error.field) == (
        "messages[2]: is wrong",
        "is wrong",
        "messages[2]",
    )
