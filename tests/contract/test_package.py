"""What the package promises to whoever imports it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points, version

import pytest
from tests.conftest import REPOSITORY

import tierwise
import tierwise.v1
from tierwise import cli

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HEAVY = {"numpy", "faiss", "onnxruntime", "tokenizers", "torch", "transformers"}
NEVER_SERVING = {"torch", "transformers", "sentence_transformers", "onnx", "sklearn", "scipy"}

ROUTE_ONE = """
import asyncio, json, sys
from pathlib import Path
import grpc
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub
from tierwise_server.grpc_api.app import RoutingServer
from tierwise_server.settings import Settings

async def main(catalog, encoder, cache):
    server = RoutingServer(Settings(listen="127.0.0.1:0", catalog=(catalog,), encoder=encoder,
                                    cache_dir=cache, encoder_threads=1))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt="fix my grammar, please"))
        response = await RoutingServiceStub(channel).RoutePrompt(request, timeout=30)
        assert response.decision.tier_id
    await server.stop()

asyncio.run(main(*sys.argv[1:]))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_after(program: str, *arguments: str) -> set[str]:
    """Returns the top-level modules that a fresh interpreter has loaded after a program."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["tierwise", "tierwise.v1", "tierwise.errors", "tierwise.cli"])
def test_importing_the_client_loads_nothing_heavy(module: str) -> None:
    names = "import json, sys; print(json.dumps(list({n.partition('.')[0] for n in sys.modules})))"
    loaded = modules_after(f"import {module}\n{names}")
    assert loaded & (HEAVY | {"tierwise_server"}) == set()


def test_the_serving_process_never_loads_torch(tmp_path, encoder_dir, catalog) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    loaded = modules_after(ROUTE_ONE, str(catalog.path), str(encoder_dir), str(tmp_path / "cache"))
    assert "onnxruntime" in loaded
    assert loaded & NEVER_SERVING == set()


def declared_entries() -> list[EntryPoint]:
    groups = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}
    return [
        EntryPoint(name=name, value=value, group=group)
        for group, entries in groups.items()
        for name, value in entries.items()
    ]


@pytest.mark.parametrize("entry", declared_entries(), ids=str)
def test_every_declared_entry_point_loads_and_is_installed(entry: EntryPoint) -> None:
    assert callable(entry.load())
    installed = {(one.name, one.value) for one in entry_points(group=entry.group)}
    assert (entry.name, entry.value) in installed


def test_every_command_has_a_summary_and_a_home() -> None:
    declared = set(PROJECT["entry-points"]["tierwise.commands"])
    assert set(cli.SUMMARIES) == declared | set(cli.CLIENT_COMMANDS)
    assert declared.isdisjoint(cli.CLIENT_COMMANDS)


def test_the_public_names_are_declared_and_there() -> None:
    for name in tierwise.__all__:
        assert getattr(tierwise, name)
    public = {name for name in vars(tierwise) if not name.startswith("_")}
    modules = {name for name in public if f"tierwise.{name}" in sys.modules}
    needed = {"version", "import_module", "TYPE_CHECKING"}
    assert public - modules - needed <= set(tierwise.__all__)


def test_there_is_one_version() -> None:
    assert tierwise.__version__ == version("tierwise") == PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(a|b|rc|dev)\d+)?", tierwise.__version__)
