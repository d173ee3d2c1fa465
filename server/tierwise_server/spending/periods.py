"""Days and months in UTC, by their milliseconds since 1970."""

from __future__ import annotations

import datetime
from typing import Final

from tierwise_server.catalog.limits import Period

_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime.date(1970, 1, 1)
_LAST_DAY: Final = (datetime.date.max.replace(day=1) - _EPOCH).days - 1


def period_start_ms(per: Period, time_ms: int) -> int:
    """Returns when the period began that a time lies in."""
    day = _day(time_ms)
    if per is Period.MONTH:
        date = _EPOCH + datetime.timedelta(days=day)
        day = (date.replace(day=1) - _EPOCH).days
    return day * _DAY_MS


def period_end_ms(per: Period, start_ms: int) -> int:
    """Returns when the next period begins."""
    day = _day(start_ms)
    if per is Period.MONTH:
        date = _EPOCH + datetime.timedelta(days=day)
        following = (date.replace(day=1) + datetime.timedelta(days=31)).replace(day=1)
        return (following - _EPOCH).days * _DAY_MS
    return (day + 1) * _DAY_MS


def _day(time_ms: int) -> int:
    # A clock may say anything; dates end with the year 9999.
    return min(max(time_ms // _DAY_MS, 0), _LAST_DAY)
