from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tierwise_server.encoder.lanes import (
    DeadlinePassedError,
    Encoding,
    EncodingLanes,
    LanesClosedError,
    QueueFullError,
    TooLateError,
)
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.reference_texts import REFERENCE_TEXTS


class GatedEncoder:
    """The real encoder behind a gate, so that a test decides when a lane is free again."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        self.encoder_id = encoder.encoder_id
        self.dimensions = encoder.dimensions
        self.gate = threading.Event()
        self.begun: list[str] = []
        self._encoder = encoder
        self._arrivals = threading.Semaphore(0)

    def encode(self, text: str) -> NDArray[np.float32]:
        """Embeds `text` once the gate is open."""
        self.begun.append(text)
        self._arrivals.release()
        self.gate.wait()
        if text == "fail":
            raise ArithmeticError("as asked")
        return self._encoder.encode(text)

    async def arrival(self) -> None:
        """Returns once one more text has reached a lane."""
        await asyncio.to_thread(self._arrivals.acquire)


@pytest.fixture
def gated(encoder: OnnxEncoder) -> GatedEncoder:
    return GatedEncoder(encoder)


@pytest.fixture
async def lane(gated: GatedEncoder) -> AsyncIterator[EncodingLanes]:
    """One lane, with room for three waiting jobs."""
    lanes = EncodingLanes(gated, lane_count=1, queue_limit=3)
    yield lanes
    gated.gate.set()
    await lanes.close()


def start(lanes: EncodingLanes, text: str, deadline: float | None = None) -> asyncio.Task[Encoding]:
    return asyncio.get_running_loop().create_task(lanes.encode(text, deadline))


async def turn_of_the_loop() -> None:
    await asyncio.sleep(0)


async def test_vector_is_that_of_the_encoder(encoder: OnnxEncoder) -> None:
    lanes = EncodingLanes(encoder, lane_count=2, queue_limit=100)

    encodings = await asyncio.gather(*map(lanes.encode, REFERENCE_TEXTS[:20]))

    await lanes.close()
    for text, encoding in zip(REFERENCE_TEXTS, encodings, strict=False):
        assert np.array_equal(encoding.vector, encoder.encode(text))
        assert encoding.encode_s > 0
        assert encoding.queue_s >= 0


async def test_jobs_are_taken_in_the_order_of_their_calls(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    tasks = [start(lane, text) for text in "abcd"]
    await gated.arrival()
    gated.gate.set()
    await asyncio.gather(*tasks)

    assert gated.begun == list("abcd")


async def test_all_lanes_work_at_a_time(gated: GatedEncoder) -> None:
    lanes = EncodingLanes(gated, lane_count=3, queue_limit=0)
    tasks = [start(lanes, text) for text in "abc"]
    for _ in tasks:
        await gated.arrival()

    gated.gate.set()
    await asyncio.gather(*tasks)
    await lanes.close()


async def test_queue_depth_counts_waiting_jobs_only(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    task = start(lane, "running")
    await gated.arrival()
    assert lane.queue_depth == 0

    waiting = [start(lane, text) for text in "ab"]
    await turn_of_the_loop()
    assert lane.queue_depth == 2

    gated.gate.set()
    await asyncio.gather(task, *waiting)
    assert lane.queue_depth == 0


async def test_full_queue_refuses_and_says_when_to_come_back(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    tasks = [start(lane, text) for text in "abcd"]
    await gated.arrival()

    with pytest.raises(QueueFullError) as caught:
        await lane.encode("one too many")

    assert 0 < caught.value.retry_after_s < 60
    gated.gate.set()
    await asyncio.gather(*tasks)
    assert (await lane.encode("later")).vector.shape == (384,)


async def test_time_to_come_back_follows_the_time_encoding_takes(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    async def estimate() -> float:
        gated.gate.clear()
        tasks = [start(lane, text) for text in "abcd"]
        await gated.arrival()
        with pytest.raises(QueueFullError) as caught:
            await lane.encode("one too many")
        if gated.begun == ["a"]:
            held = time.monotonic() + 0.5
            while time.monotonic() < held:
                await turn_of_the_loop()
        gated.gate.set()
        await asyncio.gather(*tasks)
        for _ in "bcd":
            await gated.arrival()
        return caught.value.retry_after_s

    first = await estimate()

    assert await estimate() > first


async def test_cancelled_job_leaves_the_queue_without_being_encoded(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    running, cancelled, kept = (start(lane, text) for text in ("running", "cancelled", "kept"))
    await gated.arrival()

    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert lane.queue_depth == 1

    gated.gate.set()
    await asyncio.gather(running, kept)
    assert gated.begun == ["running", "kept"]


async def test_cancelling_a_running_job_does_no_harm(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    running = start(lane, "running")
    await gated.arrival()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    gated.gate.set()
    assert (await lane.encode("next")).vector.shape == (384,)


async def test_deadline_that_passes_in_the_queue_costs_no_encoding(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    running = start(lane, "running")
    await gated.arrival()
    deadline = time.monotonic() + 0.1
    late = start(lane, "late", deadline)
    while time.monotonic() <= deadline:
        await turn_of_the_loop()

    gated.gate.set()
    with pytest.raises(DeadlinePassedError):
        await late
    await running
    assert gated.begun == ["running"]


async def test_deadline_in_the_past_is_refused_at_once(lane: EncodingLanes) -> None:
    with pytest.raises(DeadlinePassedError):
        await lane.encode("late", time.monotonic() - 1)


async def test_deadline_ahead_is_met(lane: EncodingLanes, gated: GatedEncoder) -> None:
    gated.gate.set()

    encoding = await lane.encode("in time", time.monotonic() + 60)

    assert encoding.vector.shape == (384,)


async def test_error_of_the_encoder_reaches_its_caller_only(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    gated.gate.set()

    with pytest.raises(ArithmeticError, match="as asked"):
        await lane.encode("fail")

    assert (await lane.encode("next")).vector.shape == (384,)


async def test_close_finishes_what_waits(gated: GatedEncoder) -> None:
    lanes = EncodingLanes(gated, lane_count=1, queue_limit=3)
    tasks = [start(lanes, text) for text in "abc"]
    await gated.arrival()
    gated.gate.set()

    await lanes.close(drain_s=60)

    assert [encoding.vector.shape for encoding in await asyncio.gather(*tasks)] == [(384,)] * 3
    with pytest.raises(LanesClosedError):
        await lanes.encode("too late")


async def test_close_drops_what_waits_when_its_time_is_up(gated: GatedEncoder) -> None:
    lanes = EncodingLanes(gated, lane_count=1, queue_limit=3)
    running, waiting = start(lanes, "running"), start(lanes, "waiting")
    await gated.arrival()

    closing = asyncio.get_running_loop().create_task(lanes.close(drain_s=0))
    with pytest.raises(LanesClosedError):
        await waiting
    gated.gate.set()
    await closing

    assert (await running).vector.shape == (384,)
    assert gated.begun == ["running"]


async def test_close_twice_is_fine(encoder: OnnxEncoder) -> None:
    lanes = EncodingLanes(encoder, lane_count=2, queue_limit=0)

    await lanes.close()
    await lanes.close()


@pytest.mark.parametrize(("lane_count", "queue_limit"), [(0, 1), (1, -1)])
def test_sizes_that_make_no_sense_are_refused(
    encoder: OnnxEncoder, lane_count: int, queue_limit: int
) -> None:
    with pytest.raises(ValueError, match="must"):
        EncodingLanes(encoder, lane_count=lane_count, queue_limit=queue_limit)


def test_caller_whose_loop_has_closed_does_not_stop_a_lane(gated: GatedEncoder) -> None:
    lanes = EncodingLanes(gated, lane_count=1, queue_limit=3)

    async def leave() -> None:
        task = start(lanes, "left behind")
        await gated.arrival()
        task.cancel()

    asyncio.run(leave())
    gated.gate.set()

    async def come_back() -> Encoding:
        encoding = await lanes.encode("next")
        await lanes.close()
        return encoding

    assert asyncio.run(come_back()).vector.shape == (384,)


LONG = "a long text that fills what the encoder reads " * 30


@pytest.fixture
async def two_lanes(gated: GatedEncoder) -> AsyncIterator[EncodingLanes]:
    lanes = EncodingLanes(gated, lane_count=2, queue_limit=100)
    yield lanes
    gated.gate.set()
    await lanes.close()


def ask(lanes: EncodingLanes, text: str, caller: str) -> asyncio.Task[Encoding]:
    return asyncio.get_running_loop().create_task(lanes.encode(text, caller=caller))


async def test_callers_take_turns(lane: EncodingLanes, gated: GatedEncoder) -> None:
    first = ask(lane, "running", "flood")
    await gated.arrival()
    tasks = [ask(lane, text, "flood") for text in "ab"]
    await turn_of_the_loop()
    tasks.append(ask(lane, "other", "other"))
    await turn_of_the_loop()

    gated.gate.set()
    await asyncio.gather(first, *tasks)

    assert gated.begun.index("other") < gated.begun.index("b")


async def test_a_lone_caller_has_all_lanes_for_long_texts(
    two_lanes: EncodingLanes, gated: GatedEncoder
) -> None:
    tasks = [ask(two_lanes, LONG, "flood") for _ in range(3)]
    await gated.arrival()
    await gated.arrival()

    gated.gate.set()
    await asyncio.gather(*tasks)


async def test_long_texts_leave_a_lane_to_the_short_ones_of_others(
    two_lanes: EncodingLanes, gated: GatedEncoder
) -> None:
    first = ask(two_lanes, "hello", "small")
    await gated.arrival()
    gated.gate.set()
    await first
    gated.gate.clear()

    flood = [ask(two_lanes, LONG, "flood") for _ in range(5)]
    await gated.arrival()
    await turn_of_the_loop()
    short = ask(two_lanes, "hello again", "small")
    await gated.arrival()

    assert gated.begun == ["hello", LONG, "hello again"]
    gated.gate.set()
    await asyncio.gather(short, *flood)


async def test_what_would_be_done_too_late_is_refused_without_being_encoded(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    # Known to take half a second each.
    lane._times._means = [0.5] * len(lane._times._means)
    tasks = [start(lane, text) for text in "ab"]
    await gated.arrival()

    with pytest.raises(TooLateError) as caught:
        await lane.encode("hurry", time.monotonic() + 1.0)

    assert 0 < caught.value.retry_after_s < 10
    patient = start(lane, "patient", time.monotonic() + 600)
    await turn_of_the_loop()
    gated.gate.set()
    await asyncio.gather(patient, *tasks)
    assert sorted(gated.begun) == ["a", "b", "patient"]


async def test_a_caller_is_not_refused_for_what_another_has_waiting(
    two_lanes: EncodingLanes, gated: GatedEncoder
) -> None:
    two_lanes._times._means = [0.5] * len(two_lanes._times._means)
    flood = [ask(two_lanes, "flood", "flood") for _ in range(50)]
    await gated.arrival()
    deadline = time.monotonic() + 5

    with pytest.raises(TooLateError):
        await two_lanes.encode("more", deadline, caller="flood")
    other = asyncio.get_running_loop().create_task(
        two_lanes.encode("other", deadline, caller="other")
    )
    await turn_of_the_loop()
    gated.gate.set()

    assert (await other).vector.shape == (384,)
    await asyncio.gather(*flood)


async def test_an_idle_lane_tries_whatever_the_estimate_is(encoder: OnnxEncoder) -> None:
    lanes = EncodingLanes(encoder, lane_count=1, queue_limit=3)
    lanes._times._means = [1e6] * len(lanes._times._means)

    assert (await lanes.encode("quick", time.monotonic() + 60)).vector.shape == (384,)
    await lanes.close()


async def test_texts_are_refused_together_when_they_take_too_long(
    lane: EncodingLanes, gated: GatedEncoder
) -> None:
    lane._times._means = [0.5] * len(lane._times._means)

    lane.check_deadline(["a"] * 10, time.monotonic() + 60)
    with pytest.raises(TooLateError):
        lane.check_deadline(["a"] * 10, time.monotonic() + 2)
