"""The spool on real files: order, bounds, leases, damage, forks."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tierwise.reporting.spool import Batch, Spool, default_spool_path

WAIT_S = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.sqlite3"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    one = Spool(path)
    yield one
    one.close()


def filled(spool: Spool, *messages: bytes) -> Spool:
    for message in messages:
        assert spool.append(message)
    return spool


def taken(spool: Spool, *, most: int = 1_000, most_bytes: int = 10**6) -> list[bytes]:
    batch = spool.take(most=most, most_bytes=most_bytes)
    return messages_of(batch) if batch is not None else []


def messages_of(batch: Batch) -> list[bytes]:
    return [row.message for row in batch.rows]


def test_outcomes_come_back_in_order_until_they_are_removed(spool: Spool) -> None:
    filled(spool, b"a", b"b", b"c")
    batch = spool.take(most=2, most_bytes=100)
    assert batch is not None
    assert messages_of(batch) == [b"a", b"b"]
    spool.remove(batch)
    assert spool.count() == 1
    assert taken(spool) == [b"c"]


def test_another_spool_on_the_file_finds_what_was_left(path: Path, spool: Spool) -> None:
    filled(spool, b"a", b"b").close()
    again = Spool(path)
    assert again.has_file
    assert taken(again) == [b"a", b"b"]
    again.close()


def test_a_batch_is_bounded_in_bytes_but_never_empty(spool: Spool) -> None:
    filled(spool, b"x" * 60, b"y" * 60, b"z" * 60)
    assert taken(spool, most_bytes=130) == [b"x" * 60, b"y" * 60]
    assert taken(spool, most_bytes=10) == [b"z" * 60]


def test_what_one_process_holds_another_does_not_get(path: Path) -> None:
    one, two = Spool(path), Spool(path)
    filled(one, b"a", b"b", b"c")
    held = one.take(most=2, most_bytes=100)
    assert held is not None
    assert taken(two) == [b"c"]
    assert 0 < (two.wait_s() or 0) <= 30.0
    one.give_back(held)
    assert taken(two) == [b"a", b"b"]
    one.close()
    two.close()


def test_a_lease_runs_out(path: Path) -> None:
    one, two = Spool(path, lease_s=0.2), Spool(path, lease_s=0.2)
    held = filled(one, b"a").take(most=1, most_bytes=100)
    assert held is not None
    assert taken(two) == []
    wait_s = two.wait_s()
    assert wait_s is not None
    threading.Event().wait(wait_s)
    assert taken(two) == [b"a"]
    # Too late: the outcome is another's by now.
    one.remove(held)
    assert two.count() == 1
    one.close()
    two.close()


def test_a_lease_from_before_the_clock_was_set_back_does_not_hold(path: Path) -> None:
    one = filled(Spool(path), b"a")
    assert taken(one) == [b"a"]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE outcome SET lease_end = lease_end + 7200")
    connection.close()
    assert taken(one) == [b"a"]
    one.close()


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_full_spool_refuses_the_newest(path: Path, on_disk: bool) -> None:
    spool = Spool(path if on_disk else None, max_outcomes=3, max_bytes=10)
    filled(spool, b"aaa", b"bbb")
    assert not spool.append(b"c" * 5)
    filled(spool, b"cccc")
    assert not spool.append(b"")
    assert spool.count() == 3
    batch = spool.take(most=10, most_bytes=100)
    assert batch is not None
    assert messages_of(batch) == [b"aaa", b"bbb", b"cccc"]
    spool.remove(batch)
    assert filled(spool, b"d").count() == 1
    spool.close()


def test_the_bound_holds_for_all_processes_together(path: Path) -> None:
    one, two = Spool(path, max_outcomes=3), Spool(path, max_outcomes=3)
    filled(one, b"a", b"b")
    filled(two, b"c")
    assert not one.append(b"d")
    assert not two.append(b"d")
    one.close()
    two.close()


def test_a_mark_is_passed_when_what_was_there_is_gone(spool: Spool) -> None:
    assert not spool.holds(spool.mark())
    filled(spool, b"a")
    mark = spool.mark()
    filled(spool, b"b")
    batch = spool.take(most=1, most_bytes=100)
    assert spool.holds(mark)
    assert batch is not None
    spool.remove(batch)
    assert not spool.holds(mark)
    assert spool.count() == 1


def unusable(path: Path, how: str) -> None:
    path.parent.mkdir(parents=True)
    if how == "noise":
        path.write_bytes(os.urandom(20_000))
    elif how == "folder":
        path.mkdir()
    elif how == "other tables":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE outcome (sequence INTEGER)")
        connection.close()
    else:
        filled(Spool(path), *[b"x" * 4_000] * 50).close()
        damaged = bytearray(path.read_bytes())
        damaged[4_096:] = b"\xff" * (len(damaged) - 4_096)
        path.write_bytes(damaged)


@pytest.mark.parametrize("how", ["noise", "folder", "other tables", "damaged pages"])
def test_an_unusable_file_is_said_once_and_memory_serves(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    unusable(path, how)
    caplog.set_level(logging.DEBUG)
    spool = Spool(path, max_outcomes=3)
    filled(spool, b"a", b"b", b"c")
    assert not spool.append(b"d")
    assert not spool.durable
    batch = spool.take(most=2, most_bytes=100)
    assert batch is not None
    assert messages_of(batch) == [b"a", b"b"]
    assert not batch.on_disk
    spool.remove(batch)
    assert taken(spool) == [b"c"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.getMessage()
    assert "Make its folder writable" in record.getMessage()
    spool.close()


def test_a_folder_that_cannot_be_made_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    spool = filled(Spool(tmp_path / "file" / "spool.sqlite3"), b"a")
    assert (spool.count(), spool.durable, spool.has_file) == (1, False, False)
    assert "kept in memory only" in caplog.text
    spool.close()


READ_ONLY = """
import os, sys
from pathlib import Path
from tierwise.reporting.spool import Spool
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)  # Root may write anywhere.
spool = Spool(folder / "spool.sqlite3")
assert spool.append(b"a")
assert not spool.durable
assert [row.message for row in spool.take(most=5, most_bytes=100).rows] == [b"a"]
"""


@pytest.mark.parametrize("with_file", [False, True])
def test_a_folder_that_is_read_only_is_said(tmp_path: Path, with_file: bool) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    if with_file:
        filled(Spool(folder / "spool.sqlite3"), b"there").close()
        (folder / "spool.sqlite3").chmod(0o444)
    folder.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o111)
    command = [sys.executable, "-c", READ_ONLY, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "kept in memory only" in ended.stderr


def test_what_memory_holds_moves_to_the_file_once_that_is_free(path: Path) -> None:
    spool = filled(Spool(path), b"a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    filled(spool, b"b")
    assert not spool.durable
    other.execute("ROLLBACK")
    other.close()
    assert taken(spool) == [b"a", b"b"]
    assert spool.durable
    spool.close()


def test_threads_append_while_another_takes(spool: Spool) -> None:
    each = 500

    def work(name: int) -> None:
        for number in range(each):
            assert spool.append(b"%d-%d" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    got: list[bytes] = []
    end = time.monotonic() + WAIT_S
    while len(got) < 4 * each and time.monotonic() < end:
        batch = spool.take(most=100, most_bytes=10**6)
        if batch is not None:
            got += messages_of(batch)
            spool.remove(batch)
            spool.checkpoint()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(b"%d-%d" % (name, n) for name in range(4) for n in range(each))


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_process_goes_on_with_a_connection_of_its_own(path: Path, spool: Spool) -> None:
    filled(spool, b"parent")
    child = os.fork()
    if child == 0:
        # Nothing may get out of here: the test runner is the parent's.
        done = spool.append(b"child")
        spool.close()
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    filled(spool, b"later")
    assert taken(spool) == [b"parent", b"child", b"later"]


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_fork_while_threads_append_leaves_no_lock_behind(path: Path, spool: Spool) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            spool.append(b"parent")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            done = all(spool.append(b"child") for _ in range(20))
            spool.close()
            os._exit(0 if done else 1)
        codes.append(exit_code(child))
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 10
    assert taken(spool, most=10**6, most_bytes=10**9).count(b"child") == 200
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def exit_code(child: int) -> int:
    """Returns how a process ended; one that hangs is ended."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.005)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_file_is_for_its_owner_alone(path: Path, spool: Spool) -> None:
    filled(spool, b"a")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_default_path_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two = default_spool_path("router:50051"), default_spool_path("router-50051")
    assert one is not None
    assert two is not None
    assert one.parent == tmp_path / "tierwise"
    assert one.name.startswith("outcomes-router-50051-")
    assert one != two
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    home = default_spool_path("unix:///run/router.sock")
    assert home is not None
    assert home.parent == tmp_path / "home" / ".local" / "state" / "tierwise"
    assert "/" not in home.name
