"""What a caller's spend does to a decision: pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tierwise_server.catalog.limits import AtLimit, SpendLimit
from tierwise_server.catalog.model import Catalog, Tier
from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decide import Opening
from tierwise_server.deciding.decision import Verdict
from tierwise_server.spending.errors import SpendLimitReachedError, described


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A limit that is reached."""

    limit: SpendLimit
    reset_ms: int
    """When the next period begins, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a caller stands to its limits at one moment."""

    is_limited: bool = False
    """Whether any limit applies."""
    is_bound: bool = False
    """Whether one applies that changes decisions once it is reached. Models of unknown price are
    out of the question then: what they cost could not be counted."""
    reached: tuple[Reached, ...] = ()

    @property
    def refusal(self) -> Reached | None:
        """The limit that refuses the call; None when none does."""
        found = (one for one in self.reached if one.limit.at_limit is AtLimit.REFUSE)
        return next(found, None)


UNLIMITED: Final = Standing()
"""No limit applies."""


def check(standing: Standing) -> None:
    """Refuses a call that a limit refuses.

    Raises:
        SpendLimitReachedError: One does.
    """
    if (one := standing.refusal) is not None:
        raise SpendLimitReachedError(one.limit, reset_ms=one.reset_ms)


def within_limits(
    standing: Standing,
    catalog: Catalog,
    opening: Opening,
    verdict: Verdict,
    *,
    has_unpriced: bool = False,
) -> tuple[Opening, Verdict]:
    """Returns a decision as the limits leave it, which say so in its reason.

    Args:
        standing: Of the caller.
        catalog: The catalog that decides.
        opening: What the request allows.
        verdict: The decision without limits.
        has_unpriced: Whether the price of any model is unknown.

    Raises:
        SpendLimitReachedError: A limit refuses the call, or leaves only tiers below those that the
            request allows.
    """
    check(standing)
    for one in standing.reached:
        # A limit may name a tier of newer files than those that this decision is made by.
        cap = catalog.tier_by_id.get(one.limit.tier) if one.limit.tier is not None else None
        if cap is not None:
            opening, verdict = _capped(one, cap, catalog, opening, verdict)
        else:
            verdict = replace(verdict, reason=f"{verdict.reason} {_sentence(one)}.")
    if standing.is_bound and has_unpriced:
        constraints = replace(opening.request.constraints, priced_only=True)
        opening = replace(opening, request=replace(opening.request, constraints=constraints))
    return opening, verdict


def _capped(
    reached: Reached, cap: Tier, catalog: Catalog, opening: Opening, verdict: Verdict
) -> tuple[Opening, Verdict]:
    """Returns a decision that goes no higher than a tier."""
    bounds, asked = opening.bounds, verdict.tier
    constraints = opening.request.constraints
    is_pinned = bool(constraints.pinned_tier or constraints.pinned_model)
    if bounds.lowest > cap.rank or (is_pinned and asked.rank > cap.rank):
        wanted = asked.id if is_pinned else catalog.tiers[bounds.lowest].id
        raise SpendLimitReachedError(reached.limit, reset_ms=reached.reset_ms, tier=wanted)
    highest = min(bounds.highest, cap.rank)
    opening = replace(opening, bounds=TierBounds(lowest=bounds.lowest, highest=highest))
    if asked.rank <= cap.rank:
        reason = f"{verdict.reason} {_sentence(reached)}, so no tier above {cap.id} is used."
        return opening, replace(verdict, reason=reason)
    reason = f"{verdict.reason} {_sentence(reached)}, which moves it to {cap.id}."
    return opening, replace(verdict, tier=cap, model="", reason=reason, confidence=None)


def _sentence(reached: Reached) -> str:
    return f"{_capital(described(reached.limit))} is reached"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
