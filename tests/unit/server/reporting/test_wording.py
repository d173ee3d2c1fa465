"""Figures as people read them add up as they are shown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.reporting.wording import UNKNOWN, percent, usd, usd_parts

AMOUNT = st.integers(-(10**18), 10**18)
PLACES = st.sampled_from([2, 4, 6])


def read(shown: str) -> Decimal:
    return Decimal(shown.replace("$", "").replace(",", ""))


@given(st.lists(AMOUNT), PLACES)
def test_shown_parts_make_the_shown_whole(parts: list[int], places: int) -> None:
    shown = usd_parts(parts, places)
    assert sum(map(read, shown)) == read(usd(sum(parts), places))
    unit = Decimal(10) ** -places
    for part, text in zip(parts, shown, strict=True):
        assert abs(read(text) - Decimal(part) / 10**9) <= unit
    assert shown[:1] == [usd(one, places) for one in parts[:1]]


@pytest.mark.parametrize(
    ("nano_usd", "places", "shown"),
    [
        (0, 2, "$0.00"),
        (5_000_000, 2, "$0.01"),
        (4_999_999, 2, "$0.00"),
        (-4_999_999, 2, "$0.00"),
        (-6_000_000, 2, "-$0.01"),
        (1_234_567_891_234_567, 2, "$1,234,567.89"),
        (-1_050_000, 4, "-$0.0010"),
    ],
)
def test_dollars_are_rounded_with_halves_up(nano_usd: int, places: int, shown: str) -> None:
    assert usd(nano_usd, places) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, UNKNOWN), (0.0, "0.0 %"), (-0.0001, "0.0 %"), (-0.014, "-1.4 %"), (12.5, "1250.0 %")],
)
def test_what_is_rounded_to_nothing_has_no_sign(share: float | None, shown: str) -> None:
    assert percent(share) == shown
