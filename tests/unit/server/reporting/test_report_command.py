"""`tierwise report`: one clear line and status 2 where no report can be made."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import time
from pathlib import Path

import pytest
from tests.unit.server.ledger.conftest import decision, outcome
from tests.unit.server.reporting.conftest import write

from tierwise_server.commands.report import main

TODAY_MS = time.time_ns() // 1_000_000


@pytest.fixture
def ledger(sqlite_url: str) -> str:
    """URL of a ledger with one call of today."""
    write(
        sqlite_url,
        decisions=[decision(1, time_ms=TODAY_MS)],
        outcomes=[outcome("a", decided_ms=TODAY_MS)],
    )
    return sqlite_url


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Returns the one line that a command is refused with."""
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    line = shown.err.removesuffix("\n")
    assert "\n" not in line
    assert line.startswith("tierwise report: ")
    return line.removeprefix("tierwise report: ")


def test_a_person_gets_a_table_of_the_last_days(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ledger", ledger]) == 0
    shown = capsys.readouterr().out
    for title in ("Net saving", "By tier", "By task", "By model", "Does routing pay here?"):
        assert title in shown
    assert "By caller" not in shown


def test_the_ledger_comes_from_the_environment(
    ledger: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERWISE_LEDGER", ledger)
    assert main(["--format", "json", "--by", "caller", "week"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["by"]) == ["caller", "week"]
    assert document["all"]["calls"] == document["decisions"]["count"] == 1


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("r.html", "<!DOCTYPE html>"), ("r.json", "{"), ("r.csv", "by,"), ("r.txt", "Ledger ")],
)
def test_the_ending_of_the_file_names_the_format(
    ledger: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    beginning: str,
) -> None:
    assert main(["--ledger", ledger, "--output", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(beginning)


def test_an_empty_ledger_is_no_fault(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(sqlite_url)
    assert main(["--ledger", sqlite_url]) == 0
    assert "The ledger is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--since", "yesterday"], "--since takes a date as 2026-01-31, not 'yesterday'"),
        (["--until", "2026-02-30"], "--until takes a date as 2026-01-31, not '2026-02-30'"),
        (["--since", "20260101"], "--since takes a date as 2026-01-31, not '20260101'"),
        (
            ["--since", "2026-02-02", "--until", "2026-02-01"],
            "--since 2026-02-02 is after --until 2026-02-01",
        ),
        (["--until", "0001-01-05"], "--until takes a date as 2026-01-31, not '0001-01-05'"),
        (["--routing-cost", "cheap"], "--routing-cost takes US dollars"),
    ],
)
def test_what_makes_no_sense_is_refused(
    ledger: str, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert says in refused(capsys, "--ledger", ledger, *words)


def test_a_ledger_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.sqlite3"
    assert f"there is no ledger at {missing}" in refused(capsys, "--ledger", f"sqlite:///{missing}")
    assert not missing.exists()
    assert "no ledger is kept" in refused(capsys, "--ledger", "none")


def test_what_is_no_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database" * 100)
    assert "the ledger cannot be read" in refused(capsys, "--ledger", f"sqlite:///{file}")
    assert "SQLite or PostgreSQL" in refused(capsys, "--ledger", "mysql://host/name")
    assert "must be sqlite:///FILE or" in refused(capsys, "--ledger", "nonsense")


def test_an_unreachable_database_is_refused_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused(capsys, "--ledger", "postgresql://me:s3cret@127.0.0.1:9/ledger")
    assert "the ledger cannot be read" in line
    assert "s3cret" not in line


def test_a_report_shows_no_password(
    capsys: pytest.CaptureFixture[str], postgres: str, ledger: str
) -> None:
    assert main(["--ledger", ledger, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["ledger"] == ledger
    assert "s3cret" not in refused(capsys, "--ledger", f"{postgres}?password=s3cret")


def test_a_file_that_cannot_be_written_is_refused(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "no" / "r.html"
    line = refused(capsys, "--ledger", ledger, "--output", str(target))
    assert line == f"cannot write {target}: No such file or directory"


def test_a_ledger_is_read_while_a_server_writes(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger.removeprefix("sqlite:///")
    writer = sqlite3.connect(path)
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM outcomes")
        assert main(["--ledger", ledger, "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["all"]["calls"] == 1
    finally:
        writer.rollback()
        writer.close()


def test_unusual_paths_are_no_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/a b#c%3Fd/ledger.sqlite3"
    write(url, outcomes=[outcome("a", decided_ms=TODAY_MS)])
    assert main(["--ledger", url]) == 0
    assert "1 reported calls" in capsys.readouterr().out
    assert (tmp_path / "a b#c?d" / "ledger.sqlite3").is_file()


def test_a_report_that_does_not_fit_leaves_the_one_before(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.html").write_text("yesterday's")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As where a server has the ledger open, so that reading it makes no file.
    with contextlib.closing(sqlite3.connect(ledger.removeprefix("sqlite:///"))) as other:
        other.execute("SELECT count(*) FROM outcomes").fetchall()
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            line = refused(capsys, "--ledger", ledger, "--output", str(tmp_path / "r.html"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line == f"cannot write {tmp_path / 'r.html'}: File too large"
    assert [one.read_text() for one in tmp_path.glob("*r.html*")] == ["yesterday's"]


def test_a_report_goes_through_links_and_into_devices(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "r.json")
    assert main(["--ledger", ledger, "--output", str(tmp_path / "link.json")]) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "r.json").read_text())["all"]["calls"] == 1
    assert main(["--ledger", ledger, "--output", "/dev/null"]) == 0
    assert not Path("/dev/null").is_file()
