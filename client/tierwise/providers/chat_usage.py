"""Tokens and cost of an answer of chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierwise.answers import Usage
from tierwise.providers.untrusted_json import count, mapping, number

_MOST_USD = 1e6
"""No call costs more; what says so is no cost."""


def usage_of(stated: Mapping[str, Any]) -> Usage | None:
    """Returns the tokens that a `usage` object names; None when it names none."""
    prompt, completion = count(stated.get("prompt_tokens")), count(stated.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    of_prompt = mapping(stated.get("prompt_tokens_details"))
    of_completion = mapping(stated.get("completion_tokens_details"))
    cached = (
        of_prompt.get("cached_tokens"),
        stated.get("prompt_cache_hit_tokens"),  # DeepSeek
        stated.get("num_cached_tokens"),  # Mistral
    )
    return Usage(
        input_tokens=prompt or 0,
        cached_input_tokens=next(filter(None, map(count, cached)), 0),
        cache_write_tokens=count(of_prompt.get("cache_write_tokens")) or 0,
        output_tokens=completion or 0,
        reasoning_tokens=count(of_completion.get("reasoning_tokens")) or 0,
    )


def cost_nano_usd(stated: Mapping[str, Any]) -> int | None:
    """Returns the cost that OpenRouter states; None where it does not.

    With a key of the caller's own at the provider behind it, `cost` is OpenRouter's share alone.
    https://openrouter.ai/docs/use-cases/usage-accounting
    """
    cost = number(stated.get("cost"))
    upstream: float | None = 0.0
    if stated.get("is_byok") is True:
        upstream = number(mapping(stated.get("cost_details")).get("upstream_inference_cost"))
    if cost is None or upstream is None or cost < 0 or upstream < 0:
        return None
    return round((cost + upstream) * 1e9) if cost + upstream < _MOST_USD else None
