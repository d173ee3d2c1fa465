"""Figures as people read them."""

from __future__ import annotations

from typing import Final

from tierwise_server.planning.prices import NANO_USD_PER_USD

UNKNOWN: Final = "\N{EN DASH}"
"""Stands where there is no figure."""

NAMELESS: Final = "(none)"
"""Stands for a label that is empty."""

_CENTS: Final = 2
_MOST_PLACES: Final = 6
_MILLI: Final = 1_000
_MILLION: Final = 1_000_000


def places_for(nano_usd: int) -> int:
    """Returns how many digits after the point a table of amounts needs, by its greatest one."""
    places = _CENTS
    bound = 100 * NANO_USD_PER_USD
    while abs(nano_usd) < bound and places < _MOST_PLACES:
        places += _CENTS
        bound //= 100
    return places


def usd(nano_usd: float, places: int = _CENTS) -> str:
    """Returns an amount in US dollars, rounded."""
    text = f"{abs(nano_usd) / NANO_USD_PER_USD:,.{places}f}"
    return f"-${text}" if nano_usd < 0 and text.strip("0.,") else f"${text}"


def count(number: int) -> str:
    """Returns a number with its thousands apart."""
    return f"{number:,}"


def tokens(number: int) -> str:
    """Returns a number of tokens, in millions where there are many."""
    return f"{number / _MILLION:,.1f} M" if number >= _MILLION else f"{number:,}"


def percent(share: float | None) -> str:
    """Returns a share in percent."""
    return UNKNOWN if share is None else f"{share:.1%}".replace("%", " %")


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
