"""The providers that the test server stands in for, and how each speaks."""

from __future__ import annotations

from collections.abc import Mapping

from tierwise.testing.dialects.anthropic import AnthropicMessages
from tierwise.testing.dialects.base import Dialect
from tierwise.testing.dialects.chat_completions import ChatCompletions
from tierwise.testing.dialects.gemini import Gemini
from tierwise.testing.dialects.mistral import Mistral

DIALECTS: Mapping[str, Dialect] = {
    "openai": ChatCompletions("openai"),
    "anthropic": AnthropicMessages(),
    "mistral": Mistral(),
    "google": Gemini(),
    **{
        provider: ChatCompletions(provider)
        for provider in (
            "groq",
            "openrouter",
            "deepseek",
            "azure",
            "cerebras",
            "vllm",
            "ollama",
            "llama-cpp",
        )
    },
}
"""By the provider ids that models name."""

WITHOUT_KEY = frozenset({"vllm", "ollama", "llama-cpp"})
"""Providers that people run themselves, and that answer without a key unless told otherwise."""
