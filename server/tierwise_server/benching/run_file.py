"""Owns the file of a run: what was asked and answered, one JSON object a line, only ever added to.

Each row is on disk before the run goes on, so that a run that was killed goes on where it was. A
line that was being written at that moment is cut off. What a call may cost is written before it is
sent: calls whose answer never got here count at that.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tierwise_server.benching.errors import BenchError

FORMAT: Final = "tierwise-bench-run"
FORMAT_VERSION: Final = 1
_HEADER_START: Final = f'{{"kind": "{FORMAT}"'.encode()
_MOST_DIFFERENCES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """What became of one sample on one model."""

    sample: str
    model: str
    time: str
    """When it was done, ISO 8601 with a zone."""
    text: str | None
    error: str = ""
    message: str = ""
    cut: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano_usd: int | None = None
    spent_nano_usd: int = 0
    duration_s: float | None = None
    served_model: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRow:
    """What the judge said of one answer, in one order."""

    sample: str
    model: str
    order: str
    """`first` or `second`: the place of the answer; `alone` without another beside it."""
    time: str
    score: float | None
    """None when the judge failed, or answered what makes no sense."""
    error: str = ""
    message: str = ""
    spent_nano_usd: int = 0


Row = AnswerRow | JudgementRow
_KINDS: Final[Mapping[str, type[AnswerRow | JudgementRow]]] = {
    "answer": AnswerRow,
    "judgement": JudgementRow,
}


@dataclass(slots=True, kw_only=True)
class RunState:
    """What a run file holds. Of several rows on the same thing, the last one."""

    answers: dict[tuple[str, str], AnswerRow] = field(default_factory=dict)
    """By sample and model."""
    judgements: dict[tuple[str, str, str], JudgementRow] = field(default_factory=dict)
    """By sample, model and order."""
    spent_nano_usd: int = 0
    """Of all rows, and of calls whose row is missing at the most that they can have cost."""


class RunFile:
    """A run file that is open for adding. Only one process can have it open."""

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        """Opens a run, or begins one.

        Args:
            path: The file; made where it is not there.
            settings: All that the answers depend on, each setting by its name.

        Raises:
            BenchError: It is no run file, of other settings, in use, or can't be read or written.
        """
        self.path = path
        self.state = RunState()
        self._begun: dict[str, int] = {}
        self._header: dict[str, Any] | None = None
        self._end = 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BenchError(f"cannot open {path}: {error.strerror}") from error
        try:
            self._open(dict(settings))
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        """Returns the file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file, and removes it where nothing was asked."""
        if not self._end:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def begin(self, call: str, most_nano_usd: int) -> None:
        """Notes that a call is about to be sent, and the most that it can cost."""
        self._write({"kind": "begun", "call": call, "most_nano_usd": most_nano_usd})

    def add(self, call: str, row: Row) -> None:
        """Adds what became of a call. It is on disk when this returns.

        Raises:
            BenchError: It can't be written; the file is as it was before.
        """
        kind = "answer" if isinstance(row, AnswerRow) else "judgement"
        self._write({"kind": kind, "call": call, **asdict(row)})
        self._take(row)

    def _open(self, settings: dict[str, str]) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BenchError(f"{self.path} is in use by another run; name another --run") from error
        whole = self._read()
        lines = whole.split(b"\n")
        torn = lines.pop()
        objects = [self._object(line, number) for number, line in enumerate(lines, start=1)]
        if not objects and torn and not _HEADER_START.startswith(torn[: len(_HEADER_START)]):
            raise self._no_run(1)
        if objects:
            self._check_header(objects[0], None if len(objects) == 1 else settings)
        if len(objects) <= 1:
            # Nothing was asked yet. The header is written with the first row.
            os.ftruncate(self._descriptor, 0)
            self._header = {"kind": FORMAT, "version": FORMAT_VERSION, "settings": settings}
            return
        for number, one in enumerate(objects[1:], start=2):
            self._replay(one, number)
        # What was being written when an earlier run was killed.
        self._end = len(whole) - len(torn)
        if torn:
            os.ftruncate(self._descriptor, self._end)
        if lost := sum(self._begun.values()):
            self._write({"kind": "lost", "most_nano_usd": lost})
            self.state.spent_nano_usd += lost

    def _read(self) -> bytes:
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def _object(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise self._no_run(number) from error
        if not isinstance(found, dict):
            raise self._no_run(number)
        return found

    def _no_run(self, line: int) -> BenchError:
        return BenchError(
            f"{self.path}:{line}: no row of a run; name another --run, and it is left as it is"
        )

    def _check_header(self, header: dict[str, Any], settings: dict[str, str] | None) -> None:
        known = header.get("settings")
        if header.get("kind") != FORMAT or not isinstance(known, dict):
            raise self._no_run(1)
        if header.get("version") != FORMAT_VERSION:
            raise BenchError(
                f"{self.path} is of version {header.get('version')}, and this reads"
                f" {FORMAT_VERSION}; name another --run"
            )
        lines = list(_differences(known, settings)) if settings is not None else []
        if lines:
            more = len(lines) - _MOST_DIFFERENCES
            shown = lines[:_MOST_DIFFERENCES] + ([f"  and {more} more"] if more > 0 else [])
            raise BenchError(
                "\n".join(
                    (
                        f"{self.path} was begun with other settings, and one run can't mix them:",
                        *shown,
                        "Go back to those settings, or name another file with --run.",
                    )
                )
            )

    def _replay(self, found: dict[str, Any], number: int) -> None:
        kind, call = found.pop("kind", None), found.pop("call", "")
        if kind == "begun":
            self._begun[call] = self._begun.get(call, 0) + self._amount(found, number)
            return
        if kind == "lost":
            self._begun.clear()
            self.state.spent_nano_usd += self._amount(found, number)
            return
        row_type = _KINDS.get(kind or "")
        if row_type is None:
            raise self._no_run(number)
        try:
            row = row_type(**found)
        except TypeError as error:
            raise self._no_run(number) from error
        self._begun.pop(call, None)
        self._take(row)

    def _amount(self, found: Mapping[str, Any], number: int) -> int:
        amount = found.get("most_nano_usd")
        if not isinstance(amount, int):
            raise self._no_run(number)
        return amount

    def _take(self, row: Row) -> None:
        self.state.spent_nano_usd += row.spent_nano_usd
        if isinstance(row, AnswerRow):
            self.state.answers[row.sample, row.model] = row
        else:
            self.state.judgements[row.sample, row.model, row.order] = row

    def _write(self, row: Mapping[str, Any]) -> None:
        rows = [row] if self._header is None else [self._header, row]
        line = "".join(f"{json.dumps(one, ensure_ascii=True)}\n" for one in rows).encode()
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._descriptor, line[written:], self._end + written)
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self._end)
            raise BenchError(
                f"cannot write {self.path}: {error.strerror}; make room and run it again: it goes"
                " on where it was"
            ) from error
        self._end += len(line)
        self._header = None


def _differences(known: Mapping[str, Any], settings: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*known, *settings}):
        before, now = known.get(name), settings.get(name)
        if before == now:
            continue
        if before is None:
            yield f"  {name}: is new"
        elif now is None:
            yield f"  {name}: was part of the run, and is gone"
        elif name.startswith("sample "):
            yield f"  {name}: prompt, references or checks have changed"
        else:
            yield f"  {name}: was {before!r}, now {now!r}"
