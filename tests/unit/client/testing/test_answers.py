"""What each dialect makes of a reply, unary and streamed, as plain HTTP clients see it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse
from tests.unit.client.testing.conftest import COMPATIBLE, DIALECTS, PROMPT, Sample, Samples

from tierwise.answers import FinishReason, Usage
from tierwise.messages import ToolCall
from tierwise.testing import ProviderServer, Reply

CALL = ToolCall(id="abcdefghi", name="get_weather", arguments_json='{"city": "Paris"}')
USAGE = Usage(input_tokens=100, cached_input_tokens=60, output_tokens=50, reasoning_tokens=20)

Json = dict[str, Any]


def answer(client: httpx.Client, sample: Sample) -> Json:
    response = sample.send(client)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body: Json = response.json()
    return body


def events(client: httpx.Client, sample: Sample) -> list[ServerSentEvent]:
    with connect_sse(client, "POST", **sample.arguments()) as source:
        return list(source.iter_sse())


def chunks(client: httpx.Client, sample: Sample) -> list[Json]:
    """Returns the events of a stream, without the closing `[DONE]` where a dialect has one."""
    found = events(client, sample)
    if "/chat/completions" in sample.url:
        assert found.pop().data == "[DONE]"
    return [json.loads(event.data) for event in found]


def text_of(provider: str, body: Json) -> str:
    match provider:
        case "anthropic":
            return "".join(block.get("text", "") for block in body["content"])
        case "google":
            parts = body["candidates"][0]["content"].get("parts", [])
            return "".join(part["text"] for part in parts if not part.get("thought"))
        case _:
            text: str = body["choices"][0]["message"]["content"]
            return text


def streamed_text(provider: str, found: list[Json]) -> list[str]:
    match provider:
        case "anthropic":
            deltas = [one["delta"] for one in found if one["type"] == "content_block_delta"]
            return [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
        case "google":
            return [text_of(provider, one) for one in found]
        case _:
            choices = [one["choices"][0] for one in found if one["choices"]]
            return [
                choice["delta"]["content"] for choice in choices if choice["delta"].get("content")
            ]


@pytest.mark.parametrize("provider", [*DIALECTS, *COMPATIBLE])
def test_without_a_script_the_prompt_comes_back(
    client: httpx.Client, sample: Samples, provider: str
) -> None:
    assert text_of(provider, answer(client, sample(provider))) == f"You said: {PROMPT}"


@pytest.mark.parametrize("provider", [*DIALECTS, *COMPATIBLE])
def test_text_is_streamed_word_by_word(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.text("Three short\n words."))
    found = chunks(client, sample(provider, stream=True))
    assert streamed_text(provider, found) == ["Three ", "short\n ", "words."]


@pytest.mark.parametrize("provider", DIALECTS)
def test_text_is_streamed_in_pieces_of_the_size_asked_for(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.text("été 🙂.").in_pieces(2))
    found = chunks(client, sample(provider, stream=True))
    assert streamed_text(provider, found) == ["ét", "é ", "🙂."]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (
            "openai",
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60},
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
        ),
        (
            "mistral",
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60},
            },
        ),
        (
            "anthropic",
            {
                "input_tokens": 40,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 0,
                "output_tokens": 50,
            },
        ),
        (
            "google",
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "candidatesTokenCount": 30,
                "thoughtsTokenCount": 20,
                "totalTokenCount": 150,
            },
        ),
    ],
)
def test_usage_is_told_as_the_provider_counts(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str, expected: Json
) -> None:
    server.always(provider, Reply.text("Yes.", usage=USAGE))
    field = "usageMetadata" if provider == "google" else "usage"
    assert answer(client, sample(provider))[field] == expected
    found = chunks(client, sample(provider, stream=True))
    if provider == "anthropic":
        started = found[0]["message"]["usage"] | found[-2]["usage"]
        assert started == expected
    else:
        assert found[-1][field] == expected


@pytest.mark.parametrize("provider", DIALECTS)
def test_usage_that_is_not_given_counts_words(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.text("One two three."))
    body = answer(client, sample(provider))
    counts = body.get("usage") or body["usageMetadata"]
    names = {
        "anthropic": ("input_tokens", "output_tokens"),
        "google": ("promptTokenCount", "candidatesTokenCount"),
    }
    sent, received = names.get(provider, ("prompt_tokens", "completion_tokens"))
    assert (counts[sent], counts[received]) == (4, 3)


def test_openai_streams_usage_only_when_asked(client: httpx.Client, sample: Samples) -> None:
    asked = sample("openai", stream=True)
    del asked.body["stream_options"]
    assert all("usage" not in chunk for chunk in chunks(client, asked))


@pytest.mark.parametrize(
    ("provider", "path", "expected"),
    [
        (
            "openai",
            ("choices", 0, "message", "tool_calls"),
            [
                {
                    "id": CALL.id,
                    "type": "function",
                    "function": {"name": CALL.name, "arguments": CALL.arguments_json},
                }
            ],
        ),
        (
            "anthropic",
            ("content",),
            [{"type": "tool_use", "id": CALL.id, "name": CALL.name, "input": {"city": "Paris"}}],
        ),
        (
            "mistral",
            ("choices", 0, "message", "tool_calls"),
            [
                {
                    "id": CALL.id,
                    "type": "function",
                    "function": {"name": CALL.name, "arguments": CALL.arguments_json},
                }
            ],
        ),
        (
            "google",
            ("candidates", 0, "content", "parts", 0, "functionCall"),
            {"name": CALL.name, "args": {"city": "Paris"}},
        ),
    ],
)
def test_tool_calls_have_the_form_of_the_dialect(
    client: httpx.Client,
    sample: Samples,
    server: ProviderServer,
    provider: str,
    path: tuple[str | int, ...],
    expected: object,
) -> None:
    server.script(provider, Reply.tool_calls(CALL))
    found: Any = answer(client, sample(provider))
    for step in path:
        found = found[step]
    assert found == expected


def test_arguments_of_tool_calls_are_streamed_in_pieces(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.tool_calls(CALL, CALL))
    deltas = [
        delta
        for chunk in chunks(client, sample("openai", stream=True))
        if chunk["choices"]
        for delta in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert [delta["index"] for delta in deltas] == [0, 0, 0, 0, 1, 1, 1, 1]
    second = [delta["function"]["arguments"] for delta in deltas if delta["index"] == 1]
    assert "".join(second) == CALL.arguments_json

    server.script("anthropic", Reply.tool_calls(CALL))
    found = chunks(client, sample("anthropic", stream=True))
    pieces = [one["delta"] for one in found if one["type"] == "content_block_delta"]
    assert "".join(piece["partial_json"] for piece in pieces) == CALL.arguments_json
    assert len(pieces) > 2


@pytest.mark.parametrize(
    ("provider", "reasons"),
    [
        ("openai", ("stop", "length", "tool_calls", "something_new")),
        ("mistral", ("stop", "length", "tool_calls", "something_new")),
        ("anthropic", ("end_turn", "max_tokens", "tool_use", "something_new")),
        ("google", ("STOP", "MAX_TOKENS", "STOP", "SOMETHING_NEW")),
    ],
)
def test_finish_reasons_are_those_of_the_dialect(
    client: httpx.Client,
    sample: Samples,
    server: ProviderServer,
    provider: str,
    reasons: tuple[str, ...],
) -> None:
    finish_reasons = (
        FinishReason.STOP,
        FinishReason.LENGTH,
        FinishReason.TOOL_CALLS,
        FinishReason.OTHER,
    )
    server.script(provider, *(Reply.text("So", finish_reason=one) for one in finish_reasons))
    bodies = [answer(client, sample(provider)) for _ in finish_reasons]
    match provider:
        case "anthropic":
            found = [body["stop_reason"] for body in bodies]
        case "google":
            found = [body["candidates"][0]["finishReason"] for body in bodies]
        case _:
            found = [body["choices"][0]["finish_reason"] for body in bodies]
    assert tuple(found) == reasons


def test_reasoning_is_shown_where_the_provider_shows_it(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    reply = Reply.text("Four.", reasoning="Two and two.")
    for provider in (*DIALECTS, "deepseek", "groq"):
        server.script(provider, reply)
    assert "Two and two." not in json.dumps(answer(client, sample("openai")))
    deepseek = answer(client, sample("deepseek"))["choices"][0]["message"]
    assert deepseek["reasoning_content"] == "Two and two."
    assert answer(client, sample("groq"))["choices"][0]["message"]["reasoning"] == "Two and two."
    thinking, text = answer(client, sample("anthropic"))["content"]
    assert (thinking["thinking"], text["text"]) == ("Two and two.", "Four.")
    thought, said = answer(client, sample("google"))["candidates"][0]["content"]["parts"]
    assert (thought, said) == ({"text": "Two and two.", "thought": True}, {"text": "Four."})
    parts = answer(client, sample("mistral"))["choices"][0]["message"]["content"]
    assert [part["type"] for part in parts] == ["thinking", "text"]


def test_refusals_and_filters_have_the_form_of_the_dialect(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    for provider in DIALECTS:
        server.script(provider, Reply.refusal("No."), Reply.filtered("Well"), Reply.blocked())
    choice = answer(client, sample("openai"))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "No.")
    assert answer(client, sample("openai"))["choices"][0]["finish_reason"] == "content_filter"
    assert sample("openai").send(client).json()["error"]["code"] == "invalid_prompt"

    bodies = [answer(client, sample("anthropic")) for _ in range(2)]
    assert [body["stop_reason"] for body in bodies] == ["refusal"] * 2
    assert sample("anthropic").send(client).json()["error"]["type"] == "invalid_request_error"

    bodies = [answer(client, sample("google")) for _ in range(3)]
    assert [body["candidates"][0]["finishReason"] for body in bodies[:2]] == ["SAFETY"] * 2
    assert "candidates" not in bodies[2]
    assert bodies[2]["promptFeedback"]["blockReason"] == "SAFETY"

    assert text_of("mistral", answer(client, sample("mistral"))) == "No."
    assert text_of("mistral", answer(client, sample("mistral"))) == "Well"
    assert sample("mistral").send(client).status_code == 403


def test_openai_streams_a_refusal_beside_the_content(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.refusal("Not this."))
    choices = [one["choices"][0] for one in chunks(client, sample("openai", stream=True))[:-1]]
    refused = [one["delta"]["refusal"] for one in choices if one["delta"].get("refusal")]
    assert refused == ["Not ", "this."]
    assert not any(one["delta"].get("content") for one in choices)


def test_logprobs_come_only_when_asked_for(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    for provider in ("openai", "google"):
        server.always(provider, Reply.text("So it is.", logprob=-0.5))
    plain = sample("openai")
    assert answer(client, plain)["choices"][0]["logprobs"] is None
    plain.body["logprobs"] = True
    content = answer(client, plain)["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["logprob"]) for one in content] == [
        ("So ", -0.5),
        ("it ", -0.5),
        ("is.", -0.5),
    ]
    gemini = sample("google", stream=True)
    assert "avgLogprobs" not in chunks(client, gemini)[0]["candidates"][0]
    gemini.body["generationConfig"] = {"responseLogprobs": True}
    results = [one["candidates"][0]["logprobsResult"] for one in chunks(client, gemini)]
    tokens = [one["token"] for result in results for one in result["chosenCandidates"]]
    assert tokens == ["So ", "it ", "is."]


@pytest.mark.parametrize(
    ("provider", "field"),
    [("openai", "model"), ("mistral", "model"), ("anthropic", "model"), ("google", "modelVersion")],
)
def test_the_served_model_is_the_one_asked_for_unless_the_reply_names_another(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str, field: str
) -> None:
    server.script(provider, Reply.text("A"), Reply.text("B", served_model="model-0"))
    assert answer(client, sample(provider))[field] == "model-1"
    assert answer(client, sample(provider))[field] == "model-0"


def test_json_is_text_that_parses(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.json({"tier": "mid"}))
    assert json.loads(text_of("openai", answer(client, sample("openai")))) == {"tier": "mid"}


def test_anthropic_names_its_events_and_pings(client: httpx.Client, sample: Samples) -> None:
    names = [event.event for event in events(client, sample("anthropic", stream=True))]
    assert names[:4] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
    ]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_gemini_streams_an_array_unless_server_sent_events_are_asked_for(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("google", Reply.text("One two."))
    asked = sample("google", stream=True)
    response = client.post(asked.url.partition("?")[0], json=asked.body, headers=asked.headers)
    assert [text_of("google", one) for one in response.json()] == ["One ", "two."]


def test_azure_takes_the_deployment_from_the_path(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    asked = sample("azure")
    del asked.body["model"]
    url = f"{server.url}/azure/openai/deployments/ours/chat/completions?api-version=2024-10-21"
    response = client.post(url, json=asked.body, headers={"api-key": "k"})
    assert response.json()["model"] == "ours"
    assert server.calls[0].query == {"api-version": "2024-10-21"}


def test_openrouter_sends_comments_that_readers_must_skip(
    client: httpx.Client, sample: Samples
) -> None:
    asked = sample("openrouter", stream=True)
    assert asked.send(client).text.startswith(": OPENROUTER PROCESSING\n\ndata: {")
    assert streamed_text("openrouter", chunks(client, asked))[0] == "You "
