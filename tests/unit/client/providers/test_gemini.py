"""Requests as Gemini's generateContent API wants them."""

from __future__ import annotations

import base64

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
from tierwise.providers.base import Endpoint, HttpCall
from tierwise.providers.gemini import GOOGLE

MODEL = Model(model_id="mid-one", provider_id="google", upstream_name="gemini-3-flash-preview")
BASE = "https://generativelanguage.googleapis.com"
UNSIGNED = base64.b64encode(b"skip_thought_signature_validator").decode()
WEATHER = Tool(
    name="weather",
    description="Tells the weather.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
SIGNED = ToolCall(
    id="call_1",
    name="weather",
    arguments_json='{"city": "Ulm"}',
    provider_state={"google": {"thoughtSignature": "c2ln"}},
)
SECOND = ToolCall(id="call_2", name="now", arguments_json="{}")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def call(
    request: ChatRequest, model: Model = MODEL, *, base_url: str = BASE, stream: bool = False
) -> HttpCall:
    endpoint = Endpoint(base_url=base_url, key="AIza-secret")
    return GOOGLE.provider.call(request, model, endpoint, stream=stream)


def asking(**fields: object) -> ChatRequest:
    return ChatRequest(**{"messages": (user("Hi"),), **fields})


def body(**fields: object) -> dict[str, object]:
    return dict(call(asking(**fields)).body)


def test_plain_request() -> None:
    made = call(asking())
    assert made.url == f"{BASE}/v1beta/models/gemini-3-flash-preview:generateContent"
    assert made.headers == {"x-goog-api-key": "AIza-secret"}
    assert made.body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_stream_is_asked_for_as_events() -> None:
    made = call(asking(), stream=True)
    assert made.url.endswith("/gemini-3-flash-preview:streamGenerateContent?alt=sse")


def test_key_is_in_no_repr() -> None:
    assert "AIza-secret" not in repr(call(asking()))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-2.5-pro", "v1beta/models/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "v1beta/models/gemini-2.5-pro"),
        ("tunedModels/mine", "v1beta/tunedModels/mine"),
        ("a b?c", "v1beta/models/a%20b%3Fc"),
    ],
)
def test_path_of_a_model(name: str, path: str) -> None:
    model = Model(model_id="m", provider_id="google", upstream_name=name)
    assert call(asking(), model).url == f"{BASE}/{path}:generateContent"


def test_project_of_vertex_is_called_with_a_token() -> None:
    base_url = "https://aiplatform.googleapis.com/v1/projects/p/locations/global"
    made = call(asking(), base_url=base_url)
    assert made.url == (
        f"{base_url}/publishers/google/models/gemini-3-flash-preview:generateContent"
    )
    assert made.headers == {"authorization": "Bearer AIza-secret"}


def test_no_key_makes_no_header() -> None:
    made = GOOGLE.provider.call(asking(), MODEL, Endpoint(base_url="http://x"), stream=False)
    assert made.headers == {}


def test_sampling_and_stops() -> None:
    made = body(
        max_output_tokens=7, temperature=0.0, top_p=0.9, seed=3, stop=("END",), logprobs=True
    )
    assert made["generationConfig"] == {
        "maxOutputTokens": 7,
        "temperature": 0.0,
        "topP": 0.9,
        "seed": 3,
        "stopSequences": ["END"],
        "responseLogprobs": True,
    }


def test_system_text_goes_in_front_wherever_it_stands() -> None:
    request = ChatRequest(
        messages=(system("Be brief."), user("Hi"), assistant("Yes?"), system("Be kind.")),
        instructions={"mid-one": "Think.", "another": "Not this."},
    )
    made = call(request).body
    assert made["systemInstruction"] == {
        "parts": [{"text": "Think."}, {"text": "Be brief."}, {"text": "Be kind."}]
    }
    assert [turn["role"] for turn in made["contents"]] == ["user", "model"]


def test_images_by_address_and_by_bytes() -> None:
    made = body(
        messages=(
            user(
                Image(url="https://x/y.png?z=1"),
                Image(url="https://x/y"),
                Image(data=b"abc", media_type="image/webp"),
            ),
        )
    )
    assert made["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "https://x/y.png?z=1", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://x/y"}},
        {"inlineData": {"mimeType": "image/webp", "data": "YWJj"}},
    ]


def test_turn_that_says_nothing_stays_a_turn() -> None:
    made = body(messages=(user("Hi"), assistant("", tool_calls=()), user("")))
    assert [turn["parts"] for turn in made["contents"]] == [
        [{"text": "Hi"}],
        [{"text": ""}],
        [{"text": ""}],
    ]


def test_results_of_parallel_calls_make_a_turn_of_their_own() -> None:
    made = body(
        messages=(
            user("Ulm?"),
            assistant("Let me look.", tool_calls=(SIGNED, SECOND)),
            tool_result(SIGNED, '{"sky": "blue"}'),
            tool_result(SECOND, "noon"),
            user("And?"),
        )
    )
    assert made["contents"] == [
        {"role": "user", "parts": [{"text": "Ulm?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Let me look."},
                {
                    "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Ulm"}},
                    "thoughtSignature": "c2ln",
                },
                {"functionCall": {"id": "call_2", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "call_1",
                        "name": "weather",
                        "response": {"sky": "blue"},
                    }
                },
                {
                    "functionResponse": {
                        "id": "call_2",
                        "name": "now",
                        "response": {"result": "noon"},
                    }
                },
            ],
        },
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


def test_same_id_in_two_turns_names_the_function_of_its_own_turn() -> None:
    again = ToolCall(id="call_1", name="now", arguments_json="{}")
    turns = body(
        messages=(
            user("?"),
            assistant(tool_calls=(SIGNED,)),
            tool_result(SIGNED, "sunny"),
            assistant(tool_calls=(again,)),
            tool_result(again, "noon"),
        )
    )["contents"]
    assert turns[2]["parts"][0]["functionResponse"]["name"] == "weather"
    assert turns[4]["parts"][0]["functionResponse"]["name"] == "now"


@pytest.mark.parametrize("text", ["NaN", '{"a": NaN}', "[1]", "", "[" * 100_000])
def test_result_that_is_no_object_is_put_into_one(text: str) -> None:
    turns = body(messages=(user("?"), assistant(tool_calls=(SIGNED,)), tool_result(SIGNED, text)))[
        "contents"
    ]
    assert turns[2]["parts"][0]["functionResponse"]["response"] == {"result": text}


def test_images_in_results_are_taken() -> None:
    result = Message(
        role=Role.TOOL,
        tool_call_id="call_1",
        content=(Text("See"), Image(data=b"abc", media_type="image/png")),
    )
    turns = body(messages=(user("?"), assistant(tool_calls=(SIGNED,)), result))["contents"]
    assert turns[2]["parts"][0]["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "YWJj"}}
    ]


@pytest.mark.parametrize("state", [{}, {"anthropic": {"content": []}}, {"google": "x"}])
def test_calls_that_gemini_did_not_make_are_marked_so(state: dict[str, object]) -> None:
    foreign = ToolCall(id="toolu_1", name="weather", arguments_json="{}", provider_state=state)
    turns = body(
        messages=(
            user("?"),
            assistant(tool_calls=(foreign, SECOND)),
            tool_result(foreign, ""),
            tool_result(SECOND, ""),
        )
    )["contents"]
    assert [part.get("thoughtSignature") for part in turns[1]["parts"]] == [UNSIGNED, None]


def test_tools() -> None:
    assert body(tools=(WEATHER, Tool(name="now", strict=True)))["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "Tells the weather.",
                    "parametersJsonSchema": WEATHER.parameters,
                },
                {
                    "name": "now",
                    "description": "",
                    "parametersJsonSchema": {"type": "object", "properties": {}},
                },
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice.AUTO, {"mode": "AUTO"}),
        (ToolChoice.NONE, {"mode": "NONE"}),
        (ToolChoice.REQUIRED, {"mode": "ANY"}),
        (NamedTool(name="weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_choice_of_tool(choice: ToolChoice | NamedTool, sent: dict[str, object]) -> None:
    made = body(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=True)
    assert made["toolConfig"] == {"functionCallingConfig": sent}


def test_no_choice_of_tool() -> None:
    assert "toolConfig" not in body(tools=(WEATHER,))


def test_answer_in_json() -> None:
    assert body(answer_format=AnswerFormat.JSON_OBJECT)["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert body(answer_format=JsonSchema(schema=SCHEMA))["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


def test_extras_go_over_the_body_and_leave_other_settings_alone() -> None:
    extras = {
        "safetySettings": [],
        "generationConfig": {"temperature": 1, "thinkingConfig": {"thinkingBudget": 0}},
    }
    made = body(max_output_tokens=7, temperature=0.5, extras={"google": extras, "openai": {"n": 2}})
    assert made["safetySettings"] == []
    assert made["generationConfig"] == {
        "maxOutputTokens": 7,
        "temperature": 1,
        "thinkingConfig": {"thinkingBudget": 0},
    }
    assert "n" not in made


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"stop": tuple("abcdef")}, "stop"),
        (
            {
                "messages": (
                    user("Hi"),
                    Message(role=Role.ASSISTANT, content=(Text("So"), Image(url="https://x"))),
                )
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
