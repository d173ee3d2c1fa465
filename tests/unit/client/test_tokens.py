"""Rough counts of what a request's input comes to."""

from __future__ import annotations

from tierwise.messages import (
    ChatRequest,
    Image,
    Message,
    Tool,
    ToolCall,
    assistant,
    tool_result,
    user,
)
from tierwise.tokens import input_tokens, unshown_tokens


def request(*turns: Message, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    return ChatRequest(messages=turns, tools=tools)


def test_text_counts_by_its_script() -> None:
    assert input_tokens(request(user("x" * 4000))) == 1000
    assert input_tokens(request(user("\N{CJK UNIFIED IDEOGRAPH-4F60}" * 100))) == 100
    assert unshown_tokens(request(user("x" * 4000))) == 0


def test_what_the_router_is_not_shown_comes_on_top() -> None:
    tool = Tool(name="look", description="z" * 400)
    assert unshown_tokens(request(user("hello"), tools=(tool,))) >= 100
    call = ToolCall(id="1", name="look", arguments_json='{"at": "' + "y" * 400 + '"}')
    turns = (user("hello"), assistant(tool_calls=(call,)), tool_result(call, ""))
    assert unshown_tokens(request(*turns)) >= 100
    picture = Image(data=b"...", media_type="image/png")
    assert unshown_tokens(request(user("hello", picture, picture))) == 2000
