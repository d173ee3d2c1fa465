"""From the contract's routing input to a query, with every broken limit named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np

from tierwise.v1 import model_pb2, routing_input_pb2
from tierwise_server.catalog.calibration import NEUTRAL_DIAL
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.deciding_text import Turn, of_conversation, of_prompt
from tierwise_server.deciding.errors import FieldFault, InvalidFieldsError
from tierwise_server.deciding.request import (
    NO_CONSTRAINTS,
    Constraints,
    Priority,
    RequiredQuality,
    RoutingRequest,
)
from tierwise_server.routing import Query, SentVector

MAX_CHARACTERS = 1_000_000
MAX_MESSAGES = 1_000
MAX_NAME_CHARACTERS = 100
MAX_AFFINITY_KEY_CHARACTERS = 200
MAX_METADATA_ENTRIES = 20
MAX_METADATA_KEY_CHARACTERS = 63
MAX_METADATA_VALUE_CHARACTERS = 200
MAX_LIST_ENTRIES = 1_000
MAX_ENUM_ENTRIES = 100
MAX_OUTPUT_TOKENS = 10_000_000
MAX_INPUT_TOKENS = 100_000_000

_LANGUAGE = re.compile(r"[a-z]{2}")

_CAPABILITIES: dict[int, Capability] = {
    number: Capability(name.removeprefix("CAPABILITY_").lower())
    for name, number in model_pb2.Capability.items()
    if number
}
_ATTACHMENTS: dict[int, AttachmentKind] = {
    number: AttachmentKind(name.removeprefix("ATTACHMENT_KIND_").lower())
    for name, number in routing_input_pb2.AttachmentKind.items()
    if number
}
_ROLES = frozenset(routing_input_pb2.MessageRole.values()) - {0}


class _Faults:
    """Collects what is wrong, so that a caller learns of everything at once."""

    def __init__(self) -> None:
        self.items: list[FieldFault] = []

    def add(self, field: str, description: str) -> None:
        self.items.append(FieldFault(field=field, description=description))

    def length(self, field: str, text: str, most: int) -> None:
        if len(text) > most:
            self.add(field, f"has {len(text)} characters; at most {most} are allowed")

    def count(self, field: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            self.add(field, f"must be from {least} to {most}, not {value}")


def read_query(message: routing_input_pb2.RoutingInput) -> Query:
    """Returns the query that a routing input describes.

    Raises:
        InvalidFieldsError: With each field that breaks its documented limits.
    """
    faults = _Faults()
    text, embedded_text, characters = _text(message, faults)
    vector = _sent_vector(message, faults)
    is_alone = len(message.ListFields()) == 1
    if is_alone:
        # Nothing but the content, which is what most callers send.
        request = RoutingRequest(text=text, text_given=vector is None, character_count=characters)
    else:
        request = _request(message, text, characters, faults)
    if faults.items:
        raise InvalidFieldsError(faults.items)
    return Query(
        catalog=message.catalog,
        request=request,
        embedded_text=embedded_text,
        sent_vector=vector,
        is_prompt_alone=is_alone and vector is None and embedded_text == text,
    )


def _text(message: routing_input_pb2.RoutingInput, faults: _Faults) -> tuple[str, str, int]:
    """Returns the deciding text, the text to embed, and the characters of the whole input."""
    kind = message.WhichOneof("content")
    if kind == "prompt":
        prompt = message.prompt
        if not prompt or prompt.isspace():
            faults.add("prompt", "must hold more than white space")
        faults.length("prompt", prompt, MAX_CHARACTERS)
        return prompt, of_prompt(prompt).embedded_text, len(prompt)
    if kind == "conversation":
        return _conversation(message.conversation.messages, faults)
    if kind is None:
        faults.add("content", "give a prompt, a conversation or an embedding")
    return "", "", 0


def _conversation(
    messages: Sequence[routing_input_pb2.Message], faults: _Faults
) -> tuple[str, str, int]:
    field = "conversation.messages"
    if not 1 <= len(messages) <= MAX_MESSAGES:
        faults.add(field, f"must have from 1 to {MAX_MESSAGES} entries, not {len(messages)}")
        return "", "", 0
    for position, one in enumerate(messages):
        if one.role not in _ROLES:
            faults.add(f"{field}[{position}].role", f"{one.role} is no role")
    characters = sum(len(one.text) for one in messages)
    if characters > MAX_CHARACTERS:
        faults.add(field, f"have {characters} characters; at most {MAX_CHARACTERS} are allowed")
    user = routing_input_pb2.MESSAGE_ROLE_USER
    last = max((place for place, one in enumerate(messages) if one.role == user), default=None)
    if last is None:
        faults.add(field, "need a turn of the user")
        return "", "", characters
    if not messages[last].text.strip():
        faults.add(
            f"{field}[{last}].text", "the last turn of the user must hold more than white space"
        )
    deciding = of_conversation([Turn(by_user=one.role == user, text=one.text) for one in messages])
    return deciding.text, deciding.embedded_text, characters


def _sent_vector(message: routing_input_pb2.RoutingInput, faults: _Faults) -> SentVector | None:
    if message.WhichOneof("content") != "embedding":
        return None
    embedding = message.embedding
    if not embedding.encoder_id:
        faults.add("embedding.encoder_id", "is needed, so that vectors of another encoder are told")
    return SentVector(
        encoder_id=embedding.encoder_id, values=np.array(embedding.values, dtype=np.float32)
    )


def _request(
    message: routing_input_pb2.RoutingInput, text: str, characters: int, faults: _Faults
) -> RoutingRequest:
    dial = message.cost_quality_dial if message.HasField("cost_quality_dial") else NEUTRAL_DIAL
    if not (math.isfinite(dial) and 0.0 <= dial <= 1.0):
        faults.add("cost_quality_dial", f"must be from 0 to 1, not {dial:g}")
    if message.language and not _LANGUAGE.fullmatch(message.language):
        faults.add("language", "must be an ISO 639-1 code in lower case, such as en")
    faults.length("task_tag", message.task_tag, MAX_NAME_CHARACTERS)
    faults.length("caller", message.caller, MAX_NAME_CHARACTERS)
    faults.length("affinity_key", message.affinity_key, MAX_AFFINITY_KEY_CHARACTERS)
    _check_metadata(message.metadata, faults)
    output_tokens = input_tokens = None
    if message.HasField("expected_output_token_count"):
        output_tokens = message.expected_output_token_count
        faults.count("expected_output_token_count", output_tokens, 0, MAX_OUTPUT_TOKENS)
    if message.HasField("input_token_count"):
        input_tokens = message.input_token_count
        faults.count("input_token_count", input_tokens, 0, MAX_INPUT_TOKENS)
    return RoutingRequest(
        text=text,
        text_given=message.WhichOneof("content") != "embedding",
        character_count=characters,
        constraints=_constraints(message.constraints, faults)
        if message.HasField("constraints")
        else NO_CONSTRAINTS,
        previous_tier=message.previous_tier_id,
        priority=_choice("priority", message.priority, Priority, Priority.COST, faults),
        dial=dial,
        rules_only=message.rules_only,
        task_tag=message.task_tag,
        expected_tier=message.expected_tier_id,
        attachments=_known("attachment_kinds", message.attachment_kinds, _ATTACHMENTS, faults),
        expected_output_tokens=output_tokens,
        input_tokens=input_tokens,
        language=message.language,
        caller=message.caller,
        affinity_key=message.affinity_key,
        metadata=dict(message.metadata),
        keep_nothing=message.keep_nothing,
    )


def _constraints(message: routing_input_pb2.Constraints, faults: _Faults) -> Constraints:
    ceiling = message.cost_ceiling_nano_usd if message.HasField("cost_ceiling_nano_usd") else None
    if ceiling is not None and ceiling <= 0:
        faults.add("constraints.cost_ceiling_nano_usd", f"must be above 0, not {ceiling}")
    for field in (
        "allowed_provider_ids",
        "denied_provider_ids",
        "allowed_model_ids",
        "denied_model_ids",
    ):
        if len(getattr(message, field)) > MAX_LIST_ENTRIES:
            faults.add(f"constraints.{field}", f"may have at most {MAX_LIST_ENTRIES} entries")
    return Constraints(
        pinned_tier=message.pinned_tier_id,
        pinned_model=message.pinned_model_id,
        lowest_tier=message.lowest_tier_id,
        highest_tier=message.highest_tier_id,
        required_quality=_choice(
            "constraints.required_quality",
            message.required_quality,
            RequiredQuality,
            RequiredQuality.LOW,
            faults,
        ),
        allowed_providers=frozenset(message.allowed_provider_ids),
        denied_providers=frozenset(message.denied_provider_ids),
        allowed_models=frozenset(message.allowed_model_ids),
        denied_models=frozenset(message.denied_model_ids),
        required_capabilities=_known(
            "constraints.required_capabilities",
            message.required_capabilities,
            _CAPABILITIES,
            faults,
        ),
        required_labels=dict(message.required_labels),
        cost_ceiling_nano_usd=ceiling,
        downgrade_allowed=message.downgrade_allowed,
    )


def _check_metadata(metadata: Mapping[str, str], faults: _Faults) -> None:
    if len(metadata) > MAX_METADATA_ENTRIES:
        faults.add("metadata", f"may have at most {MAX_METADATA_ENTRIES} entries")
        return
    for key, value in metadata.items():
        if not 1 <= len(key) <= MAX_METADATA_KEY_CHARACTERS:
            faults.add("metadata", f"keys have from 1 to {MAX_METADATA_KEY_CHARACTERS} characters")
        faults.length(
            f"metadata[{key[:MAX_METADATA_KEY_CHARACTERS]!r}]", value, MAX_METADATA_VALUE_CHARACTERS
        )


_Enum = TypeVar("_Enum", bound=IntEnum)
_Value = TypeVar("_Value")


def _choice(
    field: str, number: int, kind: type[_Enum], unspecified: _Enum, faults: _Faults
) -> _Enum:
    if number == 0:
        return unspecified
    try:
        return kind(number)
    except ValueError:
        faults.add(field, f"{number} is no value that this server knows")
        return unspecified


def _known(
    field: str, numbers: Sequence[int], values: Mapping[int, _Value], faults: _Faults
) -> frozenset[_Value]:
    if len(numbers) > MAX_ENUM_ENTRIES:
        faults.add(field, f"may have at most {MAX_ENUM_ENTRIES} entries")
        return frozenset()
    found: set[_Value] = set()
    for position, number in enumerate(numbers):
        if number not in values:
            faults.add(f"{field}[{position}]", f"{number} is no value that this server knows")
        elif values[number] in found:
            faults.add(f"{field}[{position}]", f"{values[number]} is listed twice")
        else:
            found.add(values[number])
    return frozenset(found)
