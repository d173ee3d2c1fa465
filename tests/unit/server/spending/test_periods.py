"""Days and months, held against the standard library."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.catalog.limits import Period
from tierwise_server.spending.periods import period_end_ms, period_start_ms

times = st.datetimes(
    datetime.datetime(1970, 1, 1),
    datetime.datetime(2200, 1, 1),
    timezones=st.just(datetime.UTC),
)


def ms(time: datetime.datetime) -> int:
    return int(time.timestamp()) * 1000 + time.microsecond // 1000


@given(times)
def test_a_period_begins_at_midnight_and_ends_where_the_next_begins(
    time: datetime.datetime,
) -> None:
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    for per, start in ((Period.DAY, midnight), (Period.MONTH, midnight.replace(day=1))):
        start_ms = period_start_ms(per, ms(time))
        end_ms = period_end_ms(per, start_ms)
        assert start_ms == ms(start)
        assert period_start_ms(per, end_ms - 1) == start_ms
        assert period_start_ms(per, end_ms) == end_ms


@pytest.mark.parametrize("time_ms", [-(10**18), -1, 10**15, 10**18])
@pytest.mark.parametrize("per", list(Period))
def test_a_clock_may_say_anything(per: Period, time_ms: int) -> None:
    start_ms = period_start_ms(per, time_ms)
    assert period_end_ms(per, start_ms) > start_ms
