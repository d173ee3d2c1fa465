"""Traces across client, router and provider, as a collector receives them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.conftest import LIKE, REPOSITORY, StartServe, run_tierwise, write_catalog
from tests.integration.client.collector import Collector, Received, collecting
from tests.integration.client.conftest import MODELS, World
from tests.integration.client.test_router_outage import free_port

from tierwise import (
    AsyncClient,
    AttemptEvent,
    ChatError,
    Client,
    ConfigurationError,
    ErrorClass,
    Hooks,
    Model,
    RouterlessDefaults,
    RoutingOptions,
    Usage,
)
from tierwise.testing import ProviderServer, Reply
from tierwise.tracing import Tracing
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub
from tierwise.validators import custom

MARKER = "xyzzy-plugh"
USAGE = Usage(
    input_tokens=1000,
    cached_input_tokens=400,
    cache_write_tokens=0,
    output_tokens=200,
    reasoning_tokens=150,
)
ROUTE = "tierwise.v1.RoutingService/RoutePrompt"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that the router and the clients send to."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def router(
    start_serve_once: StartServe, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Address of a router that sends its spans to the collector."""
    catalog = write_catalog(tmp_path_factory.mktemp("catalog") / "catalog", models=MODELS)
    served = start_serve_once(
        *("--catalog", str(catalog.path), "--tracing", "otlp"),
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"},
    )
    return f"127.0.0.1:{served.port()}"


@pytest.fixture
def provider(collector: Collector) -> Iterator[TracerProvider]:
    """Where the client's spans go: to the collector, each when it ends."""
    made = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.endpoint}/v1/traces")
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@dataclass(slots=True)
class Traced:
    """Clients whose chats are traced, and the trace of the last one.

    They report nothing, since the router would learn to leave out the models that fail here.
    """

    world: World
    collector: Collector
    provider: TracerProvider

    def client(self, **changes: Any) -> Client:  # noqa: ANN401 - any setting
        """Makes a blocking client."""
        return Client(
            self.world.router,
            providers=self.world.provider_settings(),
            settings=self.world.settings(report_outcomes=False, **changes),
            tracing=Tracing(self.provider),
        )

    def async_client(self, **changes: Any) -> AsyncClient:  # noqa: ANN401 - any setting
        """Makes a client for the test's event loop."""
        return AsyncClient(
            self.world.router,
            providers=self.world.provider_settings(),
            settings=self.world.settings(report_outcomes=False, **changes),
            tracing=Tracing(self.provider),
        )

    def trace(self, count: int) -> list[Received]:
        """Returns the spans of the newest trace, once there are so many."""
        chats = [one for one in self.collector.spans() if one.service != "tierwise"]
        return self.collector.wait_for(count, chats[-1].span.trace_id)


@pytest.fixture
def traced(world: World, collector: Collector, provider: TracerProvider) -> Traced:
    return Traced(world, collector, provider)


def by_name(spans: list[Received]) -> dict[tuple[str, int], Received]:
    return {(one.name, one.span.kind): one for one in spans}


# What a trace tells -------------------------------------------------------------------------------


def test_a_chat_is_one_trace_across_client_router_and_provider(traced: Traced) -> None:
    traced.world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    with traced.client() as client:
        response = client.chat(LIKE["budget"], RoutingOptions(caller="mail"))
    spans = by_name(traced.trace(4))
    chat = spans["chat", Span.SPAN_KIND_INTERNAL]
    asked = spans[ROUTE, Span.SPAN_KIND_CLIENT]
    routed = spans[ROUTE, Span.SPAN_KIND_SERVER]
    called = spans["chat gpt-small-1", Span.SPAN_KIND_CLIENT]
    assert chat.span.parent_span_id == b""
    assert asked.span.parent_span_id == called.span.parent_span_id == chat.span.span_id
    assert routed.span.parent_span_id == asked.span.span_id
    assert routed.service == "tierwise"
    assert not any(one.failed for one in spans.values())
    decision = response.decision
    assert chat.attributes == {
        "tierwise.decision.id": decision.decision_id,
        "tierwise.decision.kind": "semantic",
        "tierwise.catalog": "default",
        "tierwise.catalog.revision": decision.catalog_revision,
        "tierwise.tier": "budget",
        "tierwise.task": "summarization",
        "tierwise.score": decision.score,
        "tierwise.model": "gpt-small",
        "tierwise.caller": "mail",
        "tierwise.outcome.id": response.outcome_id,
        "tierwise.attempts": 1,
        "tierwise.cost_usd": 0.00032,
    }
    assert asked.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": ROUTE,
        "rpc.response.status_code": "OK",
        "tierwise.decision.id": decision.decision_id,
        "tierwise.tier": "budget",
        "tierwise.task": "summarization",
        "tierwise.model": "gpt-small",
    }


def test_the_routers_span_has_the_time_of_each_stage(traced: Traced) -> None:
    with traced.client() as client:
        decision = client.route("condense these minutes of a meeting, please")
    spans = by_name(traced.trace(2))
    routed = spans[ROUTE, Span.SPAN_KIND_SERVER].attributes
    stages = {name: routed.pop(f"tierwise.{name}_s") for name in ("queue", "encoding", "scoring")}
    assert all(seconds > 0 for seconds in stages.values()), stages
    assert sum(stages.values()) <= routed.pop("tierwise.total_s")
    assert routed == {
        "rpc.system.name": "grpc",
        "rpc.method": ROUTE,
        "rpc.response.status_code": "OK",
        "tierwise.decision.id": decision.decision_id,
        "tierwise.decision.kind": decision.kind.name.lower(),
        "tierwise.catalog": "default",
        "tierwise.catalog.revision": decision.catalog_revision,
        "tierwise.tier": decision.tier_id,
        "tierwise.task": decision.task_id,
        "tierwise.model": decision.model_id,
        "tierwise.score": decision.score,
        "tierwise.vector_cached": False,
    }


def test_a_call_has_the_attributes_of_the_genai_conventions(traced: Traced) -> None:
    traced.world.providers.script("google", Reply.text("select 1", usage=USAGE))
    with traced.client() as client:
        response = client.chat(LIKE["mid"])
    called = by_name(traced.trace(4))["chat gemini-mid-1", Span.SPAN_KIND_CLIENT]
    assert called.attributes == {
        "tierwise.provider.request_id": response.attempts[0].request_id,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-mid-1",
        "gen_ai.response.model": "gemini-mid-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 200,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 150,
        "gen_ai.usage.cost": 0.0018,
        "tierwise.model": "gemini-mid",
        "tierwise.step": "first",
    }


def test_every_attempt_is_a_span_and_says_why_it_failed(traced: Traced) -> None:
    traced.world.providers.script("openai", Reply.error(ErrorClass.QUOTA_EXHAUSTED))
    traced.world.providers.script("mistral", Reply.text("No.", usage=USAGE))
    traced.world.providers.script("google", Reply.text("Yes.", usage=USAGE))
    with traced.client() as client:
        response = client.chat(
            LIKE["budget"], validators=[custom("says-yes", lambda one: "Yes" in one.text)]
        )
    assert response.text == "Yes."
    spans = traced.trace(6)
    calls = [one for one in spans if one.name.startswith("chat ")]
    told = [
        (
            one.attributes["gen_ai.provider.name"],
            one.attributes["tierwise.step"],
            one.attributes.get("error.type"),
            one.failed,
        )
        for one in calls
    ]
    assert told == [
        ("openai", "first", "quota-exhausted", True),
        ("mistral_ai", "alternate", "rejected-by-validator", True),
        ("gcp.gemini", "escalation", None, False),
    ]
    assert calls[1].attributes["tierwise.validator"] == "says-yes"
    assert calls[1].attributes["gen_ai.usage.cost"] > 0
    assert calls[0].span.end_time_unix_nano <= calls[1].span.start_time_unix_nano
    chat = by_name(spans)["chat", Span.SPAN_KIND_INTERNAL]
    assert not chat.failed
    assert chat.attributes["tierwise.attempts"] == 3


def test_a_chat_that_fails_is_a_failed_span(traced: Traced) -> None:
    traced.world.providers.script("openai", Reply.refusal())
    with traced.client() as client, pytest.raises(ChatError):
        client.chat(LIKE["budget"])
    spans = by_name(traced.trace(4))
    for name, kind in (("chat", Span.SPAN_KIND_INTERNAL), ("chat gpt-small-1", 3)):
        assert spans[name, kind].failed
        assert spans[name, kind].attributes["error.type"] == "content-policy"
    assert spans["chat", Span.SPAN_KIND_INTERNAL].attributes["tierwise.tier"] == "budget"


def test_a_refusal_of_the_router_is_told_on_both_sides(traced: Traced) -> None:
    with traced.client() as client, pytest.raises(Exception, match="nowhere"):
        client.chat(LIKE["budget"], RoutingOptions(tier="nowhere"))
    spans = by_name(traced.trace(3))
    asked = spans[ROUTE, Span.SPAN_KIND_CLIENT]
    routed = spans[ROUTE, Span.SPAN_KIND_SERVER]
    for span in (asked, routed):
        assert span.failed
        assert span.attributes["rpc.response.status_code"] == "NOT_FOUND"
        assert span.span.status.message == ""
    assert spans["chat", Span.SPAN_KIND_INTERNAL].failed


def test_a_chat_without_a_router_says_so(traced: Traced, tmp_path: Path) -> None:
    stand_in = Model(model_id="own", provider_id="openai", upstream_name="own-1", tier_id="mid")
    client = Client(
        f"127.0.0.1:{free_port()}",
        providers=traced.world.provider_settings(),
        settings=traced.world.settings(
            routerless=RouterlessDefaults(models=(stand_in,)), report_outcomes=False
        ),
        tracing=Tracing(traced.provider),
    )
    with client:
        client.chat("anything")
    spans = by_name(traced.trace(3))
    assert spans[ROUTE, Span.SPAN_KIND_CLIENT].attributes["error.type"] == "UNAVAILABLE"
    chat = spans["chat", Span.SPAN_KIND_INTERNAL]
    assert chat.attributes["tierwise.routerless.cause"] == "unavailable"
    assert not chat.failed


async def test_the_asynchronous_client_makes_the_same_spans(traced: Traced) -> None:
    traced.world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    async with traced.async_client() as client:
        await client.chat(LIKE["budget"])
    spans = by_name(traced.trace(4))
    chat = spans["chat", Span.SPAN_KIND_INTERNAL].span
    assert spans[ROUTE, Span.SPAN_KIND_CLIENT].span.parent_span_id == chat.span_id
    assert spans["chat gpt-small-1", Span.SPAN_KIND_CLIENT].span.parent_span_id == chat.span_id


def test_a_stream_tells_when_its_first_part_came(traced: Traced) -> None:
    reply = Reply.text("One two three.", usage=USAGE).slow(first_byte_s=0.05)
    traced.world.providers.script("anthropic", reply)
    with traced.client() as client, client.chat_stream(LIKE["premium"]) as stream:
        for _ in stream:
            # What the caller does between two pieces is none of the chat.
            assert not trace.get_current_span().get_span_context().is_valid
    called = by_name(traced.trace(4))["chat claude-big-1", Span.SPAN_KIND_CLIENT]
    assert called.attributes["gen_ai.request.stream"] is True
    assert called.attributes["gen_ai.response.time_to_first_chunk"] >= 0.05
    took_s = (called.span.end_time_unix_nano - called.span.start_time_unix_nano) / 1e9
    assert took_s >= called.attributes["gen_ai.response.time_to_first_chunk"]


def test_a_stream_that_is_left_early_ends_its_spans(traced: Traced) -> None:
    traced.world.providers.script("anthropic", Reply.text("One two three.", usage=USAGE))
    with traced.client() as client, client.chat_stream(LIKE["premium"]) as stream:
        next(stream)
    spans = by_name(traced.trace(4))
    assert spans["chat", Span.SPAN_KIND_INTERNAL].attributes["error.type"] == "cancelled"
    called = spans["chat claude-big-1", Span.SPAN_KIND_CLIENT]
    assert called.attributes["error.type"] == "cancelled"


def test_the_applications_own_span_is_the_parent_and_hooks_run_within(traced: Traced) -> None:
    heard: list[int] = []

    def on_attempt(_: AttemptEvent) -> None:
        heard.append(trace.get_current_span().get_span_context().span_id)

    tracer = traced.provider.get_tracer("test")
    with (
        traced.client(hooks=Hooks(on_attempt=on_attempt)) as client,
        tracer.start_as_current_span("own") as own,
    ):
        client.chat(LIKE["budget"])
        assert trace.get_current_span() is own
    spans = by_name(traced.trace(5))
    chat = spans["chat", Span.SPAN_KIND_INTERNAL].span
    assert chat.parent_span_id == spans["own", Span.SPAN_KIND_INTERNAL].span.span_id
    assert heard == [int.from_bytes(chat.span_id)]


# What no trace tells ------------------------------------------------------------------------------


def test_no_span_holds_anything_of_prompt_answer_or_key(traced: Traced) -> None:
    prompt = f"{LIKE['budget']}: {MARKER}"
    fault = {"error": {"message": f"bad {MARKER}", "type": "server_error"}}
    traced.world.providers.script("openai", Reply.raw(500, json.dumps(fault).encode()))
    with traced.client() as client:
        client.chat(prompt, validators=[custom("any", lambda _: None)])
        with pytest.raises(ChatError):
            client.chat(prompt, validators=[custom("none", lambda one: one.text)])
        with pytest.raises(Exception, match=MARKER):
            client.chat(prompt, RoutingOptions(tier=MARKER))
    traced.trace(3)
    told = b"".join(traced.collector.bodies)
    assert b"chat gpt-small-1" in told
    assert MARKER.encode() not in told
    assert b"sk-test" not in told


def test_of_what_may_not_be_kept_no_trace_is_left(traced: Traced) -> None:
    traced.world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    with traced.client() as client:
        client.chat(LIKE["budget"], RoutingOptions(keep_nothing=True))
    spans = traced.trace(4)
    told = {name for one in spans for name in one.attributes}
    assert "tierwise.tier" in told
    assert told.isdisjoint({"tierwise.task", "tierwise.score", "tierwise.provider.request_id"})


class Recorder(grpc.GenericRpcHandler):
    """Notes what comes along with calls, and serves none."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, object]] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        """Notes the metadata of a call that is not about the router's health."""
        if handler_call_details.method.endswith("/RoutePrompt"):
            self.metadata.append(dict(handler_call_details.invocation_metadata))


def test_the_context_of_the_trace_alone_goes_to_the_router(traced: Traced) -> None:
    recorder = Recorder()
    server = grpc.server(ThreadPoolExecutor(1), handlers=[recorder])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    token = context.attach(baggage.set_baggage("user", MARKER))
    try:
        with (
            Client(
                f"127.0.0.1:{port}",
                providers=traced.world.provider_settings(),
                settings=traced.world.settings(),
                tracing=Tracing(traced.provider),
            ) as client,
            pytest.raises(ConfigurationError),
        ):
            client.route("anything")
    finally:
        context.detach(token)
        server.stop(None).wait()
    (asked,) = traced.trace(1)
    (metadata,) = recorder.metadata
    traceparent = str(metadata.pop("traceparent"))
    assert traceparent.rpartition("-")[0] == (
        f"00-{asked.span.trace_id.hex()}-{asked.span.span_id.hex()}"
    )
    assert metadata.keys() == {"user-agent"}


@pytest.mark.parametrize("traceparent", ["", "garbage", "00-0-0-00", "ff" * 2000])
def test_a_context_that_makes_no_sense_begins_a_trace(traced: Traced, traceparent: str) -> None:
    before = {one.span.span_id for one in traced.collector.spans()}
    request = RoutePromptRequest(input=RoutingInput(prompt=LIKE["mid"]))
    with grpc.insecure_channel(traced.world.router) as channel:
        RoutingServiceStub(channel).RoutePrompt(
            request, timeout=10, metadata=(("traceparent", traceparent), ("x-bin", b"\x00"))
        )
    routed = traced.collector.wait_for_new(ROUTE, before)
    assert routed.span.parent_span_id == b""
    assert routed.attributes["tierwise.tier"] == "mid"


# Off, missing and broken --------------------------------------------------------------------------

WITHOUT = "import sys; sys.modules['opentelemetry'] = None\n"


def python(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", ["tierwise", "tierwise.cli", "tierwise_server.grpc_api.app"])
def test_nothing_is_loaded_unless_it_is_asked_for(module: str) -> None:
    done = python(f"import {module}, sys; print('opentelemetry' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_client_says_which_extra_is_missing() -> None:
    done = python(f"{WITHOUT}from tierwise.tracing import Tracing")
    assert done.stderr.splitlines()[-1] == (
        "tierwise.errors.ConfigurationError: tracing needs OpenTelemetry:"
        " pip install 'tierwise[otel]'"
    )


def test_the_server_says_which_extra_is_missing(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog")
    words = [
        "serve",
        "--tracing",
        "otlp",
        "--listen",
        "127.0.0.1:0",
        "--catalog",
        str(catalog.path),
    ]
    done = python(
        f"{WITHOUT}sys.argv[1:] = {words!r}\nfrom tierwise.cli import main\nsys.exit(main())"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "tierwise serve: --tracing otlp needs OpenTelemetry: pip install 'tierwise[otel]'"
    )


def test_a_collector_that_is_away_holds_nothing_up(
    start_serve: StartServe, providers: ProviderServer, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    served = start_serve(
        *("--catalog", str(catalog.path), "--tracing", "otlp", "--grace-s", "1"),
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
        },
    )
    world = World(
        router=f"127.0.0.1:{served.port()}", providers=providers, spool=tmp_path / "spool.db"
    )
    with world.client() as client:
        assert client.chat(LIKE["budget"]).decision.routerless_cause is None
    served.end()
    assert served.process.returncode == 0, served.log_text()


def test_an_unknown_way_of_tracing_is_refused() -> None:
    done = run_tierwise("serve", "--tracing", "jaeger")
    assert done.returncode == 2
    assert "--tracing" in done.stderr


# The example --------------------------------------------------------------------------------------

Run = Callable[..., str]


@pytest.fixture
def run_example(world: World, tmp_path: Path) -> Run:
    """Runs the example and returns what it prints."""

    def run(**env: str) -> str:
        done = subprocess.run(
            [
                sys.executable,
                str(REPOSITORY / "client" / "examples" / "python" / "tracing.py"),
                LIKE["budget"],
            ],
            env={
                **os.environ,
                "TIERWISE_SERVER": world.router,
                "XDG_STATE_HOME": str(tmp_path / "state"),
                "OPENAI_API_KEY": "sk-test",
                "OPENAI_BASE_URL": world.providers.base_url("openai"),
                **env,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_the_example_sends_a_whole_trace_to_a_collector(
    world: World, collector: Collector, run_example: Run
) -> None:
    world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    answer, told = run_example(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint).splitlines()
    assert answer == "Short."
    spans = collector.wait_for(5, bytes.fromhex(told.removeprefix("trace ")))
    assert {one.name for one in spans} == {"answer a question", "chat", ROUTE, "chat gpt-small-1"}


def test_the_example_sends_langfuse_what_it_reads(
    world: World, collector: Collector, run_example: Run
) -> None:
    world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    before = len(collector.bodies)
    told = run_example(
        LANGFUSE_PUBLIC_KEY="pk-lf-1",
        LANGFUSE_SECRET_KEY="sk-lf-2",  # noqa: S106 - nobody's
        LANGFUSE_BASE_URL=collector.endpoint,
    )
    trace_id = bytes.fromhex(told.splitlines()[-1].removeprefix("trace "))
    spans = collector.wait_for(5, trace_id)
    sent = [
        headers
        for path, headers in zip(collector.paths[before:], collector.headers[before:], strict=True)
        if path == "/api/public/otel/v1/traces"
    ]
    login = base64.b64encode(b"pk-lf-1:sk-lf-2").decode()
    assert {one["authorization"] for one in sent} == {f"Basic {login}"}
    (own,) = [one for one in spans if one.name == "answer a question"]
    assert own.attributes["langfuse.session.id"] == "session-1"
    # A span with a model is a generation, so each call is one and the chat around them is none.
    generations = [one for one in spans if "gen_ai.request.model" in one.attributes]
    assert [one.name for one in generations] == ["chat gpt-small-1"]
    told_of_call = generations[0].attributes
    assert told_of_call["gen_ai.usage.input_tokens"] == 1000
    assert told_of_call["gen_ai.usage.output_tokens"] == 200
    assert told_of_call["gen_ai.usage.cost"] == 0.00032
