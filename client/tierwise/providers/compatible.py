"""Servers that speak OpenAI's chat completions: hosted ones, and those that one runs oneself."""

from __future__ import annotations

from urllib.parse import quote

from tierwise.error_class import ErrorClass
from tierwise.providers.chat_completions import ChatCompletions
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.known import KnownProvider
from tierwise.providers.openai import FUNCTION_NAME, MAX_STOP, SHORT_CALL_ID

AZURE_API_VERSION = "2024-10-21"
"""The last dated version that is generally available; `?api-version=…` in an endpoint's address
overrides it. Addresses that end in `/openai/v1` need none.
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle"""


def azure_url(base_url: str, upstream_name: str) -> str:
    """Returns the address of a deployment, which is what Azure's models are named by."""
    address, _, query = base_url.partition("?")
    address = address.rstrip("/")
    if address.endswith("/openai/v1"):
        path = "chat/completions"
    else:
        path = f"openai/deployments/{quote(upstream_name, safe='')}/chat/completions"
        query = query or f"api-version={AZURE_API_VERSION}"
    return f"{address}/{path}?{query}" if query else f"{address}/{path}"


AZURE = KnownProvider(
    provider_id="azure",
    provider=ChatCompletions(
        Dialect(
            name="Azure OpenAI",
            url=azure_url,
            key_header="api-key",
            output_limit_field="max_completion_tokens",
            tool_name=FUNCTION_NAME,
            call_id=SHORT_CALL_ID,
            max_stop=MAX_STOP,
        )
    ),
    base_url="",
    key_variable="AZURE_OPENAI_API_KEY",
    base_url_variable="AZURE_OPENAI_ENDPOINT",
)

GROQ = KnownProvider(
    provider_id="groq",
    provider=ChatCompletions(
        Dialect(
            name="Groq",
            output_limit_field="max_completion_tokens",
            takes_logprobs=False,
            tool_name=FUNCTION_NAME,
            max_stop=4,
            # https://console.groq.com/docs/errors
            statuses={498: ErrorClass.OVERLOADED},
        )
    ),
    base_url="https://api.groq.com/openai/v1",
    key_variable="GROQ_API_KEY",
)

OPENROUTER = KnownProvider(
    provider_id="openrouter",
    provider=ChatCompletions(
        Dialect(
            name="OpenRouter",
            # Some of the models behind it want their reasoning back, signed or encrypted.
            returned_fields=("reasoning_details",),
            states_cost=True,
        )
    ),
    base_url="https://openrouter.ai/api/v1",
    key_variable="OPENROUTER_API_KEY",
)

DEEPSEEK = KnownProvider(
    provider_id="deepseek",
    provider=ChatCompletions(
        Dialect(
            name="DeepSeek",
            takes_json_schema=False,
            tool_name=FUNCTION_NAME,
            max_stop=16,
            # "The reasoning_content in the thinking mode must be passed back to the API."
            returned_fields=("reasoning_content",),
        )
    ),
    base_url="https://api.deepseek.com",
    key_variable="DEEPSEEK_API_KEY",
)

CEREBRAS = KnownProvider(
    provider_id="cerebras",
    provider=ChatCompletions(
        Dialect(
            name="Cerebras",
            output_limit_field="max_completion_tokens",
            takes_stream_options=False,
            max_stop=4,
        )
    ),
    base_url="https://api.cerebras.ai/v1",
    key_variable="CEREBRAS_API_KEY",
)

VLLM = KnownProvider(
    provider_id="vllm",
    provider=ChatCompletions(Dialect(name="vLLM")),
    base_url="http://localhost:8000/v1",
    key_variable="",
)

OLLAMA = KnownProvider(
    provider_id="ollama",
    # https://docs.ollama.com/api/openai-compatibility
    provider=ChatCompletions(Dialect(name="Ollama", takes_image_urls=False)),
    base_url="http://localhost:11434/v1",
    key_variable="",
)

LLAMA_CPP = KnownProvider(
    provider_id="llama-cpp",
    provider=ChatCompletions(Dialect(name="llama.cpp")),
    base_url="http://localhost:8080/v1",
    key_variable="",
)

GENERIC = ChatCompletions(Dialect(name="the server", ends_with_done=False))
"""For servers that are not known here: it asks for nothing unusual, and expects little."""

KNOWN = (AZURE, GROQ, OPENROUTER, DEEPSEEK, CEREBRAS, VLLM, OLLAMA, LLAMA_CPP)
