"""Shares and rates: tiers against their guide, fallback by pair of tiers, decisions by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Final

import numpy as np

from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.reporting.calls import CallFigures, Calls, quantile
from tierwise_server.reporting.rows import DecisionGroup

GUIDE: Final = (Fraction(70, 100), Fraction(20, 100), Fraction(10, 100))
"""Typical shares of the cheapest, the middle and the top tier of three."""

FALLBACK_ALERT: Final = Fraction(3, 100)
"""Share of calls above which fallback means trouble."""


def share(part: int, whole: int) -> float | None:
    """Returns a part of a whole; None of nothing."""
    return part / whole if whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierShare:
    """What part of everything one tier has, as it was decided."""

    tier: str
    calls: float | None
    tokens: float | None
    """Of input and output together."""
    cost: float | None
    """Of the known cost."""
    guide: float | None
    """None where there is no guide: it is for three tiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPair:
    """Calls that were decided for one tier and ended in one, the same or another."""

    tier: str
    final_tier: str
    calls: int
    fallbacks: int
    """Those that needed an alternate or an escalation."""
    refusals: int
    """Those that a provider declined for their content."""
    decided_calls: int
    """All calls that were decided for the tier."""

    @property
    def share(self) -> float | None:
        """Fallbacks as a share of all calls that were decided for the tier."""
        return share(self.fallbacks, self.decided_calls)

    @property
    def alert(self) -> bool:
        """Whether the share is above what means trouble."""
        return exceeds_alert(self.fallbacks, self.decided_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFigures:
    """Figures of the routers' decisions, those without a reported call included."""

    decisions: int
    by_kind: tuple[tuple[str, int], ...]
    """Decisions by what decided."""
    total_p50_us: int | None
    """Server time of a decision."""
    total_p99_us: int | None
    expected: int
    """Decisions of which the caller said which tier it holds to be right."""
    right: int
    confusion: tuple[tuple[str, str, int], ...]
    """Expected tier, decided tier, decisions; zeros included, so that it is a whole square."""

    @property
    def accuracy(self) -> float | None:
        """Share of right decisions where the expected tier was given."""
        return share(self.right, self.expected)


def exceeds_alert(fallbacks: int, calls: int) -> bool:
    """Returns whether so many fallbacks are more than the share that means trouble."""
    return fallbacks > FALLBACK_ALERT * calls


def tier_order(stated: Sequence[str], seen: Iterable[str]) -> tuple[str, ...]:
    """Returns the tiers that occur, in the catalog's order, then those that it does not have."""
    seen = set(seen)
    known = [one for one in stated if one in seen]
    return (*known, *sorted(seen - set(known)))


def tier_shares(
    by_tier: Sequence[CallFigures], overall: CallFigures, stated: Sequence[str]
) -> tuple[TierShare, ...]:
    """Returns the shares of each tier; also of those of the catalog that no call went to.

    Args:
        by_tier: Figures by tier.
        overall: Figures of all calls.
        stated: The catalog's tiers, cheapest first. Empty when they are not known.
    """
    figures = {one.label: one for one in by_tier}
    names = list(dict.fromkeys([*stated, *figures]))
    guided = len(stated) == len(GUIDE) == len(names)
    shares = []
    for position, name in enumerate(names):
        one = figures.get(name)
        tokens = one.input_tokens + one.output_tokens if one is not None else 0
        cost = one.known_cost_nano_usd if one is not None else 0
        shares.append(
            TierShare(
                tier=name,
                calls=share(one.calls if one is not None else 0, overall.calls),
                tokens=share(tokens, overall.input_tokens + overall.output_tokens),
                cost=share(cost, overall.known_cost_nano_usd),
                guide=float(GUIDE[position]) if guided else None,
            )
        )
    return tuple(shares)


def tier_pairs(calls: Calls, order: Sequence[str]) -> tuple[TierPair, ...]:
    """Returns the pairs of decided and final tier with fallback or refusals, by tier."""
    pairs: list[tuple[str, str]] = []

    def noted(key: tuple[str, str]) -> str:
        pairs.append(key)
        return key[0]

    figures = calls.by_key(lambda one: (one.tier, one.final_tier), noted)
    decided: Counter[str] = Counter()
    for (tier, _), one in zip(pairs, figures, strict=True):
        decided[tier] += one.calls
    rank = {tier: position for position, tier in enumerate(order)}
    found = [
        TierPair(
            tier=tier,
            final_tier=final_tier,
            calls=one.calls,
            fallbacks=one.fallbacks,
            refusals=one.refusals,
            decided_calls=decided[tier],
        )
        for (tier, final_tier), one in zip(pairs, figures, strict=True)
        if one.fallbacks or one.refusals
    ]
    last = len(rank)
    found.sort(
        key=lambda one: (
            rank.get(one.tier, last),
            one.tier,
            rank.get(one.final_tier, last),
            one.final_tier,
        )
    )
    return tuple(found)


def decision_figures(groups: Sequence[DecisionGroup], order: Sequence[str]) -> DecisionFigures:
    """Returns the figures of decisions, the confusion in an order of tiers."""
    kinds: Counter[int] = Counter()
    confusion: Counter[tuple[str, str]] = Counter()
    for one in groups:
        kinds[one.kind] += one.decisions
        if one.expected_tier:
            confusion[one.expected_tier, one.tier] += one.decisions
    times = np.sort(
        np.fromiter(chain.from_iterable(one.total_us for one in groups), dtype=np.int64)
    )
    tiers = tier_order(order, chain.from_iterable(confusion))
    return DecisionFigures(
        decisions=kinds.total(),
        by_kind=tuple((kind_name(kind), kinds[kind]) for kind in sorted(kinds)),
        total_p50_us=quantile(times, 0.5),
        total_p99_us=quantile(times, 0.99),
        expected=confusion.total(),
        right=sum(count for (expected, tier), count in confusion.items() if expected == tier),
        confusion=tuple((one, tier, confusion[one, tier]) for one in tiers for tier in tiers),
    )


def kind_name(kind: int) -> str:
    """Returns a kind of decision in the words of the documentation."""
    try:
        return DecisionKind(kind).name.lower().replace("_", "-")
    except ValueError:
        # Of a newer server than this release.
        return f"kind-{kind}"
