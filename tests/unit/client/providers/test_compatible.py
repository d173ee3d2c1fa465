"""What is particular to each server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError, ProviderError
from tierwise.messages import (
    ChatRequest,
    Image,
    JsonSchema,
    ToolCall,
    assistant,
    tool_result,
    user,
)
from tierwise.providers.base import Endpoint, HttpReply, StreamEvent
from tierwise.providers.compatible import (
    AZURE,
    DEEPSEEK,
    GENERIC,
    GROQ,
    KNOWN,
    OLLAMA,
    OPENROUTER,
    VLLM,
)
from tierwise.providers.known import KnownProvider


def body(known: KnownProvider, request: ChatRequest, *, stream: bool = False) -> Any:  # noqa: ANN401 - JSON
    model = Model(model_id="m", provider_id=known.provider_id, upstream_name="up")
    endpoint = Endpoint(base_url="https://x.example")
    return known.provider.call(request, model, endpoint, stream=stream).body


def reply(**message: Any) -> HttpReply:  # noqa: ANN401 - JSON
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    content = json.dumps({"id": "gen-1", "choices": [choice]}).encode()
    return HttpReply(status=200, headers={}, content=content)


def test_known_providers() -> None:
    assert {one.provider_id: (one.base_url, one.key_variable) for one in KNOWN} == {
        "azure": ("", "AZURE_OPENAI_API_KEY"),
        "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "deepseek": ("https://api.deepseek.com", "DEEPSEEK_API_KEY"),
        "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "vllm": ("http://localhost:8000/v1", ""),
        "ollama": ("http://localhost:11434/v1", ""),
        "llama-cpp": ("http://localhost:8080/v1", ""),
    }


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (
            "https://r.openai.azure.com",
            "https://r.openai.azure.com/openai/deployments/my%2Fgpt/chat/completions"
            "?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/?api-version=2025-01-01-preview",
            "https://r.openai.azure.com/openai/deployments/my%2Fgpt/chat/completions"
            "?api-version=2025-01-01-preview",
        ),
        (
            "https://r.openai.azure.com/openai/v1",
            "https://r.openai.azure.com/openai/v1/chat/completions",
        ),
    ],
)
def test_azure_is_called_by_deployment_with_the_bare_key(base_url: str, url: str) -> None:
    model = Model(model_id="m", provider_id="azure", upstream_name="my/gpt")
    call = AZURE.provider.call(
        ChatRequest(messages=(user("a"),)),
        model,
        Endpoint(base_url=base_url, key="k"),
        stream=False,
    )
    assert call.url == url
    assert dict(call.headers) == {"api-key": "k"}


def test_server_without_a_key_gets_no_header() -> None:
    model = Model(model_id="m", provider_id="vllm", upstream_name="up")
    call = VLLM.provider.call(
        ChatRequest(messages=(user("a"),)), model, Endpoint(base_url="http://h"), stream=False
    )
    assert dict(call.headers) == {}


def test_ollama_takes_the_bytes_of_images_alone() -> None:
    by_address = ChatRequest(messages=(user("a", Image(url="https://x.example/a.png")),))
    with pytest.raises(InvalidRequestError) as caught:
        body(OLLAMA, by_address)
    assert caught.value.field == "messages[0].content[1].url"

    by_bytes = ChatRequest(messages=(user("a", Image(data=b"\x00", media_type="image/png")),))
    part = body(OLLAMA, by_bytes)["messages"][0]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_deepseek_has_no_json_schema() -> None:
    request = ChatRequest(
        messages=(user("a"),), answer_format=JsonSchema(schema={"type": "object"})
    )
    with pytest.raises(InvalidRequestError) as caught:
        body(DEEPSEEK, request)
    assert caught.value.field == "answer_format"


def test_groq_gives_no_log_probabilities() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        body(GROQ, ChatRequest(messages=(user("a"),), logprobs=True))
    assert caught.value.field == "logprobs"


def turn_after(known: KnownProvider, call: ToolCall) -> Any:  # noqa: ANN401 - JSON
    request = ChatRequest(
        messages=(user("a"), assistant(tool_calls=(call,)), tool_result(call, "1"))
    )
    return body(known, request)["messages"][1]


CALL = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}


def test_deepseek_gets_its_reasoning_back_with_the_call() -> None:
    answer = DEEPSEEK.provider.answer(
        reply(content="", reasoning_content="Let me see.", tool_calls=[CALL])
    )
    assert answer.reasoning == "Let me see."
    assert turn_after(DEEPSEEK, answer.tool_calls[0])["reasoning_content"] == "Let me see."
    # Others would refuse the field.
    assert "reasoning_content" not in turn_after(GROQ, answer.tool_calls[0])


def test_openrouter_gets_its_reasoning_details_back_in_one_piece() -> None:
    reader = OPENROUTER.provider.reader({})
    pieces = [
        {"type": "reasoning.text", "index": 0, "text": "Let ", "signature": None},
        {"type": "reasoning.text", "index": 0, "text": "me.", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "xx"},
    ]
    for piece in pieces:
        delta = {"reasoning_details": [piece]}
        reader.feed(StreamEvent(json.dumps({"choices": [{"index": 0, "delta": delta}]})))
    last = {"delta": {"tool_calls": [{"index": 0, **CALL}]}, "finish_reason": "tool_calls"}
    reader.feed(StreamEvent(json.dumps({"choices": [{"index": 0, **last}]})))
    reader.feed(StreamEvent("[DONE]"))
    call = reader.end().tool_calls[0]
    assert turn_after(OPENROUTER, call)["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "text": "Let me.", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "xx"},
    ]


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.00333825, "is_byok": False}, 3_338_250),
        ({"cost": 0}, 0),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
            21_000_000,
        ),
        ({"cost": 0.001, "is_byok": True}, None),
        ({}, None),
        ({"cost": "0.1"}, None),
        ({"cost": -1.0}, None),
        ({"cost": 1e300}, None),
    ],
)
def test_openrouter_states_the_cost(usage: dict[str, Any], cost: int | None) -> None:
    content = json.loads(reply(content="a").content)
    content["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, **usage}
    whole = HttpReply(status=200, headers={}, content=json.dumps(content).encode())
    assert OPENROUTER.provider.answer(whole).cost_nano_usd == cost
    assert GROQ.provider.answer(whole).cost_nano_usd is None


def test_only_an_unknown_server_may_end_a_stream_without_saying_so() -> None:
    chunk = StreamEvent(
        json.dumps({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})
    )
    lenient, strict = GENERIC.reader({}), VLLM.provider.reader({})
    lenient.feed(chunk)
    strict.feed(chunk)
    assert lenient.end().text == "a"
    with pytest.raises(ProviderError):
        strict.end()


def test_openrouter_says_in_the_body_when_the_window_opens_again() -> None:
    limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1792567710000"}
    error = {"code": 429, "message": "Rate limit exceeded", "metadata": {"headers": limits}}
    failure = OPENROUTER.provider.failure(
        HttpReply(
            status=429,
            headers={"date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            content=json.dumps({"error": error}).encode(),
        )
    )
    assert failure.retry_after_s == pytest.approx(30.0)
