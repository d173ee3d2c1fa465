from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.encoder.fair_queue import FairQueue


@dataclass(eq=False)
class Job:
    """What a lane would take."""

    caller: str
    cost_s: float = 1.0
    is_short: bool = True


def taken(queue: FairQueue[Job], count: int) -> list[str]:
    jobs = [queue.take() for _ in range(count)]
    return [job.caller for job in jobs if job is not None]


def filled(*jobs: Job) -> FairQueue[Job]:
    queue: FairQueue[Job] = FairQueue()
    for job in jobs:
        queue.push(job)
    return queue


def test_jobs_of_one_caller_keep_their_order() -> None:
    jobs = [Job("a") for _ in range(5)]
    queue = filled(*jobs)

    assert [queue.take() for _ in jobs] == jobs
    assert queue.take() is None


def test_a_caller_with_much_waiting_does_not_keep_another_waiting() -> None:
    queue = filled(*(Job("flood") for _ in range(100)))
    taken(queue, 50)

    queue.push(Job("other"))

    assert "other" in taken(queue, 2)


def test_callers_get_equal_time_and_not_equal_numbers() -> None:
    long = (Job("long", cost_s=9.0, is_short=False) for _ in range(100))
    queue = filled(*long, *(Job("short") for _ in range(100)))

    counts = Counter(taken(queue, 50))

    assert counts["short"] == pytest.approx(9 * counts["long"], abs=10)


def test_a_caller_that_was_away_has_saved_nothing_up() -> None:
    queue = filled(Job("a"), *(Job("b") for _ in range(50)))
    taken(queue, 30)
    for _ in range(20):
        queue.push(Job("a"))

    assert Counter(taken(queue, 10)) == {"a": 5, "b": 5}


def test_a_caller_does_not_jump_ahead_by_leaving_and_coming_back() -> None:
    queue = filled(Job("a", cost_s=10.0), *(Job("b") for _ in range(30)))
    assert taken(queue, 1) == ["a"]
    queue.push(Job("a", cost_s=10.0))

    # It had ten seconds, so the other's ten jobs of one second come first.
    assert taken(queue, 9) == ["b"] * 9


def test_only_short_jobs_are_taken_where_only_those_may_be() -> None:
    queue = filled(Job("a", is_short=False), Job("b", is_short=False), Job("a"))

    assert queue.take(short_only=True) is not None
    assert queue.take(short_only=True) is None
    assert len(queue) == 2
    assert sorted(taken(queue, 2)) == ["a", "b"]


def test_a_job_that_was_taken_out_does_not_come_up() -> None:
    jobs = [Job("a"), Job("a"), Job("b")]
    queue = filled(*jobs)

    queue.remove(jobs[0])
    queue.remove(jobs[2])

    assert len(queue) == 1
    assert queue.take() is jobs[1]
    assert queue.take() is None
    with pytest.raises(ValueError, match="not"):
        queue.remove(jobs[2])


def test_the_work_before_a_caller_is_its_share_of_what_waits() -> None:
    queue = filled(*(Job("flood") for _ in range(100)))

    assert queue.work_before("flood", short=True) == pytest.approx(100)
    assert queue.work_before("other", short=True) <= 1
    queue.push(Job("other", cost_s=3.0))
    assert queue.work_before("other", short=True) == pytest.approx(6.0)


def test_clearing_returns_what_waits() -> None:
    jobs = [Job("a"), Job("b", is_short=False)]
    queue = filled(*jobs)

    assert queue.clear() == jobs
    assert len(queue) == 0
    assert queue.take() is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abcde"), st.floats(0.001, 10.0), st.booleans()),
            st.sampled_from(["take", "short", "remove"]),
        ),
        max_size=80,
    )
)
def test_no_job_is_lost_or_given_out_twice(steps: list[tuple[str, float, bool] | str]) -> None:
    queue: FairQueue[Job] = FairQueue()
    waiting: list[Job] = []
    for step in steps:
        if isinstance(step, tuple):
            waiting.append(Job(*step))
            queue.push(waiting[-1])
        elif step == "remove":
            if waiting:
                queue.remove(waiting.pop())
        else:
            job = queue.take(short_only=step == "short")
            if job is not None:
                waiting.remove(job)
            else:
                assert not any(one.is_short or step == "take" for one in waiting)
        assert len(queue) == len(waiting)
        assert set(queue) == set(waiting)


def test_callers_that_come_once_are_forgotten() -> None:
    queue = filled(*(Job("busy") for _ in range(10)))
    for number in range(1000):
        queue.push(Job(f"caller-{number}"))
        queue.push(Job("busy"))
        taken(queue, 2)

    assert len(queue._flows) < 100
