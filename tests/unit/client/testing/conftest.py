"""What tests of the test server share: a server, and a plain request in each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tierwise.testing import ProviderServer

KEY = "key-of-the-test"
PROMPT = "What is a tier?"
DIALECTS = ("openai", "anthropic", "mistral", "google")
COMPATIBLE = ("groq", "openrouter", "deepseek", "azure", "cerebras", "vllm", "ollama", "llama-cpp")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A request that its provider takes."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of httpx's methods."""
        return {"url": self.url, "json": self.body, "headers": self.headers}

    def send(self, client: httpx.Client) -> httpx.Response:
        """Sends it and returns the response."""
        return client.post(**self.arguments())


class Samples:
    """Makes requests in each dialect to one server."""

    def __init__(self, server: ProviderServer) -> None:
        self._server = server

    def __call__(self, provider: str, *, stream: bool = False, model: str = "model-1") -> Sample:
        """Returns a request of a provider."""
        base_url = self._server.base_url(provider)
        messages = [{"role": "user", "content": PROMPT}]
        if provider == "google":
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return Sample(
                url=f"{base_url}/v1beta/models/{model}:{verb}",
                headers={"x-goog-api-key": KEY},
                body={"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]},
            )
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
        if provider == "anthropic":
            return Sample(
                url=f"{base_url}/v1/messages",
                headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"},
                body=body | {"max_tokens": 100},
            )
        if provider != "mistral" and stream:
            body["stream_options"] = {"include_usage": True}
        headers = {"authorization": f"Bearer {KEY}"}
        return Sample(url=f"{base_url}/chat/completions", headers=headers, body=body)


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.fixture
def sample(server: ProviderServer) -> Samples:
    return Samples(server)
