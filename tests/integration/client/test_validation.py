"""Bad input is refused by name before anything is sent; and secrets stay where they belong."""

from __future__ import annotations

import logging
import math
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import LIKE
from tests.integration.client.conftest import KEY, MODEL_OF, PROVIDERS, World

from tierwise import (
    Budget,
    ChatError,
    ChatRequest,
    Client,
    ClientSettings,
    ConfigurationError,
    ErrorClass,
    Hooks,
    Image,
    InvalidRequestError,
    Message,
    Model,
    Price,
    ProviderSettings,
    Role,
    RouterlessDefaults,
    RoutingOptions,
    Tool,
    ToolCall,
    assistant,
    tool_result,
    user,
)
from tierwise.testing import ProviderServer, Reply
from tierwise.validators import custom, min_mean_logprob

NOBODY = "127.0.0.1:1"
"""Where no router listens."""

CALL = ToolCall(id="call1AbCd", name="look", arguments_json="{}")
LOOK = Tool(name="look")
IMAGE = Image(url="https://x.test/a.png")
HALF = "half \ud800"


def request(*messages: Message, **fields: Any) -> ChatRequest:  # noqa: ANN401 - any field
    return ChatRequest(messages=messages or (user("Hello?"),), **fields)


def tool(parameters: object) -> ChatRequest:
    return request(tools=(Tool(name="look", parameters=parameters),))  # type: ignore[arg-type]


FREE = Model(
    model_id="m",
    provider_id="openai",
    upstream_name="m-1",
    price=Price(input_nano_usd_per_million=0, output_nano_usd_per_million=0, call_nano_usd=-1),
)

# Bad input ----------------------------------------------------------------------------------------

BAD_REQUESTS = [
    (request(Message(role=Role.USER, content=HALF)), "messages[0].content"),
    (HALF, "messages[0].content"),
    (ChatRequest(messages=()), "messages"),
    ([], "messages"),
    ([user("a"), tool_result("c9", "b")], "messages[1].tool_call_id"),
    ([user("a"), assistant(tool_calls=(CALL,)), user("b")], "messages[1].tool_calls[0]"),
    (tool({"type": "objekt"}), "tools[0].parameters.type"),
    (tool({"type": "object", "properties": []}), "tools[0].parameters.properties"),
    (tool({"type": "object", "x": math.nan}), "tools[0].parameters"),
    (tool("string"), "tools[0].parameters"),
    (request(extras={"openai": {"x": math.nan}}), "extras['openai']"),
    (request(extras={"openai": {"x": HALF}}), "extras['openai']"),
    (request(extras={"openai": {"x": object()}}), "extras['openai']"),
    (request(instructions={"gpt-small": HALF}), "instructions['gpt-small']"),
    (request(stop=(HALF,)), "stop[0]"),
    (request(temperature=math.nan), "temperature"),
    (request(max_output_tokens=-1), "max_output_tokens"),
    (request(max_output_tokens=2**70), "max_output_tokens"),
    # What types forbid, and programs that check none do all the same.
    (3, "prompt"),
    (b"Hello?", "prompt"),
    (user("a"), "prompt"),
    ([{"role": "user", "content": "a"}], "messages[0]"),
    (ChatRequest(messages="a"), "messages"),  # type: ignore[arg-type]
    ([user("a"), Message(role=Role.ASSISTANT, tool_calls=({},))], "messages[1].tool_calls[0]"),  # type: ignore[arg-type]
    (request(user("a", 3)), "messages[0].content[1]"),  # type: ignore[arg-type]
    (request(tools=({"name": "look"},)), "tools[0]"),
    (request(tools=(Tool(name=7),)), "tools[0].name"),  # type: ignore[arg-type]
    (request(tool_choice="auto"), "tool_choice"),
    (request(answer_format="json"), "answer_format"),
    (request(temperature="1"), "temperature"),
    (request(max_output_tokens=1.5), "max_output_tokens"),
    (request(seed="1"), "seed"),
    (request(stop="END"), "stop"),
    (request(instructions="be brief"), "instructions"),
    (request(extras={"openai": ["x"]}), "extras['openai']"),
    # Another model would answer than the one that is planned, paid for and reported.
    (request(extras={"openai": {"model": "gpt-dearest"}}), "extras['openai']['model']"),
    (request(extras={"openai": {"stream": True}}), "extras['openai']['stream']"),
]


def by_chat(client: Client, prompt: Any) -> object:  # noqa: ANN401 - also what types forbid
    return client.chat(prompt)


def by_stream(client: Client, prompt: Any) -> object:  # noqa: ANN401 - also what types forbid
    with client.chat_stream(prompt) as stream:
        return list(stream)


@pytest.mark.parametrize("call", [by_chat, by_stream])
@pytest.mark.parametrize(("bad", "field"), BAD_REQUESTS)
def test_a_bad_request_is_named_before_any_call(
    world: World, call: Callable[[Client, object], object], bad: object, field: str
) -> None:
    with world.client() as client, pytest.raises(InvalidRequestError) as caught:
        call(client, bad)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert world.providers.calls == ()


@pytest.mark.parametrize(("bad", "field"), BAD_REQUESTS)
def test_a_bad_request_is_not_routed_either(world: World, bad: Any, field: str) -> None:  # noqa: ANN401 - also what types forbid
    # No router listens there: what got as far as asking it would fail otherwise.
    with Client(NOBODY, settings=world.settings()) as client:
        for ask in (client.route, client.explain):
            with pytest.raises(InvalidRequestError) as caught:
                ask(bad)
            assert caught.value.field == field


@pytest.mark.parametrize(
    ("provider", "bad", "field"),
    [
        (
            "mistral",
            request(
                user("a"), assistant(tool_calls=(CALL,)), tool_result(CALL, "b"), user("c"),
                tools=(LOOK,),
            ),
            "messages[3].role",
        ),
        ("openai", request(tools=(Tool(name="two words"),)), "tools[0].name"),
        ("openai", request(stop=("a", "b", "c", "d", "e")), "stop"),
        ("anthropic", request(temperature=1.5), "temperature"),
        ("google", request(parallel_tool_calls=False, tools=(LOOK,)), "parallel_tool_calls"),
        (
            "google",
            request(user("a"), Message(role=Role.ASSISTANT, content=(IMAGE,)), user("b")),
            "messages[1].content[0]",
        ),
    ],
)  # fmt: skip
def test_what_the_provider_would_refuse_is_named_before_the_call(
    world: World, provider: str, bad: ChatRequest, field: str
) -> None:
    options = RoutingOptions(model=MODEL_OF[provider])
    with world.client() as client, pytest.raises(InvalidRequestError) as caught:
        client.chat(bad, options)
    assert caught.value.field == field
    assert world.providers.calls == ()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"options": {"tier": "mid"}}, "options"),
        ({"validators": [lambda _: True]}, "validators[0]"),
        ({"validators": custom("good", lambda _: True)}, "validators"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_argument_is_named(
    world: World, arguments: dict[str, Any], field: str, stream: bool
) -> None:
    with world.client() as client, pytest.raises(InvalidRequestError) as caught:
        (client.chat_stream if stream else client.chat)("Hello?", **arguments)
    assert caught.value.field == field
    assert world.providers.calls == ()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"decision": "an-id", "quality": 1}, "decision"),
        ({"quality": "good"}, "quality"),
        ({"verdict": "good"}, "verdict"),
        ({"attempts": [1]}, "attempts[0]"),
        ({"quality": 1.5}, "quality"),
        ({}, "attempts"),
    ],
)
def test_a_wrong_report_is_named(world: World, arguments: dict[str, Any], field: str) -> None:
    with world.client() as client:
        decision = client.route(LIKE["budget"])
        with pytest.raises(InvalidRequestError) as caught:
            client.report(**{"decision": decision, **arguments})
        assert caught.value.field == field
        assert client.status.reporting.pending == 0


def test_a_validator_without_what_it_needs_is_named(world: World) -> None:
    with world.client() as client, pytest.raises(InvalidRequestError) as caught:
        client.chat("Hello?", validators=[min_mean_logprob(-1)])
    assert caught.value.field == "logprobs"
    assert world.providers.calls == ()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Budget(max_cost_nano_usd=-1), "budget.max_cost_nano_usd"),
        (lambda: Budget(escalation_share=-0.1), "budget.escalation_share"),
        (lambda: Budget(escalation_share=math.nan), "budget.escalation_share"),
        (lambda: Budget(window_s=-1), "budget.window_s"),
        (lambda: Budget(free_escalations=-1), "budget.free_escalations"),
        (lambda: ClientSettings(chat_timeout_s=-1), "chat_timeout_s"),
        (lambda: ClientSettings(chat_timeout_s=math.nan), "chat_timeout_s"),
        (lambda: ClientSettings(first_wait_s=math.nan), "first_wait_s"),
        (lambda: RoutingOptions(cost_ceiling_nano_usd=0), "cost_ceiling_nano_usd"),
        (lambda: RoutingOptions(cost_quality_dial=math.nan), "cost_quality_dial"),
        (lambda: RoutingOptions(tier="mid", model="gpt-small"), "tier"),
        (Image, "image"),
        (lambda: Image(data="text", media_type="image/png"), "image.data"),  # type: ignore[arg-type]
        (lambda: Budget(max_cost_nano_usd=0.1), "budget.max_cost_nano_usd"),  # type: ignore[arg-type]
        (lambda: ClientSettings(chat_timeout_s=math.inf), "chat_timeout_s"),
        (lambda: ClientSettings(budget=0.1), "budget"),  # type: ignore[arg-type]
        (lambda: ClientSettings(spool_path="spool.db"), "spool_path"),  # type: ignore[arg-type]
        (lambda: Hooks(on_attempt=3), "hooks.on_attempt"),  # type: ignore[arg-type]
        (lambda: RouterlessDefaults(models=("gpt",)), "routerless.models[0]"),  # type: ignore[arg-type]
        (lambda: RouterlessDefaults(models=(FREE,)), "routerless.models[0].price.call_nano_usd"),
        (lambda: RoutingOptions(allowed_providers="openai"), "allowed_providers"),  # type: ignore[arg-type]
        (lambda: RoutingOptions(required_quality="high"), "required_quality"),  # type: ignore[arg-type]
        (lambda: RoutingOptions(required_capabilities={"tools"}), "required_capabilities"),  # type: ignore[arg-type]
        (lambda: RoutingOptions(cost_ceiling_nano_usd=0.5), "cost_ceiling_nano_usd"),  # type: ignore[arg-type]
        (lambda: RoutingOptions(keep_nothing="no"), "keep_nothing"),  # type: ignore[arg-type]
        (lambda: custom("", lambda _: True), "validator.name"),
        (lambda: custom("a" * 101, lambda _: True), "validator.name"),
        (lambda: custom("good", True), "validator.check"),  # type: ignore[arg-type]
    ],
)
def test_limits_that_make_no_sense_are_named(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    "options",
    [
        {"caller": HALF},
        {"catalog": HALF},
        {"model": HALF},
        {"metadata": {"a": HALF}},
        {"required_labels": {HALF: "eu"}},
        {"allowed_models": (HALF,)},
        {"expected_output_tokens": -1},
        {"expected_output_tokens": 2**40},
        {"cost_ceiling_nano_usd": 2**70},
        {"metadata": {"a": 1}},
    ],
)
def test_options_that_no_message_can_hold_are_named(world: World, options: dict[str, Any]) -> None:
    (name,) = options
    with world.client() as client, pytest.raises(InvalidRequestError) as caught:
        client.chat("Hello?", RoutingOptions(**options))
    assert caught.value.field.startswith(name)
    assert world.providers.calls == ()


SECRET = "sk-in-the-wrong-place"  # noqa: S105 - a made-up one

# Set-up -------------------------------------------------------------------------------------------


def routerless(model: Model, **providers: ProviderSettings) -> Client:
    """Returns a client without a router, which knows one model."""
    settings = ClientSettings(routerless=RouterlessDefaults(models=(model,)), report_outcomes=False)
    return Client(NOBODY, providers=providers, settings=settings)


def model_of(provider: str) -> Model:
    return Model(model_id="one", provider_id=provider, upstream_name="one-1")


@pytest.mark.parametrize(
    "router", ["localhost", "http://localhost:50051", "localhost:port", "localhost:99999", ":1", 7]
)
def test_an_address_that_no_channel_can_be_made_to_is_named(router: Any) -> None:  # noqa: ANN401 - also what types forbid
    with pytest.raises(ConfigurationError, match="say HOST:PORT"):
        Client(router)


@pytest.mark.parametrize(
    "router", ["localhost:1", "[::1]:50051", "dns:///router:50051", "unix:/run/tierwise.sock"]
)
def test_every_kind_of_address_of_grpc_is_taken(router: str) -> None:
    Client(router).close()


@pytest.mark.parametrize(
    "arguments",
    [{"providers": {"openai": SECRET}}, {"providers": [SECRET]}, {"settings": {"budget": 1}}],
)
def test_a_set_up_that_is_none_is_named_without_what_it_holds(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^(providers|settings)") as caught:
        Client(NOBODY, **arguments)
    assert SECRET not in str(caught.value)


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"providers\['acme'\].*base_url"):
        Client(NOBODY, providers={"acme": ProviderSettings(key=KEY)})


def test_a_model_without_an_adapter_is_named(world: World) -> None:
    own = ProviderSettings(key=KEY, base_url=world.providers.base_url("openai"))
    with (
        routerless(model_of("acme"), openai=own) as client,
        pytest.raises(ConfigurationError, match="model one is of provider 'acme'"),
    ):
        client.chat("Hello?")
    assert world.providers.calls == ()


def test_a_missing_key_names_its_variable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    own = ProviderSettings(base_url=world.providers.base_url("mistral"))
    other = ProviderSettings(key=KEY, base_url=world.providers.base_url("openai"))
    with (
        routerless(model_of("mistral"), mistral=own, openai=other) as client,
        pytest.raises(ConfigurationError, match="set MISTRAL_API_KEY"),
    ):
        client.chat("Hello?")
    assert world.providers.calls == ()


# Secrets ------------------------------------------------------------------------------------------

SECRET_KEY = "sk-key-that-nobody-may-see"  # noqa: S105 - a made-up one
PASSWORD = "password-that-nobody-may-see"  # noqa: S105 - a made-up one
SECRET_PROMPT = "the merger with Umbrella is on Friday"  # noqa: S105 - a made-up one


def leaks(text: str) -> list[str]:
    return [one for one in (SECRET_KEY, PASSWORD, SECRET_PROMPT) if one in text]


def told(error: BaseException) -> str:
    """Returns all that a log of an error would show, its attempts included."""
    attempts = getattr(error, "attempts", ())
    whole = "".join(traceback.format_exception(error))
    # The source lines of this file, which name the secrets' constants, are no leak.
    return f"{whole} {error!r} {attempts!r} {getattr(error, 'decision', '')!r}"


FAILURES = [
    Reply.error(one, message=f"Incorrect API key provided: {SECRET_KEY}; near '{SECRET_PROMPT}'")
    for one in (
        ErrorClass.AUTHENTICATION,
        ErrorClass.INVALID_REQUEST,
        ErrorClass.QUOTA_EXHAUSTED,
        ErrorClass.CONTENT_POLICY,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONTEXT_TOO_LONG,
    )
] + [
    Reply.error(ErrorClass.CONNECTION),
    Reply.error(ErrorClass.MALFORMED_RESPONSE),
    Reply.raw(500, f"<html>{SECRET_KEY} {SECRET_PROMPT}</html>"),
    Reply.raw(200, f"{SECRET_KEY} {SECRET_PROMPT}"),
    Reply.text("fine").cut(after_events=1),
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_neither_key_nor_prompt_is_in_logs_errors_reprs_or_the_spool(
    provider: str, stream: bool, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "tierwise", "grpc", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    base_url = world.providers.base_url(provider)
    own = ProviderSettings(key=SECRET_KEY, base_url=base_url)
    world.providers.script(provider, *FAILURES)
    seen: list[str] = []
    options = RoutingOptions(model=MODEL_OF[provider])
    # The router is away, so that the reports stay in the spool, where they can be looked at.
    model = Model(model_id=MODEL_OF[provider], provider_id=provider, upstream_name="one-1")
    settings = world.settings(
        spool_path=tmp_path / "secret-spool.db",
        report_outcomes=True,
        routerless=RouterlessDefaults(models=(model,)),
    )
    with Client(NOBODY, providers={provider: own}, settings=settings) as client:
        seen += [repr(client), str(client), repr(own), repr(settings), repr(vars(client))]
        answered = 0
        for _ in range(2 * len(FAILURES)):
            try:
                if stream:
                    with client.chat_stream(SECRET_PROMPT, options) as pieces:
                        list(pieces)
                else:
                    client.chat(SECRET_PROMPT, options)
                answered += 1
            except ChatError as error:
                seen += [told(error), str(pickle.dumps(error))]
        seen.append(repr(client.status))
        # Nobody takes the reports, so waiting for that is of no use.
        client.close(0.1)
    assert answered
    assert len(seen) > len(FAILURES) / 2
    assert not [found for text in seen for found in leaks(text)]
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert not leaks(caplog.text)
    spool = b"".join(path.read_bytes() for path in tmp_path.glob("secret-spool.db*"))
    assert MODEL_OF[provider].encode() in spool
    assert not leaks(spool.decode("latin-1"))


ELSEWHERE = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("key", "base_url", "reply"),
    [
        (SECRET_KEY, "", Reply.error(ErrorClass.AUTHENTICATION)),
        (SECRET_KEY, "", Reply.error(ErrorClass.CONNECTION)),
        (SECRET_KEY, "", Reply.error(ErrorClass.MALFORMED_RESPONSE)),
        (SECRET_KEY, ELSEWHERE, Reply.text("never")),
        (f"{SECRET_KEY} with a space", "", Reply.text("never")),
        (lambda: f"{SECRET_KEY}\n", "", Reply.text("never")),
    ],
    ids=["refused", "broken", "malformed", "elsewhere", "no key", "function"],
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_key_is_among_the_locals_that_error_trackers_keep(
    provider: str, key: str | Callable[[], str], base_url: str, reply: Reply, world: World
) -> None:
    world.providers.always(provider, reply)
    own = ProviderSettings(key=key, base_url=world.providers.base_url(provider))
    model = Model(model_id="m", provider_id=provider, upstream_name="m-1", base_url=base_url)
    del key  # Of this test's own frame.
    with (
        routerless(model, **{provider: own}) as client,
        pytest.raises((ChatError, ConfigurationError)) as caught,
    ):
        client.chat("Hello?")
    whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for one in chain_of(whole) for frame in one.stack]
    assert len(frames) > 3
    assert [
        (frame.name, name)
        for frame in frames
        for name, value in (frame.locals or {}).items()
        if SECRET_KEY in value
    ] == []


def chain_of(
    error: traceback.TracebackException | None,
) -> Iterator[traceback.TracebackException]:
    """Yields an error and the errors that it came of, those that are not shown included."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_password_in_an_address_is_in_no_log_or_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    base_url = world.providers.base_url("anthropic").replace("://", f"://user:{PASSWORD}@")
    fails = Reply.error(ErrorClass.INVALID_REQUEST)
    world.providers.script("anthropic", Reply.text("fine"), fails)
    own = ProviderSettings(key=SECRET_KEY, base_url=base_url)
    with routerless(model_of("anthropic"), anthropic=own) as client:
        assert client.chat("Hello?").text == "fine"
        with pytest.raises(ChatError) as caught:
            client.chat("Hello?")
    assert not leaks(told(caught.value))
    assert "HTTP Request: POST" in caplog.text
    assert not leaks(caplog.text)
    # It is sent all the same, as by any HTTP library.
    assert world.providers.calls[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_points_elsewhere_does_not_have_the_key_sent_there(
    world: World, kind: str, stream: bool
) -> None:
    options = RoutingOptions(model=MODEL_OF["anthropic"])
    with ProviderServer() as elsewhere:
        location = f"{elsewhere.base_url('anthropic')}/v1/messages"
        moved = Reply.raw(307, "moved", headers={"location": location})
        world.providers.always("anthropic", moved)
        with pytest.raises(ChatError):
            await chatted(world, kind, options, stream=stream)
        assert elsewhere.calls == ()
    assert world.providers.calls


async def chatted(world: World, kind: str, options: RoutingOptions, *, stream: bool) -> None:
    """Has a prompt answered, by either client and in either way."""
    if kind == "blocking":
        with world.client() as client:
            list(client.chat_stream("hello", options)) if stream else client.chat("hello", options)
        return
    async with world.async_client() as other:
        if stream:
            [one async for one in other.chat_stream("hello", options)]
        else:
            await other.chat("hello", options)


def test_the_router_is_not_shown_keys(world: World) -> None:
    with world.client() as client:
        explained = client.explain(LIKE["budget"])
    assert KEY not in str(explained)


def test_a_function_for_a_key_that_fails_does_not_show_what_it_said(world: World) -> None:
    def key() -> str:
        raise OSError(f"could not decode {SECRET_KEY}")

    own = ProviderSettings(key=key, base_url=world.providers.base_url("openai"))
    with (
        routerless(model_of("openai"), openai=own) as client,
        pytest.raises(ConfigurationError) as caught,
    ):
        client.chat("Hello?")
    assert SECRET_KEY not in str(caught.value)
    assert world.providers.calls == ()
