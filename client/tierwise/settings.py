"""What a client may be told beside its providers. Every figure has a default that is safe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from tierwise.budget import Budget
from tierwise.decisions import Model, Price
from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError
from tierwise.hooks import Hooks
from tierwise.routing import RoutingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterlessDefaults:
    """What to do for prompts that no router decides on, before any plan was seen."""

    tier: str = ""
    """Tier whose last plan is taken. Empty means the one that the router falls back to itself, as
    far as its decisions showed it, else the dearest seen: never a cheaper one by accident."""
    models: tuple[Model, ...] = ()
    """Models to call, in order, when no plan was seen yet that keeps the request's limits. The
    first that keeps them is called; the others stand in for it after transient failures."""

    def __post_init__(self) -> None:
        """Refuses models that no router would have in its catalog."""
        check_types(self, "routerless")
        for number, model in enumerate(self.models):
            path = f"routerless.models[{number}]"
            check_types(model, path)
            if model.price is not None:
                _check_price(model.price, f"{path}.price")


def _check_price(price: Price, path: str) -> None:
    check_types(price, path)
    for one in fields(price):
        amount = getattr(price, one.name)
        if amount is not None and amount < 0:
            raise InvalidRequestError(
                f"must be 0 or more, not {amount}", field=f"{path}.{one.name}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client behaves."""

    options: RoutingOptions = field(default_factory=RoutingOptions)
    """Limits and wishes of every call, over which those of a single call go."""
    budget: Budget = field(default_factory=Budget)
    hooks: Hooks = field(default_factory=Hooks)
    routerless: RouterlessDefaults = field(default_factory=RouterlessDefaults)
    router_timeout_s: float = 0.25
    """How long a chat waits for the router before it goes on without."""
    chat_timeout_s: float = 120.0
    """Deadline of a chat across all attempts and waits. A stream must begin within it."""
    call_timeout_s: float = 30.0
    """Longest time for one call, and in a stream for each wait for a further part. What the plan
    says holds where it is shorter."""
    first_wait_s: float = 0.5
    """Wait before the first retry of a model whose provider names none; doubled for each further
    one. The actual wait is drawn from half of it up to all of it."""
    longest_wait_s: float = 30.0
    """Longest wait before the same model is called again; what a provider asks beyond that makes
    the plan go on."""
    instructions: Mapping[str, str] = field(default_factory=dict)
    """System text by model id for every call, since a cheaper model may need another prompt."""
    spool_path: Path | None = None
    """Where outcomes wait to be delivered. None means a file for each router below
    `$XDG_STATE_HOME/tierwise`."""
    report_outcomes: bool = True

    def __post_init__(self) -> None:
        """Refuses times that make no sense."""
        check_types(self)
        for name in ("router_timeout_s", "chat_timeout_s", "call_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidRequestError(
                    f"must be above 0 and finite, not {getattr(self, name)}", field=name
                )
        for name in ("first_wait_s", "longest_wait_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidRequestError(
                    f"must be 0 or more and finite, not {getattr(self, name)}", field=name
                )
