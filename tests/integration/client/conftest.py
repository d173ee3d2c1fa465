"""A router in a process of its own, provider servers, and clients that know both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import StartServe, write_catalog

from tierwise import AsyncClient, Client, ClientSettings, ProviderSettings
from tierwise.testing import ProviderServer

PROVIDERS = ("openai", "anthropic", "mistral", "google")
KEY = "sk-test-0123456789"

MODELS = """\
models:
  - id: gpt-small
    provider: openai
    name: gpt-small-1
    tier: budget
    price: {input: 0.2, output: 0.8, cached_input: 0.1}
    context_window: 8000
    max_output_tokens: 4000
    capabilities: [tools, json_schema, vision, logprobs]
    labels: {region: eu}
  - id: mistral-small
    provider: mistral
    name: mistral-small-1
    tier: budget
    price: {input: 0.3, output: 0.9}
    context_window: 32000
    max_output_tokens: 8000
    capabilities: [tools, json_schema, logprobs]
    labels: {region: eu}
  - id: gemini-mid
    provider: google
    name: gemini-mid-1
    tier: mid
    price: {input: 1, output: 4}
    context_window: 100000
    max_output_tokens: 8000
    capabilities: [tools, json_schema, vision, logprobs]
    labels: {region: us}
  - id: claude-big
    provider: anthropic
    name: claude-big-1
    tier: premium
    price: {input: 5, output: 25}
    context_window: 200000
    max_output_tokens: 8000
    capabilities: [tools, json_schema, vision]
    labels: {region: us}
"""
"""Two models in the cheapest tier, one in each of the others; each of another provider."""

MODEL_OF = {
    "openai": "gpt-small",
    "mistral": "mistral-small",
    "google": "gemini-mid",
    "anthropic": "claude-big",
}
"""The model of each provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a client needs, real but for the providers' models."""

    router: str
    providers: ProviderServer
    spool: Path

    def provider_settings(self, **changes: ProviderSettings) -> dict[str, ProviderSettings]:
        """Returns settings that lead to the local providers."""
        own = {
            name: ProviderSettings(key=KEY, base_url=self.providers.base_url(name))
            for name in PROVIDERS
        }
        return {**own, **changes}

    def settings(self, **changes: Any) -> ClientSettings:  # noqa: ANN401 - any setting
        """Returns settings whose waits suit a test.

        Outcomes are not reported unless a test asks for it: the router, which the tests of a module
        share, would learn from one test's failures and route the next one's prompts elsewhere.
        """
        values: dict[str, Any] = {
            "spool_path": self.spool,
            "first_wait_s": 0.01,
            "router_timeout_s": 5.0,
            "chat_timeout_s": 20.0,
            "report_outcomes": False,
        }
        return ClientSettings(**{**values, **changes})

    def client(self, **changes: Any) -> Client:  # noqa: ANN401 - any setting
        """Makes a blocking client."""
        return Client(
            self.router, providers=self.provider_settings(), settings=self.settings(**changes)
        )

    def async_client(self, **changes: Any) -> AsyncClient:  # noqa: ANN401 - any setting
        """Makes a client for the test's event loop."""
        return AsyncClient(
            self.router, providers=self.provider_settings(), settings=self.settings(**changes)
        )


@pytest.fixture(scope="module")
def router(start_serve_once: StartServe, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a router whose catalog has models."""
    catalog = write_catalog(tmp_path_factory.mktemp("catalog") / "catalog", models=MODELS)
    served = start_serve_once("--catalog", str(catalog.path))
    return f"127.0.0.1:{served.port()}"


@pytest.fixture
def providers() -> Iterator[ProviderServer]:
    """A provider server of the test's own."""
    with ProviderServer() as server:
        yield server


@pytest.fixture
def world(router: str, providers: ProviderServer, tmp_path: Path) -> World:
    """A router, providers and a place for the spool."""
    return World(router=router, providers=providers, spool=tmp_path / "spool.db")
