"""Sums and quantiles over calls, by day, week, tier, task, model or caller: pure functions.

Amounts are whole nano-dollars and quantiles are exact: the parts of every breakdown make the whole
to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tierwise_server.ledger.money import Balance
from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.rows import CallGroup, date_of

DIMENSIONS: Final = ("day", "week", "tier", "task", "model", "caller")
"""What calls can be broken down by."""

_COUNTS: Final = (
    "calls",
    "routerless",
    "unanswered",
    "alternates",
    "escalations",
    "refusals",
    "other_models",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
)
_AMOUNTS: Final = ("answer_nano_usd", "unsuccessful_nano_usd", "counterfactual_nano_usd")

_EPOCH_WEEKDAY: Final = 3
"""1 January 1970 was a Thursday; weeks begin on Mondays."""
_WEEK: Final = 7

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    """Figures of some calls."""

    label: str
    """What they have in common. Empty where nothing is known of it."""
    calls: int
    routerless: int
    unanswered: int
    alternates: int
    escalations: int
    refusals: int
    other_models: int
    unpriced_calls: int
    """Calls of which an attempt is of unknown cost."""
    input_tokens: int
    output_tokens: int
    compared_calls: int
    """Calls all of whose costs are known, that of the counterfactual included."""
    known_cost_nano_usd: int
    """Of all attempts whose cost is known."""
    balance: Balance
    """Of the compared calls, and the whole cost of routing."""
    latency_p50_us: int | None
    """Of the calls that gave the answers; None where none was timed."""
    latency_p99_us: int | None

    @property
    def uncompared_calls(self) -> int:
        """Calls that no saving is claimed for, since a cost is not known."""
        return self.calls - self.compared_calls

    @property
    def uncompared_cost_nano_usd(self) -> int:
        """What is known of the cost of the uncompared calls."""
        return self.known_cost_nano_usd - self.balance.calls - self.balance.unsuccessful

    @property
    def fallbacks(self) -> int:
        """Calls that needed an alternate or an escalation."""
        return self.alternates + self.escalations


def quantile(ordered: Sequence[int] | Integers, share: float) -> int | None:
    """Returns the smallest of ordered values that is not below this share of them."""
    if not len(ordered):
        return None
    return int(ordered[max(0, math.ceil(len(ordered) * share) - 1)])


class Calls:
    """Groups of calls, as columns."""

    def __init__(self, groups: Sequence[CallGroup], routing_cost_nano_usd: int = 0) -> None:
        """Takes groups of calls.

        Args:
            groups: In any order; equal keys may occur more than once.
            routing_cost_nano_usd: What it cost to make the routers' decisions. It is spread evenly
                over the calls that a router decided on.
        """
        self._groups = groups
        columns = _Columns(groups)
        self._counts = columns.of(_COUNTS)
        compared = columns.of(("compared",))
        amounts = columns.amounts()
        # Compared and all calls, side by side.
        self._amounts = np.concatenate([amounts * compared, amounts], axis=1)
        self._compared_calls = compared[:, 0] * self._counts[:, 0]
        # Ordered by time once, so that each breakdown only has to keep that order.
        times = [one.latencies_us for one in groups]
        lengths = np.fromiter(map(len, times), dtype=np.int64, count=len(times))
        flat = np.fromiter(chain.from_iterable(times), dtype=np.int64, count=int(lengths.sum()))
        order = np.argsort(flat)
        self._times = flat[order]
        self._group_of_time = np.repeat(np.arange(len(groups)), lengths)[order]
        self._routing = routing_cost_nano_usd

    def overall(self) -> CallFigures:
        """Returns the figures of all calls."""
        figures = self._figures(np.zeros(len(self._groups), dtype=np.int64), [""])
        return figures[0]

    def by(self, dimension: str, order: Sequence[str] = ()) -> list[CallFigures]:
        """Returns the figures by one of `DIMENSIONS`, as many as there are.

        Args:
            dimension: What to break down by.
            order: Labels in the order to give them in; others follow, days and weeks by time, the
                rest by falling number of calls.
        """
        figures = self.by_key(_KEYS[dimension], str)
        rank = {label: position for position, label in enumerate(order)}
        if dimension in {"day", "week"}:
            return sorted(figures, key=lambda one: one.label)
        return sorted(
            figures, key=lambda one: (rank.get(one.label, len(rank)), -one.calls, one.label)
        )

    def by_key(
        self, key: Callable[[CallGroup], Hashable], label: Callable[[Any], str]
    ) -> list[CallFigures]:
        """Returns the figures by what a function says of each group, in the order of appearance."""
        codes, keys = _coded(map(key, self._groups))
        return self._figures(codes, [label(one) for one in keys]) if keys else []

    def _figures(self, codes: Integers, labels: Sequence[str]) -> list[CallFigures]:
        size = len(labels)
        counts = _folded(codes, size, self._counts)
        compared = _folded(codes, size, self._compared_calls[:, None])[:, 0]
        amounts = _folded(codes, size, self._amounts)
        routed = [int(row[0] - row[1]) for row in counts]
        routing = spread(self._routing, routed if any(routed) else [1] * size)
        quantiles = self._quantiles(codes, size)
        known, balances = _money(amounts, routing)
        return [
            CallFigures(
                label=label,
                **dict(zip(_COUNTS, map(int, counts[number]), strict=True)),
                compared_calls=int(compared[number]),
                known_cost_nano_usd=known[number],
                balance=balances[number],
                latency_p50_us=quantiles[number][0],
                latency_p99_us=quantiles[number][1],
            )
            for number, label in enumerate(labels)
        ]

    def _quantiles(self, codes: Integers, size: int) -> list[tuple[int | None, int | None]]:
        # Numbers of 16 bits are sorted by digits, some ten times faster.
        small = codes.astype(np.uint16) if size <= np.iinfo(np.uint16).max else codes
        owners = small[self._group_of_time]
        times = self._times[np.argsort(owners, kind="stable")]
        ends = np.cumsum(np.bincount(owners, minlength=size))
        starts = [0, *ends[:-1].tolist()]
        return [
            (quantile(part, 0.5), quantile(part, 0.99))
            for part in (times[start:end] for start, end in zip(starts, ends, strict=True))
        ]


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """Returns an amount in parts by weight, which make the whole to the last digit.

    Each part is the difference of two rounded running sums. Without any weight the first part is
    the whole.
    """
    total = sum(weights)
    if not total:
        return [amount, *(0 for _ in weights[1:])] if weights else []
    ends = [amount * one // total for one in accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


class _Columns:
    """Fields of groups as arrays of integers."""

    def __init__(self, groups: Sequence[CallGroup]) -> None:
        self._columns: Mapping[str, tuple[Any, ...]] = dict(
            zip(CallGroup._fields, zip(*groups, strict=True), strict=False)
        )

    def of(self, names: Sequence[str]) -> Integers:
        """Returns the fields as the columns of a table."""
        return np.array([self._columns.get(name, ()) for name in names], dtype=np.int64).T

    def amounts(self) -> Integers:
        """Returns amounts as whole dollars, then the rests, so that sums stay within 64 bits."""
        columns = [self._columns.get(name, ()) for name in _AMOUNTS]
        dollars = [[one // NANO_USD_PER_USD for one in column] for column in columns]
        rests = [[one % NANO_USD_PER_USD for one in column] for column in columns]
        return np.array([*dollars, *rests], dtype=np.int64).T


def _money(sums: Integers, routing: Sequence[int]) -> tuple[list[int], list[Balance]]:
    """Returns the known costs and the balances, from sums of the compared and of all calls."""
    size = len(_AMOUNTS)
    known, balances = [], []
    for row, cost in zip(sums.tolist(), routing, strict=True):
        compared, whole = row[: 2 * size], row[2 * size :]
        answers, unsuccessful, counterfactual = _joined(compared)
        balances.append(
            Balance(
                counterfactual=counterfactual,
                calls=answers,
                unsuccessful=unsuccessful,
                routing=cost,
            )
        )
        known.append(sum(_joined(whole)[:2]))
    return known, balances


def _joined(row: Sequence[int]) -> list[int]:
    """Returns amounts from their whole dollars, followed by the rests."""
    size = len(_AMOUNTS)
    return [
        dollars * NANO_USD_PER_USD + rest
        for dollars, rest in zip(row[:size], row[size:], strict=True)
    ]


def _folded(codes: Integers, size: int, table: Integers) -> Integers:
    sums = np.zeros((size, table.shape[1]), dtype=np.int64)
    np.add.at(sums, codes, table)
    return sums


def _coded(keys: Iterable[Hashable]) -> tuple[Integers, list[Any]]:
    """Returns the number of each key, and the keys by number."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(one, len(numbers)) for one in keys]
    return np.array(codes, dtype=np.int64), list(numbers)


def _monday(day: int) -> int:
    return day - (day + _EPOCH_WEEKDAY) % _WEEK


_KEYS: Final[Mapping[str, Callable[[CallGroup], Hashable]]] = {
    "day": lambda group: date_of(group.day),
    "week": lambda group: date_of(_monday(group.day)),
    "tier": lambda group: group.tier,
    "task": lambda group: group.task,
    "model": lambda group: group.model_id,
    "caller": lambda group: group.caller,
}
