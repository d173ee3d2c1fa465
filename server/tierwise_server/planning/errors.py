"""What can be wrong with a request once it meets the models of a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise_server.deciding.errors import RequestError

_MAX_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedModel:
    """A model that a decision could not use."""

    model_id: str
    constraint: str
    """Constraint that the model does not meet, in kebab-case, for programs."""
    description: str
    """Why it does not, for people; ends without a full stop."""


class NoModelQualifiesError(RequestError):
    """No model of the catalog meets the request's limits."""

    def __init__(self, dropped: Sequence[DroppedModel]) -> None:
        shown = "; ".join(f"{one.model_id}: {one.description}" for one in dropped[:_MAX_SHOWN])
        more = f"; and {len(dropped) - _MAX_SHOWN} more" if len(dropped) > _MAX_SHOWN else ""
        super().__init__(f"no model of the catalog meets the request's limits: {shown}{more}")
        self.dropped = tuple(dropped)
        """Every model of the catalog, each with the first limit that it does not meet."""
