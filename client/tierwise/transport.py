"""Sending calls to providers over HTTP, with one connection pool for each provider.

Everything that can go wrong on the way becomes a `ProviderError` here. Messages are our own: those
of the HTTP library may quote headers, and so keys.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from httpx_sse import EventSource, ServerSentEvent

from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError, client_closed
from tierwise.execution.effects import Open, Send, StreamHead
from tierwise.providers.base import HttpReply, StreamEvent

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A whole reply of more is refused. The longest answers of today's models are below 1 MiB."""

_LIMITS = httpx.Limits(max_connections=2000, max_keepalive_connections=100, keepalive_expiry=60.0)
_SHORTEST_READ_S = 0.001
"""With no time left, what has come is still read; 0 would mean that reads never wait."""

_EVENT_STREAM = "text/event-stream"
_OK = range(200, 300)


def transport_failure(error: httpx.HTTPError | httpx.InvalidURL) -> ProviderError:
    """Returns what a failure of the HTTP library means."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return ProviderError(
                "no connection within the time limit", error_class=ErrorClass.TIMEOUT, sent=False
            )
        case httpx.TimeoutException():
            return ProviderError("no answer in time", error_class=ErrorClass.TIMEOUT)
        case httpx.ConnectError() | httpx.ProxyError():
            return ProviderError(
                "no connection could be made", error_class=ErrorClass.CONNECTION, sent=False
            )
        case httpx.DecodingError():
            return ProviderError(
                "the reply's compression is broken", error_class=ErrorClass.MALFORMED_RESPONSE
            )
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return ProviderError(
                "the address or a header can't be sent",
                error_class=ErrorClass.INVALID_REQUEST,
                sent=False,
            )
        case _:
            return ProviderError(
                "the connection broke before the answer was whole",
                error_class=ErrorClass.CONNECTION,
            )


def _limit_reads(response: httpx.Response, seconds: float) -> None:
    """Sets the HTTP library's limit on each wait for bytes of the body, before the first of them.

    Until then it is that for the head. The library looks it up where it puts it with the request.
    """
    response.request.extensions["timeout"]["read"] = seconds


def _late() -> ProviderError:
    return ProviderError("the answer was not whole in time", error_class=ErrorClass.TIMEOUT)


def _too_large() -> ProviderError:
    return ProviderError(
        f"the reply has more than {MAX_REPLY_BYTES} bytes",
        error_class=ErrorClass.MALFORMED_RESPONSE,
    )


def _address(url: str) -> tuple[httpx.URL, httpx.BasicAuth | None]:
    """Returns an address without the login that it may hold, and the login.

    The HTTP library writes whole addresses to its log.
    """
    address = httpx.URL(url)
    if not address.userinfo:
        return address, None
    login = httpx.BasicAuth(address.username, address.password)
    return address.copy_with(userinfo=b""), login


def _is_stream(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.status_code in _OK and kind == _EVENT_STREAM


def _reply(response: httpx.Response, content: bytearray) -> HttpReply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpReply(status=response.status_code, headers=headers, content=bytes(content))


def _head(response: httpx.Response) -> StreamHead:
    return StreamHead({name.lower(): value for name, value in response.headers.items()})


def _event(found: ServerSentEvent) -> StreamEvent:
    return StreamEvent(data=found.data, event=found.event)


class _WatchedBytes(httpx.SyncByteStream):
    """A response's bytes, read no longer than until a moment that is set for each event.

    The HTTP library's own time limit starts anew with every byte, comments included.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.deadline = math.inf

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._response.iter_raw():
            yield chunk
            if time.monotonic() > self.deadline:
                raise _late()


@contextmanager
def _ended_after(response: httpx.Response, seconds: float | None) -> Iterator[None]:
    """Ends a response's connection when the block takes longer, which wakes who waits for bytes."""
    if seconds is None:
        yield
        return
    connection = response.extensions["network_stream"].get_extra_info("socket")

    def end() -> None:
        with suppress(OSError):  # The other side was faster.
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class OpenStream:
    """A stream of events that is being read."""

    def __init__(self, response: httpx.Response, gap_s: float) -> None:
        _limit_reads(response, gap_s)
        self._response = response
        self._gap_s = gap_s
        self._bytes = _WatchedBytes(response)
        watched = httpx.Response(response.status_code, headers=response.headers, stream=self._bytes)
        watched.encoding = "utf-8"
        self._events = EventSource(watched).iter_sse()
        self.head = _head(response)

    def read(self, timeout_s: float) -> StreamEvent | None:
        """Returns the next event; None at the end."""
        self._bytes.deadline = time.monotonic() + timeout_s
        try:
            # The HTTP library can't be given another limit in mid-body, so one that is much
            # shorter, as before a chat's deadline, is kept by ending the connection.
            with _ended_after(self._response, timeout_s if timeout_s < 0.9 * self._gap_s else None):
                found = next(self._events, None)
        except httpx.HTTPError as error:
            if time.monotonic() > self._bytes.deadline:
                raise _late() from None
            raise transport_failure(error) from None
        return None if found is None else _event(found)

    def close(self) -> None:
        """Closes the connection, unless the stream came to its end."""
        self._response.close()


class Transport:
    """Sends calls, and blocks until they are answered."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._pools: dict[str, httpx.Client] = {}
        self._closed = False

    def send(self, effect: Send) -> HttpReply:
        """Sends a call and returns the whole reply."""
        deadline = time.monotonic() + effect.timeout_s
        response = self._begin(effect)
        try:
            return self._read_whole(response, deadline)
        finally:
            response.close()

    def open(self, effect: Open) -> OpenStream | HttpReply:
        """Sends a call and returns the stream that it is answered by, or the reply that is none."""
        deadline = time.monotonic() + effect.timeout_s
        response = self._begin(effect)
        if _is_stream(response):
            return OpenStream(response, effect.gap_s)
        try:
            return self._read_whole(response, deadline)
        finally:
            response.close()

    def close(self) -> None:
        """Closes all connections. Calls under way fail."""
        self._closed = True
        for pool in tuple(self._pools.values()):
            pool.close()

    def _begin(self, effect: Send | Open) -> httpx.Response:
        pool = self._pool(effect.post.provider_id)
        try:
            url, login = _address(effect.post.url)
            request = pool.build_request(
                "POST",
                url,
                content=effect.post.content,
                headers={"content-type": "application/json", **effect.post.headers},
                timeout=effect.timeout_s,
            )
            response = pool.send(request, auth=login, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_failure(error) from None
        except RuntimeError:
            if self._closed:
                raise client_closed() from None
            raise
        if self._closed:
            # What was still connecting when the pool was closed, the pool did not close.
            response.close()
            raise client_closed()
        return response

    def _read_whole(self, response: httpx.Response, deadline: float) -> HttpReply:
        _limit_reads(response, max(deadline - time.monotonic(), _SHORTEST_READ_S))
        content = bytearray()
        try:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise _too_large()
                if time.monotonic() > deadline:
                    raise _late()
        except httpx.HTTPError as error:
            raise transport_failure(error) from None
        return _reply(response, content)

    def _pool(self, provider_id: str) -> httpx.Client:
        if self._closed:
            raise client_closed()
        if provider_id not in self._pools:
            # Redirects are not followed: they would take the key to another host.
            pool = httpx.Client(verify=self._tls, limits=_LIMITS, follow_redirects=False)
            if self._pools.setdefault(provider_id, pool) is not pool:
                pool.close()
        return self._pools[provider_id]


class AsyncOpenStream:
    """A stream of events that is being read."""

    def __init__(self, response: httpx.Response, gap_s: float) -> None:
        _limit_reads(response, gap_s)
        self._response = response
        response.encoding = "utf-8"
        self._events = EventSource(response).aiter_sse()
        self.head = _head(response)

    async def read(self, timeout_s: float) -> StreamEvent | None:
        """Returns the next event; None at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                found = await anext(self._events, None)
        except TimeoutError:
            raise _late() from None
        except httpx.HTTPError as error:
            raise transport_failure(error) from None
        return None if found is None else _event(found)

    async def close(self) -> None:
        """Closes the connection, unless the stream came to its end."""
        await self._events.aclose()
        await self._response.aclose()


class AsyncTransport:
    """Sends calls, and lets other tasks run until they are answered."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._pools: dict[str, httpx.AsyncClient] = {}
        self._closed = False

    async def send(self, effect: Send) -> HttpReply:
        """Sends a call and returns the whole reply."""
        try:
            async with asyncio.timeout(effect.timeout_s):
                response = await self._begin(effect)
                try:
                    return await self._read_whole(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise _late() from None

    async def open(self, effect: Open) -> AsyncOpenStream | HttpReply:
        """Sends a call and returns the stream that it is answered by, or the reply that is none."""
        try:
            async with asyncio.timeout(effect.timeout_s):
                response = await self._begin(effect)
                if _is_stream(response):
                    return AsyncOpenStream(response, effect.gap_s)
                try:
                    return await self._read_whole(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise _late() from None

    async def close(self) -> None:
        """Closes all connections. Calls under way fail."""
        self._closed = True
        for pool in tuple(self._pools.values()):
            await pool.aclose()

    async def _begin(self, effect: Send | Open) -> httpx.Response:
        pool = self._pool(effect.post.provider_id)
        try:
            url, login = _address(effect.post.url)
            request = pool.build_request(
                "POST",
                url,
                content=effect.post.content,
                headers={"content-type": "application/json", **effect.post.headers},
                timeout=effect.timeout_s,
            )
            response = await pool.send(request, auth=login, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_failure(error) from None
        except RuntimeError:
            if self._closed:
                raise client_closed() from None
            raise
        if self._closed:
            # What was still connecting when the pool was closed, the pool did not close.
            await response.aclose()
            raise client_closed()
        return response

    async def _read_whole(self, response: httpx.Response) -> HttpReply:
        content = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise _too_large()
        except httpx.HTTPError as error:
            raise transport_failure(error) from None
        return _reply(response, content)

    def _pool(self, provider_id: str) -> httpx.AsyncClient:
        if self._closed:
            raise client_closed()
        if provider_id not in self._pools:
            # Redirects are not followed: they would take the key to another host.
            self._pools[provider_id] = httpx.AsyncClient(
                verify=self._tls, limits=_LIMITS, follow_redirects=False
            )
        return self._pools[provider_id]
