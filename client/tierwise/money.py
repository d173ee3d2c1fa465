"""What a call cost, from its usage and the model's price, in whole billionths of a US dollar."""

from __future__ import annotations

from tierwise.answers import Answer, Usage
from tierwise.decisions import Price

_MILLION = 1_000_000


def usage_cost(usage: Usage, price: Price) -> int:
    """Returns the cost of a call, rounded to the nearest nano-dollar, halves up.

    Input that the provider's cache gave or took is paid at its own price where the model has one.
    Reasoning is part of the output.
    """
    input_price = price.input_nano_usd_per_million
    cached_price = price.cached_input_nano_usd_per_million
    write_price = price.cache_write_nano_usd_per_million
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    tokens_cost = (
        (usage.input_tokens - cached - written) * input_price
        + cached * (input_price if cached_price is None else cached_price)
        + written * (input_price if write_price is None else write_price)
        + usage.output_tokens * price.output_nano_usd_per_million
    )
    return price.call_nano_usd + (tokens_cost + _MILLION // 2) // _MILLION


def answer_cost(answer: Answer | None, price: Price | None) -> int | None:
    """Returns what an answer cost: as the provider states it, else by usage and price.

    None when neither is known; that is not the same as nothing.
    """
    if answer is None:
        return None
    if answer.cost_nano_usd is not None:
        return answer.cost_nano_usd
    if answer.usage is None or price is None:
        return None
    return usage_cost(answer.usage, price)
