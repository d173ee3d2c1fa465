"""The examples in other languages, made from the contract and run against a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, REPOSITORY, StartServe, write_catalog
from tests.integration.client.conftest import MODELS

from tierwise.router_link import SERVICE_CONFIG
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

EXAMPLES = REPOSITORY / "client" / "examples"
BUILD_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What one example needs, and what it makes of an error."""

    programs: tuple[str, ...]
    """Of which all must be there."""
    files: tuple[str, ...] = ()
    """The same, by path."""
    refusal: str = "ERROR_REASON_INVALID_FIELD: "
    """How it begins what it says of an empty prompt."""
    env: Mapping[str, str] = field(default_factory=dict)

    def is_installed(self) -> bool:
        """Returns whether the example can be made on this machine."""
        return all(map(shutil.which, self.programs)) and all(map(os.path.exists, self.files))


LANGUAGES = {
    "cpp": Language(
        programs=("c++", "protoc", "grpc_cpp_plugin", "pkg-config"),
        files=("/usr/include/grpcpp/grpcpp.h",),
        refusal="code 3: ",
        env={"CXXFLAGS": "-O0"},
    ),
    "go": Language(
        programs=("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
        files=("/usr/share/gocode/src/google.golang.org/grpc",),
    ),
    "java": Language(
        programs=("java", "javac", "protoc", "grpc_java_plugin"),
        files=(
            "/usr/share/java/grpc-netty.jar",
            "/usr/share/java/netty-all.jar",
            "/usr/share/java/proto-google-common-protos.jar",
        ),
        refusal="INVALID_ARGUMENT: ",
    ),
    "ruby": Language(programs=("ruby", "grpc_tools_ruby_protoc")),
}


def installed() -> list[str]:
    """Returns the languages to test: on CI, all."""
    everything = os.environ.get("CI") == "true"
    return [name for name, one in LANGUAGES.items() if everything or one.is_installed()]


@pytest.fixture(scope="module")
def router(start_serve_once: StartServe, tmp_path_factory: pytest.TempPathFactory) -> str:
    catalog = write_catalog(tmp_path_factory.mktemp("catalog") / "catalog", models=MODELS)
    return f"127.0.0.1:{start_serve_once('--catalog', str(catalog.path)).port()}"


@pytest.mark.timeout(BUILD_TIMEOUT_S + 120)
@pytest.mark.parametrize("name", installed())
def test_it_routes_from_the_contract_alone(name: str, router: str, tmp_path: Path) -> None:
    language = LANGUAGES[name]
    environment = {**os.environ, **language.env, "GOCACHE": str(tmp_path / "cache")}
    built = subprocess.run(
        [str(EXAMPLES / name / "build.sh"), str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert built.returncode == 0, built.stderr

    def run(prompt: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(tmp_path / "out" / "route"), router, prompt],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run(LIKE["premium"])
    assert done.returncode == 0, done.stderr
    tier, model, reason = done.stdout.splitlines()
    assert (tier, model) == ("premium", "claude-big")
    assert reason.startswith("It reads like task architecture")
    refused = run(" ")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(language.refusal), refused.stderr


def test_every_language_is_tested_and_described() -> None:
    described = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in EXAMPLES.glob("*/build.sh")}
    assert folders == set(LANGUAGES)
    for name in (*folders, "node", "python"):
        assert f"[{name}]({name}" in described


# The service config ------------------------------------------------------------------------------


def shipped_config() -> str:
    return (EXAMPLES / "service_config.json").read_text(encoding="utf-8")


def test_the_service_config_to_copy_is_the_clients_own() -> None:
    assert json.loads(shipped_config()) == SERVICE_CONFIG


def test_the_service_config_sends_calls_to_the_replica_that_is_there(
    start_serve: StartServe, router: str, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    gone = start_serve("--catalog", str(catalog.path))
    replicas = f"ipv4:{router},127.0.0.1:{gone.port()}"
    options = [("grpc.service_config", shipped_config())]
    with grpc.insecure_channel(replicas, options) as channel:
        stub = RoutingServiceStub(channel)

        def tier_of(number: int) -> str:
            message = RoutingInput(prompt=f"{LIKE['premium']} {number}")
            request = RoutePromptRequest(input=message)
            return stub.RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision.tier_id

        assert {tier_of(number) for number in range(10)} == {"premium"}
        gone.process.kill()
        gone.process.wait()
        assert {tier_of(number) for number in range(10, 50)} == {"premium"}
