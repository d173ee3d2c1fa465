"""Every documented limit of `routing_input.proto`, each with the path of its field."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from google.protobuf import json_format

from tierwise.v1.model_pb2 import Capability
from tierwise.v1.routing_input_pb2 import (
    AttachmentKind,
    Conversation,
    Embedding,
    Message,
    MessageRole,
    RoutingInput,
)
from tierwise.v1.routing_input_pb2 import Constraints as LimitsMessage
from tierwise_server.catalog.registry import Capability as DomainCapability
from tierwise_server.catalog.rules import AttachmentKind as DomainAttachment
from tierwise_server.deciding.errors import InvalidFieldsError
from tierwise_server.deciding.request import Priority, RequiredQuality
from tierwise_server.grpc_api.routing_input import read_query

USER = MessageRole.MESSAGE_ROLE_USER
ASSISTANT = MessageRole.MESSAGE_ROLE_ASSISTANT
UNKNOWN = 9_999

Change = Callable[[RoutingInput], object]


def prompt(**fields: object) -> RoutingInput:
    return RoutingInput(prompt="summarize this", **fields)  # type: ignore[arg-type]


def conversation(*messages: Message) -> RoutingInput:
    return RoutingInput(conversation=Conversation(messages=messages))


def said(text: str, role: int = USER) -> Message:
    return Message(role=role, text=text)  # type: ignore[arg-type]


def fault_fields(message: RoutingInput) -> list[str]:
    with pytest.raises(InvalidFieldsError) as caught:
        read_query(message)
    assert all(fault.description for fault in caught.value.faults)
    return [fault.field for fault in caught.value.faults]


TURNS = "conversation.messages"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        pytest.param(RoutingInput(), "content", id="no content"),
        pytest.param(RoutingInput(prompt=""), "prompt", id="empty prompt"),
        pytest.param(RoutingInput(prompt=" \t\r\n\u3000\u2003"), "prompt", id="white space"),
        pytest.param(RoutingInput(prompt="x" * 1_000_001), "prompt", id="long prompt"),
        pytest.param(conversation(), TURNS, id="no turns"),
        pytest.param(conversation(*[said("hi")] * 1_001), TURNS, id="many turns"),
        pytest.param(conversation(said("x", ASSISTANT)), TURNS, id="no turn of the user"),
        pytest.param(conversation(said("x" * 500_001), said("y" * 500_000)), TURNS, id="long"),
        pytest.param(conversation(said("hi"), said(" \n")), f"{TURNS}[1].text", id="blank turn"),
        pytest.param(conversation(said("hi"), said("")), f"{TURNS}[1].text", id="empty turn"),
        pytest.param(conversation(said("hi"), said("x", 0)), f"{TURNS}[1].role", id="no role"),
        pytest.param(
            conversation(said("x", UNKNOWN), said("hi")), f"{TURNS}[0].role", id="unknown role"
        ),
        pytest.param(
            RoutingInput(embedding=Embedding(values=[1.0])), "embedding.encoder_id", id="no encoder"
        ),
    ],
)
def test_content_outside_its_limits_names_the_field(message: RoutingInput, field: str) -> None:
    assert fault_fields(message) == [field]


@pytest.mark.parametrize(
    "message",
    [
        RoutingInput(prompt="x" * 1_000_000),
        RoutingInput(prompt="\u200b"),
        conversation(*[said("hi")] * 1_000),
        conversation(said("x" * 999_999), said("y")),
        conversation(said(""), said("", ASSISTANT), said("hi"), said("", ASSISTANT)),
        conversation(said("be brief", MessageRole.MESSAGE_ROLE_SYSTEM), said("hi")),
        conversation(said("hi"), said("{}", MessageRole.MESSAGE_ROLE_TOOL)),
    ],
    ids=range(7),
)
def test_content_at_its_limits_is_taken(message: RoutingInput) -> None:
    assert read_query(message).request.text_given


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cost_quality_dial": -0.001}, "cost_quality_dial"),
        ({"cost_quality_dial": 1.001}, "cost_quality_dial"),
        ({"cost_quality_dial": math.nan}, "cost_quality_dial"),
        ({"cost_quality_dial": math.inf}, "cost_quality_dial"),
        ({"task_tag": "x" * 101}, "task_tag"),
        ({"caller": "x" * 101}, "caller"),
        ({"affinity_key": "x" * 201}, "affinity_key"),
        ({"expected_output_token_count": -1}, "expected_output_token_count"),
        ({"expected_output_token_count": 10_000_001}, "expected_output_token_count"),
        ({"input_token_count": -1}, "input_token_count"),
        ({"input_token_count": 100_000_001}, "input_token_count"),
        ({"language": "EN"}, "language"),
        ({"language": "eng"}, "language"),
        ({"language": "e"}, "language"),
        ({"language": "en\n"}, "language"),
        ({"language": "en-GB"}, "language"),
        ({"priority": UNKNOWN}, "priority"),
        ({"attachment_kinds": [AttachmentKind.ATTACHMENT_KIND_IMAGE, 0]}, "attachment_kinds[1]"),
        ({"attachment_kinds": [UNKNOWN]}, "attachment_kinds[0]"),
        ({"metadata": {f"k{n}": "" for n in range(21)}}, "metadata"),
        ({"metadata": {"k" * 64: ""}}, "metadata"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {"key": "x" * 201}}, "metadata['key']"),
    ],
)
def test_a_field_outside_its_limits_is_named(fields: dict[str, object], field: str) -> None:
    assert fault_fields(prompt(**fields)) == [field]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"required_quality": UNKNOWN}, "required_quality"),
        ({"required_capabilities": [0]}, "required_capabilities[0]"),
        (
            {"required_capabilities": [Capability.CAPABILITY_TOOLS, UNKNOWN]},
            "required_capabilities[1]",
        ),
        (
            {
                "required_capabilities": [
                    Capability.CAPABILITY_TOOLS,
                    Capability.CAPABILITY_VISION,
                    Capability.CAPABILITY_TOOLS,
                ]
            },
            "required_capabilities[2]",
        ),
        ({"cost_ceiling_nano_usd": 0}, "cost_ceiling_nano_usd"),
        ({"cost_ceiling_nano_usd": -5}, "cost_ceiling_nano_usd"),
    ],
)
def test_a_constraint_outside_its_limits_is_named(limits: dict[str, object], field: str) -> None:
    message = prompt(constraints=LimitsMessage(**limits))  # type: ignore[arg-type]
    assert fault_fields(message) == [f"constraints.{field}"]


@pytest.mark.parametrize(
    "fields",
    [
        {"cost_quality_dial": 0.0},
        {"cost_quality_dial": 1.0},
        {"task_tag": "\U0001f600" * 100},
        {"caller": "x" * 100},
        {"affinity_key": "x" * 200},
        {"expected_output_token_count": 0},
        {"expected_output_token_count": 10_000_000},
        {"input_token_count": 0},
        {"input_token_count": 100_000_000},
        {"language": "de"},
        {"metadata": {f"k{n}": "v" for n in range(20)}},
        {"metadata": {"k" * 63: "v" * 200}},
    ],
    ids=str,
)
def test_a_field_at_its_limits_is_taken(fields: dict[str, object]) -> None:
    read_query(prompt(**fields))


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    message = RoutingInput(prompt=" ", caller="x" * 101, cost_quality_dial=2.0, language="english")
    assert sorted(fault_fields(message)) == ["caller", "cost_quality_dial", "language", "prompt"]


def test_a_flood_of_unknown_values_gives_a_bounded_answer() -> None:
    assert len(fault_fields(prompt(attachment_kinds=[UNKNOWN] * 100_000))) <= 1_000


def test_what_is_left_out_has_the_documented_meaning() -> None:
    query = read_query(prompt())
    request = query.request
    assert query.catalog == ""
    assert request.dial == 0.5
    assert request.priority is Priority.COST
    assert request.constraints.required_quality is RequiredQuality.LOW
    assert request.constraints.cost_ceiling_nano_usd is None
    assert request.expected_output_tokens is None
    assert request.input_tokens is None
    assert not request.keep_nothing
    assert not request.rules_only


def test_a_prompt_is_what_decides_and_what_is_embedded() -> None:
    query = read_query(prompt(caller="app"))
    assert query.request.text == query.embedded_text == "summarize this"
    assert query.request.character_count == len("summarize this")
    assert query.request.caller == "app"
    assert query.sent_vector is None


def test_all_turns_of_a_conversation_count_and_the_last_of_the_user_decides() -> None:
    query = read_query(
        conversation(
            said("You are terse.", MessageRole.MESSAGE_ROLE_SYSTEM),
            said("prove that there are infinitely many primes"),
            said("Shall I?", ASSISTANT),
            said("yes"),
        )
    )
    assert query.request.text == "yes"
    assert query.embedded_text == "prove that there are infinitely many primes\nyes"
    assert query.request.character_count == 14 + 43 + 8 + 3


def test_an_embedding_has_no_text() -> None:
    query = read_query(RoutingInput(embedding=Embedding(encoder_id="e", values=[0.5, 0.25])))
    assert not query.request.text_given
    assert query.request.text == query.embedded_text == ""
    assert query.sent_vector is not None
    assert query.sent_vector.encoder_id == "e"
    assert query.sent_vector.values.tolist() == [0.5, 0.25]


def test_every_field_reaches_the_request() -> None:
    message = json_format.ParseDict(
        {
            "prompt": "p",
            "catalog": "c",
            "previous_tier_id": "t1",
            "priority": "PRIORITY_QUALITY",
            "cost_quality_dial": 0.25,
            "rules_only": True,
            "task_tag": "tag",
            "expected_tier_id": "t2",
            "attachment_kinds": ["ATTACHMENT_KIND_AUDIO"],
            "expected_output_token_count": 7,
            "input_token_count": 8,
            "language": "fr",
            "caller": "who",
            "affinity_key": "key",
            "metadata": {"a": "b"},
            "keep_nothing": True,
            "constraints": {
                "pinned_tier_id": "t3",
                "lowest_tier_id": "t4",
                "highest_tier_id": "t5",
                "required_quality": "REQUIRED_QUALITY_HIGH",
                "allowed_provider_ids": ["p1"],
                "denied_provider_ids": ["p2"],
                "allowed_model_ids": ["m1"],
                "denied_model_ids": ["m2"],
                "required_capabilities": ["CAPABILITY_LOGPROBS"],
                "required_labels": {"region": "eu"},
                "cost_ceiling_nano_usd": 9,
                "downgrade_allowed": True,
            },
        },
        RoutingInput(),
    )
    query = read_query(message)
    request, limits = query.request, query.request.constraints
    assert query.catalog == "c"
    assert (request.previous_tier, request.expected_tier) == ("t1", "t2")
    assert (request.priority, request.dial, request.rules_only) == (Priority.QUALITY, 0.25, True)
    assert (request.task_tag, request.language, request.caller) == ("tag", "fr", "who")
    assert request.attachments == {DomainAttachment.AUDIO}
    assert (request.expected_output_tokens, request.input_tokens) == (7, 8)
    assert (request.affinity_key, request.metadata) == ("key", {"a": "b"})
    assert request.keep_nothing
    assert (limits.pinned_tier, limits.pinned_model) == ("t3", "")
    assert (limits.lowest_tier, limits.highest_tier) == ("t4", "t5")
    assert limits.required_quality is RequiredQuality.HIGH
    assert (limits.allowed_providers, limits.denied_providers) == ({"p1"}, {"p2"})
    assert (limits.allowed_models, limits.denied_models) == ({"m1"}, {"m2"})
    assert limits.required_capabilities == {DomainCapability.LOGPROBS}
    assert limits.required_labels == {"region": "eu"}
    assert limits.cost_ceiling_nano_usd == 9
    assert limits.downgrade_allowed
    left_out = {field.name for field in RoutingInput.DESCRIPTOR.fields} - {
        field.name for field, _ in message.ListFields()
    }
    assert left_out == {"conversation", "embedding"}
