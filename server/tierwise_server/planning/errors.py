"""What can be wrong with a request once it meets the models of a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from tierwise_server.deciding.errors import RequestError

_MAX_SHOWN: Final = 20


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

    def __init__(self, dropped: Sequence[DroppedModel], field: str = "constraints") -> None:
        shown = "; ".join(f"{one.model_id}: {one.description}" for one in dropped[:_MAX_SHOWN])
        more = f"; and {len(dropped) - _MAX_SHOWN} more" if len(dropped) > _MAX_SHOWN else ""
        super().__init__(f"{field}: no model of the catalog meets the limits: {shown}{more}")
        self.dropped = tuple(dropped)
        """Every model of the catalog, each with the first limit that it does not meet."""
        self.field = field

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of its field."""
        return type(self)(self.dropped, f"{path}.{self.field}")
