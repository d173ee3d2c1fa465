"""The generated stubs are those of the contract, and run with what the package asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from tests.conftest import REPOSITORY

from tierwise.v1 import (
    catalog_service_pb2,
    decision_pb2,
    error_class_pb2,
    model_pb2,
    routing_input_pb2,
)
from tierwise_server.catalog.cases import Role
from tierwise_server.catalog.difference import Change
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.deciding.request import Priority, RequiredQuality
from tierwise_server.deciding.semantic import Abstention
from tierwise_server.planning.error_classes import ErrorClass

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STUBS = REPOSITORY / "client" / "tierwise" / "v1"
PROTO = REPOSITORY / "proto"


def version_in(requirements: Iterable[str], name: str, sign: str) -> tuple[int, ...]:
    """Returns the version that a requirement pins or starts from."""
    for requirement in requirements:
        found = re.fullmatch(rf"{re.escape(name)}{sign}([0-9.]+).*", requirement)
        if found:
            return tuple(map(int, found[1].split(".")))
    raise AssertionError(f"no {name}{sign} in {requirements}")


def generated_with(pattern: str) -> set[tuple[int, ...]]:
    """Returns the versions that the generated files say they were made with."""
    versions = set()
    for file in STUBS.glob("*_pb2*.py"):
        found = re.search(pattern, file.read_text(encoding="utf-8"))
        if found:
            versions.add(tuple(map(int, found[1].split("."))))
    return versions


def test_the_floor_of_grpcio_is_the_generator_that_made_the_stubs() -> None:
    pinned = version_in(PROJECT["optional-dependencies"]["dev"], "grpcio-tools", "==")
    assert generated_with(r"GRPC_GENERATED_VERSION = '([0-9.]+)'") == {pinned}
    for name in ("grpcio", "grpcio-status"):
        floor = version_in(PROJECT["dependencies"], name, ">=")
        assert floor == pinned[: len(floor)], name


def test_the_floor_of_protobuf_is_the_one_that_made_the_stubs() -> None:
    floor = version_in(PROJECT["dependencies"], "protobuf", ">=")
    assert generated_with(r"# Protobuf Python Version: ([0-9.]+)") == {floor}


def test_the_stubs_are_what_the_contract_gives(tmp_path: Path) -> None:
    protos = sorted(str(file.relative_to(PROTO)) for file in PROTO.glob("tierwise/**/*.proto"))
    made = subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTO),
            f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", *protos,
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    fresh = {file.name: file.read_text() for file in (tmp_path / "tierwise" / "v1").glob("*.py")}
    committed = {file.name: file.read_text() for file in STUBS.glob("*_pb2*.py")}
    stale = [name for name, text in committed.items() if fresh.get(name) != text]
    assert stale == []
    messages = {name for name in fresh if name.endswith("_pb2.py")}
    services = {name for name in fresh if name.endswith("_service_pb2_grpc.py")}
    assert set(committed) == messages | services


def names_of(values: Any, prefix: str) -> dict[str, int]:  # noqa: ANN401 - an enum of the stubs
    """Returns the specified values of an enum of the contract, by name without prefix."""
    enum: EnumTypeWrapper = values
    descriptor: EnumDescriptor = enum.DESCRIPTOR
    assert all(one.name.startswith(prefix) for one in descriptor.values)
    named = {one.name.removeprefix(prefix): one.number for one in descriptor.values}
    assert named.pop("UNSPECIFIED") == 0
    return named


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (DecisionKind, decision_pb2.DecisionKind, "DECISION_KIND_"),
        (Priority, routing_input_pb2.Priority, "PRIORITY_"),
        (RequiredQuality, routing_input_pb2.RequiredQuality, "REQUIRED_QUALITY_"),
        (ErrorClass, error_class_pb2.ErrorClass, "ERROR_CLASS_"),
    ],
)
def test_numbered_enums_are_those_of_the_contract(
    ours: type[Enum], theirs: object, prefix: str
) -> None:
    members: Mapping[str, Any] = {one.name: one.value for one in ours}
    expected = names_of(theirs, prefix)
    members = {name: value for name, value in members.items() if name != "UNSPECIFIED"}
    assert members == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (Capability, model_pb2.Capability, "CAPABILITY_"),
        (AttachmentKind, routing_input_pb2.AttachmentKind, "ATTACHMENT_KIND_"),
        (Abstention, decision_pb2.SemanticAbstention, "SEMANTIC_ABSTENTION_"),
        (Change, catalog_service_pb2.TaskChangeKind, "TASK_CHANGE_KIND_"),
        (Role, routing_input_pb2.MessageRole, "MESSAGE_ROLE_"),
    ],
)
def test_named_enums_are_those_of_the_contract(
    ours: type[Enum], theirs: object, prefix: str
) -> None:
    assert {one.name for one in ours} == set(names_of(theirs, prefix))
