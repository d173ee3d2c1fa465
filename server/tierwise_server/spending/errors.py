"""Why a spend limit ends a call."""

from __future__ import annotations

import datetime

from tierwise_server.catalog.limits import SpendLimit
from tierwise_server.deciding.errors import shown
from tierwise_server.planning.prices import NANO_USD_PER_USD


class SpendLimitReachedError(Exception):
    """The caller has spent what it may, and the limit's policy leaves no way to go on."""

    def __init__(self, limit: SpendLimit, *, reset_ms: int, tier: str = "") -> None:
        self.limit = limit
        self.reset_time = datetime.datetime.fromtimestamp(reset_ms / 1000, datetime.UTC)
        """When the next period begins."""
        if tier:
            what = f"leaves {limit.tier} as the highest tier, and the request asks for {tier}"
        else:
            what = "lets it make no further calls"
        super().__init__(
            f"{described(limit)} is reached and {what}; the next {limit.per} begins at"
            f" {self.reset_time:%Y-%m-%dT%H:%M:%SZ}"
        )


def described(limit: SpendLimit) -> str:
    """Returns a limit as a sentence begins with it, with the place where it is set."""
    whose = f"caller {shown(limit.caller)}" if limit.caller else "all callers"
    return (
        f"the spend limit of {limit.nano_usd / NANO_USD_PER_USD:g} USD a {limit.per} for {whose}"
        f" ({limit.location})"
    )
