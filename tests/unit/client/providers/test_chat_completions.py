"""Requests and answers in the format of chat completions, whichever server speaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tierwise.answers import Answer, FinishReason, RateHeadroom, Usage
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
from tierwise.errors import InvalidRequestError, ProviderError
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
from tierwise.providers.base import Endpoint, HttpReply
from tierwise.providers.compatible import GENERIC

MODEL = Model(model_id="m", provider_id="mine", upstream_name="up")
ENDPOINT = Endpoint(base_url="http://h/v1")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def body(request: ChatRequest, *, stream: bool = False) -> dict[str, Any]:
    return dict(GENERIC.call(request, MODEL, ENDPOINT, stream=stream).body)


def messages(*given: Message) -> Any:  # noqa: ANN401 - JSON
    return body(ChatRequest(messages=given))["messages"]


def test_plain_request_holds_nothing_that_was_not_asked_for() -> None:
    assert body(ChatRequest(messages=(user("hi"),))) == {
        "model": "up",
        "messages": [{"role": "user", "content": "hi"}],
    }


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"seed": 0}, {"seed": 0}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"logprobs": True}, {"logprobs": True}),
        (
            {"answer_format": AnswerFormat.JSON_OBJECT},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"answer_format": JsonSchema(schema=SCHEMA, description="d", strict=True)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "answer",
                        "schema": SCHEMA,
                        "description": "d",
                        "strict": True,
                    },
                }
            },
        ),
        ({"tool_choice": ToolChoice.AUTO, "parallel_tool_calls": False}, {}),
        (
            {"tools": (Tool(name="t", parameters=SCHEMA),)},
            {
                "tools": [{"type": "function", "function": {"name": "t", "parameters": SCHEMA}}],
            },
        ),
        (
            {
                "tools": (Tool(name="t", parameters=SCHEMA, description="d", strict=False),),
                "tool_choice": NamedTool(name="t"),
                "parallel_tool_calls": False,
            },
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "t",
                            "parameters": SCHEMA,
                            "description": "d",
                            "strict": False,
                        },
                    }
                ],
                "tool_choice": {"type": "function", "function": {"name": "t"}},
                "parallel_tool_calls": False,
            },
        ),
        ({"extras": {"other": {"a": 1}}}, {}),
        (
            {"temperature": 1.0, "extras": {"mine": {"temperature": 2, "a": [1]}}},
            {"temperature": 2, "a": [1]},
        ),
    ],
)
def test_field_is_written(fields: dict[str, Any], written: dict[str, Any]) -> None:
    whole = body(ChatRequest(messages=(user("hi"),), **fields))
    assert {name: whole[name] for name in whole if name not in {"model", "messages"}} == written


@pytest.mark.parametrize("choice", list(ToolChoice))
def test_choice_is_written(choice: ToolChoice) -> None:
    request = ChatRequest(messages=(user("a"),), tools=(Tool(name="t"),), tool_choice=choice)
    assert body(request)["tool_choice"] == choice.value


def test_messages_are_written() -> None:
    call = ToolCall(id="c1", name="t", arguments_json='{"a":1}')
    assert messages(
        system("s"),
        user("look", Image(url="https://x.example/a.png", detail="low")),
        assistant(tool_calls=(call,)),
        tool_result(call, "42"),
        assistant("done", tool_calls=(ToolCall(id="c2", name="t", arguments_json=""),)),
        tool_result("c2", ""),
        Message(role=Role.ASSISTANT, content=(Text("a"), Text("b"))),
    ) == [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://x.example/a.png", "detail": "low"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "t", "arguments": '{"a":1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {
            "role": "assistant",
            "content": "done",
            "tool_calls": [
                {"id": "c2", "type": "function", "function": {"name": "t", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "assistant", "content": "ab"},
    ]


def test_models_own_instructions_come_first() -> None:
    request = ChatRequest(messages=(user("a"),), instructions={"m": "be short", "other": "be long"})
    assert body(request)["messages"][0] == {"role": "system", "content": "be short"}


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.ASSISTANT])
def test_images_are_the_users_alone(role: Role) -> None:
    image = Image(url="https://x.example/a.png")
    request = ChatRequest(messages=(user("a"), Message(role=role, content=(image,)), user("b")))
    with pytest.raises(InvalidRequestError) as caught:
        body(request)
    assert caught.value.field == "messages[1].content[0]"


# Answers ---------------------------------------------------------------------------------------


def reply(content: Any, *, status: int = 200, **headers: str) -> HttpReply:  # noqa: ANN401 - JSON
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HttpReply(status=status, headers=named, content=raw)


def chosen(finish: str | None = "stop", **message: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "up-2026", "choices": [choice]}


def call_of(**function: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"id": "c1", "type": "function", "function": function}


def failed(content: Any) -> ProviderError:  # noqa: ANN401 - JSON
    with pytest.raises(ProviderError) as caught:
        GENERIC.answer(reply(content))
    return caught.value


def test_answer_is_read_whole() -> None:
    content = chosen(content="four", reasoning_content="2+2")
    content["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": -1.5}]}
    content["choices"].insert(0, {"index": 1, "message": {"content": "another"}})
    content["usage"] = {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    answer = GENERIC.answer(
        reply(content, x_request_id="req_1", x_ratelimit_remaining_requests="9")
    )
    assert answer == Answer(
        text="four",
        reasoning="2+2",
        finish_reason=FinishReason.STOP,
        usage=Usage(
            input_tokens=10,
            cached_input_tokens=4,
            cache_write_tokens=2,
            output_tokens=7,
            reasoning_tokens=5,
        ),
        served_model="up-2026",
        request_id="req_1",
        mean_logprob=-1.0,
        headroom=RateHeadroom(remaining_requests=9),
    )


def test_body_names_the_call_where_the_headers_do_not() -> None:
    assert GENERIC.answer(reply(chosen(content="a"))).request_id == "chatcmpl-1"
    assert failed(chosen(content="")).request_id == "chatcmpl-1"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("unheard_of", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_finish_reason_is_read(word: str | None, reason: FinishReason) -> None:
    assert GENERIC.answer(reply(chosen(word, content="a"))).finish_reason is reason


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ({"name": "t", "arguments": '{"a": 1}'}, '{"a": 1}'),
        ({"name": "t", "arguments": ""}, "{}"),
        ({"name": "t", "arguments": "null"}, "{}"),
        ({"name": "t"}, "{}"),
        ({"name": "t", "arguments": {"a": 1}}, '{"a": 1}'),
    ],
)
def test_tool_call_is_read(function: dict[str, Any], arguments: str) -> None:
    answer = GENERIC.answer(reply(chosen("tool_calls", tool_calls=[call_of(**function)])))
    assert answer.tool_calls == (ToolCall(id="c1", name="t", arguments_json=arguments),)


def test_calls_without_ids_get_different_ones() -> None:
    calls = [{"function": {"name": "t", "arguments": "{}"}} for _ in range(2)]
    answer = GENERIC.answer(reply(chosen("tool_calls", tool_calls=calls)))
    assert len({call.id for call in answer.tool_calls} - {""}) == 2


def test_function_call_of_old_is_a_tool_call() -> None:
    content = chosen("function_call", function_call={"name": "t", "arguments": "{}"})
    answer = GENERIC.answer(reply(content))
    assert [call.name for call in answer.tool_calls] == ["t"]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_answer_that_was_cut_while_reasoning_is_whole() -> None:
    content = chosen("length", content="")
    content["usage"] = {"prompt_tokens": 1, "completion_tokens": 9}
    answer = GENERIC.answer(reply(content))
    assert (answer.text, answer.finish_reason) == ("", FinishReason.LENGTH)


def test_call_that_was_cut_keeps_its_broken_arguments() -> None:
    content = chosen("length", tool_calls=[call_of(name="t", arguments='{"a": ')])
    assert GENERIC.answer(reply(content)).tool_calls[0].arguments_json == '{"a": '


@pytest.mark.parametrize(
    "content",
    [
        chosen(content=""),
        chosen(content=None),
        chosen(content="", reasoning="thought about it"),
        chosen("tool_calls", tool_calls=[]),
        chosen(content=3),
        chosen(content={"text": "a"}),
        chosen(tool_calls={}),
        chosen(tool_calls=["t"]),
        chosen(tool_calls=[{"id": "c1"}]),
        chosen(tool_calls=[call_of(arguments="{}")]),
        chosen(tool_calls=[call_of(name="t", arguments=3)]),
        chosen(tool_calls=[call_of(name="t", arguments="{")]),
        chosen(tool_calls=[call_of(name="t", arguments="[1]")]),
        {},
        {"choices": []},
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [{"index": 0, "message": "x"}]},
        {"choices": [{"index": 7, "message": {"content": "a"}, "finish_reason": "stop"}]},
        [],
        None,
        "text",
        b"",
        b"<html>",
        b'{"choices": [',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"choices": ' + b"9" * 5000 + b"}",
    ],
)
def test_answer_that_makes_no_sense_is_malformed(content: Any) -> None:  # noqa: ANN401 - anything
    error = failed(content)
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE
    assert error.status_code == 200


@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        (None, None),
        ("many", None),
        ({"prompt_tokens": "1", "completion_tokens": True}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(output_tokens=2)),
        ({"prompt_tokens": 3.0, "completion_tokens": 1e300}, Usage(input_tokens=3)),
        ({"prompt_tokens": 3, "prompt_tokens_details": [1]}, Usage(input_tokens=3)),
        (
            {"prompt_tokens": 3, "prompt_cache_hit_tokens": 2},
            Usage(input_tokens=3, cached_input_tokens=2),
        ),
    ],
)
def test_usage_is_what_counts_are_given(stated: Any, usage: Usage | None) -> None:  # noqa: ANN401 - anything
    assert GENERIC.answer(reply({**chosen(content="a"), "usage": stated})).usage == usage


def test_withheld_answer_hands_over_what_came_and_was_paid() -> None:
    content = chosen("content_filter", content="Well, ")
    content["usage"] = {"prompt_tokens": 5, "completion_tokens": 2}
    error = failed(content)
    assert error.error_class is ErrorClass.CONTENT_POLICY
    assert error.partial is not None
    assert (error.partial.text, error.partial.finish_reason) == ("Well, ", None)
    assert error.partial.usage == Usage(input_tokens=5, output_tokens=2)


def test_refusal_hands_over_the_models_words() -> None:
    error = failed(chosen(content=None, refusal="I can't."))
    assert error.error_class is ErrorClass.CONTENT_POLICY
    assert error.partial is not None
    assert error.partial.text == "I can't."
    assert "can't" not in str(error)


def test_half_of_a_surrogate_pair_becomes_a_replacement_character() -> None:
    content = b'{"choices": [{"message": {"content": "a\\ud83d"}, "finish_reason": "stop"}]}'
    assert GENERIC.answer(reply(content)).text == "a\ufffd"


def test_failure_holds_neither_key_nor_prompt() -> None:
    said = "Incorrect API key provided: sk-abcdef1234567890; prompt was: tell me a secret"
    error = {"message": said, "type": said, "code": "sk-abcdef1234567890", "param": said}
    with pytest.raises(ProviderError) as caught:
        GENERIC.answer(reply({"error": error}, status=401))
    assert str(caught.value) == (
        "HTTP 401: the provider does not accept the key; check it and its permissions"
    )


def test_failure_inside_a_success_keeps_what_was_paid() -> None:
    content = {
        "id": "gen-1",
        "error": {"code": 502, "message": "Provider returned error"},
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    error = failed(content)
    assert (error.error_class, error.status_code) == (ErrorClass.SERVER_ERROR, 200)
    assert error.partial is not None
    assert error.partial.usage == Usage(input_tokens=5, output_tokens=2)


@pytest.mark.parametrize("status", [204, 302])
def test_response_that_is_neither_answer_nor_error_is_malformed(status: int) -> None:
    error = GENERIC.failure(reply(b"moved", status=status))
    assert (error.error_class, error.status_code) == (ErrorClass.MALFORMED_RESPONSE, status)


def test_answer_where_a_stream_was_due_is_malformed() -> None:
    error = GENERIC.failure(reply(chosen(content="a")))
    assert error.error_class is ErrorClass.MALFORMED_RESPONSE
