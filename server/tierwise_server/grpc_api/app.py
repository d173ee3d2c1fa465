"""The server as one value: what it is made of, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tierwise.v1 import catalog_service_pb2, routing_service_pb2
from tierwise_server import memory
from tierwise_server.access.token_file import TokenFile, TokenFileError
from tierwise_server.call_limits import CallControl
from tierwise_server.candidates.trial import Trial
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.feedback import Feedback
from tierwise_server.fleet.monitor import FleetMonitor, keep_fresh
from tierwise_server.grpc_api.access import AccessControl
from tierwise_server.grpc_api.boundary import InFlight, service_handler
from tierwise_server.grpc_api.certificates import CertificateError, Certificates
from tierwise_server.grpc_api.health import HealthServicer
from tierwise_server.grpc_api.servicers import CatalogServicer, RouterSlot, RoutingServicer
from tierwise_server.ledger.decisions import catalog_record
from tierwise_server.ledger.ledger import Ledger
from tierwise_server.live_catalog import LiveCatalog
from tierwise_server.parts import Parts, ServeError, load_parts
from tierwise_server.router import Router
from tierwise_server.settings import NO_TRACING, Settings, is_local
from tierwise_server.spending.control import Account, Spend, SpendControl
from tierwise_server.telemetry import Telemetry, serve_metrics
from tierwise_server.telemetry.live_state import FleetCollector, SpendCollector, TrialCollector
from tierwise_server.watching import Watched, keep_current

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tierwise_server.tracing import Tracing

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CONCURRENT_CALLS = 2_000
"""Beyond, gRPC refuses calls before it reads them. More than these wait for the encoder in vain."""

LEDGER_HEALTH = "tierwise.ledger"
"""Name under which health checks ask for the ledger. Routing goes on without it, so it counts for
no other name."""

LEDGER_WAIT_S = 1.0
"""Longest time that the start waits for the ledger, which is opened beside everything else."""

_ROUTING = routing_service_pb2.DESCRIPTOR.services_by_name["RoutingService"]
_CATALOG = catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


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
        self._health = HealthServicer()
        self._slot = RouterSlot()
        self._fleet = FleetMonitor()
        self._calls = CallControl()
        self._spending = SpendControl(self._ask_spend if settings.ledger_url else None)
        FleetCollector(self._fleet, self.telemetry.registry)
        SpendCollector(self._spending, self.telemetry.registry)
        self._feedback = Feedback(self.telemetry, self._fleet, self._spending)
        self._ledger = (
            Ledger(
                settings.ledger_url,
                self._feedback,
                retention_days=settings.ledger_retention_days,
            )
            if settings.ledger_url
            else None
        )
        self._trials: Mapping[str, Trial] = {}
        self._server: grpc.aio.Server | None = None
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listens, loads encoder and catalogs, and starts to serve.

        Raises:
            ServeError: The address is taken, or something does not load.
        """
        await self._listen()
        self._serve_metrics()
        self._open_ledger()
        parts = await _in_daemon_thread(lambda: load_parts(self._settings))
        self._go_live(parts)
        if self._ledger is not None:
            await self._ledger.wait_until_tried(LEDGER_WAIT_S)
        await self._wait_for_spend()
        memory.settle()
        for live in parts.catalogs.values():
            live.on_check(lambda *_: self._tell_health(parts))
        self._tell_health(parts)
        revisions = {name: live.snapshot.revision for name, live in parts.catalogs.items()}
        logger.info(
            "serving",
            extra={
                "port": self.port,
                "encoder": parts.encoder.encoder_id,
                "catalogs": revisions,
            },
        )

    def _tell_health(self, parts: Parts) -> None:
        """Says SERVING by the names of catalogs that are ready; of the whole, once all are."""
        ready = {health_name(name): live.is_ready for name, live in parts.catalogs.items()}
        whole = dict.fromkeys(("", _ROUTING.full_name, _CATALOG.full_name), all(ready.values()))
        for name, is_ready in {**whole, **ready}.items():
            status = health_pb2.HealthCheckResponse
            self._health.set(name, status.SERVING if is_ready else status.NOT_SERVING)

    async def wait(self) -> None:
        """Returns when the server was asked to stop."""
        await self._stopping.wait()

    def ask_to_stop(self) -> None:
        """Makes `wait` return; asked a second time, the drain delay ends."""
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    async def stop(self) -> None:
        """Takes no more calls, finishes those in flight within the grace period, and closes.

        Health says NOT_SERVING from the beginning; calls are still taken for the drain delay.
        """
        self._stopping.set()
        self._health.enter_shutdown()
        if self._server is not None:
            if self._slot.is_filled:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurried.wait(), self._settings.drain_delay_s)
            self._health.end_watches()
            await self._server.stop(self._settings.grace_s)
        await self._closing.aclose()

    async def _listen(self) -> None:
        settings = self._settings
        server = grpc.aio.server(
            options=(
                # The default lets a second server take the same port in silence.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_allowed_incoming_connections", settings.max_connections),
                ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
                ("grpc.max_connection_age_grace_ms", int(settings.grace_s * 1000)),
            ),
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        routing = RoutingServicer(
            self._slot,
            self.telemetry,
            self._ledger,
            on_accepted=self._feedback.outcomes_accepted,
            keep_prompts=settings.keep_prompts,
        )
        catalog = CatalogServicer(self._slot, self.telemetry, admin=settings.serves_admin)
        tracing, access, in_flight = self._open_tracing(), self._open_access(), InFlight()
        server.add_generic_rpc_handlers(
            tuple(
                service_handler(
                    service, servicer, self.telemetry, tracing, access=access, in_flight=in_flight
                )
                for service, servicer in ((_ROUTING, routing), (_CATALOG, catalog))
            )
        )
        if settings.reflection:
            names = (_ROUTING.full_name, _CATALOG.full_name, _HEALTH.full_name)
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        try:
            self.port = self._bind(server)
        except RuntimeError as error:
            raise ServeError(
                f"cannot listen on {settings.listen}: the address is taken, or is none of this"
                " machine's; choose another with --listen"
            ) from error
        self._server = server
        await server.start()

    def _bind(self, server: grpc.aio.Server) -> int:
        """Opens the listener, behind TLS where there is a certificate, and returns its port."""
        settings = self._settings
        if not settings.tls_certificate:
            return server.add_insecure_port(settings.listen)
        try:
            certificates = Certificates(
                settings.tls_certificate, settings.tls_key, settings.tls_client_ca
            )
        except CertificateError as error:
            raise ServeError(f"cannot serve TLS: {error}") from error
        return server.add_secure_port(settings.listen, certificates.credentials())

    def _open_access(self) -> AccessControl | None:
        """Reads the tokens that callers need; None where none are asked for."""
        settings = self._settings
        if not settings.tokens:
            return None
        try:
            file = TokenFile(Path(settings.tokens))
        except TokenFileError as error:
            raise ServeError(f"cannot take the tokens: {error}") from error
        if not settings.tls_certificate and not is_local(settings.listen):
            logger.warning(
                "tokens are taken without TLS: whoever sees the traffic can use them; give"
                " --tls-certificate, or end TLS before this listener"
            )
        watch = asyncio.ensure_future(file.keep_current(self._stopping))
        self._closing.push_async_callback(_finished, watch)
        return AccessControl(file)

    def _open_tracing(self) -> Tracing | None:
        if self._settings.tracing == NO_TRACING:
            return None
        try:
            # Here rather than at the top: it is an extra, and costs nothing where it is off.
            from tierwise_server.tracing import Tracing, otlp_provider  # noqa: PLC0415
        except ImportError as error:
            raise ServeError(
                "--tracing otlp needs OpenTelemetry: pip install 'tierwise[otel]'"
            ) from error
        tracing = Tracing(otlp_provider())
        self._closing.push_async_callback(tracing.close, self._settings.grace_s)
        return tracing

    def _go_live(self, parts: Parts) -> None:
        settings = self._settings
        lanes = EncodingLanes(
            parts.encoder, lane_count=settings.lane_count, queue_limit=settings.queue_limit
        )
        self._closing.push_async_callback(lanes.close, settings.grace_s)
        self.telemetry.queue_depth.set_function(lambda: lanes.queue_depth)
        self.telemetry.metrics.queue_limit.set(settings.queue_limit)
        router = Router(
            parts.catalogs,
            lanes,
            PromptCache(settings.vector_cache),
            encoder_id=parts.encoder.encoder_id,
            dimensions=parts.encoder.dimensions,
            fleet=self._fleet,
            spending=self._spending,
            calls=self._calls,
        )
        self._put_on_trial(parts, router)
        for live in parts.catalogs.values():
            live.on_check(self.telemetry.catalog_checked)
            live.on_check(lambda *_: router.forget_scores())
            self.telemetry.catalog_in_service(live)
            live.on_check(self._note_models)
            self._note_models(live)
            self._closing.callback(live.close)
        watch = asyncio.gather(
            keep_fresh(self._fleet, stop=self._stopping),
            *(
                keep_current(live, interval_s=settings.reload_interval_s, stop=self._stopping)
                for live in _watched(parts)
            ),
            *(trial.shadow.run() for trial in router.trials.values()),
        )
        self._closing.push_async_callback(_cancelled, watch)
        self._slot.router = router

    def _put_on_trial(self, parts: Parts, router: Router) -> None:
        """Tries the candidates beside their catalogs."""
        share = self._settings.canary_share
        for name, candidate in parts.candidates.items():
            router.trials[name] = Trial(candidate, share=share, embed=router.known)
            candidate.on_change(router.forget_scores)
            candidate.on_change(partial(self._note_models, parts.catalogs[name]))
            self._closing.callback(candidate.close)
        if router.trials:
            self._trials = router.trials
            TrialCollector(router.trials, self.telemetry.registry)

    def _open_ledger(self) -> None:
        """Starts to open the ledger; nothing waits for it."""
        ledger = self._ledger
        if ledger is None:
            return
        self.telemetry.ledger_queue.set_function(lambda: ledger.queued_decisions)

        def tell_health(_: Ledger) -> None:
            status = (
                health_pb2.HealthCheckResponse.NOT_SERVING
                if ledger.problem
                else health_pb2.HealthCheckResponse.SERVING
            )
            self._health.set(LEDGER_HEALTH, status)

        ledger.on_status(tell_health)
        ledger.on_status(self._ask_spend_again)
        ledger.start()
        self._closing.push_async_callback(ledger.close, self._settings.grace_s)

    def _note_models(self, live: LiveCatalog, _: float = 0.0) -> None:
        """Takes what outcomes of a catalog's decisions are priced, observed and limited by."""
        deciding = [live.snapshot]
        trial = self._trials.get(live.name)
        if trial is not None and trial.share and trial.candidate.snapshot is not None:
            deciding.append(trial.candidate.snapshot)
        # What is in service last, since outcomes without a revision are priced by the last.
        for record in (catalog_record(live.name, one) for one in reversed(deciding)):
            if self._ledger is not None:
                self._ledger.note_catalog(record)
            else:
                self._feedback.note_catalog(record)
        self.telemetry.deciding_by(live.name, *deciding)
        self._fleet.use(live.name, *(one.models for one in deciding))
        self._spending.use(live.name, live.snapshot.catalog.spend_limits)
        self._calls.use(live.name, live.snapshot.catalog.call_limits)

    def _ask_spend(self, account: Account, since_ms: int, until_ms: int) -> None:
        """Has the ledger say what an account spent."""
        if self._ledger is None:
            return
        default = next(iter(self._settings.catalogs))

        def answer(connection: Connection) -> None:
            from tierwise_server.ledger.spend import spend_between  # noqa: PLC0415 - loads SQL

            spend = spend_between(
                connection,
                catalogs={account.catalog, *([""] if account.catalog == default else [])},
                caller=account.caller,
                since_ms=since_ms,
                until_ms=until_ms,
            )
            self._spending.load(account, since_ms, Spend(*spend))

        self._ledger.ask(answer)

    def _ask_spend_again(self, ledger: Ledger) -> None:
        """Asks anew when the ledger is back: what it took last is not known for sure."""
        if not ledger.problem:
            self._spending.ask_again()

    async def _wait_for_spend(self) -> None:
        """Waits for a moment until it is known what callers spent."""
        known = await asyncio.to_thread(self._spending.wait_until_known, LEDGER_WAIT_S)
        if not known:
            logger.warning(
                "the ledger does not say what callers spent; until it does, spend limits count"
                " from the start of this server"
            )

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


def _watched(parts: Parts) -> tuple[Watched, ...]:
    return (*parts.catalogs.values(), *parts.candidates.values())


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


async def _finished(watch: asyncio.Future[None]) -> None:
    await watch


async def _cancelled(watch: asyncio.Future[list[None]]) -> None:
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
