"""What calls cost and what routing saved, in whole nano-dollars, as pure functions.

The cost of a call is rounded once, to the nearest nano-dollar with halves up, as the client library
does; all that comes after are sums and differences of whole numbers.

Assumptions, for whoever audits the figures:

- Input that the provider's cache gave or took has its own price where the model has one. What a
  cache keeps for longer than usual counts at the usual price, and reasoning as other output.
- What providers bill beside tokens and calls, as for searches or stored files, is not counted.
- The counterfactual is the same call on the baseline model: the same tokens of input, as many of
  them read from the cache and written to it, and the same tokens of output. Nothing is claimed for
  a call that had no answer.
- A call that failed costs what its usage says. Without usage it cost nothing where the provider
  refuses to serve such calls, and an unknown amount where it may have written an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.prices import TOKENS_PER_PRICE, ResolvedPrice

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


def call_cost(tokens: Tokens, price: ResolvedPrice) -> int:
    """Returns what a call costs."""
    band = price.band_for(tokens.input)
    cached = min(tokens.cached_input, tokens.input)
    written = min(tokens.cache_write, tokens.input - cached)
    amount = (
        (tokens.input - cached - written) * band.input
        + cached * (band.input if band.cached_input is None else band.cached_input)
        + written * (band.input if band.cache_write is None else band.cache_write)
        + tokens.output * band.output
    )
    return price.per_call + (amount + TOKENS_PER_PRICE // 2) // TOKENS_PER_PRICE
