"""Input made to break things: each gets a decision or a refusal that names the field."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, Served, refusal_of, refused

from tierwise.v1 import catalog_service_pb2, routing_service_pb2
from tierwise.v1.outcome_pb2 import Attempt, Outcome
from tierwise.v1.routing_input_pb2 import (
    Constraints,
    Conversation,
    Embedding,
    Message,
    MessageRole,
    RoutingInput,
)
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    ReportOutcomesRequest,
)

PUBLIC_LIST = os.environ.get("TIERWISE_TEST_STRINGS", "")
"""File with more of them, as JSON lines with `prompt`; empty means none."""

ANSWERS = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}

STRINGS = (
    # Nothing, or what looks like nothing.
    "",
    " ",
    "\t\n\r",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "\u2060\u200d",
    "\u3164",
    "\u115f",
    "\x00",
    # Control characters.
    "\x00" * 50,
    "a\x00b",
    "\x01\x02\x03\x04",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    "bell \a and back \b\b\b",
    "\r\nSet-Cookie: a=b",
    # Not quite characters.
    "\ufffe",
    "\uffff",
    "\U0010ffff",
    "\ufffd",
    "\ue000",
    "\U000f0000",
    # Direction, marks and joins.
    "\u202eesrever",
    "\u202d\u202e\u202c" * 20,
    "\u0645\u0631\u062d\u0628\u0627",
    "\u05e9\u05dc\u05d5\u05dd",
    "Z" + "\u0351\u036b\u0343\u036a" * 200,
    "e\u0301" * 100,
    "\u1e9b\u0323",
    "\ufb01\ufb02",
    # Beyond the basic plane.
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e9\U0001f1ea" * 30,
    "\U0001d573\U0001d58a\U0001d591\U0001d591\U0001d594",
    "\U00020000\U0002a6d6",
    "\U0001f9d1\U0001f3ff" * 50,
    # Other scripts.
    "\u4f60\u597d\uff0c\u8bf7\u603b\u7ed3",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0",
    "\u1234\u1235\u1236",
    "\u16a0\u16a2\u16a6",
    "\u0130\u0131\u017f\u1e9e",
    # Languages of machines.
    "'; DROP TABLE decisions; --",
    "1' OR '1'='1",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "%s%s%s%n%x",
    "../../../../etc/passwd",
    "$(reboot)",
    "`id`",
    "__import__('os')",
    "\\x00\\u0000",
    '{"input": {"prompt": "x"}}',
    "null",
    "NaN",
    "-1",
    "1e309",
    "0x7fffffffffffffff",
    "[CLS] [SEP] [PAD] [UNK] [MASK]",
    "<|endoftext|><|im_start|>system",
    "!!python/object/apply:os.system ['x']",
    "&a [*a,*a]",
    "(a+)+$" + "a" * 5_000 + "!",
    # Size.
    "a" * 100_000,
    "a b " * 50_000,
    "\U0001f600" * 100_000,
    "\u0301" * 100_000,
    "\n" * 100_000 + "x",
    "x" * 1_000_000,
    "\u4f60" * 300_000,
    "word " * 200_000,
    "```" * 30_000,
    "https://" + "a" * 50_000,
    "9" * 50_000,
    "." * 1_000_000,
)


def all_strings() -> Iterator[str]:
    yield from STRINGS
    if PUBLIC_LIST:
        for line in Path(PUBLIC_LIST).read_text(encoding="utf-8").split("\n"):
            if line.strip():
                yield json.loads(line)["prompt"]


def plain(**fields: Any) -> RoutingInput:  # noqa: ANN401 - fields of a message
    """Returns an input for the catalog without models, where no context window is too small."""
    return RoutingInput(catalog="plain", **fields)


async def code_of(call: Any) -> grpc.StatusCode:  # noqa: ANN401 - a call of gRPC
    """Returns how a call ended; a refusal has to be one of ours and name a field."""
    answer = await refusal_of(call)
    if answer is None:
        return grpc.StatusCode.OK
    assert answer.reason, answer
    assert "field" in answer.metadata
    return answer.code


async def codes_of(served: Served, inputs: list[RoutingInput]) -> list[grpc.StatusCode]:
    lanes = asyncio.Semaphore(16)

    async def one(message: RoutingInput) -> grpc.StatusCode:
        async with lanes:
            return await code_of(served.decide(message))

    return await asyncio.gather(*map(one, inputs))


async def test_any_string_as_a_prompt_is_decided_on_or_refused(shared: Served) -> None:
    strings = list(all_strings())
    codes = await codes_of(shared, [plain(prompt=one) for one in strings])
    for text, code in zip(strings, codes, strict=True):
        blank = not text.strip()
        expected = grpc.StatusCode.INVALID_ARGUMENT if blank else grpc.StatusCode.OK
        assert code is expected, text[:50]
    assert (await shared.route(LIKE["budget"])).tier_id == "budget"


async def test_any_string_as_a_turn_is_decided_on_or_refused(shared: Served) -> None:
    def conversation(text: str) -> RoutingInput:
        roles = (MessageRole.MESSAGE_ROLE_SYSTEM, MessageRole.MESSAGE_ROLE_USER)
        turns = [Message(role=role, text=text[:400_000]) for role in roles]
        return plain(conversation=Conversation(messages=turns))

    codes = await codes_of(shared, [conversation(one) for one in STRINGS])
    assert set(codes) <= ANSWERS


async def test_any_string_in_any_field_is_taken_or_refused(shared: Served) -> None:
    def inputs(text: str) -> Iterator[RoutingInput]:
        for field in ("catalog", "previous_tier_id", "expected_tier_id", "task_tag", "language",
                      "caller", "affinity_key"):  # fmt: skip
            yield RoutingInput(**{"prompt": "x", field: text})
        for field in ("pinned_tier_id", "pinned_model_id", "lowest_tier_id", "highest_tier_id"):
            yield RoutingInput(prompt="x", constraints=Constraints(**{field: text}))
        for field in ("allowed_provider_ids", "denied_provider_ids", "allowed_model_ids",
                      "denied_model_ids"):  # fmt: skip
            yield RoutingInput(prompt="x", constraints=Constraints(**{field: [text]}))
        yield RoutingInput(prompt="x", constraints=Constraints(required_labels={text: text}))
        yield RoutingInput(prompt="x", metadata={text: text})
        yield RoutingInput(embedding=Embedding(encoder_id=text, values=[1.0]))

    # Allowing only a provider that is not there leaves no model: that is a refusal as well.
    allowed = ANSWERS | {grpc.StatusCode.FAILED_PRECONDITION}
    for text in STRINGS:
        for message in inputs(text[:200_000]):
            answer = await refusal_of(shared.decide(message))
            if answer is not None:
                assert answer.code in allowed, (message.WhichOneof("content"), text[:50], answer)
                assert answer.reason, (str(message)[:100], text[:50], answer)


async def test_any_string_in_a_report_is_taken_or_rejected(shared: Served) -> None:
    outcomes = []
    for text in (one[:50_000] for one in STRINGS[:40]):
        outcomes += [
            Outcome(outcome_id=text, decision_token=text, quality=1.0),
            Outcome(outcome_id="x", decision_id=text, quality=1.0),
            Outcome(outcome_id="y", decision_token="1." + text, attempts=[Attempt(model_id=text)]),
        ]
    request = ReportOutcomesRequest(outcomes=outcomes)
    response = await shared.routing.ReportOutcomes(request, timeout=CALL_TIMEOUT_S)
    assert len(response.results) == len(outcomes)


async def test_any_string_in_the_other_calls_is_taken_or_refused(shared: Served) -> None:
    for text in (one[:200_000] for one in STRINGS):
        calls = {
            "catalog": shared.catalogs.GetCatalog(
                catalog_service_pb2.GetCatalogRequest(catalog=text), timeout=CALL_TIMEOUT_S
            ),
            "token": shared.catalogs.ListTiers(
                catalog_service_pb2.ListTiersRequest(page_token=text), timeout=CALL_TIMEOUT_S
            ),
            "revision": shared.catalogs.ReloadCatalog(
                catalog_service_pb2.ReloadCatalogRequest(
                    expected_revision=text or "-", validate_only=True
                ),
                timeout=CALL_TIMEOUT_S,
            ),
            "explained": shared.routing.ExplainDecision(
                ExplainDecisionRequest(
                    input=RoutingInput(prompt="x"), expected_revision=text or "-"
                ),
                timeout=CALL_TIMEOUT_S,
            ),
        }
        for name, call in calls.items():
            answer = await refusal_of(call)
            if answer is not None:
                assert answer.code in ANSWERS | {grpc.StatusCode.ABORTED}, (name, text[:50], answer)


METHODS = [
    *(
        f"/tierwise.v1.RoutingService/{name}"
        for name in routing_service_pb2.DESCRIPTOR.services_by_name[
            "RoutingService"
        ].methods_by_name
    ),
    *(
        f"/tierwise.v1.CatalogService/{name}"
        for name in catalog_service_pb2.DESCRIPTOR.services_by_name[
            "CatalogService"
        ].methods_by_name
    ),
]


def raw(served: Served, method: str) -> Any:  # noqa: ANN401 - a callable of gRPC
    return served.channel.unary_unary(method, request_serializer=None, response_deserializer=None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xff" * 1_000,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x03\x0a\x01\xff",
        b"\x0a\x05hello\x0a",
        b"\x0b",
        b"\x80" * 20,
    ],
    ids=range(7),
)
async def test_bytes_that_are_no_message_are_refused(
    shared: Served, method: str, data: bytes
) -> None:
    answer = await refused(raw(shared, method)(data, timeout=CALL_TIMEOUT_S))
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"a\xf8b"])
async def test_a_prompt_that_is_not_utf_8_is_refused(shared: Served, text: bytes) -> None:
    prompt = b"\x0a" + bytes([len(text)]) + text
    data = b"\x0a" + bytes([len(prompt)]) + prompt
    call = raw(shared, "/tierwise.v1.RoutingService/RoutePrompt")
    answer = await refused(call(data, timeout=CALL_TIMEOUT_S))
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "UTF-8" in answer.message


async def test_random_bytes_never_break_a_method(shared: Served) -> None:
    chance = random.Random(20_260_101)  # noqa: S311 - the same bytes in every run
    for method in METHODS:
        for _ in range(20):
            await send(shared, method, chance.randbytes(chance.randrange(1, 60)))
    whole = BatchRoutePromptsRequest(
        inputs=[RoutingInput(prompt=LIKE["mid"], metadata={"a": "b"}, caller="c")] * 2
    ).SerializeToString()
    for _ in range(200):
        altered = bytearray(whole)
        altered[chance.randrange(len(altered))] = chance.randrange(256)
        await send(shared, "/tierwise.v1.RoutingService/BatchRoutePrompts", bytes(altered))


async def send(served: Served, method: str, data: bytes) -> None:
    """Sends bytes, which are answered or refused for what they are."""
    answer = await refusal_of(raw(served, method)(data, timeout=CALL_TIMEOUT_S))
    if answer is not None:
        assert answer.code in ANSWERS | {grpc.StatusCode.ABORTED}, (method, data, answer)


async def test_a_flood_of_list_entries_is_refused_in_time(shared: Served) -> None:
    flood = RoutingInput(prompt="x", attachment_kinds=[1, 2, 3, 4] * 500_000)
    assert await code_of(shared.decide(flood)) in ANSWERS
    flood = RoutingInput(prompt="x", attachment_kinds=[77] * 1_000_000)
    answer = await refused(shared.decide(flood))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    flood = RoutingInput(prompt="x", constraints=Constraints(required_capabilities=[1] * 1_000_000))
    assert (await refused(shared.decide(flood))).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_many_blank_turns_are_refused_or_decided_on_in_time(shared: Served) -> None:
    turns = [Message(role=MessageRole.MESSAGE_ROLE_USER, text=" " * 900)] * 999
    turns.append(Message(role=MessageRole.MESSAGE_ROLE_USER, text="ok"))
    blank = plain(conversation=Conversation(messages=turns))
    assert await code_of(shared.decide(blank)) is grpc.StatusCode.OK
