"""`tierwise serve` as a process: its signals, its exit codes, its log."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    CatalogFolder,
    StartServe,
    run_tierwise,
    write_catalog,
)

from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    RoutePromptRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

EXIT_S = 30
BUILD_TIMEOUT_S = 600
MARKER = "quetzalcoatl"


def one_line(text: str) -> str:
    """Returns the one line that a command has printed."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_calls_finish_and_the_process_exits_with_0(
    start_serve: StartServe, catalog: CatalogFolder, number: signal.Signals
) -> None:
    running = start_serve("--catalog", str(catalog.path), "--encoder-threads", "1")
    inputs = [RoutingInput(prompt=f"{n} {'a long prompt about nothing ' * 30}") for n in range(120)]
    answers: list[Any] = []
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        stub = RoutingServiceStub(channel)
        stub.RoutePrompt(RoutePromptRequest(input=inputs[0]), timeout=CALL_TIMEOUT_S)
        call = stub.BatchRoutePrompts.future(
            BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
        )
        begun = threading.Event()
        threading.Timer(0.2, begun.set).start()
        begun.wait(5)
        running.process.send_signal(number)
        answers += call.result(timeout=CALL_TIMEOUT_S).decisions
    assert len(answers) == 120
    assert running.process.wait(timeout=EXIT_S) == 0
    assert "Traceback" not in running.log_text()


def test_a_taken_port_is_one_line_and_exit_1(
    catalog: CatalogFolder, encoder_dir: Path, shared_cache: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_tierwise(
            "serve", "--listen", address, "--catalog", str(catalog.path),
            "--encoder", str(encoder_dir), "--cache-dir", str(shared_cache),
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert address in one_line(ended.stderr)


def test_a_second_server_does_not_take_the_same_port_in_silence(
    start_serve: StartServe, catalog: CatalogFolder
) -> None:
    first = start_serve("--catalog", str(catalog.path))
    port = first.port()
    second = start_serve("--listen", f"127.0.0.1:{port}", "--catalog", str(catalog.path))
    assert second.process.wait(timeout=EXIT_S) == 1
    assert str(port) in one_line(second.log_text())
    assert first.process.poll() is None


@pytest.mark.parametrize("flag", ["--metrics-listen", "--listen"])
def test_an_address_that_is_none_is_one_line_and_exit_1(
    catalog: CatalogFolder, encoder_dir: Path, shared_cache: Path, flag: str
) -> None:
    address = "256.1.1.1:80"
    ended = run_tierwise(
        "serve", "--listen", "127.0.0.1:0", "--catalog", str(catalog.path),
        "--encoder", str(encoder_dir), "--cache-dir", str(shared_cache), flag, address,
    )  # fmt: skip
    assert ended.returncode in {1, 2}
    assert "Traceback" not in ended.stderr
    assert address in ended.stderr.strip().splitlines()[-1]


def test_a_broken_catalog_is_one_line_and_exit_1(
    catalog: CatalogFolder, encoder_dir: Path, shared_cache: Path
) -> None:
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\nsize: 3\n")
    ended = run_tierwise(
        "serve", "--listen", "127.0.0.1:0", "--catalog", str(catalog.path),
        "--encoder", str(encoder_dir), "--cache-dir", str(shared_cache),
    )  # fmt: skip
    assert ended.returncode == 1
    line = one_line(ended.stderr)
    assert "2 faults" in line
    assert "catalog.yaml:5" in line
    assert f"tierwise check {catalog.path}" in line


def test_a_missing_catalog_is_one_line_and_exit_1(
    tmp_path: Path, encoder_dir: Path, shared_cache: Path
) -> None:
    ended = run_tierwise(
        "serve", "--listen", "127.0.0.1:0", "--catalog", str(tmp_path / "nowhere"),
        "--encoder", str(encoder_dir), "--cache-dir", str(shared_cache),
    )  # fmt: skip
    assert ended.returncode == 1
    assert str(tmp_path / "nowhere") in one_line(ended.stderr)


def test_a_missing_encoder_is_one_line_and_exit_1(
    catalog: CatalogFolder, tmp_path: Path, shared_cache: Path
) -> None:
    missing = tmp_path / "no-encoder"
    ended = run_tierwise(
        "serve", "--listen", "127.0.0.1:0", "--catalog", str(catalog.path),
        "--encoder", str(missing), "--cache-dir", str(shared_cache),
    )  # fmt: skip
    assert ended.returncode == 1
    line = one_line(ended.stderr)
    assert str(missing) in line
    assert "tierwise encoder build" in line


def test_a_damaged_encoder_is_one_line_and_exit_1(
    catalog: CatalogFolder, tmp_path: Path, encoder_dir: Path, shared_cache: Path
) -> None:
    damaged = Path(shutil.copytree(encoder_dir, tmp_path / "encoder"))
    with (damaged / "model.onnx").open("r+b") as model:
        model.seek(1_000)
        model.write(b"damage")
    ended = run_tierwise(
        "serve", "--listen", "127.0.0.1:0", "--catalog", str(catalog.path),
        "--encoder", str(damaged), "--cache-dir", str(shared_cache),
    )  # fmt: skip
    assert ended.returncode == 1
    assert "model.onnx" in one_line(ended.stderr)


def test_the_log_is_one_object_a_line_and_holds_no_prompt(
    start_serve: StartServe, catalog: CatalogFolder
) -> None:
    running = start_serve(
        "--catalog", str(catalog.path), "--log-level", "debug", "--log-requests", "all",
        "--metrics-listen", "127.0.0.1:0",
    )  # fmt: skip
    secret = f"{MARKER} {LIKE['budget']}"
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        stub = RoutingServiceStub(channel)
        wrong = (
            RoutingInput(prompt=secret, previous_tier_id="gold"),
            RoutingInput(prompt=secret, language="english"),
            RoutingInput(prompt=secret * 17_000),
            RoutingInput(prompt=secret, catalog="nope"),
        )
        for message in (
            RoutingInput(prompt=secret),
            RoutingInput(prompt=secret, keep_nothing=True),
            *wrong,
        ):
            for call, request in (
                (stub.RoutePrompt, RoutePromptRequest(input=message)),
                (stub.ExplainDecision, ExplainDecisionRequest(input=message)),
                (stub.BatchRoutePrompts, BatchRoutePromptsRequest(inputs=[message] * 2)),
            ):
                done = call.future(request, timeout=CALL_TIMEOUT_S)
                if message in wrong:
                    assert done.code() in {
                        grpc.StatusCode.NOT_FOUND,
                        grpc.StatusCode.INVALID_ARGUMENT,
                    }
                    assert MARKER not in done.details()
                else:
                    assert done.code() is grpc.StatusCode.OK
    running.process.terminate()
    assert running.process.wait(timeout=EXIT_S) == 0
    lines = running.log_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert MARKER not in running.log_text()
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)
    calls = [entry for entry in entries if entry["message"] == "call"]
    assert len(calls) == 18
    assert {entry["code"] for entry in calls} == {"OK", "NOT_FOUND", "INVALID_ARGUMENT"}
    (serving,) = [entry for entry in entries if entry["message"] == "serving"]
    assert serving["catalogs"].keys() == {"default"}


def test_a_log_for_people_tells_as_much(start_serve: StartServe, catalog: CatalogFolder) -> None:
    running = start_serve("--catalog", str(catalog.path), "--log-format", "text")
    port = running.port()
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\n")
    end = time.monotonic() + 10
    while "catalog.yaml:5" not in running.log_text():
        assert time.monotonic() < end, running.log_text()
        threading.Event().wait(0.05)
    assert str(port) in running.log_text()


def test_settings_come_from_flags_then_variables_then_the_file(
    start_serve: StartServe, catalog: CatalogFolder, tmp_path: Path
) -> None:
    write_catalog(tmp_path / "other", default_tier="budget")
    file = tmp_path / "serve.yaml"
    file.write_text(
        f"catalog: [one={catalog.path}, two={tmp_path / 'other'}]\n"
        "listen: 127.0.0.1:1\nlog-format: text\nreflection: off\nadmin: on\n"
    )
    running = start_serve("--config", str(file), env={"TIERWISE_LOG_FORMAT": "json"})
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt="zebra umbrella", catalog="two"))
        decision = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision
        assert (decision.catalog, decision.tier_id) == ("two", "budget")
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(
                iter([b""]), timeout=CALL_TIMEOUT_S
            ).next()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert json.loads(running.log_text().splitlines()[0])


def test_an_open_watch_does_not_hold_up_the_end(
    start_serve: StartServe, catalog: CatalogFolder
) -> None:
    running = start_serve("--catalog", str(catalog.path), "--grace-s", "3600")
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
            for name in ("", "", "nobody")
        ]
        first = [next(watch).status for watch in watches]
        status = health_pb2.HealthCheckResponse
        assert first == [status.SERVING, status.SERVING, status.SERVICE_UNKNOWN]
        # One that leaves takes nothing from the others of its name.
        watches.pop(0).cancel()
        running.process.terminate()
        assert [one.status for one in watches[0]] == [status.NOT_SERVING]
        assert list(watches[1]) == []
        assert running.process.wait(timeout=EXIT_S) == 0


def test_calls_are_taken_for_the_drain_delay_after_health_says_no(
    start_serve: StartServe, catalog: CatalogFolder
) -> None:
    running = start_serve("--catalog", str(catalog.path), "--drain-delay-s", "3600")
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        running.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["budget"]))
        decision = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision
        assert decision.tier_id == "budget"
        # Whoever is in a hurry asks again.
        running.process.terminate()
        assert running.process.wait(timeout=EXIT_S) == 0


def test_a_damaged_encoder_in_the_cache_is_built_anew(
    start_serve: StartServe, catalog: CatalogFolder, tmp_path: Path, encoder_dir: Path
) -> None:
    damaged = Path(shutil.copytree(encoder_dir, tmp_path / "cache" / "encoder"))
    with (damaged / "model.onnx").open("r+b") as model:
        model.seek(1_000)
        model.write(b"damage")
    running = start_serve(
        "--catalog", str(catalog.path), "--encoder", "", "--cache-dir", str(tmp_path / "cache")
    )
    with grpc.insecure_channel(f"127.0.0.1:{running.port(BUILD_TIMEOUT_S)}") as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["budget"]))
        decision = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision
        assert decision.tier_id == "budget"
    (said,) = [json.loads(line) for line in running.log_text().splitlines() if "built anew" in line]
    assert "model.onnx" in said["reason"]
    assert said["level"].lower() == "error"


def test_a_damaged_store_of_vectors_is_made_anew(
    start_serve: StartServe, catalog: CatalogFolder, tmp_path: Path
) -> None:
    cache = ("--cache-dir", str(tmp_path / "cache"))
    first = start_serve("--catalog", str(catalog.path), *cache)
    first.port()
    first.end()
    (store,) = [
        one for one in (tmp_path / "cache").rglob("*.vectors") if one.parent.name == "default"
    ]
    whole = store.read_bytes()
    store.write_bytes(whole[:-100] + bytes(100))

    second = start_serve("--catalog", str(catalog.path), *cache)
    with grpc.insecure_channel(f"127.0.0.1:{second.port()}") as channel:
        request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["budget"]))
        decision = RoutingServiceStub(channel).RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision
        assert decision.tier_id == "budget"
    assert "checksum" in second.log_text()
    assert store.read_bytes() == whole


def test_a_full_disk_stops_neither_routing_nor_reloading_and_is_told(
    start_serve: StartServe, catalog: CatalogFolder, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.sqlite3"
    running = start_serve(
        "--catalog", str(catalog.path), "--ledger", f"sqlite:///{ledger}",
        "--cache-dir", str(tmp_path / "cache"),
    )  # fmt: skip
    with grpc.insecure_channel(f"127.0.0.1:{running.port()}") as channel:
        stub, health = RoutingServiceStub(channel), health_pb2_grpc.HealthStub(channel)

        def route(prompt: str) -> str:
            request = RoutePromptRequest(input=RoutingInput(prompt=prompt))
            tier: str = stub.RoutePrompt(request, timeout=CALL_TIMEOUT_S).decision.tier_id
            return tier

        def ledger_is(status: int) -> bool:
            request = health_pb2.HealthCheckRequest(service="tierwise.ledger")
            with contextlib.suppress(grpc.RpcError):  # not known before it was opened
                return bool(health.Check(request, timeout=CALL_TIMEOUT_S).status == status)
            return False

        def wait_for(holds: Callable[[], bool], what: str) -> None:
            end = time.monotonic() + 60
            while not holds():
                assert time.monotonic() < end, f"{what}: {running.log_text()[-2000:]}"
                threading.Event().wait(0.05)

        wait_for(lambda: ledger_is(health_pb2.HealthCheckResponse.SERVING), "the ledger")
        # From now on no file takes another byte, as on a full disk.
        _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1, hard))
        assert route(LIKE["budget"]) == "budget"
        wait_for(lambda: ledger_is(health_pb2.HealthCheckResponse.NOT_SERVING), "the trouble")
        prompt = "compose a haiku about autumn rain"
        assert route(prompt) == "mid"
        poetry = f"  poetry:\n    description: d\n    utterances: [{prompt}]\n"
        catalog.write("tiers/premium.yaml", catalog.read("tiers/premium.yaml") + poetry)
        wait_for(lambda: route(prompt) == "premium", "the edit")
        overall = health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
        assert overall.status == health_pb2.HealthCheckResponse.SERVING

        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wait_for(lambda: ledger_is(health_pb2.HealthCheckResponse.SERVING), "the ledger again")

        def are_kept() -> bool:
            with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as rows:
                (count,) = rows.execute("SELECT count(*) FROM decisions").fetchone()
                return bool(count >= 3)

        wait_for(are_kept, "what was decided meanwhile")
