"""A server's life: health before and after loading, limits, deadlines, shutdown, metrics."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    UTTERANCES,
    CatalogFolder,
    Serve,
    Served,
    connected,
    eventually,
    refusal,
    refusal_of,
    refused,
    tier_text,
)
from tests.integration.test_explaining import metrics

from tierwise.v1.catalog_service_pb2 import GetCatalogRequest
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    RoutePromptRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub
from tierwise_server.grpc_api.app import RoutingServer, health_name
from tierwise_server.grpc_api.boundary import MAX_BYTES_IN_FLIGHT
from tierwise_server.router import BATCH_PIECE
from tierwise_server.settings import Settings

ROUTING = "tierwise.v1.RoutingService"
CATALOGS = "tierwise.v1.CatalogService"

LONG = "please look at this very long and winding paragraph of text about nothing " * 8
"""A prompt that fills the encoder's window."""


def long_prompts(count: int, name: str) -> list[RoutingInput]:
    return [RoutingInput(prompt=f"{name} {number} {LONG}") for number in range(count)]


async def batch(served: Served, inputs: list[RoutingInput], timeout: float = CALL_TIMEOUT_S) -> Any:  # noqa: ANN401, ASYNC109 - gRPC's own
    return await served.routing.BatchRoutePrompts(
        BatchRoutePromptsRequest(inputs=inputs), timeout=timeout
    )


# Health and start ------------------------------------------------------------------------------


async def test_a_server_listens_and_says_not_serving_until_it_has_loaded(
    settings_for: Callable[..., Settings],
    catalog: CatalogFolder,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    # Enough to embed that loading takes far longer than asking.
    many = [f"task number {n} that nobody has embedded before" for n in range(400)]
    catalog.write("tiers/mid.yaml", tier_text("mid", {**UTTERANCES["mid"], "many": many}))
    server = RoutingServer(settings_for(catalog, cache_dir=str(tmp_path / "cold")))
    starting = asyncio.create_task(server.start())
    try:

        async def listens() -> bool:
            return server.port != 0

        await eventually(listens)
        async with connected(server) as served:
            assert await served.health_of("") == "NOT_SERVING"
            assert await served.health_of(ROUTING) != "SERVING"
            assert await served.health_of(health_name("default")) != "SERVING"
            for call in (
                served.route("anything"),
                batch(served, [RoutingInput(prompt="anything")]),
                served.catalogs.GetCatalog(GetCatalogRequest(), timeout=CALL_TIMEOUT_S),
            ):
                answer = await refused(call)
                assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")
                assert answer.retry_after_s is not None
                assert answer.retry_after_s > 0
            assert not starting.done()
            await asyncio.wait_for(starting, timeout=60)
            assert await served.health_of("") == "SERVING"
            assert (await served.route(LIKE["budget"])).tier_id == "budget"
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await server.stop()


async def test_a_server_that_has_loaded_says_serving_by_every_name(shared: Served) -> None:
    for name in ("", ROUTING, CATALOGS, f"{ROUTING}/default", f"{ROUTING}/plain"):
        assert await shared.health_of(name) == "SERVING", name
    assert await shared.health_of(f"{ROUTING}/nope") == "NOT_FOUND"


async def test_faulty_files_do_not_end_the_service(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog) as served:
        catalog.write("catalog.yaml", "tiers: []\n")

        async def is_noticed() -> bool:
            return bool(served.server._slot.router.live("").status.faults)

        await eventually(is_noticed)
        assert await served.health_of("") == "SERVING"
        assert await served.health_of(f"{ROUTING}/default") == "SERVING"


async def test_stopping_says_not_serving_finishes_calls_and_takes_no_more(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        watch = served.health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        router = served.server._slot.router
        in_flight = asyncio.create_task(batch(served, long_prompts(100, "in flight")))

        async def is_under_way() -> bool:
            return bool(router._prompts._lanes.queue_depth)

        await eventually(is_under_way)
        stopping = asyncio.create_task(served.server.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        own = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(served.address, options=own) as late:
            call = late.unary_unary(f"/{ROUTING}/RoutePrompt")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=5)
            assert caught.value.code() in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }
        assert len((await in_flight).decisions) == 100
        await asyncio.wait_for(stopping, timeout=20)


async def test_calls_that_outlive_the_grace_are_ended_without_a_stray_error(
    serve: Serve, catalog: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(catalog, grace_s=0.0) as served:
        in_flight = asyncio.create_task(batch(served, long_prompts(200, "cut off")))

        async def is_under_way() -> bool:
            return bool(served.server._slot.router._prompts._lanes.queue_depth)

        await eventually(is_under_way)
        await asyncio.wait_for(served.server.stop(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await in_flight
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


# Reflection ------------------------------------------------------------------------------------


async def services(served: Served) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)

    async def ask() -> Any:  # noqa: ANN401 - an iterator of requests
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    answers = [one async for one in stub.ServerReflectionInfo(ask(), timeout=CALL_TIMEOUT_S)]
    return {one.name for one in answers[0].list_services_response.service}


async def test_clients_may_ask_for_the_contract(shared: Served) -> None:
    assert {ROUTING, CATALOGS, "grpc.health.v1.Health"} <= await services(shared)


async def test_reflection_can_be_switched_off(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog, reflection=False) as served:
        answer = await refused(services(served))
        assert answer.code is grpc.StatusCode.UNIMPLEMENTED
        assert (await served.route(LIKE["mid"])).tier_id == "mid"


# Load ------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_and_says_when_to_come_back(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, queue_limit=1) as served:
        answers = await asyncio.gather(
            *(served.decide(one) for one in long_prompts(40, "crowd")), return_exceptions=True
        )
        failed = [refusal(one) for one in answers if isinstance(one, grpc.aio.AioRpcError)]
        assert len(failed) + sum(hasattr(one, "tier_id") for one in answers) == 40
        assert 0 < len(failed) < 40
        for one in failed:
            assert (one.code, one.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            assert one.metadata == {"queue_limit": "1"}
            assert one.retry_after_s is not None
            assert one.retry_after_s > 0
        assert (await served.route(LIKE["budget"])).tier_id == "budget"


async def test_a_batch_longer_than_the_queue_is_answered_piece_by_piece(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, queue_limit=20) as served:
        assert len((await batch(served, long_prompts(100, "many"))).decisions) == 100


class Gate:
    """Stands before a server's encoder, and lets nothing through until it is opened."""

    def __init__(self, served: Served) -> None:
        self.lanes = served.server._slot.router._prompts._lanes
        self.begun: list[str] = []
        self._encoder = self.lanes._encoder
        self._open = threading.Event()
        self.lanes._encoder = self

    def encode(self, text: str) -> Any:  # noqa: ANN401 - a vector
        """Embeds `text` once the gate is open."""
        self.begun.append(text)
        self._open.wait()
        return self._encoder.encode(text)

    def open(self) -> None:
        """Lets everything through."""
        self._open.set()

    async def crowded(self, served: Served, count: int) -> list[asyncio.Task[Any]]:
        """Sends prompts that wait; returns their calls."""
        calls = [asyncio.create_task(patient(served, one)) for one in long_prompts(count, "crowd")]

        async def has_arrived() -> bool:
            return bool(self.begun) and self.lanes.queue_depth == count - 1

        await eventually(has_arrived, within_s=CALL_TIMEOUT_S)
        return calls


async def patient(served: Served, message: RoutingInput) -> Any:  # noqa: ANN401 - a response
    """Routes, however long it takes."""
    return await served.routing.RoutePrompt(RoutePromptRequest(input=message))


async def test_what_would_be_answered_too_late_is_refused_at_once(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        gate = Gate(served)
        # As if a minute each had been measured.
        gate.lanes._times._means = [60.0] * len(gate.lanes._times._means)
        try:
            crowd = await gate.crowded(served, 5)
            for late in (
                batch(served, long_prompts(10, "hurry")),
                served.decide(long_prompts(1, "in a hurry")[0]),
            ):
                answer = await refused(late)
                assert (answer.code, answer.reason) == (
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "OVERLOADED",
                )
                assert answer.retry_after_s is not None
                assert answer.retry_after_s > 0
        finally:
            gate.open()
        await asyncio.gather(*crowd)
        assert len(gate.begun) == 5


async def test_callers_that_give_up_leave_the_queue(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog) as served:
        lanes = served.server._slot.router._prompts._lanes
        calls = [asyncio.create_task(served.decide(one)) for one in long_prompts(300, "fickle")]

        async def is_crowded() -> bool:
            return bool(lanes.queue_depth > 100)

        await eventually(is_crowded)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        async def is_empty() -> bool:
            return bool(lanes.queue_depth == 0)

        await eventually(is_empty, within_s=1.0, what="an empty queue")
        assert (await served.route(LIKE["budget"])).tier_id == "budget"


async def test_the_work_of_a_connection_that_breaks_leaves_the_queue(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        gate = Gate(served)
        try:
            (running,) = await gate.crowded(served, 1)
            own = (("grpc.use_local_subchannel_pool", 1),)
            async with grpc.aio.insecure_channel(served.address, options=own) as lost:
                stub = RoutingServiceStub(lost)
                first, second, third = long_prompts(3, "lost")
                calls = [
                    asyncio.ensure_future(call)
                    for call in (
                        stub.RoutePrompt(RoutePromptRequest(input=first)),
                        stub.ExplainDecision(ExplainDecisionRequest(input=second)),
                        stub.BatchRoutePrompts(
                            BatchRoutePromptsRequest(inputs=[third, *long_prompts(50, "batch")])
                        ),
                    )
                ]

                async def have_arrived() -> bool:
                    return gate.lanes.queue_depth >= 2 + BATCH_PIECE

                await eventually(have_arrived)
            await asyncio.gather(*calls, return_exceptions=True)

            async def is_empty() -> bool:
                return gate.lanes.queue_depth == 0

            await eventually(is_empty)
        finally:
            gate.open()
        await running
        assert len(gate.begun) == 1


async def test_calls_that_were_given_up_are_counted_as_well(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        gate = Gate(served)
        try:
            (running,) = await gate.crowded(served, 1)
            call = asyncio.create_task(served.route(UTTERANCES["mid"]["sql"][1]))

            async def has_arrived() -> bool:
                return gate.lanes.queue_depth == 1

            await eventually(has_arrived)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            labels = {"method": "RoutePrompt", "code": "CANCELLED"}

            async def is_counted() -> bool:
                registry = served.server.telemetry.registry
                return registry.get_sample_value("tierwise_calls_total", labels) == 1

            await eventually(is_counted)
            assert gate.lanes.queue_depth == 0
        finally:
            gate.open()
        await running


async def test_large_requests_under_way_are_bounded_by_their_bytes(
    serve: Serve, catalog: CatalogFolder
) -> None:
    # Four bytes a character: nearly the largest message that is taken.
    huge = [RoutingInput(prompt=f"{number} {'🦜' * 990_000}") for number in range(40)]
    size = huge[0].ByteSize()
    async with serve(catalog) as served:
        gate = Gate(served)
        try:
            calls = [asyncio.create_task(patient(served, one)) for one in huge]
            refusals = []

            async def are_refused() -> bool:
                refusals[:] = [one for one in calls if one.done()]
                return (len(huge) - len(refusals)) * size <= MAX_BYTES_IN_FLIGHT

            await eventually(are_refused, within_s=CALL_TIMEOUT_S)
            for one in refusals:
                answer = await refused(one)
                assert (answer.code, answer.reason) == (
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "OVERLOADED",
                )
                assert answer.retry_after_s is not None
        finally:
            gate.open()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(hasattr(one, "decision") for one in done) >= 5
        assert (await served.route(LIKE["budget"])).tier_id == "budget"


async def test_callers_are_held_to_call_limits_that_may_be_edited(
    serve: Serve, catalog: CatalogFolder
) -> None:
    catalog.write("limits.yaml", "calls:\n  - {caller: batch-job, per_second: 0.001}\n")
    async with serve(catalog) as served:
        await served.route(LIKE["budget"], caller="batch-job")
        for call in (
            served.route(LIKE["budget"], caller="batch-job"),
            batch(
                served,
                [RoutingInput(prompt=LIKE["mid"], caller=one) for one in ("a", "batch-job")],
            ),
        ):
            answer = await refused(call)
            assert (answer.code, answer.reason) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "CALL_LIMIT_REACHED",
            )
            assert answer.metadata == {"caller": "batch-job", "limit": "0.001 prompts a second"}
            assert answer.retry_after_s is not None
            assert answer.retry_after_s > 100
        assert (await served.route(LIKE["budget"], caller="another")).tier_id == "budget"
        catalog.write("limits.yaml", "calls:\n  - {caller: batch-job, per_second: 1000}\n")

        async def may_call() -> bool:
            return await refusal_of(served.route(LIKE["budget"], caller="batch-job")) is None

        await eventually(may_call)


async def test_no_more_connections_than_the_settings_allow(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, max_connections=1) as served:
        assert (await served.route(LIKE["budget"])).tier_id == "budget"
        own = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(served.address, options=own) as second:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await second.unary_unary(f"/{ROUTING}/RoutePrompt")(b"", timeout=CALL_TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await served.route(LIKE["budget"])).tier_id == "budget"


# Metrics ---------------------------------------------------------------------------------------


async def test_metrics_tell_of_calls_decisions_and_catalogs(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(f"main={catalog.path}", metrics_listen="127.0.0.1:0") as served:
        await served.route(LIKE["budget"])
        await served.route(LIKE["budget"])
        await refused(served.route(""))
        figures = await metrics(served)
        assert figures['tierwise_calls_total{code="OK",method="RoutePrompt"}'] == "2.0"
        assert (
            figures['tierwise_calls_total{code="INVALID_ARGUMENT",method="RoutePrompt"}'] == "1.0"
        )
        decided = 'tierwise_decisions_total{catalog="main",kind="SEMANTIC",model="",tier="budget"}'
        assert figures[decided] == "2.0"
        assert figures['tierwise_vectors_total{source="encoder"}'] == "1.0"
        assert figures['tierwise_vectors_total{source="cache"}'] == "1.0"
        assert figures['tierwise_catalog_faults{catalog="main"}'] == "0.0"
        assert float(figures['tierwise_catalog_load_timestamp_seconds{catalog="main"}']) > 1.6e9
        assert figures["tierwise_encoder_queue_depth"] == "0.0"
        assert figures['tierwise_score_count{catalog="main"}'] == "2.0"


async def test_no_label_of_a_metric_holds_what_callers_send(shared: Served) -> None:
    marker = "quetzalcoatl"
    await shared.route(f"{marker} {LIKE['mid']}", caller=marker, task_tag=marker)
    await refused(shared.route("x", catalog=marker))
    await refused(shared.route("x", previous_tier_id=marker))
    assert marker not in "\n".join(await metrics(shared))


# The edge of the transport ---------------------------------------------------------------------


async def test_a_message_over_the_limit_keeps_the_transports_code(shared: Served) -> None:
    huge = RoutePromptRequest(input=RoutingInput(prompt="x" * (5 * 1024 * 1024)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shared.routing.RoutePrompt(huge, timeout=CALL_TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (caught.value.details() or "")


async def test_an_unknown_method_is_unimplemented(shared: Served) -> None:
    call = shared.channel.unary_unary(f"/{ROUTING}/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=CALL_TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
