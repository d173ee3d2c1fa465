"""The format of evidence: reading, writing, and rows that contradict each other."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.evidence.rows import (
    MAX_FAULTS,
    EvidenceRow,
    EvidenceSource,
    line_of,
    merged,
    packed,
    read_rows,
    row_of,
)
from tierwise_server.evidence.writing import FaultyEvidenceError, append_rows, write_rows

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
GOOD = {
    "prompt": "tl;dr of this",
    "task": "summarization",
    "model": "small",
    "tier": "budget",
    "quality": 0.5,
    "source": "bench",
    "time": "2026-05-01T12:00:00Z",
}


def row(prompt: str = "tl;dr", *, hours: int = 0, quality: float = 1.0, **rest: str) -> EvidenceRow:
    return EvidenceRow(
        prompt=prompt,
        model=rest.get("model", "small"),
        tier=rest.get("tier", "budget"),
        task=rest.get("task", ""),
        quality=quality,
        source=EvidenceSource.BENCH,
        time=NOON + datetime.timedelta(hours=hours),
    )


def read_one(**changes: object) -> list[str]:
    """Returns `key: message` of each fault of the good row with changes; None removes a key."""
    fields = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return [str(one) for one in read_rows(json.dumps(fields).encode(), "e.jsonl").faults]


def test_a_row_is_read_with_its_place() -> None:
    content = b"\xef\xbb\xbf\n" + json.dumps(GOOD).encode() + b"\r\n\n"
    reading = read_rows(content, "evidence/a.jsonl")
    assert reading.faults == ()
    (found,) = reading.rows
    assert (found.file, found.line) == ("evidence/a.jsonl", 2)
    assert (found.prompt, found.task, found.model, found.tier) == (
        "tl;dr of this",
        "summarization",
        "small",
        "budget",
    )
    assert (found.quality, found.source, found.time) == (0.5, EvidenceSource.BENCH, NOON)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prompt": None}, "prompt: give either"),
        ({"prompt": "  "}, "prompt: give either"),
        ({"prompt": 7}, "prompt: it is not a text"),
        ({"prompt": "\ud800"}, "prompt: it has half a character"),
        ({"prompt": "x" * 200_001}, "prompt: it has 200001 characters; the limit is 200000"),
        ({"embedding": [1.0], "encoder": "e"}, "prompt: give either"),
        ({"prompt": None, "embedding": [1.0]}, "encoder: an `embedding` needs"),
        ({"encoder": "e"}, "encoder: an `embedding` needs"),
        ({"prompt": None, "embedding": [0, 0], "encoder": "e"}, "embedding: its values"),
        ({"prompt": None, "embedding": [True], "encoder": "e"}, "embedding: its values"),
        ({"prompt": None, "embedding": [10**400], "encoder": "e"}, "embedding: its values"),
        ({"prompt": None, "embedding": [1e39], "encoder": "e"}, "embedding: its values"),
        ({"prompt": None, "embedding": [1e-9], "encoder": "e"}, "embedding: its values"),
        ({"prompt": None, "embedding": "AAAA", "encoder": "e"}, "embedding: it is not a list"),
        ({"model": None, "tier": None}, "model: name the `model`"),
        ({"quality": 1.01}, "quality: it is not a number from 0 to 1"),
        ({"quality": "0.5"}, "quality: it is not a number from 0 to 1"),
        ({"quality": True}, "quality: it is not a number from 0 to 1"),
        ({"quality": None}, "quality: it is not a number from 0 to 1"),
        ({"source": "guess"}, "source: it is none of bench, outcome, import"),
        ({"source": ["bench"]}, "source: it is none of bench, outcome, import"),
        ({"time": "2026-05-01T12:00:00"}, "time: it is no ISO 8601 time with a zone"),
        ({"time": "yesterday"}, "time: it is no ISO 8601 time with a zone"),
        ({"score": 1}, "score: there is no such key"),
    ],
)
def test_a_fault_names_line_and_key(changes: dict[str, object], fault: str) -> None:
    found = read_one(**changes)
    assert any(one.startswith(f"e.jsonl:1: {fault}") for one in found), found


@pytest.mark.parametrize(
    "line", [b"nonsense", b"[1]", b'"text"', b'{"quality": NaN}', b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_object_is_one_fault(line: bytes) -> None:
    reading = read_rows(line + b"\n" + json.dumps(GOOD).encode(), "e.jsonl")
    assert [(one.line, one.key) for one in reading.faults] == [(1, "")]
    assert len(reading.rows) == 1


def test_all_faults_of_a_file_are_returned_up_to_a_limit() -> None:
    bad = json.dumps(GOOD | {"quality": 2, "source": "x"})
    assert [one.line for one in read_rows(f"{bad}\n\n{bad}".encode(), "e").faults] == [1, 1, 3, 3]
    assert len(read_rows(f"{bad}\n".encode() * 1000, "e").faults) == MAX_FAULTS


def test_no_fault_quotes_a_prompt() -> None:
    assert "secret" not in " ".join(read_one(prompt="secret \ud800", quality="secret"))


def test_a_row_of_other_origin_is_checked_the_same_way() -> None:
    assert isinstance(row_of(GOOD, file="f", line=3), EvidenceRow)
    faults = row_of(GOOD | {"quality": 9}, file="f", line=3)
    assert isinstance(faults, list)
    assert str(faults[0]) == "f:3: quality: it is not a number from 0 to 1."


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
times = st.datetimes(timezones=st.just(datetime.UTC))
rows = st.builds(
    EvidenceRow,
    prompt=texts.filter(str.strip),
    task=texts | st.just(""),
    model=texts,
    tier=texts | st.just(""),
    quality=st.floats(0, 1),
    source=st.sampled_from(EvidenceSource),
    time=times,
)


@given(st.lists(rows, max_size=5))
def test_what_is_written_is_read_back(many: list[EvidenceRow]) -> None:
    content = "".join(f"{line_of(one)}\n" for one in many).encode()
    reading = read_rows(content, "e")
    assert reading.faults == ()
    assert list(reading.rows) == many


def test_an_embedding_is_written_with_six_digits_and_no_prompt() -> None:
    one = EvidenceRow(
        embedding=packed((0.6000000238, 0.8)),
        encoder="enc",
        tier="budget",
        quality=1,
        source=EvidenceSource.OUTCOME,
        time=NOON,
    )
    assert '"embedding": [0.6, 0.8], "encoder": "enc", "tier": "budget"' in line_of(one)
    assert "prompt" not in line_of(one)


def test_contradictory_labels_count_as_their_mean() -> None:
    (one,) = merged([row(quality=1.0), row(quality=0.0, hours=1), row(" tl;dr\n", quality=0.5)])
    assert one.quality == 0.5
    assert one.time == NOON + datetime.timedelta(hours=1)


def test_a_row_that_was_imported_twice_counts_once() -> None:
    again = [row(quality=1.0), row(quality=1.0), row(quality=0.0, hours=1)]
    assert [one.quality for one in merged(again)] == [0.5]


def test_other_models_and_prompts_stay_apart() -> None:
    apart = [row(), row("other"), row(model="large"), row(model="", tier="mid")]
    assert len(merged(apart)) == 4


@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]), min_size=1, max_size=4))
def test_order_makes_no_difference(qualities: list[float]) -> None:
    many = [row(quality=one, hours=hour % 2) for hour, one in enumerate(qualities)]
    results = {merged(order)[0] for order in itertools.permutations(many)}
    assert len(results) == 1


def test_appending_leaves_out_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "evidence" / "bench.jsonl"
    assert append_rows(path, [row("a"), row("b"), row("a")]) == 2
    assert append_rows(path, [row("b"), row("c")]) == 1
    assert append_rows(path, [row("c")]) == 0
    assert [one.prompt for one in read_rows(path.read_bytes(), "e").rows] == ["a", "b", "c"]
    assert [one.name for one in path.parent.iterdir()] == ["bench.jsonl"]


def test_an_embedding_is_known_again_by_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    one = EvidenceRow(
        embedding=packed((1 / 3,)),
        encoder="e",
        model="m",
        quality=0,
        source=EvidenceSource.IMPORT,
        time=NOON,
    )
    assert [append_rows(path, [one]), append_rows(path, [one])] == [1, 0]


def test_a_faulty_file_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text("nonsense\n")
    with pytest.raises(FaultyEvidenceError, match=r"e\.jsonl:1: it is not JSON"):
        append_rows(path, [row()])
    assert path.read_text() == "nonsense\n"


def test_what_fails_midway_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write_rows(path, [row("a")])
    before = path.read_bytes()

    def broken() -> list[EvidenceRow]:
        yield row("b")  # type: ignore[misc]
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_rows(path, broken())
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["e.jsonl"]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    threads = [
        threading.Thread(target=append_rows, args=(path, [row(f"{name} {i}")]))
        for name in "ab"
        for i in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_rows(path.read_bytes(), "e").rows) == 10
