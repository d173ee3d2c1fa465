"""The blocking client."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings
from tierwise.transport import OpenStream, Transport
from tierwise.v1.routing_service_pb2 import ExplainDecisionResponse
from tierwise.validators import Validator

if TYPE_CHECKING:
    from tierwise.tracing import Tracing

T = TypeVar("T")


class Client:
    """Asks the router which model is good enough, calls it, and reports what became of it.

    Thread-safe; one is enough for a process, and it may be made before a fork. Use it as a context
    manager, or close it.
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
        """Prepares a client. Nothing is connected yet.

        Args:
            router: `HOST:PORT`. None means `TIERWISE_SERVER`, else `localhost:50051`.
            providers: By provider id, what differs from its usual address and key variable.
            settings: Budgets, hooks, deadlines and defaults.
            credentials: For a router behind TLS. None means what the environment says; see
                `RouterAccess.of`.
            token: Bearer token, or what returns one for each call. None means `TIERWISE_TOKEN`,
                else none. It is never sent over a network in the clear.
            tracing: Makes OpenTelemetry spans; a `tierwise.tracing.Tracing`. None makes none.

        Raises:
            ConfigurationError: The address, or a provider, can't be used.
        """
        self._access = RouterAccess.of(router_address(router), credentials, token)
        self._providers = provider_settings(providers)
        self._settings = settings or ClientSettings()
        self._tracing = tracing
        self._lock = threading.Lock()
        self._open: tuple[ClientCore, Transport] | None = None
        self._closed = False
        self._state()

    def __enter__(self) -> Self:
        """Returns the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the client."""
        self.close()

    def route(self, prompt: Prompt, options: RoutingOptions | None = None) -> Decision:
        """Returns which model should answer, for callers that make the call by other means.

        Raises:
            RouterError: The router refused the request.
            ConfigurationError: No router answers, and nothing is known to call.
        """
        core, _ = self._state()
        timeout_s = self._settings.router_timeout_s
        request = core.request(prompt)
        script = scripts.decide(core.session, request, core.options(options), timeout_s)
        return self._run(script)

    def explain(
        self, prompt: Prompt, options: RoutingOptions | None = None
    ) -> ExplainDecisionResponse:
        """Returns the decision with its evidence, as the contract has it.

        Raises:
            RouterError: The router refused, failed or could not be reached.
        """
        core, _ = self._state()
        return core.link.explain(core.explain_request(prompt, options), EXPLAIN_TIMEOUT_S)

    def chat(
        self,
        prompt: Prompt,
        options: RoutingOptions | None = None,
        *,
        validators: Sequence[Validator] = (),
    ) -> ChatResponse:
        """Returns an answer.

        Args:
            prompt: A prompt, a conversation, or a whole request.
            options: Limits and wishes, over those of the client.
            validators: Checks, in order, that the answer has to pass.

        Raises:
            InvalidRequestError: The request is wrong in itself. Nothing was sent.
            ConfigurationError: There is nothing to call it with.
            RouterError: The router refused it.
            ChatError: No model answered.
        """
        core, _ = self._state()
        request, checks = core.request(prompt), core.validators(validators)
        script = scripts.chat(core.session, request, core.options(options), checks)
        return self._run(script)

    def chat_stream(
        self,
        prompt: Prompt,
        options: RoutingOptions | None = None,
        *,
        validators: Sequence[Validator] = (),
    ) -> ChatStream:
        """Returns an answer piece by piece. Use it in a `with` block, so that it is closed.

        Nothing is sent before the first piece is asked for; what `chat` raises is raised then. An
        answer is checked when it is whole, so one that is rejected was handed over already: the
        stream ends with a `ChatError`, and no other model is called.
        """
        core, transport = self._state()
        request, checks = core.request(prompt), core.validators(validators)
        script = scripts.chat(core.session, request, core.options(options), checks, stream=True)
        return ChatStream(script, Driver(core, transport))

    def report(
        self,
        decision: Decision,
        *,
        attempts: Sequence[Attempt] = (),
        quality: float | None = None,
        verdict: Verdict | None = None,
    ) -> str:
        """Reports calls that were made by other means, or a judgement that comes later.

        `chat` and `chat_stream` report by themselves.

        Args:
            decision: What the calls were made for.
            attempts: The calls, oldest first. Empty for a judgement of what was reported before.
            quality: How good the answer was, from 0 to 1. None means not judged.
            verdict: A reader's verdict.

        Returns:
            The outcome's id.
        """
        core, _ = self._state()
        return core.report(decision, tuple(attempts), quality, verdict)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until all outcomes are delivered; returns whether they are."""
        return self._state()[0].reporter.flush(timeout_s)

    @property
    def status(self) -> ClientStatus:
        """What this client has been through in this process."""
        return self._state()[0].status

    def close(self, timeout_s: float = 2.0) -> None:
        """Delivers outcomes for as long as given, leaves the rest on disk, and closes."""
        with self._lock:
            opened, self._open = self._open, None
            self._closed = True
        if opened is not None and opened[0].process_id == os.getpid():
            opened[1].close()
            opened[0].close(timeout_s)

    def _state(self) -> tuple[ClientCore, Transport]:
        opened = self._open
        if opened is not None and opened[0].process_id == os.getpid():
            return opened
        if self._closed:
            raise ConfigurationError("the client is closed")
        if opened is not None:
            # The lock may have been held by a thread that did not come along into this process.
            self._lock = threading.Lock()
        with self._lock:
            if self._open is None or self._open[0].process_id != os.getpid():
                core = ClientCore(self._access, self._providers, self._settings, self._tracing)
                self._open = (core, Transport(core.tls))
            return self._open

    def _run(self, script: Script[T]) -> T:
        driver = Driver(*self._state())
        try:
            return driver.run(script)
        finally:
            driver.close()


class Driver:
    """Does what one script asks for, in the calling thread."""

    def __init__(self, core: ClientCore, transport: Transport) -> None:
        self._core = core
        self._transport = transport
        self._stream: OpenStream | None = None

    def run(self, script: Script[T]) -> T:
        """Runs a script that hands nothing over, and returns its result."""
        step = self.advance(script, None)
        while isinstance(step, Emit):
            step = self.advance(script, None)
        return step

    def advance(self, script: Script[T], value: Any) -> Emit | T:  # noqa: ANN401 - of any effect
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
                value = self._perform(effect)
            except BaseException as failure:  # noqa: BLE001 - the script decides what it means
                error = failure

    def close(self) -> None:
        """Closes a stream that is still open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _perform(self, effect: Work) -> Any:  # noqa: ANN401 - each effect has its own result
        result: Any = None
        match effect:
            case AskRouter():
                result = self._core.link.ask(effect)
            case Send():
                result = self._transport.send(effect)
            case Open():
                opened = self._transport.open(effect)
                if isinstance(opened, HttpReply):
                    return opened
                self._stream = opened
                result = opened.head
            case Read(timeout_s):
                result = self._stream.read(timeout_s) if self._stream is not None else None
            case Close():
                self.close()
            case Sleep(seconds):
                time.sleep(seconds)
            case Check(function, answer):
                result = function(answer)
                if not (result is None or isinstance(result, bool | str)):
                    raise ConfigurationError(
                        "a check returned neither bool, str nor None; asynchronous checks need"
                        " AsyncClient"
                    )
        return result


class ChatStream(Iterator[Delta]):
    """The pieces of an answer, in order; afterwards, the whole of it.

    A stream that breaks off raises `ChatError`, with what was received in `partial`. Leaving it
    early closes the connection and reports the chat as cancelled.
    """

    def __init__(self, script: Script[ChatResponse], driver: Driver) -> None:
        self._script = script
        self._driver = driver
        self._response: ChatResponse | None = None
        self._ended = False

    def __enter__(self) -> Self:
        """Returns the stream."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the stream."""
        self.close()

    def __next__(self) -> Delta:
        """Returns the next piece."""
        if self._ended:
            raise StopIteration
        try:
            step = self._driver.advance(self._script, None)
        except BaseException:
            self._end()
            raise
        if isinstance(step, Emit):
            return step.delta
        self._response = step
        self._end()
        raise StopIteration

    @property
    def response(self) -> ChatResponse:
        """The whole answer, once every piece was read.

        Raises:
            ConfigurationError: The stream was not read to its end.
        """
        if self._response is None:
            raise ConfigurationError("read the stream to its end before asking for its response")
        return self._response

    def close(self) -> None:
        """Ends the stream early: closes the connection and reports what was received."""
        if not self._ended:
            self._script.close()
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._driver.close()
