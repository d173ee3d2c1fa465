"""What calls cost and what routing saved, in whole nano-dollars, as pure functions.

A sum is rounded once, to the nearest nano-dollar with halves up, as the client library does. Parts
are the differences between rounded running sums, so that they make the whole to the last digit.

Assumptions, for whoever audits the figures:

- Tokens that a provider stored in its cache cost what other input costs; reasoning costs what other
  output costs.
- The counterfactual is the same call on the baseline model: the same tokens of input, as many of
  them cached, and the same tokens of output. Nothing is claimed for a call that had no answer.
- A call that failed costs what its usage says. Without usage it cost nothing where the provider
  refuses to serve such calls, and an unknown amount where it may have written an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.prices import TOKENS_PER_PRICE, PriceBand, ResolvedPrice

UNBILLED: Final = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.OVERLOADED,
        ErrorClass.SERVER_ERROR,
        ErrorClass.CONNECTION,
        ErrorClass.CONTEXT_TOO_LONG,
        ErrorClass.CONTENT_POLICY,
        ErrorClass.INVALID_REQUEST,
        ErrorClass.AUTHENTICATION,
        ErrorClass.QUOTA_EXHAUSTED,
    }
)
"""Failures that cost nothing when no usage came back and no part of an answer did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one call, as the provider counted them."""

    input: int
    """Cached ones, read or written, included."""
    cached_input: int = 0
    """Of the input, those that the provider had cached."""
    cache_write: int = 0
    """Of the input, those that the provider stored in its cache."""
    output: int
    """Reasoning included."""
    reasoning: int = 0
    """Of the output, those that were spent on reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostParts:
    """What makes up the cost of a call, in nano-dollars."""

    input: int
    """Of input that was not cached."""
    cached_input: int
    output: int
    """Of output that is not reasoning."""
    reasoning: int
    per_call: int

    @property
    def total(self) -> int:
        """The whole cost."""
        return self.input + self.cached_input + self.output + self.reasoning + self.per_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What routing saved over some calls, in nano-dollars."""

    counterfactual: int
    """What the same calls would have cost on the baseline model."""
    calls: int
    """Cost of the attempts that gave the answers."""
    unsuccessful: int
    """Cost of the attempts that failed or were rejected."""
    routing: int
    """Cost of deciding."""

    @property
    def saving(self) -> int:
        """The net saving; negative where routing cost more than it saved."""
        return self.counterfactual - self.calls - self.unsuccessful - self.routing


def applying_band(price: ResolvedPrice, input_tokens: int) -> PriceBand:
    """Returns the prices that apply to a call with so much input."""
    band = price.base
    for other in price.bands[1:]:
        if input_tokens > other.above_input_tokens:
            band = other
    return band


def call_cost(tokens: Tokens, price: ResolvedPrice) -> CostParts:
    """Returns what a call costs."""
    band = applying_band(price, tokens.input)
    cached_price = band.input if band.cached_input is None else band.cached_input
    cached = min(tokens.cached_input, tokens.input)
    reasoning = min(tokens.reasoning, tokens.output)
    parts = _rounded_parts(
        (
            (tokens.input - cached) * band.input,
            cached * cached_price,
            (tokens.output - reasoning) * band.output,
            reasoning * band.output,
        )
    )
    return CostParts(
        input=parts[0],
        cached_input=parts[1],
        output=parts[2],
        reasoning=parts[3],
        per_call=price.per_call,
    )


def balance(
    calls: Iterable[tuple[int, int, int]], *, routing_cost_per_decision: int = 0
) -> Balance:
    """Returns the balance of calls whose costs are all known.

    Args:
        calls: Of each call, its counterfactual, the cost of its answer and that of its unsuccessful
            attempts.
        routing_cost_per_decision: What one decision costs to make.
    """
    rows = list(calls)
    return Balance(
        counterfactual=sum(one[0] for one in rows),
        calls=sum(one[1] for one in rows),
        unsuccessful=sum(one[2] for one in rows),
        routing=routing_cost_per_decision * len(rows),
    )


def _rounded_parts(amounts: Iterable[int]) -> list[int]:
    """Returns amounts of tokens times price as nano-dollars whose sum is the rounded sum."""
    parts: list[int] = []
    running = before = 0
    for amount in amounts:
        running += amount
        rounded = (running + TOKENS_PER_PRICE // 2) // TOKENS_PER_PRICE
        parts.append(rounded - before)
        before = rounded
    return parts
