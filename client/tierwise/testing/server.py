"""The server itself: its thread, its connections, and what its users see of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from tierwise.testing.answering import Answering
from tierwise.testing.calls import DEFAULT_WAIT_S, ReceivedCall
from tierwise.testing.connection import Connection
from tierwise.testing.dialects import DIALECTS
from tierwise.testing.dialects.base import Dialect
from tierwise.testing.replies import Answerer
from tierwise.testing.script import RateLimit, Script

MAX_REQUEST_BYTES = 32 * 2**20
"""Size of the largest request body that is taken, by default: Anthropic's documented limit."""

_HOST = "127.0.0.1"
_BACKLOG = 4096
_STOP_S = 5.0
"""How long stopping lasts at most."""


class ProviderServer:
    """A local HTTP server that answers in the place of model providers.

    It runs in a thread of its own, so that synchronous and asynchronous clients and other processes
    can call it. Use it with `with` or `async with`, once. All methods can be called from any
    thread, before and while it runs.
    """

    def __init__(
        self, *, keys: Collection[str] = (), max_request_bytes: int = MAX_REQUEST_BYTES
    ) -> None:
        """Prepares the server; nothing is opened yet.

        Args:
            keys: The only keys that are accepted. Without any, every key is, but there must be one
                where the provider wants one.
            max_request_bytes: Size of the largest request body that is taken.
        """
        self._max_request_bytes = max_request_bytes
        self._script = Script()
        self._changed = threading.Condition()
        self._answering = Answering(self._script, keys, self._changed)
        self._connections: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port = 0

    def start(self) -> None:
        """Opens a free port and serves it.

        Raises:
            RuntimeError: The server was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a ProviderServer starts once; make another one")
        started: Future[int] = Future()
        # A daemon: a test that forgets to stop the server must still be able to end.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="provider-server", daemon=True
        )
        self._thread.start()
        self._port = started.result()

    def stop(self) -> None:
        """Closes all connections and the port, within seconds, even in the middle of calls.

        Raises:
            Exception: A function that chose replies had raised it; the first one, if many.
        """
        self._close()
        for error in (*self._answering.failures, *self._faults):
            raise error

    def __enter__(self) -> Self:
        """Starts the server."""
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server; raises what `stop` raises, unless another error is on its way."""
        if error_type is None:
            self.stop()
        else:
            self._close()

    async def __aenter__(self) -> Self:
        """Starts the server."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server as `__exit__` does."""
        await asyncio.to_thread(self.__exit__, error_type, error, traceback)

    @property
    def url(self) -> str:
        """Address of the server, without a slash at the end.

        Raises:
            RuntimeError: The server was not started.
        """
        if not self._port:
            raise RuntimeError("the server has no address before it is started")
        return f"http://{_HOST}:{self._port}"

    def base_url(self, provider: str) -> str:
        """Returns the address to give a client in the place of the provider's own.

        It ends where this library wants it to: with OpenAI and all that speak like it, and with
        Mistral, before `/chat/completions`; with Anthropic before `/v1/messages`; with Google
        before `/v1beta/models`.

        Raises:
            ValueError: There is no such provider.
        """
        return f"{self.url}/{provider}{_dialect(provider).base_path}"

    def script(self, provider: str, *replies: Answerer, model: str | None = None) -> None:
        """Adds replies for a provider, given once each and in order.

        Requests that the provider refuses, for their key, rate or form, use up none.

        Args:
            provider: Id of the provider.
            replies: Replies, or functions that choose one.
            model: Upstream name. Only calls of this model get the replies, before those that are
                scripted for the provider as a whole.

        Raises:
            ValueError: There is no such provider.
        """
        _dialect(provider)
        self._script.append(provider, model, replies)

    def always(self, provider: str, reply: Answerer, *, model: str | None = None) -> None:
        """Sets what is answered whenever no scripted reply is left.

        Without it that is an echo of what the user said.

        Raises:
            ValueError: There is no such provider.
        """
        _dialect(provider)
        self._script.set_standing(provider, model, reply)

    def rate_limit(self, provider: str, *, requests: int, per_s: float) -> None:
        """Lets a provider take so many requests in any so many seconds, and refuse the others.

        Raises:
            ValueError: There is no such provider, or a number is not positive.
        """
        _dialect(provider)
        if requests < 1 or per_s <= 0:
            raise ValueError("a rate limit needs at least 1 request and a time above 0")
        self._script.set_limit(provider, RateLimit(requests, per_s))

    @property
    def calls(self) -> tuple[ReceivedCall, ...]:
        """What was received, in order, refused requests included."""
        with self._changed:
            return tuple(self._answering.calls)

    @property
    def open_connections(self) -> int:
        """How many connections are open, those kept alive between calls included."""
        with self._changed:
            return len(self._connections)

    def wait_for_calls(
        self, count: int, timeout_s: float = DEFAULT_WAIT_S
    ) -> tuple[ReceivedCall, ...]:
        """Blocks until so many requests have come and returns them. For use outside an event loop.

        Raises:
            TimeoutError: Fewer came.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._answering.calls) >= count, timeout_s):
                raise TimeoutError(
                    f"{len(self._answering.calls)} of {count} calls came within {timeout_s} s"
                )
            return tuple(self._answering.calls)

    def wait_closed(self, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Blocks until no connection is open. For use outside an event loop.

        Raises:
            TimeoutError: Some still are.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._connections, timeout_s):
                raise TimeoutError(
                    f"{len(self._connections)} connections are open after {timeout_s} s"
                )

    def _close(self) -> None:
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop: a function that chooses replies blocks it")

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            listener = await asyncio.start_server(self._accept, _HOST, 0, backlog=_BACKLOG)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(listener.sockets[0].getsockname()[1])
        await self._stopping.wait()
        listener.close()
        # One turn for connections that were accepted and not yet handed over.
        await asyncio.sleep(0)
        tasks = tuple(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Aborted transports close their sockets in the loop's next turn.
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopping is None or self._stopping.is_set():
            writer.transport.abort()
            return
        connection = Connection(
            reader, writer, answer=self._answering.answer, max_request_bytes=self._max_request_bytes
        )
        task = asyncio.create_task(connection.serve())
        with self._changed:
            self._connections.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._faults.append(error)
        with self._changed:
            self._connections.discard(task)
            self._changed.notify_all()


def _dialect(provider: str) -> Dialect:
    if provider not in DIALECTS:
        raise ValueError(f"no provider {provider!r}; there are {', '.join(sorted(DIALECTS))}")
    return DIALECTS[provider]
