"""Chats from the call to the report: a real router, real connections, local providers."""

from __future__ import annotations

import asyncio

import pytest
from tests.conftest import LIKE
from tests.integration.client.conftest import KEY, MODEL_OF, World

from tierwise import (
    AsyncClient,
    AttemptEvent,
    ChatError,
    ChatRequest,
    Client,
    Delta,
    ErrorClass,
    FinishReason,
    Hooks,
    JsonSchema,
    OutcomeEvent,
    RoutingOptions,
    StepKind,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
    tool_result,
    transport,
    user,
)
from tierwise.testing import CallEnding, Reply
from tierwise.validators import custom, json_schema

USAGE = Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=200)


def test_a_prompt_is_answered_by_the_cheapest_model_that_is_good_enough(world: World) -> None:
    world.providers.script("openai", Reply.text("Short.", usage=USAGE))
    with world.client(report_outcomes=True) as client:
        response = client.chat(LIKE["budget"])
        assert client.flush()
        status = client.status
    assert (response.text, response.finish_reason) == ("Short.", FinishReason.STOP)
    assert (response.model_id, response.served_model) == ("gpt-small", "gpt-small-1")
    assert response.decision.tier_id == "budget"
    assert response.usage == USAGE
    # 600 at 0.2, 400 cached at 0.1 and 200 at 0.8 dollars a million.
    assert response.cost_nano_usd == 600 * 200 + 400 * 100 + 200 * 800
    (call,) = world.providers.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert (status.reporting.delivered, status.reporting.pending) == (1, 0)
    assert status.routerless_decisions == 0


async def test_the_asynchronous_client_does_the_same(world: World) -> None:
    world.providers.script("google", Reply.text("select 1", usage=USAGE))
    async with world.async_client(report_outcomes=True) as client:
        response = await client.chat(LIKE["mid"])
        assert await client.flush()
        assert client.status.reporting.delivered == 1
    assert (response.text, response.model_id) == ("select 1", "gemini-mid")
    assert response.cost_nano_usd == 1000 * 1000 + 200 * 4000


def test_a_stream_hands_over_the_answer_as_it_comes(world: World) -> None:
    world.providers.script("anthropic", Reply.text("One two three.", usage=USAGE))
    with world.client() as client, client.chat_stream(LIKE["premium"]) as stream:
        pieces = [delta.text for delta in stream if isinstance(delta, TextDelta)]
        response = stream.response
    assert len(pieces) > 1
    assert "".join(pieces) == response.text == "One two three."
    assert response.model_id == "claude-big"
    assert response.attempts[0].first_token_s is not None
    assert response.usage == USAGE


async def test_an_asynchronous_stream_does_the_same(world: World) -> None:
    world.providers.script("mistral", Reply.text("Bonjour le monde.", usage=USAGE))
    async with world.async_client() as client:
        options = RoutingOptions(model="mistral-small")
        async with client.chat_stream(LIKE["budget"], options) as stream:
            pieces = [delta.text async for delta in stream if isinstance(delta, TextDelta)]
        assert "".join(pieces) == stream.response.text == "Bonjour le monde."


def test_a_tool_is_called_and_its_result_leads_to_the_answer(world: World) -> None:
    weather = Tool(
        name="weather",
        description="Weather of a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
    )
    wish = ToolCall(id="call_1", name="weather", arguments_json='{"city": "Bern"}')
    world.providers.script("openai", Reply.tool_calls(wish), Reply.text("Sunny in Bern."))
    question = user(LIKE["budget"])
    with world.client() as client:
        first = client.chat(ChatRequest(messages=(question,), tools=(weather,)))
        (call,) = first.tool_calls
        assert (call.name, call.arguments) == ("weather", {"city": "Bern"})
        assert first.finish_reason is FinishReason.TOOL_CALLS
        turns = (question, first.message, tool_result(call, "sunny"))
        second = client.chat(ChatRequest(messages=turns, tools=(weather,)))
    assert second.text == "Sunny in Bern."


def test_a_failing_model_is_replaced_by_an_alternate_of_its_tier(world: World) -> None:
    world.providers.always("openai", Reply.error(ErrorClass.OVERLOADED))
    world.providers.script("mistral", Reply.text("Here.", usage=USAGE))
    heard: list[AttemptEvent] = []
    outcomes: list[OutcomeEvent] = []
    hooks = Hooks(on_attempt=heard.append, on_outcome=outcomes.append)
    with world.client(hooks=hooks) as client:
        response = client.chat(LIKE["budget"])
    assert response.model_id == "mistral-small"
    kinds = [(one.model_id, one.error_class, one.cost_nano_usd) for one in response.attempts]
    failed = ("gpt-small", ErrorClass.OVERLOADED, 0)
    assert kinds == [failed, failed, failed, ("mistral-small", None, 1000 * 300 + 200 * 900)]
    assert [one.next_model_id for one in heard] == ["gpt-small", "gpt-small", "mistral-small", ""]
    (outcome,) = outcomes
    assert (outcome.first_model_id, outcome.last_model_id) == ("gpt-small", "mistral-small")
    assert outcome.error_class is None


@pytest.mark.parametrize(
    ("served", "another"), [("gpt-small-1-2026-01-31", False), ("gpt-tiny-1", True)]
)
def test_a_model_that_was_not_asked_for_is_noticed(
    world: World, served: str, another: bool
) -> None:
    world.providers.script("openai", Reply.text("An answer.", served_model=served))
    with world.client() as client:
        response = client.chat(LIKE["budget"])
    assert response.served_model == served
    assert response.attempts[0].is_another_model is another


def test_a_refusal_goes_to_no_other_model(world: World) -> None:
    world.providers.script("openai", Reply.refusal())
    with world.client() as client, pytest.raises(ChatError) as caught:
        client.chat(LIKE["budget"])
    assert caught.value.error_class is ErrorClass.CONTENT_POLICY
    assert len(caught.value.attempts) == len(world.providers.calls) == 1


def test_a_rejected_answer_goes_up_a_tier_and_is_paid_for(world: World) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    world.providers.script("openai", Reply.text("not json", usage=USAGE))
    world.providers.script("google", Reply.json({"n": 1}, usage=USAGE))
    request = ChatRequest(messages=(user(LIKE["budget"]),), answer_format=JsonSchema(schema=schema))
    with world.client() as client:
        response = client.chat(request, validators=[json_schema(schema)])
    first, second = response.attempts
    assert (first.validator, first.error_class) == (
        "json-schema",
        ErrorClass.REJECTED_BY_VALIDATOR,
    )
    assert second.step_kind is StepKind.ESCALATION
    assert response.cost_nano_usd == (first.cost_nano_usd or 0) + (second.cost_nano_usd or 0)
    assert first.cost_nano_usd


async def test_a_check_may_be_asynchronous(world: World) -> None:
    async def check(answer: object) -> bool:
        await asyncio.sleep(0)
        return "good" in getattr(answer, "text", "")

    world.providers.script("openai", Reply.text("bad"))
    world.providers.script("google", Reply.text("good"))
    async with world.async_client() as client:
        response = await client.chat(LIKE["budget"], validators=[custom("good", check)])
    assert response.text == "good"


def test_a_stream_falls_back_before_its_first_piece(world: World) -> None:
    world.providers.always("openai", Reply.text("never seen").cut(after_events=0))
    world.providers.script("mistral", Reply.text("Whole answer."))
    with world.client() as client, client.chat_stream(LIKE["budget"]) as stream:
        text = "".join(delta.text for delta in stream if isinstance(delta, TextDelta))
    assert text == "Whole answer."
    assert stream.response.model_id == "mistral-small"


@pytest.mark.parametrize("provider", MODEL_OF)
@pytest.mark.parametrize("clean", [False, True])
def test_a_stream_that_breaks_off_is_an_error_with_what_was_received(
    world: World, provider: str, clean: bool
) -> None:
    reply = Reply.text("one two three four five six").cut(after_events=4, clean=clean)
    world.providers.script(provider, reply)
    received: list[Delta] = []
    with world.client() as client:
        stream = client.chat_stream(LIKE["budget"], RoutingOptions(model=MODEL_OF[provider]))
        with stream, pytest.raises(ChatError) as caught:
            received.extend(stream)
    text = "".join(delta.text for delta in received if isinstance(delta, TextDelta))
    assert text.startswith("one")
    assert caught.value.error_class in {ErrorClass.CONNECTION, ErrorClass.MALFORMED_RESPONSE}
    assert caught.value.partial is not None
    assert caught.value.partial.text == text
    assert caught.value.attempts[0].partial
    assert len(world.providers.calls) == 1


def test_leaving_a_stream_closes_its_connection_and_reports_it(world: World) -> None:
    reply = Reply.text("word " * 500).slow(pause_s=0.01)
    world.providers.script("openai", reply)
    outcomes: list[OutcomeEvent] = []
    hooks = Hooks(on_outcome=outcomes.append)
    with world.client(hooks=hooks, report_outcomes=True) as client:
        with client.chat_stream(LIKE["budget"]) as stream:
            next(stream)
        (call,) = world.providers.calls
        assert call.wait(5.0) is CallEnding.LEFT_BY_CLIENT
        assert client.flush()
        assert client.status.reporting.delivered == 1
    assert outcomes[0].error_class is ErrorClass.CANCELLED


async def test_cancelling_a_chat_closes_its_connection_and_reports_it(world: World) -> None:
    world.providers.script("openai", Reply.text("late").slow(first_byte_s=30))
    outcomes: list[OutcomeEvent] = []
    async with world.async_client(hooks=Hooks(on_outcome=outcomes.append)) as client:
        task = asyncio.create_task(client.chat(LIKE["budget"]))
        await asyncio.to_thread(world.providers.wait_for_calls, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (call,) = world.providers.calls
        assert await asyncio.to_thread(call.wait, 5.0) is CallEnding.LEFT_BY_CLIENT
    assert outcomes[0].error_class is ErrorClass.CANCELLED


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
async def test_a_reply_beyond_all_measure_is_not_read_to_its_end(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 100_000)
    world.providers.always("openai", Reply.raw(200, b'{"choices": [' + b" " * 20_000_000))
    options = RoutingOptions(model="gpt-small")
    with world.client() as client:
        async with world.async_client() as other:
            with pytest.raises(ChatError, match="more than 100000 bytes") as caught:
                await _hello(client if kind == "blocking" else other, options)
    assert caught.value.error_class is ErrorClass.MALFORMED_RESPONSE
    call = world.providers.calls[0]
    assert await asyncio.to_thread(call.wait, 20.0) is CallEnding.LEFT_BY_CLIENT


async def _hello(client: Client | AsyncClient, options: RoutingOptions) -> None:
    if isinstance(client, Client):
        client.chat("hello", options)
    else:
        await client.chat("hello", options)


def test_an_explanation_and_a_bare_decision(world: World) -> None:
    with world.client() as client:
        decision = client.route(LIKE["mid"])
        explained = client.explain(LIKE["mid"])
    assert decision.tier_id == explained.decision.tier_id == "mid"
    assert decision.model is not None
    assert decision.model.upstream_name == "gemini-mid-1"
    assert explained.explanation.tasks[0].utterance_matches


def test_limits_reach_the_router_and_hold(world: World) -> None:
    with world.client() as client:
        response = client.chat(
            LIKE["premium"],
            RoutingOptions(required_labels={"region": "eu"}, downgrade_allowed=True),
        )
    assert response.model_id in {"gpt-small", "mistral-small"}
