"""What is particular to Mistral."""

from __future__ import annotations

import json
import re

import pytest

from tierwise.answers import FinishReason, ReasoningDelta, TextDelta
from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError
from tierwise.messages import (
    ChatRequest,
    Message,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
    assistant,
    tool_result,
    user,
)
from tierwise.providers.base import Endpoint, HttpReply, StreamEvent
from tierwise.providers.mistral import MISTRAL

MODEL = Model(model_id="m", provider_id="mistral", upstream_name="mistral-x")
ENDPOINT = Endpoint(base_url=MISTRAL.base_url, key="k")
CALL = ToolCall(id="call_made_by_another", name="t", arguments_json="{}")
CALLED = (user("a"), assistant(tool_calls=(CALL,)), tool_result(CALL, "1"))


def test_fields_have_mistrals_names() -> None:
    request = ChatRequest(
        messages=(user("a"),),
        tools=(Tool(name="t"),),
        tool_choice=ToolChoice.REQUIRED,
        max_output_tokens=5,
        seed=7,
    )
    body = MISTRAL.provider.call(request, MODEL, ENDPOINT, stream=True).body
    assert body["tool_choice"] == "any"
    assert body["max_tokens"] == 5
    assert body["random_seed"] == 7
    assert "stream_options" not in body


def test_ids_of_calls_are_of_nine_letters_and_digits() -> None:
    body = MISTRAL.provider.call(ChatRequest(messages=CALLED), MODEL, ENDPOINT, stream=False).body
    call_id = body["messages"][1]["tool_calls"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", call_id)
    assert body["messages"][2]["tool_call_id"] == call_id

    own = ToolCall(id="Df1cqWOle", name="t", arguments_json="{}")
    request = ChatRequest(messages=(user("a"), assistant(tool_calls=(own,)), tool_result(own, "1")))
    body = MISTRAL.provider.call(request, MODEL, ENDPOINT, stream=False).body
    assert body["messages"][1]["tool_calls"][0]["id"] == "Df1cqWOle"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ((*CALLED, user("b")), "messages[3].role"),
        ((user("a"), assistant("b")), "messages[1].role"),
        ((user("a"), Message(role=Role.ASSISTANT), user("b")), "messages[1].content"),
    ],
    ids=["user after tool", "assistant last", "assistant empty"],
)
def test_order_that_it_does_not_take_is_refused(messages: tuple[Message, ...], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        MISTRAL.provider.call(ChatRequest(messages=messages), MODEL, ENDPOINT, stream=False)
    assert caught.value.field == field


def test_log_probabilities_are_refused() -> None:
    request = ChatRequest(messages=(user("a"),), logprobs=True)
    with pytest.raises(InvalidRequestError) as caught:
        MISTRAL.provider.call(request, MODEL, ENDPOINT, stream=False)
    assert caught.value.field == "logprobs"


THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
    {"type": "text", "text": "4"},
]


def test_thinking_is_apart_from_the_text() -> None:
    body = {
        "id": "1",
        "model": "magistral",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": THINKING, "tool_calls": None},
                "finish_reason": "model_length",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "num_cached_tokens": 1},
    }
    reply = HttpReply(
        status=200,
        headers={"mistral-correlation-id": "corr"},
        content=json.dumps(body).encode(),
    )
    answer = MISTRAL.provider.answer(reply)
    assert (answer.text, answer.reasoning) == ("4", "Hm.")
    assert answer.finish_reason is FinishReason.LENGTH
    assert answer.request_id == "corr"
    assert answer.usage is not None
    assert answer.usage.cached_input_tokens == 1


def test_thinking_is_streamed_as_reasoning() -> None:
    reader = MISTRAL.provider.reader({})
    chunk = {"choices": [{"index": 0, "delta": {"content": THINKING}, "finish_reason": "stop"}]}
    deltas = reader.feed(StreamEvent(json.dumps(chunk)))
    assert deltas == (ReasoningDelta("Hm."), TextDelta("4"))
    reader.feed(StreamEvent("[DONE]"))
    assert reader.end().text == "4"
