"""Requests as Anthropic's messages API wants them."""

from __future__ import annotations

import json

import pytest

from tierwise.decisions import Model
from tierwise.errors import InvalidRequestError
from tierwise.messages import (
    AnswerFormat,
    ChatRequest,
    Image,
    JsonSchema,
    Message,
    NamedTool,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    assistant,
    system,
    tool_result,
    user,
)
from tierwise.providers.anthropic import ANTHROPIC
from tierwise.providers.base import Endpoint, HttpCall, HttpReply

MODEL = Model(model_id="premium-one", provider_id="anthropic", upstream_name="claude-opus-4-8")
WEATHER = Tool(
    name="weather",
    description="Tells the weather.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
CALL = ToolCall(id="toolu_1", name="weather", arguments_json='{"city": "Ulm"}')
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def call(request: ChatRequest, model: Model = MODEL, *, stream: bool = False) -> HttpCall:
    endpoint = Endpoint(base_url="https://api.anthropic.com", key="sk-ant-secret")
    return ANTHROPIC.provider.call(request, model, endpoint, stream=stream)


def asking(**fields: object) -> ChatRequest:
    return ChatRequest(**{"messages": (user("Hi"),), **fields})


def body(**fields: object) -> dict[str, object]:
    return dict(call(asking(**fields)).body)


def test_plain_request() -> None:
    made = call(asking(max_output_tokens=50))
    assert made.url == "https://api.anthropic.com/v1/messages"
    assert made.headers == {"anthropic-version": "2023-06-01", "x-api-key": "sk-ant-secret"}
    assert made.body == {
        "model": "claude-opus-4-8",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_stream_is_asked_for() -> None:
    assert call(asking(), stream=True).body["stream"] is True


def test_key_is_in_no_repr() -> None:
    assert "sk-ant-secret" not in repr(call(asking()))


def test_no_key_makes_no_header() -> None:
    made = ANTHROPIC.provider.call(asking(), MODEL, Endpoint(base_url="http://x"), stream=False)
    assert "x-api-key" not in made.headers


@pytest.mark.parametrize(
    ("asked", "models", "sent"), [(7, 100, 7), (None, 100, 100), (None, 0, 4096)]
)
def test_output_limit_is_the_requests_else_the_models_else_one_that_all_models_take(
    asked: int | None, models: int, sent: int
) -> None:
    model = Model(
        model_id="m", provider_id="anthropic", upstream_name="u", output_limit_tokens=models
    )
    assert call(asking(max_output_tokens=asked), model).body["max_tokens"] == sent


def test_sampling_and_stops() -> None:
    made = body(temperature=0.5, top_p=0.9, stop=("END",), seed=3)
    assert made["temperature"] == 0.5
    assert made["top_p"] == 0.9
    assert made["stop_sequences"] == ["END"]
    assert "seed" not in made


def test_system_text_goes_in_front_wherever_it_stands() -> None:
    request = ChatRequest(
        messages=(system("Be brief."), user("Hi"), system("Be kind."), user("Well?")),
        instructions={"premium-one": "Think.", "another": "Not this."},
    )
    made = call(request).body
    assert made["system"] == "Think.\n\nBe brief.\n\nBe kind."
    assert [turn["role"] for turn in made["messages"]] == ["user"]
    assert [block["text"] for block in made["messages"][0]["content"]] == ["Hi", "Well?"]


def test_images_by_address_and_by_bytes() -> None:
    made = body(
        messages=(
            user("See", Image(url="https://x/y.png"), Image(data=b"abc", media_type="image/png")),
        )
    )
    assert made["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"},
                },
            ],
        }
    ]


def test_results_of_parallel_calls_and_the_next_question_make_one_turn() -> None:
    second = ToolCall(id="toolu_2", name="weather", arguments_json="{}")
    made = body(
        messages=(
            user("Ulm and Bonn?"),
            assistant("Let me look.", tool_calls=(CALL, second)),
            tool_result(CALL, "sunny"),
            tool_result(second, ""),
            user("And?"),
        )
    )
    assert made["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Ulm and Bonn?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me look."},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "weather",
                    "input": {"city": "Ulm"},
                },
                {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "sunny"}],
                },
                {"type": "tool_result", "tool_use_id": "toolu_2"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_ids_of_other_providers_calls_are_put_into_the_characters_allowed() -> None:
    foreign = ToolCall(id="functions.weather:0", name="weather", arguments_json="{}")
    turns = body(
        messages=(user("?"), assistant(tool_calls=(foreign,)), tool_result(foreign, "sunny"))
    )["messages"]
    assert turns[1]["content"][0]["id"] == "functions_weather_0"
    assert turns[2]["content"][0]["tool_use_id"] == "functions_weather_0"


def test_tools_and_their_strictness() -> None:
    made = body(tools=(WEATHER, Tool(name="now", strict=True)))
    assert made["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {
            "name": "now",
            "input_schema": {"type": "object", "properties": {}},
            "strict": True,
        },
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice.AUTO, None, {"type": "auto"}),
        (ToolChoice.NONE, False, {"type": "none"}),
        (ToolChoice.REQUIRED, False, {"type": "any", "disable_parallel_tool_use": True}),
        (NamedTool(name="weather"), None, {"type": "tool", "name": "weather"}),
    ],
)
def test_choice_of_tool(
    choice: ToolChoice | NamedTool | None, parallel: bool | None, sent: dict[str, object] | None
) -> None:
    made = body(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel)
    assert made.get("tool_choice") == sent


def test_no_choice_of_tool_without_tools() -> None:
    assert "tool_choice" not in body(parallel_tool_calls=False)


def test_answer_by_schema() -> None:
    made = body(answer_format=JsonSchema(schema=SCHEMA))
    assert made["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


def test_extras_go_over_the_body() -> None:
    thinking = {"type": "adaptive"}
    made = body(temperature=0.5, extras={"anthropic": {"thinking": thinking, "temperature": 1}})
    assert made["thinking"] == thinking
    assert made["temperature"] == 1


def test_extras_of_the_output_leave_its_schema_alone() -> None:
    made = body(
        answer_format=JsonSchema(schema=SCHEMA),
        extras={"anthropic": {"output_config": {"effort": "low"}}},
    )
    assert made["output_config"] == {
        "format": {"type": "json_schema", "schema": SCHEMA},
        "effort": "low",
    }


def test_extras_of_other_providers_stay_out() -> None:
    assert "logit_bias" not in body(extras={"openai": {"logit_bias": {}}})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"answer_format": AnswerFormat.JSON_OBJECT}, "answer_format"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": (user("Hi"), user(""))}, "messages[1].content"),
        ({"messages": (user(Text("")),)}, "messages[0].content"),
        (
            {
                "messages": (
                    user("Hi"),
                    Message(role=Role.ASSISTANT, content=(Text("So"), Image(url="https://x"))),
                ),
                "instructions": {"premium-one": "Think."},
            },
            "messages[1].content[1]",
        ),
        (
            {"messages": (Message(role=Role.SYSTEM, content=(Image(url="https://x"),)),)},
            "messages[0].content[0]",
        ),
    ],
)
def test_what_the_api_does_not_have_is_refused(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        call(asking(**fields))
    assert caught.value.field == field


def test_images_in_results_are_taken() -> None:
    result = Message(
        role=Role.TOOL, tool_call_id="toolu_1", content=(Image(url="https://x/y.png"),)
    )
    turns = body(messages=(user("?"), assistant(tool_calls=(CALL,)), result))["messages"]
    assert turns[2]["content"][0]["content"][0]["type"] == "image"


REASONED = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": [
        {"type": "thinking", "thinking": "Two cities.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}},
        {"type": "thinking", "thinking": "And Bonn.", "signature": "c2ln2"},
        {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Bonn"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def turn_of_reasoned() -> Message:
    content = json.dumps(REASONED).encode()
    return ANTHROPIC.provider.answer(HttpReply(status=200, headers={}, content=content)).message


def test_reasoning_goes_back_with_its_calls_unchanged_and_in_place() -> None:
    turn = turn_of_reasoned()
    results = (tool_result(one, "sunny") for one in turn.tool_calls)
    turns = body(messages=(user("?"), turn, *results))["messages"]
    assert turns[1] == {"role": "assistant", "content": REASONED["content"]}


def test_reasoning_leads_a_turn_that_the_caller_has_changed() -> None:
    turn = turn_of_reasoned()
    changed = assistant("Well.", tool_calls=turn.tool_calls[:1])
    turns = body(messages=(user("?"), changed, tool_result("toolu_1", "sunny")))["messages"]
    blocks = turns[1]["content"]
    assert [block["type"] for block in blocks] == [
        "thinking",
        "redacted_thinking",
        "thinking",
        "text",
        "tool_use",
    ]
    assert blocks[3]["text"] == "Well."


def test_foreign_or_spoilt_state_of_a_call_is_left_out() -> None:
    for state in ({"google": {"thoughtSignature": "x"}}, {"anthropic": {"content": [1]}}):
        kept = ToolCall(id="a", name="weather", arguments_json="{}", provider_state=state)
        turns = body(
            messages=(user("?"), assistant(tool_calls=(kept,)), tool_result("a", "sunny"))
        )["messages"]
        assert [block["type"] for block in turns[1]["content"]] == ["tool_use"]
