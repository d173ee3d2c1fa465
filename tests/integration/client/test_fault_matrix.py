"""Every failure of every provider: its class, what it leads to, how often it is called, its cost.

The failures are those of `tests/faults`, sent by a local server as the provider sends them, to
unary and to streamed calls. What a provider does not document, so that every class is met with
every provider in either way, is made by `tierwise.testing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import LIKE, StartServe, write_catalog
from tests.integration.client.conftest import KEY

from tierwise import (
    Attempt,
    ChatError,
    ChatResponse,
    Client,
    ClientSettings,
    ErrorClass,
    Hooks,
    OutcomeEvent,
    ProviderSettings,
    RoutingOptions,
    StepKind,
    Usage,
)
from tierwise.testing import CallEnding, ProviderServer, Reply
from tierwise.validators import Validator, custom

FOLDER = Path(__file__).parents[2] / "faults"
PROVIDERS = tuple(file.stem for file in sorted(FOLDER.glob("*.yaml")))
CLASSES = {one.word: one for one in ErrorClass}
LONGEST_WAIT_S = 0.05
CALL_TIMEOUT_S = 1.5
"""Where a provider that says nothing is to be given up: as long as a busy machine may take."""

MODELS = """\
models:
  - {{id: failing, provider: {provider}, name: failing-1, tier: budget,
     price: {{input: 0.1, output: 0.4}}, context_window: 10000, max_output_tokens: 1000}}
  - {{id: alternate, provider: other, name: alternate-1, tier: budget,
     price: {{input: 0.2, output: 0.8}}, context_window: 10000, max_output_tokens: 1000}}
  - {{id: larger, provider: other, name: larger-1, tier: mid,
     price: {{input: 0.4, output: 1.6}}, context_window: 100000, max_output_tokens: 1000}}
  - {{id: dearest, provider: other, name: dearest-1, tier: premium,
     price: {{input: 5, output: 25}}, context_window: 100000, max_output_tokens: 1000}}
"""
"""The failing model, one beside it, and one above it with a larger window."""

USAGE = Usage(input_tokens=100, output_tokens=10)
COSTS = {"alternate": 100 * 200 + 10 * 800, "larger": 100 * 400 + 10 * 1600}
"""Of `USAGE`, in nano-dollars."""

WORDS = "one two three four five six seven eight nine ten eleven twelve"
"""Enough that six events of a stream hold some of it, whatever a provider sends around it."""

TRANSIENT = (3, "alternate")
EXPECTED: dict[ErrorClass, tuple[int, str]] = {
    ErrorClass.RATE_LIMITED: TRANSIENT,
    ErrorClass.TIMEOUT: TRANSIENT,
    ErrorClass.OVERLOADED: TRANSIENT,
    ErrorClass.SERVER_ERROR: TRANSIENT,
    ErrorClass.CONNECTION: TRANSIENT,
    ErrorClass.MALFORMED_RESPONSE: (2, "alternate"),
    ErrorClass.QUOTA_EXHAUSTED: (1, "alternate"),
    ErrorClass.AUTHENTICATION: (1, "alternate"),
    ErrorClass.CONTEXT_TOO_LONG: (1, "larger"),
    ErrorClass.CONTENT_POLICY: (1, ""),
    ErrorClass.INVALID_REQUEST: (1, ""),
    ErrorClass.CANCELLED: (1, ""),
}
"""How often the failing model is called, and which model then answers."""


@pytest.fixture(scope="module")
def router(start_serve_once: StartServe, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("catalogs")
    flags = []
    for provider in PROVIDERS:
        models = MODELS.format(provider=provider)
        catalog = write_catalog(folder / provider, models=models)
        flags += ["--catalog", f"{provider}={catalog.path}"]
    return f"127.0.0.1:{start_serve_once(*flags).port()}"


@pytest.fixture(scope="module")
def providers() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        server.always("vllm", Reply.text("Answered.", usage=USAGE), model="alternate-1")
        server.always("vllm", Reply.text("Answered.", usage=USAGE), model="larger-1")
        yield server


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a chat ended, and what the provider saw of it."""

    response: ChatResponse | None
    error: ChatError | None
    pieces: int
    models_called: tuple[str, ...]

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, however it ended."""
        ended = self.response or self.error
        assert ended is not None
        return ended.attempts


def chat(
    router: str,
    providers: ProviderServer,
    provider: str,
    reply: Reply,
    *,
    stream: bool,
    validators: tuple[Validator, ...] = (),
    call_timeout_s: float = 30.0,
) -> Ended:
    """Has a prompt answered by a plan whose first model gives a reply again and again."""
    providers.always(provider, reply, model="failing-1")
    already = len(providers.calls)
    addresses = {
        provider: ProviderSettings(key=KEY, base_url=providers.base_url(provider)),
        "other": ProviderSettings(key=KEY, base_url=providers.base_url("vllm")),
    }
    settings = ClientSettings(
        first_wait_s=0.001,
        longest_wait_s=LONGEST_WAIT_S,
        router_timeout_s=10,
        call_timeout_s=call_timeout_s,
        report_outcomes=False,
    )
    response, error, pieces = None, None, 0
    with Client(router, providers=addresses, settings=settings) as client:
        options = RoutingOptions(catalog=provider)
        try:
            if stream:
                with client.chat_stream(LIKE["budget"], options, validators=validators) as answer:
                    for _ in answer:
                        pieces += 1
                    response = answer.response
            else:
                response = client.chat(LIKE["budget"], options, validators=validators)
        except ChatError as failure:
            error = failure
    called = tuple(call.model for call in providers.calls[already:])
    return Ended(response=response, error=error, pieces=pieces, models_called=called)


def check(ended: Ended, error_class: ErrorClass, retry_after_s: float | None = None) -> None:
    """Holds class, next step, number of calls and cost against the table."""
    assert ended.attempts[0].error_class is error_class
    calls, then = EXPECTED[error_class]
    if retry_after_s is not None and retry_after_s > LONGEST_WAIT_S:
        calls = 1
    handed_over = ended.response is None and ended.pieces > 0
    if handed_over:
        calls, then = 1, ""
    assert [one.error_class for one in ended.attempts[:calls]] == [error_class] * calls
    expected = ("failing-1",) * calls + ((f"{then}-1",) if then else ())
    assert ended.models_called == expected
    if not then:
        assert ended.error is not None
        assert ended.error.error_class is error_class
        return
    assert ended.response is not None
    assert ended.response.model_id == then
    assert ended.response.text == "Answered."
    assert ended.attempts[-1].cost_nano_usd == COSTS[then]
    kind = StepKind.ALTERNATE if then == "alternate" else StepKind.ESCALATION
    assert ended.attempts[-1].step_kind is kind


def faults() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for fault in yaml.safe_load(file.read_text(encoding="utf-8")):
            streams = [True] if "stream" in fault else [False, True]
            if '"choices"' in fault.get("body", "") or fault["kind"] == "finish-reason":
                # A whole answer is none to a streamed call.
                streams = ["stream" in fault]
            for stream in streams:
                way = "stream" if stream else "unary"
                yield pytest.param(
                    file.stem, fault, stream, id=f"{file.stem}: {fault['name']} ({way})"
                )


@pytest.mark.parametrize(("provider", "fault", "stream"), list(faults()))
def test_a_documented_failure(
    router: str, providers: ProviderServer, provider: str, fault: dict[str, Any], stream: bool
) -> None:
    headers = {name: str(value) for name, value in fault.get("headers", {}).items()}
    if "stream" in fault:
        headers = {"content-type": "text/event-stream", **headers}
    reply = Reply.raw(
        fault.get("status", 200), fault.get("stream") or fault["body"], headers=headers
    )
    ended = chat(router, providers, provider, reply, stream=stream)
    check(ended, CLASSES[fault["error_class"]], fault.get("retry_after_s"))
    if fault.get("status", 200) >= 400:
        assert ended.attempts[0].cost_nano_usd == 0, "a refused call costs nothing"


MADE = {
    "cut before an answer": (Reply.error(ErrorClass.CONNECTION), ErrorClass.CONNECTION),
    "unreadable": (Reply.raw(200, b"<html>busy</html>"), ErrorClass.MALFORMED_RESPONSE),
    "empty": (Reply.text(""), ErrorClass.MALFORMED_RESPONSE),
    "bad gateway": (Reply.raw(502, b"<html>bad gateway</html>"), ErrorClass.SERVER_ERROR),
    "gateway timeout": (Reply.raw(504, b""), ErrorClass.TIMEOUT),
}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_failure_on_the_way(
    router: str, providers: ProviderServer, provider: str, name: str, stream: bool
) -> None:
    reply, error_class = MADE[name]
    check(chat(router, providers, provider, reply, stream=stream), error_class)


def undocumented() -> Iterator[Any]:
    """Yields what is left of every class of every provider, in either way of calling.

    `tierwise.testing` sends those as the provider sends its like.
    """
    covered = {
        (param.values[0], CLASSES[param.values[1]["error_class"]], param.values[2])
        for param in faults()
    }
    everywhere = {error_class for _, error_class in MADE.values()}
    of_no_provider = {ErrorClass.REJECTED_BY_VALIDATOR, ErrorClass.CANCELLED}
    for provider in PROVIDERS:
        for error_class in ErrorClass:
            if error_class in everywhere | of_no_provider:
                continue
            for stream in (False, True):
                if (provider, error_class, stream) not in covered:
                    way = "stream" if stream else "unary"
                    name = f"{provider}: {error_class.word} ({way})"
                    yield pytest.param(provider, error_class, stream, id=name)


@pytest.mark.parametrize(("provider", "error_class", "stream"), list(undocumented()))
def test_a_failure_like_those_of_other_providers(
    router: str, providers: ProviderServer, provider: str, error_class: ErrorClass, stream: bool
) -> None:
    reply = Reply.error(error_class, retry_after_s=LONGEST_WAIT_S / 2)
    ended = chat(router, providers, provider, reply, stream=stream)
    check(ended, error_class)
    assert ended.attempts[0].cost_nano_usd == 0, "a refused call costs nothing"


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_that_a_validator_rejects(
    router: str, providers: ProviderServer, provider: str, stream: bool
) -> None:
    accepts = custom("answered", lambda answer: answer.text == "Answered.")
    reply = Reply.text(WORDS, usage=USAGE)
    ended = chat(router, providers, provider, reply, stream=stream, validators=(accepts,))
    rejected = ended.attempts[0]
    assert rejected.error_class is ErrorClass.REJECTED_BY_VALIDATOR
    assert rejected.cost_nano_usd == 100 * 100 + 10 * 400
    if stream:
        # It was handed over, so no other model may answer.
        assert ended.error is not None
        assert ended.models_called == ("failing-1",)
    else:
        assert ended.response is not None
        assert ended.models_called == ("failing-1", "larger-1")
        assert ended.response.cost_nano_usd == rejected.cost_nano_usd + COSTS["larger"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_the_caller_leaves(
    router: str, providers: ProviderServer, provider: str
) -> None:
    providers.always(provider, Reply.text(WORDS).slow(pause_s=0.5), model="failing-1")
    already = len(providers.calls)
    ends: list[OutcomeEvent] = []
    settings = ClientSettings(
        hooks=Hooks(on_outcome=ends.append), router_timeout_s=10, report_outcomes=False
    )
    own = {provider: ProviderSettings(key=KEY, base_url=providers.base_url(provider))}
    with (
        Client(router, providers=own, settings=settings) as client,
        client.chat_stream(LIKE["budget"], RoutingOptions(catalog=provider)) as stream,
    ):
        next(stream)
    (call,) = providers.calls[already:]
    assert call.wait(20.0) is CallEnding.LEFT_BY_CLIENT
    (end,) = ends
    assert (end.error_class, end.last_model_id) == (ErrorClass.CANCELLED, "failing")
    assert end.attempts[0].partial


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("provider", ["openai", "google"])
def test_a_provider_that_stays_silent(
    router: str, providers: ProviderServer, provider: str, stream: bool
) -> None:
    silent = Reply.text("late").slow(first_byte_s=60.0)
    ended = chat(router, providers, provider, silent, stream=stream, call_timeout_s=CALL_TIMEOUT_S)
    check(ended, ErrorClass.TIMEOUT)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("broken", "error_class"),
    [
        (Reply.text(WORDS).cut(after_events=6), ErrorClass.CONNECTION),
        (Reply.text(WORDS).stalled(after_events=6), ErrorClass.TIMEOUT),
        (
            Reply.text(WORDS).malformed(after_events=6),
            ErrorClass.MALFORMED_RESPONSE,
        ),
    ],
    ids=["cut", "stalled", "malformed"],
)
def test_a_stream_that_breaks_after_its_first_piece_is_an_error(
    router: str,
    providers: ProviderServer,
    provider: str,
    broken: Reply,
    error_class: ErrorClass,
) -> None:
    ended = chat(router, providers, provider, broken, stream=True, call_timeout_s=CALL_TIMEOUT_S)
    assert ended.pieces > 0
    assert ended.error is not None
    assert ended.error.error_class is error_class
    assert ended.error.partial is not None
    assert ended.error.partial.text.startswith("one")
    assert ended.models_called == ("failing-1",)
