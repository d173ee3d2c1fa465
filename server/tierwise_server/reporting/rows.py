"""What a report asks of the ledger, as plain values."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Whole days in UTC."""

    since: datetime.date
    """The first day."""
    until: datetime.date
    """The last day, included."""

    @property
    def since_ms(self) -> int:
        """Beginning of the first day, in milliseconds since 1970."""
        return day_number(self.since) * DAY_MS

    @property
    def until_ms(self) -> int:
        """End of the last day, in milliseconds since 1970; itself no longer in the period."""
        return (day_number(self.until) + 1) * DAY_MS


def day_number(day: datetime.date) -> int:
    """Returns the days since 1970."""
    return (day - datetime.date(1970, 1, 1)).days


def date_of(number: int) -> datetime.date:
    """Returns the date of a number of days since 1970."""
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=number)


class CallGroup(NamedTuple):
    """Sums over calls that have in common all that a report groups by."""

    day: int
    """Days since 1970 in UTC, of the decision."""
    tier: str
    """As decided."""
    final_tier: str
    """Of the model that answered, or failed last."""
    task: str
    model_id: str
    """Of the model that answered, or failed last."""
    caller: str
    compared: bool
    """Whether all costs of these calls are known, that of the counterfactual included."""
    calls: int
    routerless: int
    """Calls that no router decided on."""
    unanswered: int
    alternates: int
    """Calls that went to another model of the tier and no further."""
    escalations: int
    """Calls that went to a higher tier."""
    refusals: int
    """Calls that a provider declined for their content."""
    other_models: int
    """Calls that another model answered than the one that was asked for."""
    unpriced_calls: int
    """Calls of which an attempt is of unknown cost."""
    input_tokens: int
    output_tokens: int
    answer_nano_usd: int
    """Known cost of the attempts that gave the answers."""
    unsuccessful_nano_usd: int
    """Known cost of the attempts that failed or were rejected."""
    counterfactual_nano_usd: int
    """What the calls would have cost on the baseline model, as far as it is known."""
    latencies_us: tuple[int, ...]
    """Times of the calls that gave the answers, in any order."""


class DecisionGroup(NamedTuple):
    """Decisions of routers that have in common what a report counts them by."""

    tier: str
    expected_tier: str
    """Empty where the caller did not say."""
    kind: int
    decisions: int
    total_us: tuple[int, ...]
    """Server time of each, in any order."""


class ServedOther(NamedTuple):
    """Calls that another model answered than the one that was asked for."""

    model_id: str
    served_model_name: str
    calls: int


class UnpricedModel(NamedTuple):
    """Attempts whose cost is not known."""

    model_id: str
    attempts: int
    input_tokens: int
    output_tokens: int


class JudgedCall(NamedTuple):
    """A call that was judged, with its report or later."""

    prompt_key: str
    """Equal for calls of the same prompt."""
    decided_ms: int
    tier: str
    """As decided."""
    final_tier: str
    """Of the model that gave the judged answer."""
    free: bool
    """Whether the router was free to choose the tier: nothing was pinned."""
    grade: float
    """From 0 to 1."""
    cost_nano_usd: int | None
    """Of all attempts; None where a part is not known."""


class LedgerFacts(NamedTuple):
    """What a report says of the ledger beside its sums."""

    first_ms: int | None
    """Time of the first decision that is kept; None when there is none."""
    last_ms: int | None
    tiers: tuple[str, ...]
    """Cheapest first, as the newest catalog has them. Empty when no catalog was noted."""
    baselines: tuple[str, ...]
    """Models that savings were measured against."""
    price_sources: tuple[tuple[str, str], ...]
    """Where prices come from, each with the date of its data or an empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRows:
    """All that a report is made of."""

    facts: LedgerFacts
    calls: tuple[CallGroup, ...]
    decisions: tuple[DecisionGroup, ...]
    routerless_causes: tuple[tuple[int, int], ...]
    """Numbers of the causes, each with its calls."""
    served_other: tuple[ServedOther, ...]
    unpriced: tuple[UnpricedModel, ...]
    judged: tuple[JudgedCall, ...]
    callless_judgements: int = 0
    """Judgements that came later, of decisions of which no call is kept."""
