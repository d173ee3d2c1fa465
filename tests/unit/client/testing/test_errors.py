"""How each dialect writes failures, and what it refuses before it asks a model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.unit.client.testing.conftest import DIALECTS, Samples

from tierwise.error_class import ErrorClass
from tierwise.testing import ProviderServer, Reply

Json = dict[str, Any]

STATUSES: dict[str, dict[ErrorClass, int]] = {
    "openai": {
        ErrorClass.RATE_LIMITED: 429,
        ErrorClass.TIMEOUT: 408,
        ErrorClass.OVERLOADED: 503,
        ErrorClass.SERVER_ERROR: 500,
        ErrorClass.CONTEXT_TOO_LONG: 400,
        ErrorClass.CONTENT_POLICY: 400,
        ErrorClass.INVALID_REQUEST: 400,
        ErrorClass.AUTHENTICATION: 401,
        ErrorClass.QUOTA_EXHAUSTED: 429,
    },
    "anthropic": {
        ErrorClass.RATE_LIMITED: 429,
        ErrorClass.TIMEOUT: 504,
        ErrorClass.OVERLOADED: 529,
        ErrorClass.SERVER_ERROR: 500,
        ErrorClass.CONTEXT_TOO_LONG: 400,
        ErrorClass.CONTENT_POLICY: 400,
        ErrorClass.INVALID_REQUEST: 400,
        ErrorClass.AUTHENTICATION: 401,
        ErrorClass.QUOTA_EXHAUSTED: 400,
    },
    "mistral": {
        ErrorClass.RATE_LIMITED: 429,
        ErrorClass.TIMEOUT: 504,
        ErrorClass.OVERLOADED: 503,
        ErrorClass.SERVER_ERROR: 500,
        ErrorClass.CONTEXT_TOO_LONG: 400,
        ErrorClass.CONTENT_POLICY: 403,
        ErrorClass.INVALID_REQUEST: 400,
        ErrorClass.AUTHENTICATION: 401,
        ErrorClass.QUOTA_EXHAUSTED: 402,
    },
    "google": {
        ErrorClass.RATE_LIMITED: 429,
        ErrorClass.TIMEOUT: 504,
        ErrorClass.OVERLOADED: 503,
        ErrorClass.SERVER_ERROR: 500,
        ErrorClass.CONTEXT_TOO_LONG: 400,
        ErrorClass.INVALID_REQUEST: 400,
        ErrorClass.AUTHENTICATION: 400,
        ErrorClass.QUOTA_EXHAUSTED: 429,
    },
}


@pytest.mark.parametrize(
    ("provider", "error_class", "status"),
    [(provider, *row) for provider, rows in STATUSES.items() for row in rows.items()],
)
def test_failures_have_the_status_and_form_of_the_provider(
    client: httpx.Client,
    sample: Samples,
    server: ProviderServer,
    provider: str,
    error_class: ErrorClass,
    status: int,
) -> None:
    server.script(provider, Reply.error(error_class, message="told so"))
    response = sample(provider, stream=True).send(client)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    message = body.get("message") or body.get("detail") or body["error"]["message"]
    assert message == "told so"


@pytest.mark.parametrize(
    ("provider", "header"),
    [
        ("openai", "x-request-id"),
        ("groq", "x-request-id"),
        ("anthropic", "request-id"),
        ("mistral", "mistral-correlation-id"),
    ],
)
def test_responses_name_the_request_in_the_provider_s_header(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str, header: str
) -> None:
    server.script(provider, Reply.text("A"), Reply.error(ErrorClass.OVERLOADED))
    ids = [sample(provider).send(client).headers[header] for _ in range(2)]
    assert ids == [call.request_id for call in server.calls]
    assert len(set(ids)) == 2


def test_gemini_names_the_request_in_the_body(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    assert sample("google").send(client).json()["responseId"] == server.calls[0].request_id


def test_waiting_times_are_sent_where_the_provider_sends_them(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    for provider in DIALECTS:
        server.script(
            provider,
            Reply.error(ErrorClass.RATE_LIMITED, retry_after_s=2),
            Reply.error(ErrorClass.RATE_LIMITED, retry_after_s=0.25),
        )
    for provider in ("openai", "anthropic", "mistral"):
        times = [sample(provider).send(client).headers["retry-after"] for _ in range(2)]
        assert times == ["2", "0.25"]
    response = sample("google").send(client)
    assert "retry-after" not in response.headers
    quota, retry = response.json()["error"]["details"]
    assert "PerMinute" in quota["violations"][0]["quotaId"]
    assert retry["retryDelay"] == "2s"


def test_gemini_tells_a_daily_quota_from_a_rate(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("google", Reply.error(ErrorClass.QUOTA_EXHAUSTED))
    details = sample("google").send(client).json()["error"]["details"]
    assert "PerDay" in details[0]["violations"][0]["quotaId"]


def test_azure_and_openrouter_have_forms_of_their_own(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    for provider in ("azure", "openrouter"):
        server.script(provider, Reply.blocked())
    error = sample("azure").send(client).json()["error"]
    assert error["code"] == "content_filter"
    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True
    error = sample("openrouter").send(client).json()["error"]
    assert error["code"] == 403
    assert error["metadata"]["reasons"] == ["violence"]


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_error_can_claim_success(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.error(ErrorClass.OVERLOADED, status=200))
    response = sample(provider, stream=True).send(client)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "choices" not in response.json()


@pytest.mark.parametrize("provider", DIALECTS)
def test_a_connection_error_gives_no_response(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    server.script(provider, Reply.error(ErrorClass.CONNECTION))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        sample(provider).send(client)
    assert server.calls[0].status is None


def test_a_malformed_response_is_no_json(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    server.script("openai", Reply.error(ErrorClass.MALFORMED_RESPONSE))
    response = sample("openai").send(client)
    assert response.status_code == 200
    with pytest.raises(ValueError, match="Expecting"):
        response.json()


@pytest.mark.parametrize("error_class", [ErrorClass.CANCELLED, ErrorClass.REJECTED_BY_VALIDATOR])
def test_failures_that_arise_in_the_client_can_t_be_scripted(error_class: ErrorClass) -> None:
    with pytest.raises(ValueError, match=error_class.word):
        Reply.error(error_class)


@pytest.mark.parametrize("error_class", [ErrorClass.CONNECTION, ErrorClass.MALFORMED_RESPONSE])
def test_failures_that_are_no_event_can_t_end_a_stream(error_class: ErrorClass) -> None:
    with pytest.raises(ValueError, match=error_class.word):
        Reply.text("So").failing(error_class, after_events=1)


@pytest.mark.parametrize(
    ("provider", "header", "status"),
    [
        ("openai", "authorization", 401),
        ("groq", "authorization", 401),
        ("azure", "authorization", 401),
        ("mistral", "authorization", 401),
        ("anthropic", "x-api-key", 401),
        ("google", "x-goog-api-key", 403),
    ],
)
def test_a_call_without_a_key_is_refused(
    client: httpx.Client, sample: Samples, provider: str, header: str, status: int
) -> None:
    asked = sample(provider)
    key = asked.headers.pop(header)
    assert asked.send(client).status_code == status
    asked.headers[header] = ""
    assert asked.send(client).status_code == status
    asked.headers[header] = key
    assert asked.send(client).status_code == 200


def test_servers_of_one_s_own_want_no_key(client: httpx.Client, sample: Samples) -> None:
    for provider in ("vllm", "ollama", "llama-cpp"):
        asked = sample(provider)
        del asked.headers["authorization"]
        assert asked.send(client).status_code == 200


def test_only_known_keys_are_taken_where_some_are_given(client: httpx.Client) -> None:
    with ProviderServer(keys={"right-key-of-the-test"}) as server:
        sample = Samples(server)
        statuses = {}
        for provider in (*DIALECTS, "vllm"):
            statuses[provider] = sample(provider).send(client).status_code
        asked = sample("openai")
        asked.headers["authorization"] = "Bearer wrong-key-of-the-test"
        message = asked.send(client).json()["error"]["message"]
        asked.headers["authorization"] = "Bearer right-key-of-the-test"
        assert asked.send(client).status_code == 200
    assert statuses == {
        "openai": 401,
        "anthropic": 401,
        "mistral": 401,
        "google": 400,
        "vllm": 401,
    }
    assert message.startswith("Incorrect API key provided: wrong-ke*********test.")


def test_gemini_takes_the_key_from_the_query(client: httpx.Client, sample: Samples) -> None:
    asked = sample("google")
    response = client.post(f"{asked.url}?key=some-key", json=asked.body)
    assert response.status_code == 200


def test_keys_and_prompts_are_not_shown(
    client: httpx.Client, sample: Samples, server: ProviderServer
) -> None:
    asked = sample("google")
    client.post(f"{asked.url}?key=secret-1", json=asked.body, headers={"x-api-key": "secret-2"})
    (call,) = server.calls
    assert call.query["key"] == "secret-1"
    assert call.headers["x-api-key"] == "secret-2"
    assert "secret" not in repr(call)
    assert "tier" not in repr(call)


USER = {"role": "user", "content": "Hi."}
CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "content": "4"}


def use(call_id: str = "toolu_1") -> Json:
    block = {"type": "tool_use", "id": call_id, "name": "f", "input": {}}
    return {"role": "assistant", "content": [block]}


def result(call_id: str = "toolu_1") -> Json:
    block = {"type": "tool_result", "tool_use_id": call_id, "content": "4"}
    return {"role": "user", "content": [block]}


def turn(role: str, **part: object) -> Json:
    return {"role": role, "parts": [part]}


FUNCTION_CALL = turn("model", functionCall={"name": "f", "args": {}})
FUNCTION_RESPONSE = turn("user", functionResponse={"name": "f", "response": {"result": 4}})
HI = turn("user", text="Hi.")


@pytest.mark.parametrize(
    ("provider", "change", "message"),
    [
        ("openai", {"model": None}, "you must provide a model parameter"),
        ("openai", {"messages": None}, "Missing required parameter: 'messages'."),
        ("openai", {"messages": []}, "Invalid 'messages': empty array."),
        ("openai", {"messages": [{"role": "model", "content": "x"}]}, "Invalid value: 'mod"),
        ("openai", {"messages": [USER, RESULT]}, "Invalid parameter: messages with role"),
        ("openai", {"messages": [USER, CALLING, USER]}, "An assistant message with 'tool_c"),
        ("openai", {"messages": [USER, CALLING]}, "An assistant message with 'tool_calls'"),
        ("groq", {"messages": []}, "Invalid 'messages': empty array."),
        ("openrouter", {"messages": []}, "Invalid 'messages': empty array."),
        ("mistral", {"messages": []}, "Conversation must have at least one message"),
        (
            "mistral",
            {"messages": [USER, CALLING, RESULT, USER]},
            "Unexpected role 'user' after role 'tool'",
        ),
        ("mistral", {"messages": [USER, RESULT]}, "Unexpected role 'tool' after role 'user'"),
        ("mistral", {"messages": [USER, CALLING]}, "Expected last role User or Tool"),
        (
            "mistral",
            {"messages": [USER, CALLING, RESULT | {"tool_call_id": "123456789"}]},
            "Unexpected tool call id 123456789",
        ),
        (
            "mistral",
            {
                "messages": [
                    USER,
                    {"role": "assistant", "tool_calls": [{"id": "call_1"}]},
                    RESULT | {"tool_call_id": "call_1"},
                ]
            },
            "Tool call id was call_1 but must be",
        ),
        ("anthropic", {"max_tokens": None}, "max_tokens: Field required"),
        ("anthropic", {"max_tokens": 0}, "max_tokens: must be greater"),
        ("anthropic", {"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ("anthropic", {"messages": []}, "messages: at least one message is required"),
        (
            "anthropic",
            {"messages": [USER | {"role": "system"}]},
            'messages: Unexpected role "',
        ),
        (
            "anthropic",
            {"messages": [USER | {"role": "tool"}]},
            "messages.0.role: Input should",
        ),
        ("anthropic", {"messages": [USER | {"content": ""}]}, "messages.0: all messages must"),
        (
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
            "messages: text content blocks must be non-empty",
        ),
        (
            "anthropic",
            {"messages": [USER, result()]},
            "messages.1.content.0: unexpected `tool",
        ),
        ("anthropic", {"messages": [USER, use(), USER]}, "messages.1: `tool_use` ids were"),
        ("anthropic", {"messages": [USER, use()]}, "messages.1: `tool_use` ids were found"),
        (
            "anthropic",
            {"messages": [USER, use("a.b"), result("a.b")]},
            "messages.1.content.0.tool_use.id: String should match",
        ),
        ("google", {"contents": []}, "* GenerateContentRequest.contents: contents is not"),
        ("google", {"contents": [turn("assistant", text="x")]}, "Please use a valid role:"),
        ("google", {"contents": [{"role": "user", "parts": []}]}, "* GenerateContentRequest"),
        ("google", {"contents": [HI, FUNCTION_RESPONSE]}, "Please ensure that function respo"),
        ("google", {"contents": [HI, FUNCTION_CALL, HI]}, "Please ensure that the number of"),
        ("google", {"contents": [FUNCTION_CALL]}, "Please ensure that function call turn"),
    ],
)
def test_requests_that_the_provider_rejects_are_rejected(
    client: httpx.Client,
    sample: Samples,
    server: ProviderServer,
    provider: str,
    change: Json,
    message: str,
) -> None:
    server.script(provider, Reply.text("Still here."))
    asked = sample(provider)
    body = {name: value for name, value in (asked.body | change).items() if value is not None}
    response = client.post(asked.url, json=body, headers=asked.headers)
    error = response.json()
    found = error["message"] if provider == "mistral" else error["error"]["message"]
    assert (response.status_code, found[: len(message)]) == (400, message)
    assert "Still here." in asked.send(client).text, "a refused request uses up no reply"


@pytest.mark.parametrize(
    ("provider", "change"),
    [
        ("openai", {"messages": [USER, CALLING, RESULT, USER]}),
        ("mistral", {"messages": [USER, CALLING, RESULT]}),
        ("mistral", {"messages": [USER, {"role": "assistant", "content": "A", "prefix": True}]}),
        ("anthropic", {"messages": [USER, use(), result()]}),
        ("anthropic", {"messages": [USER, {"role": "assistant", "content": ""}]}),
        ("google", {"contents": [HI, FUNCTION_CALL, FUNCTION_RESPONSE]}),
    ],
)
def test_conversations_with_tools_are_taken(
    client: httpx.Client, sample: Samples, provider: str, change: Json
) -> None:
    asked = sample(provider)
    response = client.post(asked.url, json=asked.body | change, headers=asked.headers)
    assert response.status_code == 200


def test_mistral_names_every_missing_field(client: httpx.Client, sample: Samples) -> None:
    asked = sample("mistral")
    del asked.body["messages"]
    response = asked.send(client)
    assert response.status_code == 422
    assert response.json()["message"]["detail"][0]["loc"] == ["body", "messages"]


def test_anthropic_wants_its_version_named(client: httpx.Client, sample: Samples) -> None:
    asked = sample("anthropic")
    del asked.headers["anthropic-version"]
    response = asked.send(client)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("provider", "status"), [("openai", 400), ("anthropic", 400), ("mistral", 422), ("google", 400)]
)
@pytest.mark.parametrize("content", ["{", "[]", "", "\x00"])
def test_a_body_that_is_no_json_object_is_refused(
    client: httpx.Client, sample: Samples, provider: str, status: int, content: str
) -> None:
    asked = sample(provider)
    response = client.post(asked.url, content=content, headers=asked.headers)
    assert response.status_code == status
    assert response.json()


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("role", [None, 7, [], {}])
def test_a_role_that_is_no_word_is_refused(
    client: httpx.Client, sample: Samples, provider: str, role: object
) -> None:
    asked = sample(provider)
    name = "contents" if provider == "google" else "messages"
    asked.body[name][0]["role"] = role
    assert asked.send(client).status_code == 400


@pytest.mark.parametrize("provider", DIALECTS)
def test_unknown_paths_are_not_found(
    client: httpx.Client, sample: Samples, server: ProviderServer, provider: str
) -> None:
    asked = sample(provider)
    url = f"{server.url}/{provider}/v9/chat/completion"
    assert client.post(url, json=asked.body, headers=asked.headers).status_code == 404
    assert client.get(asked.url, headers=asked.headers).status_code == 404


def test_paths_of_no_provider_name_those_there_are(
    client: httpx.Client, server: ProviderServer
) -> None:
    response = client.post(f"{server.url}/v1/chat/completions", json={})
    assert response.status_code == 404
    assert "openai" in response.json()["error"]
    assert server.calls[0].provider == ""


@pytest.mark.parametrize(
    ("provider", "status"), [("openai", 413), ("anthropic", 413), ("mistral", 413), ("google", 400)]
)
def test_bodies_beyond_the_limit_are_refused(
    client: httpx.Client, provider: str, status: int
) -> None:
    with ProviderServer(max_request_bytes=1000) as server:
        asked = Samples(server)(provider)
        asked.body["padding"] = "x" * 5_000_000
        assert asked.send(client).status_code == status
        assert len(server.calls[0].content) == 1000
        assert Samples(server)(provider).send(client).status_code == 200
