"""Rates, money and the file of a run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.pacing import Pacer
from tierwise_server.benching.purse import CapReachedError, Purse
from tierwise_server.benching.run_file import AnswerRow, RunFile
from tierwise_server.catalog.registry import RateLimits


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("limits", "most_calls", "most_tokens"),
    [
        (RateLimits(requests_per_minute=7), 7, 10**9),
        (RateLimits(tokens_per_minute=1000), 10, 1000),
        (RateLimits(requests_per_minute=5, tokens_per_minute=300), 3, 300),
    ],
)
async def test_no_minute_has_more_than_the_limits(
    limits: RateLimits, most_calls: int, most_tokens: int
) -> None:
    clock = Clock()
    pacer = Pacer(limits, clock, clock.sleep)
    times: list[float] = []

    async def call() -> None:
        await pacer.enter(100)
        times.append(clock.now)

    await asyncio.gather(*(call() for _ in range(40)))
    for start in times:
        within = [one for one in times if start <= one < start + 60]
        assert len(within) <= most_calls
        assert 100 * len(within) <= most_tokens
    assert clock.now - 1000 <= 60 * (40 / most_calls)


async def test_what_a_call_really_used_makes_room() -> None:
    clock = Clock()
    pacer = Pacer(RateLimits(tokens_per_minute=1000), clock, clock.sleep)
    for _ in range(5):
        slot = await pacer.enter(900)
        pacer.settle(slot, 10)
    assert clock.now == 1000
    await pacer.enter(5000)
    assert clock.now == 1060


async def test_what_is_under_way_never_exceeds_the_cap() -> None:
    purse = Purse(100, 10)
    highest = under_way = refused = 0

    async def call() -> None:
        nonlocal highest, under_way, refused
        try:
            await purse.set_aside(30)
        except CapReachedError:
            refused += 1
            return
        under_way += 30
        highest = max(highest, under_way + purse.spent_nano_usd)
        await asyncio.sleep(0)
        under_way -= 30
        await purse.settle(30, 12)

    await asyncio.gather(*(call() for _ in range(20)))
    assert highest <= 100
    assert purse.spent_nano_usd == 10 + 12 * (20 - refused)
    assert purse.spent_nano_usd + 30 > 100


SETTINGS = {"model a": "x/y"}
ROW = AnswerRow(sample="s", model="a", time="2026-01-01T00:00:00+00:00", text="t", spent_nano_usd=7)


def test_what_was_under_way_counts_once_however_often_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS) as run:
        run.begin("s a", 50)
    for _ in range(2):
        with RunFile(path, SETTINGS) as run:
            assert run.state.spent_nano_usd == 50
    with RunFile(path, SETTINGS) as run:
        run.begin("s a", 50)
        run.add("s a", ROW)
    with RunFile(path, SETTINGS) as run:
        assert run.state.spent_nano_usd == 57
        assert run.state.answers["s", "a"] == ROW


@pytest.mark.parametrize(
    "content", ["hello\n", "[]\n", '{"kind": "something else"}\n', "precious and without an end"]
)
def test_a_file_that_is_no_run_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BenchError, match="no row of a run"):
        RunFile(path, SETTINGS)
    assert path.read_text(encoding="utf-8") == content


def test_a_broken_row_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS) as run:
        run.add("s a", ROW)
    path.write_text(path.read_text(encoding="utf-8") + "{}\n{}\n", encoding="utf-8")
    with pytest.raises(BenchError, match=r"run\.jsonl:3"):
        RunFile(path, SETTINGS)


@pytest.mark.parametrize("kept", [0, 1, 20, 60])
def test_a_run_that_was_killed_at_its_first_line_begins_anew(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS) as run:
        run.begin("s a", 1)
    path.write_bytes(path.read_bytes()[:kept])
    with RunFile(path, SETTINGS) as run:
        run.add("s a", ROW)
    with RunFile(path, SETTINGS) as run:
        assert list(run.state.answers) == [("s", "a")]


def test_a_run_in_which_nothing_was_asked_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS):
        pass
    assert not path.exists()


def test_a_run_that_only_began_takes_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS) as run:
        run.begin("s a", 1)
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with RunFile(path, {"model b": "x/z"}) as run:
        run.begin("s b", 1)
    with pytest.raises(BenchError, match="other settings"):
        RunFile(path, SETTINGS)


def test_two_runs_can_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunFile(path, SETTINGS), pytest.raises(BenchError, match="in use"):
        RunFile(path, SETTINGS)


FULL = """
import json, resource, sys
from pathlib import Path
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.run_file import AnswerRow, RunFile
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with RunFile(Path(sys.argv[1]), {"model a": "x/y"}) as run:
    try:
        for number in range(100):
            run.add("s a", AnswerRow(sample=str(number), model="a", time="", text="t" * 100))
    except BenchError as error:
        print(error)
"""


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert "make room" in done.stdout
    content = path.read_bytes()
    assert content.endswith(b"\n")
    answered = [json.loads(line) for line in content.splitlines()][1:]
    with RunFile(path, SETTINGS) as run:
        assert len(run.state.answers) == len(answered) > 0
