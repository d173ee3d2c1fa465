"""What failures may cost."""

from __future__ import annotations

from dataclasses import dataclass

from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on spending. None means no limit."""

    max_cost_nano_usd: int | None = None
    """For all attempts of one chat together. An attempt whose estimate would go beyond what is left
    is not made; with a limit, nor is one of unknown price."""
    escalation_share: float | None = 0.2
    """Share of chats that may go up a tier, from 0 to 1, over the last `window_s` seconds. With 0
    none may."""
    window_s: float = 300.0
    free_escalations: int = 5
    """Escalations in a window that are always allowed, so that the first chats may escalate too."""

    def __post_init__(self) -> None:
        """Refuses limits that make no sense."""
        check_types(self, "budget")
        if self.max_cost_nano_usd is not None and self.max_cost_nano_usd < 0:
            raise InvalidRequestError(
                f"must be 0 or more, not {self.max_cost_nano_usd}", field="budget.max_cost_nano_usd"
            )
        if self.escalation_share is not None and not 0 <= self.escalation_share <= 1:
            raise InvalidRequestError(
                f"must be from 0 to 1, not {self.escalation_share}",
                field="budget.escalation_share",
            )
        if not self.window_s > 0:
            raise InvalidRequestError(
                f"must be above 0, not {self.window_s}", field="budget.window_s"
            )
        if self.free_escalations < 0:
            raise InvalidRequestError(
                f"must be 0 or more, not {self.free_escalations}", field="budget.free_escalations"
            )
