"""Every error that can reach the boundary has its answer, and every answer fits on the wire."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

import tierwise_server
from tierwise.v1.error_reason_pb2 import ErrorReason
from tierwise_server.call_limits import CallLimitReachedError
from tierwise_server.catalog.faults import CatalogInvalidError, Fault, FaultRule
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.limits import AtLimit, CallLimit, Period, SpendLimit
from tierwise_server.deciding.errors import (
    EncoderMismatchError,
    FieldFault,
    InvalidFieldsError,
    RequestError,
    UnknownModelError,
    UnknownTierError,
    each_below,
)
from tierwise_server.encoder.lanes import (
    DeadlinePassedError,
    LanesClosedError,
    QueueFullError,
    TooLateError,
)
from tierwise_server.grpc_api.access import PermissionDeniedError, UnauthenticatedError
from tierwise_server.grpc_api.errors import (
    FAILURES,
    Failure,
    MalformedMessageError,
    NotReadyError,
    NotServedError,
    TooMuchInFlightError,
    failure_of,
)
from tierwise_server.ledger.errors import LedgerQueueFullError, LedgerUnavailableError
from tierwise_server.live_catalog import FaultyCatalogError, RevisionMismatchError
from tierwise_server.router import UnknownCatalogError
from tierwise_server.spending.errors import SpendLimitReachedError

MAX_TRAILER_BYTES = 8_192
"""What gRPC takes by default before it begins to refuse trailers."""

NEVER_AT_THE_BOUNDARY = {
    "tierwise_server.access.token_file.TokenFileError",  # at start, and in the log
    "tierwise_server.catalog.document._StoppedError",  # ends the reading of one file
    "tierwise_server.catalog.faults.CatalogInvalidError",  # FaultyCatalogError carries its faults
    "tierwise_server.catalog.patterns.InvalidPatternError",  # becomes a fault
    "tierwise_server.catalog.scaffold.FolderNotEmptyError",  # of `tierwise init`
    "tierwise_server.questions.LabelledFileError",  # of `tierwise evaluate`
    "tierwise_server.deciding.errors.RequestError",  # abstract
    "tierwise_server.encoder.errors.EncoderError",  # at start and at build
    "tierwise_server.evidence.writing.FaultyEvidenceError",  # of commands that write evidence
    "tierwise_server.grpc_api.certificates.CertificateError",  # at start, and in the log
    "tierwise_server.grpc_api.decision_token.InvalidTokenError",  # becomes a violation
    "tierwise_server.ledger.errors.LedgerSchemaError",  # LedgerUnavailableError stands for it
    "tierwise_server.ledger.store._RacedError",  # leads to another try
    "tierwise_server.parts.ServeError",  # at start
    "tierwise_server.planning.prices.InexactPriceError",  # at load
    "tierwise_server.planning.prices.UnlistedPriceError",  # at load
    "tierwise_server.reporting.errors.ReportError",  # in `tierwise report`
    "tierwise_server.settings.SettingsError",  # at start
}


OF_COMMANDS_ALONE = (
    "tierwise_server.benching",
    "tierwise_server.commands",
    "tierwise_server.calibration.errors",
    "tierwise_server.candidates.promotion",
    "tierwise_server.catalog.rewriting",
    "tierwise_server.suggesting.errors",
)
"""Packages and modules that nothing which serves imports."""


def own_errors() -> Iterator[type[Exception]]:
    """Yields every exception class that the server package defines for serving."""
    for module in pkgutil.walk_packages(tierwise_server.__path__, "tierwise_server."):
        if module.name.startswith(OF_COMMANDS_ALONE):
            continue
        if ".encoder.build" in module.name or ".encoder.export" in module.name:
            continue  # these load torch, and serve nothing
        if ".encoder.measure" in module.name or ".encoder.source" in module.name:
            continue
        loaded = importlib.import_module(module.name)
        for value in vars(loaded).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__ == module.name
            ):
                yield value


def test_every_error_of_the_server_has_an_answer_or_never_gets_there() -> None:
    names = {f"{one.__module__}.{one.__qualname__}": one for one in own_errors()}
    unanswered = {name for name, one in names.items() if one not in FAILURES}
    assert unanswered <= NEVER_AT_THE_BOUNDARY
    assert not {one for one in names if one in NEVER_AT_THE_BOUNDARY and names[one] in FAILURES}


def test_every_request_error_has_an_answer() -> None:
    list(own_errors())  # defines them all
    assert {one for one in RequestError.__subclasses__() if one not in FAILURES} == set()


LIMIT = SpendLimit(
    caller="c" * 100,
    per=Period.DAY,
    nano_usd=5_000_000_000,
    at_limit=AtLimit.REFUSE,
    tier=None,
    location=Location(file="limits.yaml", line=2),
)
FAULT = Fault(
    file="tiers/mid.yaml", line=14, column=7, rule=FaultRule.EMPTY_TEXT, message="It is empty."
)
HUGE = "\u00e4" * 100_000

SAMPLES: list[tuple[Exception, grpc.StatusCode, str, set[str]]] = [
    (
        InvalidFieldsError([FieldFault(field="input.prompt", description="is empty")]),
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field"},
    ),
    (
        MalformedMessageError("the request is no RoutePromptRequest"),
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field"},
    ),
    (
        EncoderMismatchError("embedding.encoder_id", expected="a", actual="b"),
        grpc.StatusCode.INVALID_ARGUMENT, "ENCODER_MISMATCH",
        {"field", "expected_encoder_id", "actual_encoder_id"},
    ),
    (
        UnknownTierError("input.previous_tier_id", "gold", ("budget",)),
        grpc.StatusCode.NOT_FOUND, "TIER_NOT_FOUND", {"field", "tier_id"},
    ),
    (
        UnknownModelError("constraints.pinned_model_id", "x"),
        grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", {"field", "model_id"},
    ),
    (
        RevisionMismatchError(expected="a", actual="b"),
        grpc.StatusCode.ABORTED, "REVISION_MISMATCH", {"expected_revision", "actual_revision"},
    ),
    (
        QueueFullError(retry_after_s=0.5, queue_limit=3),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", {"queue_limit"},
    ),
    (
        TooLateError(retry_after_s=0.5, queue_limit=3),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", {"queue_limit"},
    ),
    (
        TooMuchInFlightError(1000),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", {"queue_limit"},
    ),
    (
        CallLimitReachedError(
            CallLimit(caller="a", per_second=5.0, concurrent=None, location=LIMIT.location),
            "a", retry_after_s=0.5, what="5 prompts a second",
        ),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "CALL_LIMIT_REACHED", {"caller", "limit"},
    ),
    (
        LedgerQueueFullError(20, retry_after_s=1.0),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", {"queue_limit"},
    ),
    (
        SpendLimitReachedError(LIMIT, reset_ms=86_400_000),
        grpc.StatusCode.RESOURCE_EXHAUSTED, "SPEND_LIMIT_REACHED",
        {"caller", "period", "limit_nano_usd", "reset_time"},
    ),
    (LedgerUnavailableError(5.0), grpc.StatusCode.UNAVAILABLE, "NOT_READY", set()),
    (DeadlinePassedError(), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED", set()),
    (NotReadyError("loading"), grpc.StatusCode.UNAVAILABLE, "NOT_READY", set()),
    (
        UnknownCatalogError("input.catalog", "x", ("default",)),
        grpc.StatusCode.NOT_FOUND, "CATALOG_NOT_FOUND", {"field", "catalog"},
    ),
    (
        FaultyCatalogError("default", (FAULT,)),
        grpc.StatusCode.FAILED_PRECONDITION, "CATALOG_INVALID", {"catalog", "fault_count"},
    ),
    (
        UnauthenticatedError("there is no token"),
        grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", set(),
    ),
    (
        PermissionDeniedError("of another caller", field="input.caller"),
        grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", {"field"},
    ),
    (NotServedError("switched off"), grpc.StatusCode.UNIMPLEMENTED, "NOT_SERVED", set()),
    (LanesClosedError("closed"), grpc.StatusCode.UNAVAILABLE, "NOT_READY", set()),
]  # fmt: skip


def details_of(failure: Failure) -> dict[str, Any]:
    """Returns the details of a failure by the names of their messages."""
    found: dict[str, Any] = {}
    for detail in failure.status().details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.PreconditionFailure,
            error_details_pb2.RetryInfo,
        ):
            if detail.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind.FromString(detail.value)
    return found


@pytest.mark.parametrize(
    ("error", "code", "reason", "metadata"), SAMPLES, ids=[type(one[0]).__name__ for one in SAMPLES]
)
def test_an_error_gives_code_reason_and_the_documented_metadata(
    error: Exception, code: grpc.StatusCode, reason: str, metadata: set[str]
) -> None:
    failure = failure_of(error)
    info = details_of(failure)["ErrorInfo"]
    assert failure.code is code
    assert (info.domain, info.reason) == ("tierwise", f"ERROR_REASON_{reason}")
    assert set(info.metadata) == metadata
    assert failure.message
    assert len(failure.status().details) <= 2


def test_a_full_queue_says_when_to_come_back() -> None:
    details = details_of(failure_of(QueueFullError(retry_after_s=0.25, queue_limit=8)))
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 0.25
    assert details["ErrorInfo"].metadata["queue_limit"] == "8"


def test_an_unavailable_ledger_says_when_to_come_back() -> None:
    details = details_of(failure_of(LedgerUnavailableError(5.0)))
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 5.0


@pytest.mark.parametrize(
    "error",
    [
        UnknownTierError("input.constraints.lowest_tier_id", HUGE, ("a" * 64,) * 16),
        UnknownModelError(HUGE, HUGE),
        UnknownCatalogError("catalog", HUGE, ("a" * 100,) * 100),
        EncoderMismatchError("f", expected="e" * 100, actual=HUGE),
        RevisionMismatchError(expected=HUGE, actual="b"),
        InvalidFieldsError([FieldFault(field=HUGE, description=HUGE)] * 300),
        InvalidFieldsError(
            FieldFault(field=f"inputs[{n}].prompt", description="must hold more than white space")
            for n in range(256)
        ),
        MalformedMessageError("x" * 10_000),
        FaultyCatalogError(HUGE, (FAULT,) * 1_000),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_fits_into_the_trailers_whatever_the_caller_sent(error: Exception) -> None:
    failure = failure_of(error)
    status = failure.status()
    # The details travel as base64, the message with its foreign bytes escaped.
    on_the_wire = len(status.SerializeToString()) * 4 / 3 + 3 * len(status.message.encode())
    assert on_the_wire < MAX_TRAILER_BYTES
    assert details_of(failure)["ErrorInfo"].reason


def test_every_violation_of_a_usual_request_is_listed() -> None:
    faults = [
        FieldFault(field=f"inputs[{n}].prompt", description="must hold more than white space")
        for n in range(20)
    ]
    listed = details_of(failure_of(InvalidFieldsError(faults)))["BadRequest"].field_violations
    assert [one.field for one in listed] == [fault.field for fault in faults]


def test_the_answers_produce_every_documented_reason() -> None:
    produced = {f"ERROR_REASON_{reason}" for _, _, reason, _ in SAMPLES}
    elsewhere = {
        "ERROR_REASON_UNSPECIFIED",  # never sent
        "ERROR_REASON_NO_MODEL_QUALIFIES",  # see the tests of planning
    }
    assert produced | elsewhere == set(ErrorReason.keys())


def test_faults_of_the_files_are_no_answer_by_themselves() -> None:
    with pytest.raises(KeyError):
        failure_of(CatalogInvalidError([FAULT]))


def test_a_fault_is_shown_with_file_line_and_rule() -> None:
    failure = details_of(failure_of(FaultyCatalogError("default", (FAULT,))))["PreconditionFailure"]
    (shown,) = failure.violations
    assert (shown.type, shown.subject) == ("empty-text", "tiers/mid.yaml:14")
    assert shown.description == "It is empty."


def test_items_are_checked_together_and_their_paths_name_them() -> None:
    def work(item: str) -> str:
        if item == "bad":
            raise InvalidFieldsError([FieldFault(field="prompt", description="is bad")])
        if item == "gold":
            raise UnknownTierError("previous_tier_id", item, ("budget",))
        return item.upper()

    assert each_below("inputs", ["a", "b"], work) == ["A", "B"]
    with pytest.raises(InvalidFieldsError) as caught:
        each_below("inputs", ["a", "bad", "gold", "bad"], work)
    assert [one.field for one in caught.value.faults] == ["inputs[1].prompt", "inputs[3].prompt"]
    with pytest.raises(UnknownTierError) as unknown:
        each_below("inputs", ["a", "gold"], work)
    assert unknown.value.field == "inputs[1].previous_tier_id"
