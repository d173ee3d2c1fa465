"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Final

from tierwise_server.planning.prices import NANO_USD_PER_USD

UNKNOWN: Final = "\N{EN DASH}"
"""Stands where there is no figure."""

NAMELESS: Final = "(none)"
"""Stands for a label that is empty."""

_CENTS: Final = 2
_MOST_PLACES: Final = 6
_MILLI: Final = 1_000


def places_for(nano_usd: int) -> int:
    """Returns how many digits after the point a table of amounts needs, by its greatest one."""
    places = _CENTS
    bound = 100 * NANO_USD_PER_USD
    while abs(nano_usd) < bound and places < _MOST_PLACES:
        places += _CENTS
        bound //= 100
    return places


def usd(nano_usd: int, places: int = _CENTS) -> str:
    """Returns an amount in US dollars, rounded with halves up."""
    return _written(_rounded(nano_usd, places), places)


def usd_parts(parts: Iterable[int], places: int = _CENTS) -> list[str]:
    """Returns parts of an amount, rounded so that they add up to the whole as it is rounded.

    Each is the difference of two rounded running sums, and so at most one in its last digit away
    from where it would be by itself; the first one is where it would be.
    """
    ends = [_rounded(one, places) for one in accumulate(parts)]
    return [_written(end - start, places) for start, end in pairwise([0, *ends])]


def _rounded(nano_usd: int, places: int) -> int:
    """Returns an amount in units of the last digit that is shown."""
    unit: int = NANO_USD_PER_USD // 10**places
    return (2 * nano_usd + unit) // (2 * unit)


def _written(units: int, places: int) -> str:
    whole, rest = divmod(abs(units), 10**places)
    return f"{'-' if units < 0 else ''}${whole:,}.{rest:0{places}}"


def count(number: int) -> str:
    """Returns a number with its thousands apart."""
    return f"{number:,}"


def percent(share: float | None) -> str:
    """Returns a share in percent. What is rounded to nothing has no sign."""
    return UNKNOWN if share is None else f"{share:z.1%}".replace("%", " %")


def duration(microseconds: int | None) -> str:
    """Returns a time in seconds or milliseconds, with the digits that mean something."""
    if microseconds is None:
        return UNKNOWN
    value = microseconds / _MILLI
    if value >= _MILLI:
        return f"{value / _MILLI:,.2f} s"
    return f"{value:.0f} ms" if value >= _MILLI / 10 else f"{value:.2f} ms"


def named(label: str) -> str:
    """Returns a label, or what stands for an empty one."""
    return label or NAMELESS
