"""Tokens and TLS, with real certificates on a real channel."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tests.conftest import (
    CALL_TIMEOUT_S,
    CatalogFolder,
    Serve,
    Served,
    StartServe,
    eventually,
    refused,
    run_tierwise,
)

from tierwise import AsyncClient, Client
from tierwise.decisions import Decision
from tierwise.errors import ConfigurationError, RouterError
from tierwise.v1 import error_reason_pb2
from tierwise.v1.catalog_service_pb2 import ListTiersRequest, ReloadCatalogRequest
from tierwise.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tierwise.v1.outcome_pb2 import Attempt, Outcome, RouterlessDecision
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    OUTCOME_STATUS_ACCEPTED,
    OUTCOME_STATUS_REJECTED,
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    ReportOutcomesRequest,
    RoutePromptRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub
from tierwise_server.access.tokens import Scope, entry_of, new_token
from tierwise_server.grpc_api.access import SCOPES
from tierwise_server.grpc_api.decision_token import decode_token

PROMPT = "summarize this email in two sentences"

Reason = error_reason_pb2.ErrorReason


class TokenFolder:
    """A file of tokens, and the tokens themselves."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens.yaml"
        self.shop = new_token()
        self.other = new_token()
        self.reporter = new_token()
        self.operator = new_token()
        self.expired = new_token()
        self.write(
            entry_of(self.shop, "shop", [Scope.ROUTE, Scope.REPORT]),
            entry_of(self.other, "other", [Scope.ROUTE, Scope.REPORT]),
            entry_of(self.reporter, "shop", [Scope.REPORT]),
            entry_of(self.operator, "ops", [Scope.ADMIN]),
            entry_of(self.expired, "shop", [Scope.ROUTE], "2020-01-01"),
        )

    def write(self, *entries: str) -> None:
        """Replaces the file."""
        self.path.write_text("tokens:\n" + "\n".join(entries) + "\n")


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFolder:
    return TokenFolder(tmp_path)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def route_request(**fields: Any) -> RoutePromptRequest:  # noqa: ANN401 - fields of a message
    return RoutePromptRequest(input=RoutingInput(prompt=PROMPT, **fields))


async def test_every_method_asks_for_its_scope(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        stubs = (RoutingServiceStub(served.channel), CatalogServiceStub(served.channel))
        seen = set()
        for stub in stubs:
            for name, method in vars(stub).items():
                seen.add(name)
                for token in ("", "tw_wrong", tokens.expired):
                    told = await refused(
                        method(_empty(method), metadata=bearer(token), timeout=CALL_TIMEOUT_S)
                    )
                    assert told.code is grpc.StatusCode.UNAUTHENTICATED, name
                    assert told.reason == "UNAUTHENTICATED"
                    assert tokens.expired not in told.message
                lacking = tokens.operator if SCOPES[name] is not Scope.ADMIN else tokens.shop
                told = await refused(
                    method(_empty(method), metadata=bearer(lacking), timeout=CALL_TIMEOUT_S)
                )
                assert told.code is grpc.StatusCode.PERMISSION_DENIED, name
                assert (told.reason, told.metadata) == ("PERMISSION_DENIED", {"field": ""})
                assert f"needs a token with the scope {SCOPES[name]}" in told.message
        assert seen == set(SCOPES)


def _empty(method: Any) -> Any:  # noqa: ANN401 - a method of a stub, and its request
    request = {
        "RoutePrompt": RoutePromptRequest,
        "BatchRoutePrompts": BatchRoutePromptsRequest,
        "ExplainDecision": ExplainDecisionRequest,
        "ReportOutcomes": ReportOutcomesRequest,
    }
    name = method._method.decode().rpartition("/")[2]
    if name in request:
        return request[name]()
    from tierwise.v1 import catalog_service_pb2  # noqa: PLC0415 - for the name alone

    return getattr(catalog_service_pb2, f"{name}Request")()


async def test_health_is_answered_without_a_token(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        assert await served.health_of("") == "SERVING"


async def test_a_token_gives_its_caller_to_what_it_is_used_for(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        routed = await served.routing.RoutePrompt(
            route_request(), metadata=bearer(tokens.shop), timeout=CALL_TIMEOUT_S
        )
        assert decode_token(routed.decision.decision_token).caller == "shop"
        batch = await served.routing.BatchRoutePrompts(
            BatchRoutePromptsRequest(inputs=[RoutingInput(prompt=PROMPT, caller="shop")] * 2),
            metadata=bearer(tokens.shop),
            timeout=CALL_TIMEOUT_S,
        )
        assert [decode_token(one.decision_token).caller for one in batch.decisions] == ["shop"] * 2
        told = await refused(
            served.routing.RoutePrompt(
                route_request(caller="other"), metadata=bearer(tokens.shop), timeout=CALL_TIMEOUT_S
            )
        )
        assert told.code is grpc.StatusCode.PERMISSION_DENIED
        assert told.metadata == {"field": "input.caller"}


async def test_nobody_reports_for_another_caller(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        routed = await served.routing.RoutePrompt(
            route_request(), metadata=bearer(tokens.shop), timeout=CALL_TIMEOUT_S
        )
        request = ReportOutcomesRequest(
            outcomes=[
                Outcome(
                    outcome_id="by-token",
                    decision_token=routed.decision.decision_token,
                    attempts=[Attempt(model_id="m")],
                ),
                Outcome(outcome_id="routerless", routerless_decision=_routerless("shop")),
                Outcome(outcome_id="of-nobody", routerless_decision=_routerless("")),
            ]
        )
        for one in request.outcomes[1:]:
            one.attempts.append(Attempt(model_id="m"))
        statuses = {}
        for token in (tokens.other, tokens.reporter):
            response = await served.routing.ReportOutcomes(
                request, metadata=bearer(token), timeout=CALL_TIMEOUT_S
            )
            statuses[token] = [one.status for one in response.results]
    assert statuses[tokens.other] == [
        OUTCOME_STATUS_REJECTED,
        OUTCOME_STATUS_REJECTED,
        OUTCOME_STATUS_ACCEPTED,
    ]
    assert statuses[tokens.reporter][:2] == [OUTCOME_STATUS_ACCEPTED] * 2


def _routerless(caller: str) -> RouterlessDecision:
    decision = RouterlessDecision(decision_id="d", tier_id="budget", caller=caller, cause=1)
    decision.decision_time.GetCurrentTime()
    return decision


async def test_a_withdrawn_token_is_refused_and_a_new_one_taken_without_a_restart(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        await _routed(served, tokens.shop)
        fresh = new_token()
        tokens.write(entry_of(fresh, "shop", [Scope.ROUTE]))

        async def is_taken() -> bool:
            return await _code(served, fresh) is None

        await eventually(is_taken, what="taking over the file of tokens")
        assert await _code(served, tokens.shop) is grpc.StatusCode.UNAUTHENTICATED


async def _routed(served: Served, token: str) -> Any:  # noqa: ANN401 - the response
    return await served.routing.RoutePrompt(
        route_request(), metadata=bearer(token), timeout=CALL_TIMEOUT_S
    )


async def _code(served: Served, token: str) -> grpc.StatusCode | None:
    try:
        await _routed(served, token)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_reloading_is_for_this_machine_or_for_a_token_with_that_scope(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder
) -> None:
    request = ReloadCatalogRequest(validate_only=True)
    async with serve(catalog) as served:
        await served.catalogs.ReloadCatalog(request, timeout=CALL_TIMEOUT_S)
    async with serve(catalog, listen="0.0.0.0:0") as served:
        told = await refused(served.catalogs.ReloadCatalog(request, timeout=CALL_TIMEOUT_S))
        assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_SERVED")
    async with serve(catalog, tokens=str(tokens.path)) as served:
        await served.catalogs.ReloadCatalog(
            request, metadata=bearer(tokens.operator), timeout=CALL_TIMEOUT_S
        )


async def test_the_clients_send_the_token_with_every_call(
    serve: Serve, catalog: CatalogFolder, tokens: TokenFolder, tmp_path: Path
) -> None:
    async with serve(catalog, tokens=str(tokens.path)) as served:
        async with AsyncClient(served.address, token=lambda: tokens.shop) as client:
            decision = await client.route(PROMPT)
            assert decode_token(decision.decision_token).caller == "shop"
            await client.explain(PROMPT)
            assert tokens.shop not in repr(vars(client))

        def blocking() -> Decision:
            with Client(served.address, token=tokens.shop) as client:
                decision = client.route(PROMPT)
                client.report(decision, quality=1.0)
                assert client.flush(CALL_TIMEOUT_S)
                assert client.status.reporting.rejected == 0
                return decision

        decision = await asyncio.to_thread(blocking)
        assert decode_token(decision.decision_token).caller == "shop"
        async with AsyncClient(served.address, token="tw_wrong") as client:  # noqa: S106
            with pytest.raises(RouterError) as caught:
                await client.route(PROMPT)
            assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED
            assert "tw_wrong" not in str(caught.value)


def test_a_token_never_goes_over_a_network_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_token()
    with pytest.raises(ConfigurationError, match="in the clear") as caught:
        Client("router.example:50051", token=token)
    assert token not in str(caught.value)
    monkeypatch.setenv("TIERWISE_TOKEN", token)
    with pytest.raises(ConfigurationError, match="in the clear"):
        AsyncClient("ipv4:127.0.0.1:50051,10.0.0.1:50051")
    with pytest.raises(ConfigurationError, match="in the clear"):
        AsyncClient("dns:///localhost:50051")
    Client("ipv4:127.0.0.1:50051,127.0.0.2:50051").close()
    monkeypatch.setenv("TIERWISE_SERVER_CA", "system")
    Client("router.example:50051").close()
    monkeypatch.setenv("TIERWISE_SERVER_CA", "/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=r"TIERWISE_SERVER_CA: /nowhere/ca\.pem: No such"):
        Client("router.example:50051")


# TLS ---------------------------------------------------------------------------------------------


class Pems:
    """An authority, and files of certificates that it has signed."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.client_certificate, self.client_key = folder / "client.pem", folder / "client.key"
        self.issue("first.example")
        client = self.authority.issue_cert("client.example")
        client.cert_chain_pems[0].write_to_path(str(self.client_certificate))
        client.private_key_pem.write_to_path(str(self.client_key))

    def issue(self, name: str) -> None:
        """Puts a new certificate and key into the server's files."""
        issued = self.authority.issue_cert("127.0.0.1", "localhost", common_name=name)
        issued.private_key_pem.write_to_path(str(self.key))
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))

    def settings(self) -> dict[str, str]:
        """Returns the server's settings that name the files."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}


@pytest.fixture
def pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path)


@pytest.fixture
def secure_environment(pems: Pems, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERWISE_SERVER_CA", str(pems.ca))


def name_served(port: int, pems: Pems) -> str:
    """Returns the common name of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(pems.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=CALL_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        certificate = secured.getpeercert()
    assert certificate is not None
    subject: Any = certificate["subject"]
    return str(dict(part for group in subject for part in group)["commonName"])


@pytest.mark.usefixtures("secure_environment")
async def test_tls_is_spoken_and_a_renewed_certificate_is_taken_over(
    serve: Serve, catalog: CatalogFolder, pems: Pems, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(catalog, **pems.settings()) as served:
        port = served.server.port
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            assert (await client.route(PROMPT)).tier_id
        assert await asyncio.to_thread(name_served, port, pems) == "first.example"

        whole = pems.key.read_bytes()
        pems.key.write_text("half of a key")
        with caplog.at_level(logging.ERROR):
            for _ in range(2):
                assert await asyncio.to_thread(name_served, port, pems) == "first.example"
        said = [one for one in caplog.records if "certificate" in one.message]
        assert len(said) == 1, "a faulty file is complained of once"
        assert "half of a key" not in str(vars(said[0]))
        pems.key.write_bytes(whole)

        pems.issue("second.example")
        assert await asyncio.to_thread(name_served, port, pems) == "second.example"
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            assert (await client.route(PROMPT)).tier_id


async def test_mutual_tls_refuses_who_has_no_certificate(
    serve: Serve, catalog: CatalogFolder, pems: Pems, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**pems.settings(), "tls_client_ca": str(pems.ca)}
    monkeypatch.setenv("TIERWISE_SERVER_CA", str(pems.ca))
    async with serve(catalog, **settings) as served:
        address = f"127.0.0.1:{served.server.port}"
        async with grpc.aio.secure_channel(
            address, grpc.ssl_channel_credentials(pems.ca.read_bytes())
        ) as anonymous:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await CatalogServiceStub(anonymous).ListTiers(ListTiersRequest(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        monkeypatch.setenv("TIERWISE_CLIENT_CERTIFICATE", str(pems.client_certificate))
        monkeypatch.setenv("TIERWISE_CLIENT_KEY", str(pems.client_key))
        async with AsyncClient(address) as client:
            assert (await client.route(PROMPT)).tier_id


# As an operator meets it -------------------------------------------------------------------------


def test_the_commands_go_through_tokens_and_tls(
    start_serve: StartServe, catalog: CatalogFolder, tokens: TokenFolder, pems: Pems
) -> None:
    made = run_tierwise("token", "--caller", "shop", "--scope", "route", "--scope", "admin")
    token, entry = made.stdout.strip(), made.stderr.partition("\n")[2]
    tokens.write(entry.rstrip())
    running = start_serve(
        *("--catalog", str(catalog.path), "--tokens", str(tokens.path)),
        *("--tls-certificate", str(pems.certificate), "--tls-key", str(pems.key)),
    )
    address = f"127.0.0.1:{running.port()}"
    environment = {"TIERWISE_SERVER_CA": str(pems.ca), "TIERWISE_TOKEN": token}
    routed = run_tierwise("route", "--server", address, PROMPT, env=environment)
    assert (routed.returncode, routed.stderr) == (0, ""), routed
    reloaded = run_tierwise("reload", "--server", address, env=environment)
    assert reloaded.returncode == 0, reloaded
    refused = run_tierwise(
        "route", "--server", address, PROMPT, env={**environment, "TIERWISE_TOKEN": "tw_wrong"}
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("tierwise route: UNAUTHENTICATED: ")
    running.end()
    assert token not in running.log_text()
    assert "tw_wrong" not in running.log_text()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--tokens", "/nowhere.yaml"), "cannot take the tokens: /nowhere.yaml: cannot be read"),
        (
            ("--tls-certificate", "/nowhere.pem", "--tls-key", "/nowhere.key"),
            "cannot serve TLS: /nowhere.pem: cannot be read",
        ),
        (("--tls-key", "/nowhere.key"), "--tls-certificate and --tls-key: give both or neither"),
        (("--tls-client-ca", "/ca.pem"), "--tls-client-ca: needs --tls-certificate"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line_at_start(
    catalog: CatalogFolder, flags: tuple[str, ...], complaint: str
) -> None:
    ended = run_tierwise(
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--catalog",
        str(catalog.path),
        "--ledger",
        "none",
        *flags,
    )
    assert ended.returncode in {1, 2}
    assert complaint in ended.stderr.splitlines()[-1]


def test_a_key_that_does_not_fit_its_certificate_is_told(
    catalog: CatalogFolder, pems: Pems
) -> None:
    old = pems.certificate.read_bytes()
    pems.issue("other.example")
    pems.certificate.write_bytes(old)
    ended = run_tierwise(
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--catalog",
        str(catalog.path),
        "--ledger",
        "none",
        "--tls-certificate",
        str(pems.certificate),
        "--tls-key",
        str(pems.key),
    )
    assert ended.returncode == 1
    assert "are no certificate with its key" in ended.stderr
