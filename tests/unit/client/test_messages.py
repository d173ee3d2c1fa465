"""What a request is made of."""

from __future__ import annotations

import pytest

from tierwise.answers import Answer, FinishReason
from tierwise.errors import InvalidRequestError
from tierwise.messages import (
    ChatRequest,
    Image,
    Message,
    Role,
    Text,
    ToolCall,
    assistant,
    system,
    tool_result,
    user,
)

PICTURE = Image(data=b"\x00\xff", media_type="image/png")


def test_makers_set_role_and_content() -> None:
    assert system("s") == Message(role=Role.SYSTEM, content="s")
    assert user("u") == Message(role=Role.USER, content="u")
    assert assistant("a") == Message(role=Role.ASSISTANT, content="a")
    call = ToolCall(id="c", name="n", arguments_json="{}")
    assert assistant(tool_calls=(call,)).tool_calls == (call,)
    assert tool_result(call, "r") == tool_result("c", "r")
    assert tool_result(call, "r") == Message(role=Role.TOOL, content="r", tool_call_id="c")


def test_text_and_pictures_keep_their_order() -> None:
    message = user("a", PICTURE, Text("b"))
    assert message.parts == (Text("a"), PICTURE, Text("b"))
    assert message.text == "ab"
    assert user(PICTURE).parts == (PICTURE,)


def test_content_that_is_text_is_one_part_or_none() -> None:
    assert (user("a").parts, user("a").text) == ((Text("a"),), "a")
    assert (user("").parts, user("").text) == ((), "")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"url": "https://x.test/a.png", "data": b"x", "media_type": "image/png"},
        {"data": b"x"},
        {"data": b"x", "media_type": ""},
    ],
)
def test_a_picture_is_given_once_and_with_its_type(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match="image"):
        Image(**fields)  # type: ignore[arg-type]


def test_a_pictures_bytes_are_in_base64_and_not_in_its_repr() -> None:
    assert PICTURE.base64 == "AP8="
    assert Image(url="https://x.test/a.png").base64 == ""
    assert "xff" not in repr(PICTURE)


@pytest.mark.parametrize(("text", "parsed"), [("", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]})])
def test_arguments_are_parsed(text: str, parsed: dict[str, object]) -> None:
    assert ToolCall(id="c", name="n", arguments_json=text).arguments == parsed


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"a": ', "x"])
def test_arguments_that_are_no_object_are_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ToolCall(id="c", name="n", arguments_json=text).arguments  # noqa: B018 - parses them


def test_a_model_gets_its_own_instructions_and_no_others() -> None:
    request = ChatRequest(messages=(user("u"),), instructions={"one": "be brief", "two": ""})
    assert request.messages_for("one") == (system("be brief"), user("u"))
    assert request.messages_for("two") == (user("u"),)
    assert request.messages_for("three") == (user("u"),)


def test_an_answer_is_a_turn_to_go_on_from() -> None:
    call = ToolCall(id="c", name="n", arguments_json="{}")
    answer = Answer(text="t", tool_calls=(call,), finish_reason=FinishReason.TOOL_CALLS)
    assert answer.message == assistant("t", tool_calls=(call,))
