"""What is particular to OpenAI's own API."""

from __future__ import annotations

import pytest

from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError
from tierwise.messages import ChatRequest, Tool, ToolCall, assistant, tool_result, user
from tierwise.providers.base import Endpoint
from tierwise.providers.openai import KNOWN, OPENAI

MODEL = Model(model_id="m", provider_id="openai", upstream_name="gpt-x")
ENDPOINT = Endpoint(base_url=OPENAI.base_url, key="sk-secret")


def test_facts() -> None:
    assert KNOWN == (OPENAI,)
    assert (OPENAI.provider_id, OPENAI.key_variable) == ("openai", "OPENAI_API_KEY")


def test_request_goes_to_chat_completions_with_the_key_as_bearer() -> None:
    request = ChatRequest(messages=(user("hello"),), max_output_tokens=5)
    call = OPENAI.provider.call(request, MODEL, ENDPOINT, stream=True)
    assert call.url == "https://api.openai.com/v1/chat/completions"
    assert dict(call.headers) == {"authorization": "Bearer sk-secret"}
    assert dict(call.body) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "hello"}],
        "max_completion_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "secret" not in repr(call)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ChatRequest(messages=(user("a"),), stop=("1", "2", "3", "4", "5")), "stop"),
        (ChatRequest(messages=(user("a"),), tools=(Tool(name="a b"),)), "tools[0].name"),
        (ChatRequest(messages=()), "messages"),
    ],
)
def test_what_it_does_not_take_is_refused(request_: ChatRequest, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        OPENAI.provider.call(request_, MODEL, ENDPOINT, stream=False)
    assert caught.value.field == field


def test_long_ids_of_calls_are_shortened_and_still_match() -> None:
    made_elsewhere = ToolCall(id="x" * 41, name="t", arguments_json="{}")
    request = ChatRequest(
        messages=(
            user("a"),
            assistant(tool_calls=(made_elsewhere,)),
            tool_result(made_elsewhere, "1"),
        )
    )
    body = OPENAI.provider.call(request, MODEL, ENDPOINT, stream=False).body
    call_id = body["messages"][1]["tool_calls"][0]["id"]
    assert len(call_id) <= 40
    assert body["messages"][2]["tool_call_id"] == call_id
