"""The client's own adapters read what the test server writes, each failure as its class."""

from __future__ import annotations

import httpx
import pytest
from httpx_sse import EventSource
from tests.unit.client.testing.conftest import COMPATIBLE, DIALECTS, KEY

from tierwise.answers import Answer, FinishReason, Usage
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import (
    ChatRequest,
    Tool,
    ToolCall,
    assistant,
    system,
    tool_result,
    user,
)
from tierwise.providers.base import Endpoint, HttpReply, StreamEvent
from tierwise.providers.registry import KNOWN
from tierwise.testing import ProviderServer, Reply

PROVIDERS = (*DIALECTS, *COMPATIBLE)
CALL = ToolCall(id="abcdefghi", name="get_weather", arguments_json='{"city": "Paris"}')
USAGE = Usage(input_tokens=100, cached_input_tokens=60, output_tokens=50)
REQUEST = ChatRequest(
    messages=(system("Be brief."), user("What is the weather in Paris?")),
    tools=(Tool(name="get_weather"),),
    max_output_tokens=100,
)

# What no provider answers, or answers in a way of its own that another test covers.
ERROR_CLASSES = tuple(
    one
    for one in ErrorClass
    if one not in {ErrorClass.CONNECTION, ErrorClass.CANCELLED, ErrorClass.REJECTED_BY_VALIDATOR}
)


class Caller:
    """Calls one provider through its adapter, as a transport would."""

    def __init__(self, server: ProviderServer, client: httpx.Client, provider: str) -> None:
        self._client = client
        self._adapter = KNOWN[provider].provider
        self._model = Model(model_id="m", provider_id=provider, upstream_name="model-1")
        self._endpoint = Endpoint(base_url=server.base_url(provider), key=KEY)

    def answer(self, request: ChatRequest = REQUEST) -> Answer:
        """Calls without streaming."""
        call = self._adapter.call(request, self._model, self._endpoint, stream=False)
        response = self._client.post(call.url, headers=call.headers, json=call.body)
        return self._adapter.answer(_reply(response))

    def stream(self, request: ChatRequest = REQUEST) -> Answer:
        """Calls with streaming and reads to the end."""
        call = self._adapter.call(request, self._model, self._endpoint, stream=True)
        with self._client.stream(
            "POST", call.url, headers=call.headers, json=call.body
        ) as response:
            if "text/event-stream" not in response.headers["content-type"]:
                response.read()
                raise self._adapter.failure(_reply(response))
            reader = self._adapter.reader(response.headers)
            for event in EventSource(response).iter_sse():
                reader.feed(StreamEvent(event.data, event.event))
            return reader.end()


def _reply(response: httpx.Response) -> HttpReply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpReply(status=response.status_code, headers=headers, content=response.content)


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def caller(server: ProviderServer, client: httpx.Client, provider: str) -> Caller:
    return Caller(server, client, provider)


def test_text_usage_and_served_model_are_read(
    server: ProviderServer, caller: Caller, provider: str
) -> None:
    server.always(provider, Reply.text("It is sunny.", usage=USAGE, served_model="model-0"))
    for answer in (caller.answer(), caller.stream()):
        assert answer.text == "It is sunny."
        assert answer.finish_reason is FinishReason.STOP
        assert answer.served_model == "model-0"
        assert answer.usage == USAGE
    ids = [caller.answer().request_id for _ in range(2)]
    assert ids == [call.request_id for call in server.calls[-2:]]


def test_tool_calls_are_read_and_their_results_taken(
    server: ProviderServer, caller: Caller, provider: str
) -> None:
    server.script(provider, Reply.tool_calls(CALL, text="So:"), Reply.tool_calls(CALL, text="So:"))
    for answer in (caller.answer(), caller.stream()):
        assert answer.finish_reason is FinishReason.TOOL_CALLS
        assert answer.text == "So:"
        assert [(call.name, call.arguments) for call in answer.tool_calls] == [
            (CALL.name, {"city": "Paris"})
        ]
        turns = (*REQUEST.messages, answer.message, tool_result(answer.tool_calls[0], "sunny"))
        follow_up = ChatRequest(messages=turns, tools=REQUEST.tools, max_output_tokens=100)
        assert caller.answer(follow_up).text == "You said: What is the weather in Paris?"
        turned = (*turns, assistant("It is sunny."), user("And Rome?"))
        follow_up = ChatRequest(messages=turned, tools=REQUEST.tools, max_output_tokens=100)
        assert "And Rome?" in caller.answer(follow_up).text


def test_an_answer_cut_for_its_length_is_read(
    server: ProviderServer, caller: Caller, provider: str
) -> None:
    server.always(provider, Reply.text("It is", finish_reason=FinishReason.LENGTH))
    assert caller.answer().finish_reason is FinishReason.LENGTH
    assert caller.stream().finish_reason is FinishReason.LENGTH


def test_reasoning_is_kept_apart(server: ProviderServer, caller: Caller, provider: str) -> None:
    server.always(provider, Reply.text("Sunny.", reasoning="It is July."))
    shown = "" if provider in {"openai", "azure"} else "It is July."
    for answer in (caller.answer(), caller.stream()):
        assert (answer.text, answer.reasoning) == ("Sunny.", shown)


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_failures_are_read_as_their_class(
    server: ProviderServer, caller: Caller, provider: str, error_class: ErrorClass
) -> None:
    server.always(provider, Reply.error(error_class))
    for call in (caller.answer, caller.stream):
        with pytest.raises(ProviderError) as caught:
            call()
        assert caught.value.error_class is error_class


def test_the_wait_that_the_provider_asks_for_is_read(
    server: ProviderServer, caller: Caller, provider: str
) -> None:
    server.script(provider, Reply.error(ErrorClass.RATE_LIMITED, retry_after_s=0.25))
    with pytest.raises(ProviderError) as caught:
        caller.answer()
    assert caught.value.retry_after_s == 0.25


@pytest.mark.parametrize(
    "reply", [Reply.refusal(), Reply.filtered("It"), Reply.blocked()], ids=lambda _: ""
)
def test_content_policy_is_read_where_the_provider_states_it(
    server: ProviderServer, caller: Caller, provider: str, reply: Reply
) -> None:
    server.always(provider, reply)
    if provider == "mistral" and reply != Reply.blocked():
        assert caller.answer().text == caller.stream().text
        return
    for call in (caller.answer, caller.stream):
        with pytest.raises(ProviderError) as caught:
            call()
        assert caught.value.error_class is ErrorClass.CONTENT_POLICY


@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        (Reply.text("A b c").failing(ErrorClass.OVERLOADED, after_events=2), ErrorClass.OVERLOADED),
        (Reply.text("A b c").malformed(after_events=2), ErrorClass.MALFORMED_RESPONSE),
        (Reply.text("A b c").cut(after_events=2, clean=True), ErrorClass.CONNECTION),
    ],
    ids=["error event", "malformed event", "clean cut"],
)
def test_broken_streams_never_end_clean(
    server: ProviderServer,
    caller: Caller,
    provider: str,
    reply: Reply,
    error_class: ErrorClass,
) -> None:
    server.script(provider, reply)
    with pytest.raises(ProviderError) as caught:
        caller.stream()
    assert caught.value.error_class is error_class


def test_an_empty_stream_is_a_failure(
    server: ProviderServer, caller: Caller, provider: str
) -> None:
    server.script(provider, Reply.empty_stream())
    with pytest.raises(ProviderError) as caught:
        caller.stream()
    assert caught.value.error_class is ErrorClass.MALFORMED_RESPONSE


def test_an_assistant_s_turn_can_be_sent_back(caller: Caller) -> None:
    turns = (user("Hi."), assistant("Hello."), user("And?"))
    request = ChatRequest(messages=turns, max_output_tokens=10)
    assert caller.answer(request).text == "You said: And?"
