"""Requests that no provider takes are refused, with the path of what is wrong."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tierwise.errors import InvalidRequestError
from tierwise.messages import (
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
from tierwise.request_checks import check_request

CALL = ToolCall(id="c1", name="look_up", arguments_json='{"word": "x"}')
OTHER = ToolCall(id="c2", name="look_up", arguments_json="")
TOOL = Tool(
    name="look_up",
    parameters={
        "type": "object",
        "properties": {"word": {"type": ["string", "null"]}, "any": True},
        "required": ["word"],
        "$defs": {"x": {"anyOf": [{"type": "array", "items": {"type": "integer"}}]}},
    },
)


def request(*messages: Message, **fields: Any) -> ChatRequest:  # noqa: ANN401 - any field
    return ChatRequest(messages=messages or (user("hello"),), **fields)


@pytest.mark.parametrize(
    "good",
    [
        request(),
        request(system("be short"), user("a", Image(url="https://x.example/a.png"))),
        request(user("a"), assistant("b"), user("c")),
        request(user("a"), assistant("b")),
        request(user("a"), assistant(tool_calls=(CALL,)), tool_result(CALL, "")),
        request(
            user("a"),
            assistant("thinking", tool_calls=(CALL, OTHER)),
            tool_result(OTHER, "2"),
            tool_result(CALL, "1"),
            user("go on"),
        ),
        request(tools=(TOOL, Tool(name="now")), tool_choice=NamedTool(name="now")),
        request(tool_choice=ToolChoice.NONE),
        request(answer_format=JsonSchema(schema={"type": "object"})),
        request(temperature=0.0, top_p=1.0, max_output_tokens=1, stop=("END",)),
        request(extras={"openai": {"service_tier": "flex"}}),
    ],
)
def test_good_request_passes(good: ChatRequest) -> None:
    check_request(good)


def with_schema(schema: Any) -> ChatRequest:  # noqa: ANN401 - anything
    return request(tools=(Tool(name="t", parameters=schema),))


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"p": schema}}
    return schema


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (ChatRequest(messages=()), "messages"),
        (request(Message(role="user", content="a")), "messages[0].role"),  # type: ignore[arg-type]
        (request(Message(role=Role.USER, content=3)), "messages[0].content"),  # type: ignore[arg-type]
        (
            request(Message(role=Role.USER, content=(Text("a"), "b"))),  # type: ignore[arg-type]
            "messages[0].content[1]",
        ),
        (request(user("half \ud800")), "messages[0].content"),
        (request(user("a", Text("half \ud800"))), "messages[0].content[1].text"),
        (request(user("a"), Message(role=Role.TOOL, content="1")), "messages[1].tool_call_id"),
        (request(user("a"), tool_result("c1", "1")), "messages[1].tool_call_id"),
        (
            request(user("a"), assistant(tool_calls=(CALL,)), tool_result("c9", "1")),
            "messages[2].tool_call_id",
        ),
        (
            request(
                user("a"),
                assistant(tool_calls=(CALL,)),
                tool_result(CALL, "1"),
                tool_result(CALL, "1"),
            ),
            "messages[3].tool_call_id",
        ),
        (request(user("a"), assistant(tool_calls=(CALL,))), "messages[1].tool_calls[0]"),
        (
            request(user("a"), assistant(tool_calls=(CALL, OTHER)), tool_result(CALL, "1")),
            "messages[1].tool_calls[1]",
        ),
        (
            request(user("a"), assistant(tool_calls=(CALL,)), user("b")),
            "messages[1].tool_calls[0]",
        ),
        (
            request(user("a"), assistant(tool_calls=(CALL, CALL))),
            "messages[1].tool_calls[1].id",
        ),
        (
            request(Message(role=Role.USER, content="a", tool_calls=(CALL,))),
            "messages[0].tool_calls",
        ),
        (
            request(Message(role=Role.USER, content="a", tool_call_id="c1")),
            "messages[0].tool_call_id",
        ),
        (
            request(
                user("a"), assistant(tool_calls=(ToolCall(id="", name="t", arguments_json=""),))
            ),
            "messages[1].tool_calls[0].id",
        ),
        (
            request(
                user("a"), assistant(tool_calls=(ToolCall(id="c", name="t", arguments_json='{"a'),))
            ),
            "messages[1].tool_calls[0].arguments_json",
        ),
        (
            request(
                user("a"), assistant(tool_calls=(ToolCall(id="c", name="t", arguments_json="[1]"),))
            ),
            "messages[1].tool_calls[0].arguments_json",
        ),
        (request(tools=(Tool(name=""),)), "tools[0].name"),
        (request(tools=(TOOL, TOOL)), "tools[1].name"),
        (with_schema({"type": "string"}), "tools[0].parameters.type"),
        (with_schema({}), "tools[0].parameters.type"),
        (with_schema([]), "tools[0].parameters"),
        (with_schema({"type": "objekt"}), "tools[0].parameters.type"),
        (with_schema({"type": "object", "properties": []}), "tools[0].parameters.properties"),
        (with_schema({"type": "object", "required": "a"}), "tools[0].parameters.required"),
        (
            with_schema({"type": "object", "properties": {"a": "string"}}),
            "tools[0].parameters.properties.a",
        ),
        (
            with_schema({"type": "object", "properties": {"a": {"items": {"type": 3}}}}),
            "tools[0].parameters.properties.a.items.type",
        ),
        (
            with_schema({"type": "object", "anyOf": [{"type": "x"}]}),
            "tools[0].parameters.anyOf[0].type",
        ),
        (with_schema({"type": "object", "default": float("nan")}), "tools[0].parameters"),
        (with_schema({"type": "object", "default": object()}), "tools[0].parameters"),
        (with_schema(nested(65)), "tools[0].parameters"),
        (request(tools=(TOOL,), tool_choice=NamedTool(name="other")), "tool_choice"),
        (request(tool_choice=ToolChoice.REQUIRED), "tool_choice"),
        (
            request(answer_format=JsonSchema(schema={"type": "object"}, name="two words")),
            "answer_format.name",
        ),
        (request(answer_format=JsonSchema(schema={"type": 1})), "answer_format.schema.type"),
        (request(max_output_tokens=0), "max_output_tokens"),
        (request(temperature=-0.5), "temperature"),
        (request(temperature=float("nan")), "temperature"),
        (request(temperature=2.1), "temperature"),
        (request(top_p=1.1), "top_p"),
        (request(stop=("a", "")), "stop[1]"),
        (request(instructions={"m": "half \ud800"}), "instructions['m']"),
        (request(extras={"openai": {"x": {1, 2}}}), "extras['openai']"),
    ],
)
def test_bad_request_is_refused_with_its_place(bad: ChatRequest, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_request(bad)
    assert caught.value.field == field


def test_refusal_does_not_hold_the_prompt() -> None:
    secret = "the secret plan"  # noqa: S105 - no password
    bad = request(user(f"{secret} \ud800"))
    with pytest.raises(InvalidRequestError) as caught:
        check_request(bad)
    error: BaseException | None = caught.value
    assert secret not in str(error)
    assert secret.encode() not in pickle.dumps(error)
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__
