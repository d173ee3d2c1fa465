"""Adapter, address and key of each provider; and that a key goes nowhere else."""

from __future__ import annotations

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.decisions import Model
from tierwise.errors import ConfigurationError
from tierwise.providers import compatible
from tierwise.providers.anthropic import KNOWN as ANTHROPIC
from tierwise.providers.registry import KNOWN, ProviderRegistry, ProviderSettings

KEY = "sk-very-secret-key"
KEYLESS = {"vllm", "ollama", "llama-cpp"}


def of(provider: str, base_url: str = "") -> Model:
    return Model(model_id="m", provider_id=provider, upstream_name="m-1", base_url=base_url)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in KNOWN.values():
        if one.key_variable:
            monkeypatch.delenv(one.key_variable, raising=False)


# What is known -----------------------------------------------------------------------------------


def test_the_known_providers_are_those_of_the_documentation() -> None:
    assert set(KNOWN) == {
        "openai", "anthropic", "mistral", "google", "azure", "groq", "openrouter", "deepseek",
        "cerebras", "vllm", "ollama", "llama-cpp",
    }  # fmt: skip
    assert {one for one in KNOWN if not KNOWN[one].key_variable} == KEYLESS
    assert {one for one in KNOWN if not KNOWN[one].base_url} == {"azure"}
    for one in KNOWN.values():
        assert not one.base_url.endswith("/")
        local = one.base_url.startswith("http://localhost")
        assert local is (one.provider_id in KEYLESS)
        assert local or not one.base_url or one.base_url.startswith("https://")


@pytest.mark.parametrize("provider", sorted(set(KNOWN) - {"azure"}))
def test_a_known_provider_needs_its_key_or_to_be_named(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KNOWN[provider]
    if known.key_variable:
        monkeypatch.setenv(known.key_variable, KEY)
    registry = ProviderRegistry({provider: ProviderSettings()})
    adapter, endpoint = registry.resolve(of(provider))
    assert adapter is known.provider
    assert endpoint.base_url == known.base_url
    assert endpoint.key == (KEY if known.key_variable else "")
    assert provider in registry.callable_ids()


def test_an_unknown_provider_needs_an_address() -> None:
    with pytest.raises(ConfigurationError, match="needs a base_url; known are anthropic, azure"):
        ProviderRegistry({"mine": ProviderSettings(key=KEY)})
    registry = ProviderRegistry({"mine": ProviderSettings(base_url="http://host:1/v1/")})
    adapter, endpoint = registry.resolve(of("mine"))
    assert adapter is compatible.GENERIC
    assert (endpoint.base_url, endpoint.key) == ("http://host:1/v1", "")
    with pytest.raises(ConfigurationError, match="'theirs', which is unknown here"):
        registry.resolve(of("theirs"))


def test_an_adapter_may_be_given() -> None:
    given = ProviderSettings(base_url="https://x.test", provider=ANTHROPIC[0].provider)
    assert ProviderRegistry({"mine": given}).resolve(of("mine"))[0] is ANTHROPIC[0].provider
    given = ProviderSettings(provider=ANTHROPIC[0].provider, key=KEY)
    assert ProviderRegistry({"openai": given}).resolve(of("openai"))[0] is ANTHROPIC[0].provider


# Which can be called -----------------------------------------------------------------------------


def test_only_providers_with_a_key_or_that_need_none_can_be_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ProviderRegistry({}).callable_ids() == ()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("GROQ_API_KEY", "")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    registry = ProviderRegistry(
        {
            "mistral": ProviderSettings(key=lambda: KEY),
            "mine": ProviderSettings(base_url="https://x.test"),
            "ollama": ProviderSettings(),
            "theirs": ProviderSettings(base_url="https://y.test", key_variable="MISSING_KEY"),
        }
    )
    # Nobody has named the other servers that need no key.
    assert set(registry.callable_ids()) == {"mine", "mistral", "ollama", "openai"}
    assert registry.callable_ids() == tuple(sorted(registry.callable_ids()))


def test_advice_says_what_can_be_called_and_what_would_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advice = ProviderRegistry({}).advice()
    assert advice.startswith("this client can call no provider; to call others, set any of ")
    for one in KNOWN.values():
        assert (one.key_variable or f"providers={{{one.provider_id!r}: ") in advice
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    advice = ProviderRegistry({"vllm": ProviderSettings()}).advice()
    assert advice.startswith("this client can call openai, vllm; to call others, set any of ")
    assert " OPENAI_API_KEY" not in advice
    assert "'vllm'" not in advice
    assert KEY not in advice


def test_looking_for_keys_calls_no_function_of_the_callers() -> None:
    def key() -> str:
        raise AssertionError("not yet")

    assert "openai" in ProviderRegistry({"openai": ProviderSettings(key=key)}).callable_ids()


# Where a key comes from --------------------------------------------------------------------------


def test_a_missing_key_names_the_variable_to_set() -> None:
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY, or say"):
        ProviderRegistry({}).resolve(of("openai"))
    registry = ProviderRegistry({"openai": ProviderSettings(key_variable="TEAM_KEY")})
    with pytest.raises(ConfigurationError, match="set TEAM_KEY"):
        registry.resolve(of("openai"))


def test_a_variable_is_read_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ProviderRegistry({"openai": ProviderSettings(key_variable="TEAM_KEY")})
    for key in ("first", "second"):
        monkeypatch.setenv("TEAM_KEY", key)
        assert registry.resolve(of("openai"))[1].key == key


def test_a_function_is_called_for_each_call() -> None:
    keys = iter(("first", "second"))
    registry = ProviderRegistry({"openai": ProviderSettings(key=lambda: next(keys))})
    assert [registry.resolve(of("openai"))[1].key for _ in range(2)] == ["first", "second"]


def test_a_function_that_fails_is_told_without_its_words() -> None:
    def key() -> str:
        raise OSError(f"could not decode {KEY}")

    registry = ProviderRegistry({"openai": ProviderSettings(key=key)})
    with pytest.raises(ConfigurationError, match="failed with OSError") as caught:
        registry.resolve(of("openai"))
    assert KEY not in str(caught.value)


BAD_KEYS = ["", " ", f" {KEY}", f"{KEY}\n", f"{KEY} x", f"{KEY}\N{NO-BREAK SPACE}", f"ключ{KEY}"]


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize("by_function", [True, False])
def test_what_can_not_stand_in_a_header_is_no_key_and_is_not_shown(
    key: str, by_function: bool
) -> None:
    given = ProviderSettings(key=(lambda: key) if by_function else key)
    with pytest.raises(ConfigurationError, match="what key holds is no key") as caught:
        ProviderRegistry({"openai": given}).resolve(of("openai"))
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", BAD_KEYS[1:])
def test_a_bad_key_of_the_environment_names_its_variable(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigurationError, match="what OPENAI_API_KEY holds") as caught:
        ProviderRegistry({}).resolve(of("openai"))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", [None, 3, KEY.encode()])
def test_a_function_that_returns_no_text_is_told(key: object) -> None:
    given = ProviderSettings(key=lambda: key)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="no key") as caught:
        ProviderRegistry({"openai": given}).resolve(of("openai"))
    assert KEY not in str(caught.value)


def test_a_key_is_in_no_repr() -> None:
    settings = ProviderSettings(key=KEY, base_url="https://x.test")
    registry = ProviderRegistry({"openai": settings})
    _, endpoint = registry.resolve(of("openai"))
    assert endpoint.key == KEY
    for thing in (settings, registry, endpoint):
        assert KEY not in repr(thing)
        assert KEY not in str(thing)
    assert pickle.loads(pickle.dumps(settings)).key == KEY  # noqa: S301 - our own bytes


# Where a key goes --------------------------------------------------------------------------------

ELSEWHERE = [
    "https://evil.test/v1",
    "http://api.openai.com/v1",
    "http://api.openai.com:443/v1",
    "https://api.openai.com:8443/v1",
    "https://api.openai.com.evil.test/v1",
    "https://api.openai.com@evil.test/v1",
    "https://evil.test/https://api.openai.com/v1",
    "https://evil.test#api.openai.com",
    "https://evil.test\\@api.openai.com/v1",
    "https://evil.test\\.api.openai.com/v1",
    "//api.openai.com/v1",
    "https:api.openai.com",
    "api.openai.com/v1",
    "https://[api.openai.com/v1",
    "https://api.openai.com:port/v1",
    "https://xn--openai.com/v1",
]


@pytest.mark.parametrize("base_url", ELSEWHERE)
def test_a_catalog_can_not_have_a_key_sent_elsewhere(base_url: str) -> None:
    registry = ProviderRegistry({"openai": ProviderSettings(key=KEY)})
    with pytest.raises(ConfigurationError, match="model m") as caught:
        registry.resolve(of("openai", base_url))
    assert KEY not in str(caught.value)


@given(st.from_regex(r"https?://[a-z.@:\\/#?0-9-]{1,30}", fullmatch=True))
def test_whatever_address_a_catalog_names_the_key_stays_with_its_host(base_url: str) -> None:
    registry = ProviderRegistry({"openai": ProviderSettings(key=KEY, base_url="https://a.b/v1")})
    try:
        _, endpoint = registry.resolve(of("openai", base_url))
    except ConfigurationError:
        return
    import httpx  # noqa: PLC0415 - the oracle: who would be called

    url = httpx.URL(f"{endpoint.base_url}/chat/completions")
    assert (url.scheme, url.host, url.port) == ("https", "a.b", None)


@pytest.mark.parametrize(
    "base_url",
    ["https://api.openai.com/v2/", "https://API.openai.com/v2", "https://api.openai.com:443/v2"],
)
def test_another_path_of_the_same_host_may_be_named(base_url: str) -> None:
    registry = ProviderRegistry({"openai": ProviderSettings(key=KEY)})
    endpoint = registry.resolve(of("openai", base_url))[1]
    assert (endpoint.base_url, endpoint.key) == (base_url.rstrip("/"), KEY)


def test_what_the_caller_says_itself_is_where_the_key_belongs() -> None:
    proxy = ProviderSettings(key=KEY, base_url="https://proxy.test/openai/")
    registry = ProviderRegistry({"openai": proxy})
    assert registry.resolve(of("openai"))[1].base_url == "https://proxy.test/openai"
    with pytest.raises(ConfigurationError, match=r"https://api\.openai\.com:443"):
        registry.resolve(of("openai", "https://api.openai.com/v1"))


def test_a_provider_whose_address_nobody_said_gets_no_key_sent_by_a_catalog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match=r"r\.azure\.test"):
        ProviderRegistry({}).resolve(of("azure", "https://r.azure.test"))
    with pytest.raises(ConfigurationError, match="has no address"):
        ProviderRegistry({}).resolve(of("azure"))


def test_servers_that_want_no_key_may_be_anywhere() -> None:
    endpoint = ProviderRegistry({}).resolve(of("vllm", "http://gpu-7:8000/v1"))[1]
    assert (endpoint.base_url, endpoint.key) == ("http://gpu-7:8000/v1", "")


def test_a_password_in_an_address_is_not_shown() -> None:
    registry = ProviderRegistry({"openai": ProviderSettings(key=KEY)})
    for host in ("evil.test", "api.openai.com"):
        with pytest.raises(ConfigurationError, match="not where") as caught:
            registry.resolve(of("openai", f"https://user:hidden@{host}/v1"))
        assert "hidden" not in str(caught.value)
    own = "https://user:hidden@proxy.test/v1"
    registry = ProviderRegistry({"openai": ProviderSettings(key=KEY, base_url=own)})
    assert registry.resolve(of("openai"))[1].base_url == own
