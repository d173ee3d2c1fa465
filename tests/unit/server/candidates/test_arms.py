"""The draw of arms: fixed by the key, fair, and steady as the share grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.arms import Arm, draw_arm

KEYS = [f"user-{number}".encode() for number in range(20_000)]
SHARES = st.floats(min_value=0.0, max_value=1.0)


@given(key=st.binary(), share=SHARES, other=SHARES)
def test_a_key_stays_with_the_candidate_as_the_share_grows(
    key: bytes, share: float, other: float
) -> None:
    assert draw_arm(key, share) == draw_arm(key, share)
    small, large = sorted((share, other))
    if draw_arm(key, small).arm is Arm.CANDIDATE:
        assert draw_arm(key, large).arm is Arm.CANDIDATE


def test_arms_get_their_shares() -> None:
    for share in (0.01, 0.3, 0.9):
        drawn = [draw_arm(key, share) for key in KEYS]
        candidates = sum(one.arm is Arm.CANDIDATE for one in drawn)
        # Four standard deviations.
        slack = 4 * (share * (1 - share) / len(KEYS)) ** 0.5
        assert abs(candidates / len(KEYS) - share) < slack
        assert {one.propensity for one in drawn} == {share, 1.0 - share}


def test_all_and_nothing_are_whole() -> None:
    assert {draw_arm(key, 0.0).arm for key in KEYS} == {Arm.LIVE}
    assert {draw_arm(key, 1.0).arm for key in KEYS} == {Arm.CANDIDATE}
