"""Whether the router beats its own tier mix dealt at random."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from tierwise_server.reporting.rows import JudgedCall
from tierwise_server.reporting.shuffle import (
    LEAST_PROMPTS,
    NotIdentifiable,
    ShuffleControl,
    shuffle_control,
)

ORDER = ("budget", "mid", "premium")


def judged(prompt: str, tier: str, grade: float, **changes: object) -> JudgedCall:
    values = {
        "prompt_key": prompt,
        "decided_ms": 1,
        "tier": tier,
        "final_tier": tier,
        "free": False,
        "grade": grade,
        "cost_nano_usd": {"budget": 10, "mid": 100, "premium": 1000}[tier],
        **changes,
    }
    return JudgedCall(**values)  # type: ignore[arg-type]


def prompts(
    count: int, choose: Callable[[int], str], grade: Callable[[int, str], float]
) -> list[JudgedCall]:
    """Returns prompts that were judged in the cheapest and in the top tier."""
    return [
        judged(f"p{number}", tier, grade(number, tier), free=tier == choose(number))
        for number in range(count)
        for tier in ("budget", "premium")
    ]


def hard(number: int) -> bool:
    return number % 4 == 0


def by_difficulty(number: int, tier: str) -> float:
    return 1.0 if tier == "premium" or not hard(number) else 0.0


def control(calls: list[JudgedCall]) -> ShuffleControl:
    found = shuffle_control(calls, ORDER)
    assert isinstance(found, ShuffleControl), found
    return found


def test_a_router_that_tells_hard_from_easy_beats_the_shuffle() -> None:
    found = control(
        prompts(80, lambda number: "premium" if hard(number) else "budget", by_difficulty)
    )
    assert found.verdict == "better"
    assert found.router_grade == 1.0
    # A quarter is sent up, of which a quarter is hard: 3/4 of the hard ones fail.
    assert found.shuffled_grade == 1 - 0.25 * 0.75
    assert found.low < found.gain < found.high
    assert found.mix == (("budget", 60), ("premium", 20))
    # Costs do not depend on the prompt here, so the shuffle costs the same.
    assert found.router_cost_nano_usd == found.shuffled_cost_nano_usd == 0.75 * 10 + 0.25 * 1000


def test_a_router_that_is_always_wrong_loses_to_the_shuffle() -> None:
    found = control(
        prompts(80, lambda number: "premium" if number % 4 == 1 else "budget", by_difficulty)
    )
    assert found.verdict == "worse"
    assert found.gain < 0


def test_a_router_that_deals_at_random_is_no_different() -> None:
    chance = random.Random(5)  # noqa: S311 - repeatable, not secret
    choices = [chance.choice(("budget", "premium")) for _ in range(200)]
    found = control(prompts(200, choices.__getitem__, by_difficulty))
    assert found.verdict == "no different"
    assert found.low <= 0 <= found.high


def test_the_closed_form_is_the_mean_over_every_order() -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    pattern = ["budget", "budget", "budget", "mid", "premium", "mid"]
    grades = [{tier: chance.random() for tier in ORDER} for _ in pattern]
    copies = 5
    calls = [
        judged(f"p{copy}-{number}", tier, grades[number][tier], free=tier == pattern[number])
        for copy in range(copies)
        for number in range(len(pattern))
        for tier in ORDER
    ]
    every_order = fmean(
        fmean(grades[number][tier] for number, tier in enumerate(order))
        for order in itertools.permutations(pattern)
    )
    assert control(calls).shuffled_grade == pytest.approx(every_order)


def test_the_same_rows_give_the_same_interval() -> None:
    calls = prompts(50, lambda number: "premium" if number % 3 else "budget", by_difficulty)
    assert shuffle_control(calls, ORDER) == shuffle_control(calls, ORDER)


def test_several_judgements_of_a_tier_are_averaged_and_the_first_choice_counts() -> None:
    calls = prompts(40, lambda number: "premium" if hard(number) else "budget", by_difficulty)
    calls += [
        judged("p1", "budget", 0.0, decided_ms=2),
        judged("p1", "premium", 1.0, free=True, decided_ms=2),
    ]
    found = control(calls)
    assert found.mix == (("budget", 30), ("premium", 10))
    assert found.router_grade == pytest.approx((39 + 0.5) / 40)


def test_a_cost_that_is_not_known_leaves_the_grades() -> None:
    calls = prompts(40, lambda number: "premium" if hard(number) else "budget", by_difficulty)
    calls[3] = calls[3]._replace(cost_nano_usd=None)
    found = control(calls)
    assert found.router_cost_nano_usd is found.shuffled_cost_nano_usd is None
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([], "no call was judged"),
        (
            [judged(f"p{one}", "budget", 1.0, free=True) for one in range(99)],
            "of 99 judged calls, no prompt was judged on several tiers",
        ),
        (
            [judged(f"p{one}", tier, 1.0) for one in range(99) for tier in ORDER],
            "of 297 judged calls, no prompt was judged on several tiers",
        ),
        (
            prompts(99, lambda _: "budget", by_difficulty),
            "the router sent every prompt that was judged on several tiers (99) to budget",
        ),
        (
            prompts(
                LEAST_PROMPTS - 1,
                lambda number: "premium" if hard(number) else "budget",
                by_difficulty,
            ),
            "29 prompts were judged on all of budget, premium, fewer than 30",
        ),
    ],
)
def test_what_the_ledger_cannot_tell_is_not_claimed(calls: list[JudgedCall], reason: str) -> None:
    found = shuffle_control(calls, ORDER)
    assert isinstance(found, NotIdentifiable)
    assert reason in found.reason
    assert found.missing
