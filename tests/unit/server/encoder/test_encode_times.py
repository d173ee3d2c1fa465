from __future__ import annotations

import pytest

from tierwise_server.encoder.encode_times import READ_BYTES, EncodeTimes, read_bytes


def test_longer_texts_are_expected_to_take_longer() -> None:
    times = EncodeTimes()

    assert times.of(10) < times.of(300) < times.of(READ_BYTES)


def test_an_estimate_follows_what_is_measured() -> None:
    times = EncodeTimes()
    for _ in range(100):
        times.note(500, 0.2)

    assert times.of(500) == pytest.approx(0.2, rel=0.01)


def test_what_one_length_took_tells_of_the_others() -> None:
    times = EncodeTimes()
    short, long = times.of(10), times.of(1000)
    for _ in range(100):
        times.note(10, 50 * short)

    assert times.of(1000) > long
    times.note(1000, long)
    before = times.of(1000)
    times.note(10, 0.0)
    assert times.of(1000) == before


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 3), ("日本", 4), ("x" * 10**6, READ_BYTES)]
)
def test_no_more_counts_than_the_encoder_reads(text: str, length: int) -> None:
    assert read_bytes(text) == length
