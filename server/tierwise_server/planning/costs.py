"""Estimates what a call costs on every model of a registry at once, exactly."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.planning.call import CallSize
from tierwise_server.planning.prices import TOKENS_PER_PRICE
from tierwise_server.planning.registry import NEVER, ModelRegistry

Costs = NDArray[Any]
"""Nano-dollars for each model of a registry: whole numbers of 64 bits, or longer where needed."""

_SAFE: Final = 1 << 61
"""Sums below this fit into 64 bits with room for the price of the call itself."""


def estimate_costs(registry: ModelRegistry, call: CallSize) -> Costs:
    """Returns the estimated cost of the call on each model; `NEVER` where the price is unknown."""
    longest = max(call.input_tokens)
    # Prices go up to a million dollars and inputs up to a hundred million tokens.
    dtype = np.int64 if (longest + call.output_tokens) * registry.dearest_price < _SAFE else object
    tokens = np.array(call.input_tokens, dtype=np.int64)[registry.family]
    first = registry.bands[0]
    input_price, output_price = first.input, first.output
    for band in registry.bands[1:]:
        reached = tokens > band.above_input_tokens
        if reached.any():
            input_price = np.where(reached, band.input, input_price)
            output_price = np.where(reached, band.output, output_price)
    # The negative, since floor division of it rounds the cost up.
    amount = tokens.astype(dtype, copy=False) * -input_price
    amount -= output_price.astype(dtype, copy=False) * call.output_tokens
    costs: Costs = registry.per_call - amount // TOKENS_PER_PRICE
    costs[registry.unpriced] = NEVER
    return costs
