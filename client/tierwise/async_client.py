"""The client for event loops. What it does is `tierwise.client`'s; only the waiting differs."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from tierwise.answers import Delta
from tierwise.chat_response import Attempt, ChatResponse
from tierwise.core import (
    EXPLAIN_TIMEOUT_S,
    ClientCore,
    ClientStatus,
    Prompt,
    provider_settings,
)
from tierwise.decisions import Decision
from tierwise.errors import ConfigurationError
from tierwise.execution import chat as scripts
from tierwise.execution.effects import (
    AskRouter,
    Check,
    Close,
    Emit,
    Open,
    Read,
    Script,
    Send,
    Sleep,
    Work,
)
from tierwise.providers.base import HttpReply
from tierwise.providers.registry import ProviderSettings
from tierwise.reporting.outcome import Verdict
from tierwise.router_channel import RouterAccess, Token, router_address
from tierwise.router_link import AsyncRouterLink
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings
from tierwise.transport import AsyncOpenStream, AsyncTransport
from tierwise.v1.routing_service_pb2 import ExplainDecisionResponse
from tierwise.validators import Validator

if TYPE_CHECKING:
    from tierwise.tracing import Tracing

T = TypeVar("T")


class AsyncClient:
    """Asks the router which model is good enough, calls it, and reports what became of it.

    One is enough for an event loop, and it may be made before there is one, and before a fork. Use
    it as an asynchronous context manager, or close it.
    """

    def __init__(
        self,
        router: str | None = None,
        *,
        providers: Mapping[str, ProviderSettings] | None = None,
        settings: ClientSettings | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Prepares a client, as `Client` does. Nothing is connected yet."""
        self._access = RouterAccess.of(router_address(router), credentials, token)
        self._providers = provider_settings(providers)
        self._settings = settings or ClientSettings()
        self._tracing = tracing
        self._core: ClientCore | None = None
        self._connections: _Connections | None = None
        self._closed = False
        self._state()

    async def __aenter__(self) -> Self:
        """Returns the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the client."""
        await self.close()

    async def route(self, prompt: Prompt, options: RoutingOptions | None = None) -> Decision:
        """Returns which model should answer, as `Client.route` does."""
        core = self._state()
        timeout_s = self._settings.router_timeout_s
        request = core.request(prompt)
        script = scripts.decide(core.session, request, core.options(options), timeout_s)
        return await self._run(script)

    async def explain(
        self, prompt: Prompt, options: RoutingOptions | None = None
    ) -> ExplainDecisionResponse:
        """Returns the decision with its evidence, as `Client.explain` does."""
        request = self._state().explain_request(prompt, options)
        return await self._connected().link.explain(request, EXPLAIN_TIMEOUT_S)

    async def chat(
        self,
        prompt: Prompt,
        options: RoutingOptions | None = None,
        *,
        validators: Sequence[Validator] = (),
    ) -> ChatResponse:
        """Returns an answer, as `Client.chat` does. Checks may be asynchronous."""
        core = self._state()
        request, checks = core.request(prompt), core.validators(validators)
        script = scripts.chat(core.session, request, core.options(options), checks)
        return await self._run(script)

    def chat_stream(
        self,
        prompt: Prompt,
        options: RoutingOptions | None = None,
        *,
        validators: Sequence[Validator] = (),
    ) -> AsyncChatStream:
        """Returns an answer piece by piece, as `Client.chat_stream` does."""
        core = self._state()
        request, checks = core.request(prompt), core.validators(validators)
        script = scripts.chat(core.session, request, core.options(options), checks, stream=True)
        return AsyncChatStream(script, self._connected)

    async def report(
        self,
        decision: Decision,
        *,
        attempts: Sequence[Attempt] = (),
        quality: float | None = None,
        verdict: Verdict | None = None,
    ) -> str:
        """Reports calls that were made by other means, or a judgement, as `Client.report` does."""
        return self._state().report(decision, tuple(attempts), quality, verdict)

    async def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until all outcomes are delivered; returns whether they are."""
        return await asyncio.to_thread(self._state().reporter.flush, timeout_s)

    @property
    def status(self) -> ClientStatus:
        """What this client has been through in this process."""
        return self._state().status

    async def close(self, timeout_s: float = 2.0) -> None:
        """Delivers outcomes for as long as given, leaves the rest on disk, and closes."""
        self._closed = True
        connections, self._connections = self._connections, None
        if connections is not None and connections.are_of_this_loop():
            await connections.close()
        core, self._core = self._core, None
        if core is not None and core.process_id == os.getpid():
            await asyncio.to_thread(core.close, timeout_s)

    def _state(self) -> ClientCore:
        if self._closed:
            raise ConfigurationError("the client is closed")
        if self._core is None or self._core.process_id != os.getpid():
            self._core = ClientCore(self._access, self._providers, self._settings, self._tracing)
        return self._core

    def _connected(self) -> _Connections:
        if self._connections is None or not self._connections.are_of_this_loop():
            self._connections = _Connections(self._state())
        return self._connections

    async def _run(self, script: Script[T]) -> T:
        driver = AsyncDriver(self._connected())
        try:
            return await driver.run(script)
        finally:
            await driver.close()


class _Connections:
    """Connections to the router and the providers, of one event loop in one process."""

    def __init__(self, core: ClientCore) -> None:
        self._loop = asyncio.get_running_loop()
        self._process_id = os.getpid()
        self.link = AsyncRouterLink(core.access)
        self.transport = AsyncTransport(core.tls)

    def are_of_this_loop(self) -> bool:
        """Returns whether they may be used here."""
        return self._process_id == os.getpid() and self._loop is asyncio.get_running_loop()

    async def close(self) -> None:
        """Closes them all."""
        await self.transport.close()
        await self.link.close()


class AsyncDriver:
    """Does what one script asks for, in the calling task."""

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections
        self._stream: AsyncOpenStream | None = None

    async def run(self, script: Script[T]) -> T:
        """Runs a script that hands nothing over, and returns its result."""
        step = await self.advance(script, None)
        while isinstance(step, Emit):
            step = await self.advance(script, None)
        return step

    async def advance(self, script: Script[T], value: Any) -> Emit | T:  # noqa: ANN401 - of any effect
        """Runs a script until it hands something over, or to its end."""
        error: BaseException | None = None
        while True:
            try:
                effect = script.send(value) if error is None else script.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(effect, Emit):
                return effect
            value, error = None, None
            try:
                value = await self._perform(effect)
            except BaseException as failure:  # noqa: BLE001 - the script decides what it means
                error = failure

    async def close(self) -> None:
        """Closes a stream that is still open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _perform(self, effect: Work) -> Any:  # noqa: ANN401 - each effect has its own result
        transport = self._connections.transport
        result: Any = None
        match effect:
            case AskRouter():
                result = await self._connections.link.ask(effect)
            case Send():
                result = await transport.send(effect)
            case Open():
                opened = await transport.open(effect)
                if isinstance(opened, HttpReply):
                    return opened
                self._stream = opened
                result = opened.head
            case Read(timeout_s):
                result = await self._stream.read(timeout_s) if self._stream is not None else None
            case Close():
                await self.close()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Check(function, answer):
                result = function(answer)
                if inspect.isawaitable(result):
                    result = await result
        return result


class AsyncChatStream(AsyncIterator[Delta]):
    """The pieces of an answer, in order; afterwards, the whole of it, as with `ChatStream`."""

    def __init__(self, script: Script[ChatResponse], connected: Callable[[], _Connections]) -> None:
        self._script = script
        self._connected = connected
        self._driver: AsyncDriver | None = None
        self._response: ChatResponse | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        """Returns the stream."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the stream."""
        await self.close()

    async def __anext__(self) -> Delta:
        """Returns the next piece."""
        if self._ended:
            raise StopAsyncIteration
        if self._driver is None:
            self._driver = AsyncDriver(self._connected())
        try:
            step = await self._driver.advance(self._script, None)
        except BaseException:
            await self._end()
            raise
        if isinstance(step, Emit):
            return step.delta
        self._response = step
        await self._end()
        raise StopAsyncIteration

    @property
    def response(self) -> ChatResponse:
        """The whole answer, once every piece was read.

        Raises:
            ConfigurationError: The stream was not read to its end.
        """
        if self._response is None:
            raise ConfigurationError("read the stream to its end before asking for its response")
        return self._response

    async def close(self) -> None:
        """Ends the stream early: closes the connection and reports what was received."""
        if not self._ended:
            self._script.close()
            await self._end()

    async def _end(self) -> None:
        self._ended = True
        if self._driver is not None:
            await self._driver.close()
