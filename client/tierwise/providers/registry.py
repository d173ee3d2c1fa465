"""Which providers this client can call: adapter, address and key of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tierwise.decisions import Model
from tierwise.errors import ConfigurationError
from tierwise.providers import anthropic, compatible, gemini, mistral, openai
from tierwise.providers.base import Endpoint, Provider
from tierwise.providers.known import KnownProvider

KNOWN: Mapping[str, KnownProvider] = {
    one.provider_id: one
    for module in (openai, anthropic, mistral, gemini, compatible)
    for one in module.KNOWN
}
"""Providers that need no set-up but a key, by id. A new one is a module with its own `KNOWN`."""


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What the caller says of one provider. Whatever is left out is as its documentation has it."""

    key: str | Callable[[], str] | None = field(default=None, repr=False)
    """The key, or a function that returns it, called for each request. None reads the environment
    variable."""
    key_variable: str = ""
    """Environment variable to read the key from. Empty means the provider's usual one."""
    base_url: str = ""
    """Where to call it. Empty means where the variable that the provider's own SDK reads says, such
    as `OPENAI_BASE_URL`, else the provider's own address."""
    provider: Provider | None = None
    """Adapter, for providers that are not known here. None takes the known one, and for an unknown
    provider one that speaks OpenAI's chat completions."""


class _Key(str):
    """A key, which shows nothing of itself where a variable's value is shown.

    Error trackers keep the variables of every frame that an error passes.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Returns what stands for it."""
        return "<key>"


class ProviderRegistry:
    """Finds adapter and endpoint for a model."""

    def __init__(self, settings: Mapping[str, ProviderSettings]) -> None:
        for provider_id, one in settings.items():
            if not isinstance(one, ProviderSettings):
                # Not even its type's name: a key in its place would be shown by nothing here.
                raise ConfigurationError(f"providers[{provider_id!r}]: give a ProviderSettings")
            if provider_id not in KNOWN and not one.base_url:
                raise ConfigurationError(
                    f"providers[{provider_id!r}]: an unknown provider needs a base_url; known are"
                    f" {', '.join(sorted(KNOWN))}"
                )
        self._settings = dict(settings)

    def callable_ids(self) -> tuple[str, ...]:
        """Returns the providers that may be called: those with a key, and those named without."""
        return tuple(
            provider_id
            for provider_id in sorted({*KNOWN, *self._settings})
            if self._may_call(provider_id)
        )

    def advice(self) -> str:
        """Returns what would make further providers callable, for people."""
        missing = {
            self._variable(one) or f"providers={{{one!r}: ProviderSettings()}}"
            for one in KNOWN
            if not self._may_call(one)
        }
        own = ", ".join(self.callable_ids()) or "no provider"
        return (
            f"this client can call {own}; to call others, set any of {', '.join(sorted(missing))}"
        )

    def resolve(self, model: Model) -> tuple[Provider, Endpoint]:
        """Returns how to call a model.

        Raises:
            ConfigurationError: There is no adapter, no address or no key for it, or it is to be
                called where the provider's key does not belong.
        """
        provider_id = model.provider_id
        known, own = KNOWN.get(provider_id), self._settings.get(provider_id)
        if known is None and own is None:
            raise ConfigurationError(
                f"model {model.model_id} is of provider {provider_id!r}, which is unknown here; say"
                f" providers={{{provider_id!r}: ProviderSettings(base_url=...)}}"
            )
        trusted = self._own_address(provider_id)
        base_url = (model.base_url or trusted).rstrip("/")
        if not base_url:
            raise ConfigurationError(
                f"model {model.model_id}: provider {provider_id!r} has no address; say"
                f" providers={{{provider_id!r}: ProviderSettings(base_url=...)}}"
            )
        if _origin(base_url) is None:
            raise ConfigurationError(
                f"model {model.model_id}: its base_url, or that of provider {provider_id!r}, is no"
                " address such as https://host/path"
            )
        key = self._key(provider_id)
        if key and _origin(base_url) != _origin(trusted):
            # Whoever edits the catalog's files must not be able to have keys sent elsewhere.
            raise ConfigurationError(
                f"model {model.model_id} is to be called at {_origin(base_url)}, which is not where"
                f" the key of {provider_id!r} belongs; if it does, say"
                f" providers={{{provider_id!r}: ProviderSettings(base_url=...)}}"
            )
        provider = (own.provider if own else None) or (known.provider if known else None)
        return provider or compatible.GENERIC, Endpoint(base_url=base_url, key=key)

    def _may_call(self, provider_id: str) -> bool:
        """Returns whether there are key and address, or the caller named one that needs no key."""
        own, variable = self._settings.get(provider_id), self._variable(provider_id)
        if variable:
            key = (own is not None and own.key is not None) or bool(os.environ.get(variable))
            return key and bool(self._own_address(provider_id))
        # Nobody is taken to run a server of their own who did not say so.
        return own is not None

    def _own_address(self, provider_id: str) -> str:
        """Returns where the key belongs: as the caller or its environment says, else as is usual.

        Empty where nobody has said.
        """
        known, own = KNOWN.get(provider_id), self._settings.get(provider_id)
        if own is not None and own.base_url:
            return own.base_url
        if known is None:
            return ""
        variable = known.base_url_variable
        return (os.environ.get(variable) if variable else None) or known.base_url

    def _variable(self, provider_id: str) -> str:
        known, own = KNOWN.get(provider_id), self._settings.get(provider_id)
        return (own.key_variable if own else "") or (known.key_variable if known else "")

    def _key(self, provider_id: str) -> str:
        own = self._settings.get(provider_id)
        if own is not None and own.key is not None:
            return _checked(_called(own.key, provider_id), "key", provider_id)
        variable = self._variable(provider_id)
        if not variable:
            return ""
        key = _Key(os.environ.get(variable, ""))
        if not key:
            raise ConfigurationError(
                f"provider {provider_id!r} needs a key: set {variable}, or say"
                f" providers={{{provider_id!r}: ProviderSettings(key=...)}}"
            )
        return _checked(key, variable, provider_id)


def _called(key: str | Callable[[], str], provider_id: str) -> object:
    try:
        found: object = key() if callable(key) else key
        return _Key(found) if isinstance(found, str) else found
    except Exception as error:  # noqa: BLE001 - a function of the caller may raise anything
        # A model of another provider may answer. Neither message nor cause is kept: they may name
        # the key.
        raise ConfigurationError(
            f"provider {provider_id!r}: the function for its key failed with {type(error).__name__}"
        ) from None


def _checked(key: object, source: str, provider_id: str) -> str:
    """Returns a key that can stand in a header. The message never shows it."""
    if not isinstance(key, str) or not key or not all("!" <= one <= "~" for one in key):
        raise ConfigurationError(
            f"provider {provider_id!r}: what {source} holds is no key: it is no text, or empty, or"
            " has white space or characters outside ASCII"
        )
    return key


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whom an address leads to. Shown without the login that it may hold."""

    scheme: str
    login: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def _origin(url: str) -> _Origin | None:
    """Returns whom an address leads to; None for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    login, _, _ = parts.netloc.rpartition("@")
    host = parts.hostname
    return _Origin(parts.scheme, login, host, port) if host else None
