"""The size of the call that a request leads to, as far as it is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.planning.tokens import (
    FAMILIES,
    character_kinds,
    estimate_tokens,
    kinds_of_language,
    upper_bound,
)

DEFAULT_OUTPUT_TOKENS: Final = 500
"""Tokens of the answer when the request does not say: some 350 words, an answer of a few
paragraphs. The same for all tiers, so that a call and its counterfactual are the same call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSize:
    """Tokens of one call, for each token family where the tokenizer matters."""

    input_tokens: tuple[int, ...]
    """Estimate, or the caller's own count."""
    safe_input_tokens: tuple[int, ...]
    """What the input will hardly exceed: checked against context windows."""
    output_tokens: int
    """The caller's expectation, else an assumption."""
    output_stated: bool
    """Whether the caller expects that many. An assumption drops no model for its output limit."""


def measure_call(request: RoutingRequest, language: str) -> CallSize:
    """Returns the size of the call.

    Args:
        request: The request. Its count of input tokens, where it has one, is taken as it is.
        language: ISO 639-1 code that was stated or detected; empty when not known.
    """
    stated = request.expected_output_tokens
    if request.input_tokens is not None:
        counted = (request.input_tokens,) * len(FAMILIES)
        inputs, safe = counted, counted
    else:
        # Turns that are not at hand are taken to be written like the one that is.
        kinds = character_kinds(request.text) if request.text else kinds_of_language(language)
        characters = max(request.character_count, len(request.text))
        inputs = tuple([estimate_tokens(family, characters, kinds) for family in FAMILIES])
        safe = tuple([upper_bound(family, inputs[family]) for family in FAMILIES])
    return CallSize(
        input_tokens=inputs,
        safe_input_tokens=safe,
        output_tokens=DEFAULT_OUTPUT_TOKENS if stated is None else stated,
        output_stated=stated is not None,
    )
