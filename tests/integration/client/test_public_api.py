"""What users may build on: names, their documentation and types, variables of the environment."""

from __future__ import annotations

import enum
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPOSITORY
from tests.integration.client.conftest import KEY, World

import tierwise
from tierwise import (
    AsyncChatStream,
    AsyncClient,
    Budget,
    ChatStream,
    Client,
    ClientSettings,
    ConfigurationError,
    ErrorClass,
    Model,
    ProviderSettings,
)
from tierwise.execution.chat import COLD_TIMEOUT_S
from tierwise.providers.registry import KNOWN, ProviderRegistry
from tierwise.reporting.spool import MAX_BYTES, MAX_OUTCOMES
from tierwise.testing import ReceivedCall, Reply

README = REPOSITORY / "client" / "README.md"

# Two clients, one interface -----------------------------------------------------------------------


def members(kind: type) -> dict[str, Any]:
    """Returns the public methods and properties that a class adds."""
    return {
        name: value
        for base in kind.__mro__
        if base.__module__.startswith("tierwise")
        for name, value in vars(base).items()
        if not name.startswith("_")
    }


def parameters(function: Any) -> list[inspect.Parameter]:  # noqa: ANN401 - any callable
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize(
    ("blocking", "asynchronous"), [(Client, AsyncClient), (ChatStream, AsyncChatStream)]
)
def test_both_clients_have_the_same_methods_and_parameters(
    blocking: type, asynchronous: type
) -> None:
    mine, theirs = members(blocking), members(asynchronous)
    assert set(mine) == set(theirs)
    for name, method in mine.items():
        if isinstance(method, property):
            assert isinstance(theirs[name], property)
        else:
            assert parameters(method) == parameters(theirs[name]), name
    if blocking is Client:
        assert parameters(Client.__init__) == parameters(AsyncClient.__init__)


def test_every_method_that_waits_is_to_be_awaited() -> None:
    waits = {
        name for name, method in members(AsyncClient).items() if inspect.iscoroutinefunction(method)
    }
    assert waits == set(members(Client)) - {"chat_stream", "status"}
    assert not any(inspect.iscoroutinefunction(method) for method in members(Client).values())


def test_results_are_of_the_same_types() -> None:
    for name, method in members(Client).items():
        if isinstance(method, property) or name == "chat_stream":
            continue
        result = inspect.signature(method).return_annotation
        assert result == inspect.signature(members(AsyncClient)[name]).return_annotation


# Names and their documentation --------------------------------------------------------------------


def public_classes() -> Iterator[tuple[str, type]]:
    for name in tierwise.__all__:
        value = getattr(tierwise, name)
        if inspect.isclass(value):
            yield name, value


def test_the_names_are_sorted_once_each_and_there() -> None:
    assert len(set(tierwise.__all__)) == len(tierwise.__all__)
    assert [name for name in tierwise.__all__ if not hasattr(tierwise, name)] == []


def test_every_public_class_method_and_function_is_documented() -> None:
    bare = []
    for name in tierwise.__all__:
        value = getattr(tierwise, name)
        if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__doc__:
            bare.append(name)
    for name, kind in public_classes():
        if issubclass(kind, enum.Enum):
            continue
        for method, value in members(kind).items():
            documented = inspect.isfunction(value) or isinstance(value, property)
            if documented and not inspect.getdoc(value):
                bare.append(f"{name}.{method}")
    assert bare == []


def test_a_dataclass_is_documented_in_its_own_words() -> None:
    # Without a docstring, a dataclass gets its signature for one.
    assert [n for n, kind in public_classes() if (kind.__doc__ or "").startswith(f"{n}(")] == []


def test_public_data_can_not_be_changed() -> None:
    changeable = [
        name
        for name, kind in public_classes()
        if hasattr(kind, "__dataclass_params__") and not kind.__dataclass_params__.frozen
    ]
    assert changeable == []


def test_every_public_name_is_in_the_documentation() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [
        name
        for name in tierwise.__all__
        if not name.startswith("__") and not re.search(rf"\b{name}\b", text)
    ]
    assert missing == []


# Types --------------------------------------------------------------------------------------------

RIGHT_USES = """
import asyncio
from collections.abc import Mapping
from typing import assert_type

from tierwise import (
    Answer, AsyncClient, Attempt, Budget, ChatError, ChatRequest, ChatResponse, Client,
    ClientSettings, ClientStatus, Decision, Delta, ErrorClass, Hooks, JsonSchema, OutcomeEvent,
    ProviderSettings, RoutingOptions, TextDelta, Tool, Usage, Verdict, tool_result, user,
)
from tierwise.validators import custom, json_schema

def key() -> str:
    return "key"

def heard(event: OutcomeEvent) -> None:
    assert_type(event.error_class, ErrorClass | None)

settings = ClientSettings(budget=Budget(max_cost_nano_usd=1), hooks=Hooks(on_outcome=heard))

def use(client: Client) -> None:
    assert_type(client.route("a"), Decision)
    response = client.chat(
        ChatRequest(messages=(user("a"),), answer_format=JsonSchema(schema={"type": "object"})),
        RoutingOptions(tier="mid"),
        validators=[custom("short", lambda answer: len(answer.text) < 9), json_schema({})],
    )
    assert_type(response, ChatResponse)
    assert_type(response.usage, Usage | None)
    assert_type(response.cost_nano_usd, int | None)
    assert_type(response.attempts, tuple[Attempt, ...])
    client.chat([user("a"), response.message])
    with client.chat_stream("a") as stream:
        for delta in stream:
            assert_type(delta, Delta)
            if isinstance(delta, TextDelta):
                assert_type(delta.text, str)
        assert_type(stream.response, ChatResponse)
    assert_type(client.report(response.decision, verdict=Verdict.POSITIVE), str)
    assert_type(client.status, ClientStatus)
    try:
        client.chat("a")
    except ChatError as error:
        assert_type(error.partial, Answer | None)

async def use_async(client: AsyncClient) -> None:
    async def slow(answer: Answer) -> bool:
        await asyncio.sleep(0)
        return True

    assert_type(await client.chat("a", validators=[custom("slow", slow)]), ChatResponse)
    async with client.chat_stream("a") as stream:
        async for delta in stream:
            assert_type(delta, Delta)

with Client(providers={"openai": ProviderSettings(key=key)}, settings=settings) as made:
    use(made)
"""

WRONG_USES = """
from tierwise import (
    AsyncClient, Budget, ChatRequest, Client, ClientSettings, Decision, Message, ProviderSettings,
    Role, RoutingOptions, Verdict, user,
)

def wrong(client: Client, other: AsyncClient, decision: Decision) -> None:
    client.chat(3)  # arg-type
    client.chat([{"role": "user", "content": "a"}])  # list-item
    client.chat("a", {"tier": "mid"})  # arg-type
    client.chat("a", temperature=1)  # call-arg
    client.chat("a", RoutingOptions("mid"))  # call-arg
    client.chat("a").text.strip(1)  # arg-type
    client.chat("a").cost_nano_usd + 1  # operator
    client.chat("a").usage.input_tokens  # union-attr
    client.chat_stream("a").text  # attr-defined
    client.report("a")  # arg-type
    client.report(decision, verdict="good")  # arg-type
    other.chat("a").text  # attr-defined
    decision.tier_id = "mid"  # misc
    Message(role="user", content="a")  # arg-type
    ChatRequest(messages="a")  # arg-type
    ChatRequest(messages=(user("a"),), tools=({"name": "a"},))  # arg-type
    ClientSettings(budget=0.1)  # arg-type
    Budget(max_cost_nano_usd=0.1)  # arg-type
    RoutingOptions(required_quality="high")  # arg-type
    RoutingOptions(allowed_providers=["openai"])  # arg-type
    ProviderSettings(key=b"key")  # arg-type
    Client(providers={"openai": "key"})  # dict-item
    Role("user") == "user"  # comparison-overlap
"""


def mypy(program: str, folder: Path) -> str:
    """Returns what the type checker says of a program, as the project's settings have it."""
    path = folder / "uses.py"
    path.write_text(program, encoding="utf-8")
    config = str(REPOSITORY / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--no-error-summary", str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "MYPY_CACHE_DIR": str(REPOSITORY / ".mypy_cache" / "uses")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_right_uses_type_check(tmp_path: Path) -> None:
    assert mypy(RIGHT_USES, tmp_path) == ""


def test_wrong_uses_do_not_type_check(tmp_path: Path) -> None:
    wanted = {
        number: line.rpartition("# ")[2]
        for number, line in enumerate(WRONG_USES.splitlines(), start=1)
        if "  # " in line
    }
    assert len(wanted) == WRONG_USES.count("  # ")
    found = {
        int(number): code
        for number, code in re.findall(
            r"^.*uses\.py:(\d+): error: .*\[([a-z-]+)\]$", mypy(WRONG_USES, tmp_path), re.MULTILINE
        )
    }
    assert found == wanted


# Variables of the environment ---------------------------------------------------------------------

BASE_URL_VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "google": "GOOGLE_GEMINI_BASE_URL",
    "azure": "AZURE_OPENAI_ENDPOINT",
}
"""What the providers' own SDKs read."""


def of(provider: str, base_url: str = "") -> Model:
    return Model(model_id="m", provider_id=provider, upstream_name="m-1", base_url=base_url)


def test_addresses_are_read_from_the_variables_of_the_providers_own_sdks() -> None:
    known = {one.provider_id: one.base_url_variable for one in KNOWN.values()}
    assert {name: variable for name, variable in known.items() if variable} == BASE_URL_VARIABLES


@pytest.mark.parametrize(("provider", "variable"), BASE_URL_VARIABLES.items())
def test_a_variable_moves_a_provider_with_its_key(
    provider: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = ProviderRegistry({provider: ProviderSettings(key=KEY)})
    monkeypatch.setenv(variable, "https://proxy.test/v1/")
    _, endpoint = registry.resolve(of(provider))
    assert (endpoint.base_url, endpoint.key) == ("https://proxy.test/v1", KEY)
    # The key belongs there now, and so nowhere else.
    with pytest.raises(ConfigurationError, match="not where the key"):
        registry.resolve(of(provider, "https://elsewhere.test/v1"))
    monkeypatch.setenv(variable, "")
    if provider != "azure":
        assert registry.resolve(of(provider))[1].base_url == KNOWN[provider].base_url


def test_what_the_caller_says_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.test/v1")
    own = ProviderSettings(key=KEY, base_url="https://own.test/v1")
    assert ProviderRegistry({"openai": own}).resolve(of("openai"))[1].base_url == (
        "https://own.test/v1"
    )


# The documentation --------------------------------------------------------------------------------


def snippets() -> list[Any]:
    """Returns the Python blocks of the documentation, each led to its place by blank lines."""
    text = README.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [(text.count("\n", 0, one.start(1)), one[1]) for one in found]
    return [pytest.param("\n" * line + code, id=f"line-{line + 1}") for line, code in lines]


def plausible(call: ReceivedCall) -> Reply:
    """Answers in JSON where that is asked for."""
    return Reply.json({"total": 120.5}) if b"as JSON" in call.content else Reply.text("An answer.")


@pytest.mark.parametrize("snippet", snippets())
def test_every_snippet_of_the_documentation_runs(
    snippet: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider, variable in BASE_URL_VARIABLES.items():
        if provider != "azure":
            monkeypatch.setenv(KNOWN[provider].key_variable, KEY)
            monkeypatch.setenv(variable, world.providers.base_url(provider))
            world.providers.always(provider, plausible)
    monkeypatch.setenv("TIERWISE_SERVER", world.router)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    at_home = snippet.replace("127.0.0.1:50051", world.router)
    exec(compile(at_home, str(README), "exec"), {"__name__": "snippet"})  # noqa: S102 - our own


def test_the_snippets_lines_are_no_longer_than_the_codes() -> None:
    long = [line for one in snippets() for line in one.values[0].splitlines() if len(line) > 100]
    assert long == []


def test_the_table_of_providers_is_complete() -> None:
    text = README.read_text(encoding="utf-8")
    for one in KNOWN.values():
        assert f"`{one.provider_id}`" in text
        (row,) = [
            line for line in text.splitlines() if f"`{one.provider_id}`" in line and "|" in line
        ]
        assert one.key_variable in row
        assert one.base_url_variable in row


def test_the_figures_of_the_documentation_are_those_of_the_code() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    settings, budget = ClientSettings(), Budget()
    assert f"`router_timeout_s`, by default {settings.router_timeout_s:g} s" in text
    assert f"waits up to {COLD_TIMEOUT_S:g} s for the router" in text
    assert f"{budget.escalation_share:g} of them unless" in text
    assert f"`free_escalations`, by default {budget.free_escalations}" in text
    assert f"holds {MAX_OUTCOMES:,} outcomes or {MAX_BYTES // 2**20} MiB" in text
    assert set(re.findall(r"`([A-Z_]{7,})`", text)) >= {one.name for one in ErrorClass}
