"""Opens channels to the router: in the clear or over TLS, with a bearer token or without."""

from __future__ import annotations

import collections
import ipaddress
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from tierwise.errors import ConfigurationError

Token: TypeAlias = str | Callable[[], str]
"""A bearer token, or what returns the one to use for a call."""

Options: TypeAlias = Sequence[tuple[str, Any]]

SYSTEM_CA = "system"
"""Stands for the authorities that gRPC brings along."""

DEFAULT_ROUTER = "localhost:50051"

_GRPC_SCHEMES = frozenset({"dns", "unix", "unix-abstract", "vsock", "ipv4", "ipv6", "xds"})
"""Of names: https://grpc.github.io/grpc/core/md_doc_naming.html"""

_HIGHEST_PORT = 65535


def router_address(given: str | None) -> str:
    """Returns the router's address: as given, else from `TIERWISE_SERVER`, else local.

    Raises:
        ConfigurationError: It has no port.
    """
    address = str(given or "") or os.environ.get("TIERWISE_SERVER") or DEFAULT_ROUTER
    if not (_by_scheme(address) or _has_port(address)):
        raise ConfigurationError(f"router {address!r}: say HOST:PORT")
    return address


def _by_scheme(address: str) -> bool:
    """Returns whether gRPC is told how to find the router, not only where."""
    return address.partition(":")[0] in _GRPC_SCHEMES


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT
    return bool(host) and "/" not in host and is_port


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RouterAccess:
    """Where the router is, and how a client makes itself known. Without a `repr`, for the token."""

    address: str
    tls: grpc.ChannelCredentials | _Pems | None = None
    token: Token | None = None

    @classmethod
    def of(
        cls,
        address: str,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
    ) -> RouterAccess:
        """Returns the access to a router; what is not given comes from the environment.

        `TIERWISE_SERVER_CA` names a file of authorities in PEM, or says `system`, and makes it TLS;
        `TIERWISE_CLIENT_CERTIFICATE` and `TIERWISE_CLIENT_KEY` are for a router that asks for them;
        `TIERWISE_TOKEN` is a bearer token.

        Raises:
            ConfigurationError: A file can't be read, or a token would go over the network in the
                clear.
        """
        tls = credentials if credentials is not None else _pems_of_environment()
        if token is None:
            token = os.environ.get("TIERWISE_TOKEN") or None
        if token is not None and tls is None and not _is_local(address):
            raise ConfigurationError(
                f"the token for the router {address} would go over the network in the clear: give"
                " `credentials`, or set TIERWISE_SERVER_CA"
            )
        return cls(address=address, tls=tls, token=token)

    def channel(self, options: Options = ()) -> grpc.Channel:
        """Opens a channel that calls wait on."""
        credentials = self._credentials()
        channel = (
            grpc.insecure_channel(self.address, options)
            if credentials is None
            else grpc.secure_channel(self.address, credentials, options)
        )
        if self.token is None:
            return channel
        return grpc.intercept_channel(channel, _Bearer(self.token))

    def async_channel(self, options: Options = ()) -> grpc.aio.Channel:
        """Opens a channel that tasks wait on."""
        bearers = [_AsyncBearer(self.token)] if self.token is not None else None
        credentials = self._credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self.address, options, interceptors=bearers)
        return grpc.aio.secure_channel(self.address, credentials, options, interceptors=bearers)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        """Returns what gRPC is given; made here, so that nothing of it exists before a fork."""
        if isinstance(self.tls, _Pems):
            return grpc.ssl_channel_credentials(
                self.tls.authorities, self.tls.key, self.tls.certificate
            )
        return self.tls


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Pems:
    """What TLS to the router needs, in PEM. Without a `repr`, for the key."""

    authorities: bytes | None
    """None means those that gRPC brings along."""
    certificate: bytes | None
    key: bytes | None


def _pems_of_environment() -> _Pems | None:
    authorities = os.environ.get("TIERWISE_SERVER_CA")
    if not authorities:
        return None
    return _Pems(
        authorities=None if authorities == SYSTEM_CA else _file_of("TIERWISE_SERVER_CA"),
        certificate=_file_of("TIERWISE_CLIENT_CERTIFICATE"),
        key=_file_of("TIERWISE_CLIENT_KEY"),
    )


def _file_of(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{variable}: {path}: {error.strerror or error}") from error


def _is_local(address: str) -> bool:
    """Returns whether what is sent to an address stays on this machine.

    Of gRPC's forms of addresses it knows `HOST:PORT`, lists of those behind `ipv4:` or `ipv6:`, and
    sockets of the file system. What else finds a router may find it anywhere.
    """
    if address.startswith("unix"):
        return True
    scheme, _, rest = address.partition(":")
    places = rest.split(",") if scheme in {"ipv4", "ipv6"} else [address]
    return all(_is_loopback(place.rpartition(":")[0].strip("[]")) for place in places)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Details(
    collections.namedtuple(
        "_Details",
        ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"),
    ),
    grpc.ClientCallDetails,
):
    """What gRPC is told of a blocking call."""


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    """Adds the token to each call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,  # noqa: ANN401 - any message
    ) -> Any:  # noqa: ANN401 - a call
        details = client_call_details
        return continuation(
            _Details(
                details.method,
                details.timeout,
                (*(details.metadata or ()), _metadata(self._token)),
                details.credentials,
                getattr(details, "wait_for_ready", None),
                getattr(details, "compression", None),
            ),
            request,
        )


class _AsyncBearer(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the token to each call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 - any message
    ) -> Any:  # noqa: ANN401 - a call
        details = client_call_details
        return await continuation(
            grpc.aio.ClientCallDetails(
                details.method,
                details.timeout,
                grpc.aio.Metadata(*(details.metadata or ()), _metadata(self._token)),
                details.credentials,
                details.wait_for_ready,
            ),
            request,
        )


def _metadata(token: Token) -> tuple[str, str]:
    return "authorization", f"Bearer {token() if callable(token) else token}"
