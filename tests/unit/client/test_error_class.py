"""The library's enums have the names and numbers of the contract, all of them and no others."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from tierwise import decisions, error_class, routing
from tierwise.decisions import Capability, DecisionKind, RouterlessCause, StepKind
from tierwise.error_class import ErrorClass
from tierwise.reporting import outcome
from tierwise.reporting.outcome import Verdict
from tierwise.routing import Priority, RequiredQuality
from tierwise.v1 import decision_pb2, error_class_pb2, model_pb2, outcome_pb2, routing_input_pb2

MIRRORED: list[tuple[type[IntEnum], Any, str]] = [
    (ErrorClass, error_class_pb2.ErrorClass, "ERROR_CLASS_"),
    (DecisionKind, decision_pb2.DecisionKind, "DECISION_KIND_"),
    (StepKind, decision_pb2.PlanStepKind, "PLAN_STEP_KIND_"),
    (RouterlessCause, outcome_pb2.RouterlessCause, "ROUTERLESS_CAUSE_"),
    (Capability, model_pb2.Capability, "CAPABILITY_"),
    (RequiredQuality, routing_input_pb2.RequiredQuality, "REQUIRED_QUALITY_"),
    (Priority, routing_input_pb2.Priority, "PRIORITY_"),
    (Verdict, outcome_pb2.Verdict, "VERDICT_"),
]


@pytest.mark.parametrize(("own", "contract", "prefix"), MIRRORED, ids=str)
def test_names_and_numbers_are_those_of_the_contract(
    own: type[IntEnum],
    contract: Any,  # noqa: ANN401 - what is generated has no common type
    prefix: str,
) -> None:
    assert {one.name: one.value for one in own} == {
        name.removeprefix(prefix): number for name, number in contract.items() if number
    }


def test_no_mirrored_enum_is_left_out() -> None:
    found = {
        value
        for module in (decisions, error_class, outcome, routing)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
    }
    assert found == {own for own, _, _ in MIRRORED}


def test_classes_are_written_in_kebab_case() -> None:
    assert [one.word for one in ErrorClass] == [
        "rate-limited", "timeout", "overloaded", "server-error", "connection", "context-too-long",
        "content-policy", "invalid-request", "authentication", "quota-exhausted",
        "malformed-response", "rejected-by-validator", "cancelled",
    ]  # fmt: skip
