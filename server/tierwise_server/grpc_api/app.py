"""The server as one value: what it is made of, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tierwise.v1 import catalog_service_pb2, routing_service_pb2
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.grpc_api.boundary import service_handler
from tierwise_server.grpc_api.servicers import CatalogServicer, RouterSlot, RoutingServicer
from tierwise_server.parts import Parts, ServeError, load_parts
from tierwise_server.router import Router
from tierwise_server.settings import Settings
from tierwise_server.telemetry import Telemetry, serve_metrics
from tierwise_server.watching import keep_current

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CONCURRENT_CALLS = 10_000

_ROUTING = routing_service_pb2.DESCRIPTOR.services_by_name["RoutingService"]
_CATALOG = catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"]


def health_name(catalog: str) -> str:
    """Returns the name under which health checks ask for one catalog."""
    return f"{_ROUTING.full_name}/{catalog}"


class RoutingServer:
    """A server on its address. Belongs to one event loop.

    It listens before it has loaded anything, so that a taken address is found at once and health
    checks are answered with NOT_SERVING; until `start` returns, calls get UNAVAILABLE.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.telemetry = Telemetry(log_requests=settings.log_requests)
        self.port = 0
        """Port in use, once started."""
        self.metrics_port = 0
        """Port of the metrics, once started; 0 when none are served."""
        self._health = health.aio.HealthServicer()
        self._slot = RouterSlot()
        self._server: grpc.aio.Server | None = None
        self._stopping = asyncio.Event()
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listens, loads encoder and catalogs, and starts to serve.

        Raises:
            ServeError: The address is taken, or something does not load.
        """
        await self._listen()
        self._serve_metrics()
        parts = await _in_daemon_thread(lambda: load_parts(self._settings))
        self._go_live(parts)
        # What is loaded now stays for good: the collector need not look at it at every pass.
        gc.collect()
        gc.freeze()
        services = ("", _ROUTING.full_name, _CATALOG.full_name)
        for name in (*services, *map(health_name, parts.catalogs)):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        revisions = {name: live.snapshot.revision for name, live in parts.catalogs.items()}
        logger.info(
            "serving",
            extra={
                "port": self.port,
                "encoder": parts.encoder.encoder_id,
                "catalogs": revisions,
            },
        )

    async def wait(self) -> None:
        """Returns when the server was asked to stop."""
        await self._stopping.wait()

    def ask_to_stop(self) -> None:
        """Makes `wait` return."""
        self._stopping.set()

    async def stop(self) -> None:
        """Takes no more calls, finishes those in flight within the grace period, and closes."""
        self._stopping.set()
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(self._settings.grace_s)
        await self._closing.aclose()

    async def _listen(self) -> None:
        settings = self._settings
        server = grpc.aio.server(
            options=(
                # The default lets a second server take the same port in silence.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
                ("grpc.max_connection_age_grace_ms", int(settings.grace_s * 1000)),
            ),
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
        )
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        routing = RoutingServicer(self._slot, self.telemetry)
        catalog = CatalogServicer(self._slot, admin=settings.admin)
        server.add_generic_rpc_handlers(
            (
                service_handler(_ROUTING, routing, self.telemetry),
                service_handler(_CATALOG, catalog, self.telemetry),
            )
        )
        if settings.reflection:
            names = (_ROUTING.full_name, _CATALOG.full_name, health.SERVICE_NAME)
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        try:
            self.port = server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            raise ServeError(
                f"cannot listen on {settings.listen}: the address is taken, or is none of this"
                " machine's; choose another with --listen"
            ) from error
        self._server = server
        await server.start()

    def _go_live(self, parts: Parts) -> None:
        settings = self._settings
        lanes = EncodingLanes(
            parts.encoder, lane_count=settings.lane_count, queue_limit=settings.queue_limit
        )
        self._closing.push_async_callback(lanes.close, settings.grace_s)
        self.telemetry.queue_depth.set_function(lambda: lanes.queue_depth)
        router = Router(
            parts.catalogs,
            lanes,
            PromptCache(settings.vector_cache),
            encoder_id=parts.encoder.encoder_id,
            dimensions=parts.encoder.dimensions,
        )
        for live in parts.catalogs.values():
            live.on_check(self.telemetry.catalog_checked)
            live.on_check(lambda *_: router.forget_scores())
            self.telemetry.catalog_in_service(live)
            self._closing.callback(live.close)
        watch = asyncio.gather(
            *(
                keep_current(live, interval_s=settings.reload_interval_s, stop=self._stopping)
                for live in parts.catalogs.values()
            )
        )
        self._closing.push_async_callback(_cancelled, watch)
        self._slot.router = router

    def _serve_metrics(self) -> None:
        address = self._settings.metrics_listen
        if not address:
            return
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            server, thread = serve_metrics(self.telemetry.registry, host, int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise ServeError(f"cannot serve metrics on {address}: {error}") from error
        self.metrics_port = server.server_port

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._closing.callback(close)


async def _in_daemon_thread(work: Callable[[], Parts]) -> Parts:
    """Runs blocking work on a thread that does not keep the process alive.

    Loading may take minutes where an encoder has to be built, and SIGTERM must not wait for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Parts] = loop.create_future()

    def settle(parts: Parts | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if parts is not None:
            done.set_result(parts)
        elif error is not None:
            done.set_exception(error)

    def run() -> None:
        parts: Parts | None = None
        error: BaseException | None = None
        try:
            parts = work()
        except BaseException as raised:  # noqa: BLE001 - raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, parts, error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await done


async def _cancelled(watch: asyncio.Future[list[None]]) -> None:
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
