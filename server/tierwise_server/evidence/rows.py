"""Owns the format of evidence: what became of a prompt on a model, as one line of JSON.

```
{"prompt": "tl;dr of this thread", "task": "summarization", "model": "small-fast", "tier": "budget",
 "quality": 0.9, "source": "bench", "time": "2026-11-28T09:30:00+00:00"}
```

(On one line.) Callers that must not keep text write `embedding` and `encoder` in place of `prompt`.
`task` may be absent, and one of `model` and `tier`. Everything else is required, and unknown keys
are faults. The benchmark, the export of judged outcomes and imports write this; the catalog reads
it from `evidence/*.jsonl`.

Rows contradict each other when the same prompt on the same model was judged differently. They count
as one row with their mean quality (`merged`), and not the later one: an answer is a draw and so is
its judgement, what is predicted is their expectation, and the mean of the draws estimates it
without bias and whatever the order of the files. Rows that are equal in everything are one row that
was imported twice.
"""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_PROMPT_LENGTH: Final = 200_000
"""Longest prompt in characters, as in the cases."""

MAX_DIMENSIONS: Final = 8192
"""Most numbers of an embedding."""

MAX_NAME_LENGTH: Final = 200
"""Longest task, model, tier or encoder in characters."""

MAX_FAULTS: Final = 100
"""Most faults that one reading of a file returns; a file of another kind gives one a line."""

_EMBEDDING_DIGITS: Final = 6
FLOAT_BYTES: Final = 4
"""Of each value of a packed vector."""

_MOST_VALUE: Final = 1e30
"""Beyond this, the square of a value in single precision may be infinite."""
KEYS: Final = (
    "prompt",
    "embedding",
    "encoder",
    "task",
    "model",
    "tier",
    "quality",
    "source",
    "time",
)


class EvidenceSource(StrEnum):
    """Where a label comes from."""

    BENCH = "bench"
    """A benchmark run."""
    OUTCOME = "outcome"
    """A judged outcome of the ledger."""
    IMPORT = "import"
    """A file of somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRow:
    """One labelled outcome."""

    prompt: str = field(default="", repr=False)
    """The prompt; empty exactly when `embedding` stands for it."""
    embedding: bytes = field(default=b"", repr=False)
    """The prompt's vector by `encoder`, as `packed`; empty when the prompt is there."""
    encoder: str = ""
    """Encoder id of the embedding; empty without one."""
    task: str = ""
    """Task of the prompt; empty when not known."""
    model: str = ""
    """Id of the model that answered; empty when only its tier is known."""
    tier: str = ""
    """Tier of the model when it answered; empty when only the model is known."""
    quality: float
    """How good the answer was, from 0 to 1."""
    source: EvidenceSource
    time: datetime.datetime
    """When the answer was judged; with a time zone."""
    file: str = field(default="", compare=False)
    """File that the row was read from; empty for a new one."""
    line: int = field(default=0, compare=False)
    """Line in that file, counted from 1."""

    @property
    def subject(self) -> tuple[str, bytes]:
        """What was asked: equal for rows on the same prompt. White space at either end is none."""
        return self.prompt.strip(), self.embedding


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RowFault:
    """One thing that is wrong in a file of evidence."""

    file: str
    line: int
    """Counted from 1."""
    key: str
    """Key of the row; empty for the row as a whole."""
    message: str
    """What is wrong and what to do, in one sentence. Holds nothing of the prompt."""

    def __str__(self) -> str:
        """Returns the fault on one line, in the form that compilers use."""
        at = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {at}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReading:
    """What a file of evidence holds."""

    rows: tuple[EvidenceRow, ...]
    """The rows without a fault, in the order of the file."""
    faults: tuple[RowFault, ...]
    """What is wrong, at most `MAX_FAULTS`."""


def packed(values: Sequence[float]) -> bytes:
    """Returns a vector as it is kept: single precision takes a twentieth of a tuple of floats."""
    return struct.pack(f"<{len(values)}f", *values)


def unpacked(vector: bytes) -> tuple[float, ...]:
    """Returns the values of a packed vector."""
    return struct.unpack(f"<{len(vector) // FLOAT_BYTES}f", vector)


def read_rows(content: bytes, file: str) -> EvidenceReading:
    """Returns the rows of a file's content and all of its faults. Empty lines are passed over.

    Args:
        content: The bytes of the file, UTF-8.
        file: Its path as it is to be shown.
    """
    rows: list[EvidenceRow] = []
    faults: list[RowFault] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        if len(faults) >= MAX_FAULTS:
            break
        reading = _RowReading(file, number)
        row = reading.row(line)
        faults += reading.faults
        if row is not None and not reading.faults:
            rows.append(row)
    return EvidenceReading(rows=tuple(rows), faults=tuple(faults[:MAX_FAULTS]))


def row_of(fields: Mapping[str, object], *, file: str, line: int) -> EvidenceRow | list[RowFault]:
    """Returns the row that the keys and values of an object make, or its faults.

    For writers whose values come from elsewhere, such as another file with other names.
    """
    reading = _RowReading(file, line)
    row = reading.of_object(fields)
    return reading.faults if row is None or reading.faults else row


def line_of(row: EvidenceRow) -> str:
    """Returns a row as one line of JSON, without the line end. What is empty is left out."""
    shown: dict[str, object] = {}
    if row.prompt:
        shown["prompt"] = row.prompt
    else:
        shown["embedding"] = [round(one, _EMBEDDING_DIGITS) for one in unpacked(row.embedding)]
        shown["encoder"] = row.encoder
    shown |= {
        name: value
        for name, value in (("task", row.task), ("model", row.model), ("tier", row.tier))
        if value
    }
    shown |= {
        "quality": float(row.quality),
        "source": str(row.source),
        "time": row.time.isoformat(),
    }
    return json.dumps(shown, ensure_ascii=False)


def merged(rows: Iterable[EvidenceRow]) -> list[EvidenceRow]:
    """Returns one row for each prompt and model (or tier, where no model is named).

    Its quality is the mean of the different ones, its time the latest, and the rest is that of the
    latest row. The order is that of each one's first row; the result is otherwise independent of
    the order.
    """
    groups: dict[tuple[object, ...], dict[EvidenceRow, None]] = {}
    for row in rows:
        key = (row.subject, row.encoder, row.model or ("tier", row.tier))
        groups.setdefault(key, {})[row] = None
    return [_mean(list(group)) for group in groups.values()]


def _mean(rows: Sequence[EvidenceRow]) -> EvidenceRow:
    if len(rows) == 1:
        return rows[0]
    latest = max(rows, key=lambda row: (row.time, row.quality, row.source, row.task, row.tier))
    return EvidenceRow(
        prompt=latest.prompt,
        embedding=latest.embedding,
        encoder=latest.encoder,
        task=latest.task,
        model=latest.model,
        tier=latest.tier,
        # Exact, so that the order of addition makes no difference.
        quality=math.fsum(row.quality for row in rows) / len(rows),
        source=latest.source,
        time=latest.time,
        file=latest.file,
        line=latest.line,
    )


class _RowReading:
    """Reads one row and collects what is wrong with it."""

    def __init__(self, file: str, line: int) -> None:
        self._file = file
        self._line = line
        self.faults: list[RowFault] = []

    def row(self, line: bytes) -> EvidenceRow | None:
        try:
            found = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            self._add("", "it is not JSON in UTF-8; write one object a line")
            return None
        if not isinstance(found, dict):
            self._add("", "it is not an object; write one object a line")
            return None
        return self.of_object(found)

    def of_object(self, found: Mapping[str, object]) -> EvidenceRow | None:
        for key in found:
            if key not in KEYS:
                self._add(_shown(key), f"there is no such key; known: {', '.join(KEYS)}")
        prompt = self._text(found, "prompt", most=MAX_PROMPT_LENGTH)
        embedding = self._embedding(found)
        encoder = self._text(found, "encoder", most=MAX_NAME_LENGTH)
        if bool(prompt.strip()) == bool(embedding):
            self._add("prompt", "give either `prompt` or `embedding` with `encoder`, and not empty")
        elif bool(embedding) != bool(encoder):
            self._add("encoder", "an `embedding` needs its `encoder`, and a `prompt` none")
        task, model, tier = (
            self._text(found, key, most=MAX_NAME_LENGTH) for key in ("task", "model", "tier")
        )
        if not model and not tier:
            self._add("model", "name the `model` that answered, or at least its `tier`")
        quality, source, time = self._quality(found), self._source(found), self._time(found)
        if self.faults or source is None or time is None:
            return None
        return EvidenceRow(
            prompt=prompt,
            embedding=embedding,
            encoder=encoder,
            task=task,
            model=model,
            tier=tier,
            quality=quality,
            source=source,
            time=time,
            file=self._file,
            line=self._line,
        )

    def _add(self, key: str, message: str) -> None:
        self.faults.append(
            RowFault(file=self._file, line=self._line, key=key, message=f"{message}.")
        )

    def _text(self, found: Mapping[str, object], key: str, *, most: int) -> str:
        value = found.get(key, "")
        if value is None:
            return ""
        if not isinstance(value, str):
            self._add(key, "it is not a text")
        elif len(value) > most:
            self._add(key, f"it has {len(value)} characters; the limit is {most}")
        elif not value.isascii() and value.encode(errors="ignore").decode() != value:
            self._add(key, "it has half a character (a lone surrogate)")
        else:
            return value
        return ""

    def _embedding(self, found: Mapping[str, object]) -> bytes:
        values = found.get("embedding")
        if values is None:
            return b""
        if not isinstance(values, list) or not 0 < len(values) <= MAX_DIMENSIONS:
            self._add("embedding", f"it is not a list of 1 to {MAX_DIMENSIONS} numbers")
            return b""
        # All at once, since files of vectors have millions of numbers. A sum tells of NaN.
        is_numeric = {*map(type, values)} <= {int, float}
        if is_numeric and max(map(abs, values)) < _MOST_VALUE and math.isfinite(sum(values)):
            # With the digits that are written, so that what is read again is the same.
            vector = packed([round(one, _EMBEDDING_DIGITS) for one in values])
            if any(vector):
                return vector
        self._add("embedding", "its values must be finite numbers, and not all 0")
        return b""

    def _quality(self, found: Mapping[str, object]) -> float:
        number = _number(found.get("quality"))
        if number is None or not 0.0 <= number <= 1.0:
            self._add("quality", "it is not a number from 0 to 1")
            return 0.0
        return number

    def _source(self, found: Mapping[str, object]) -> EvidenceSource | None:
        value = found.get("source")
        if isinstance(value, str) and value in set(EvidenceSource):
            return EvidenceSource(value)
        self._add("source", f"it is none of {', '.join(EvidenceSource)}")
        return None

    def _time(self, found: Mapping[str, object]) -> datetime.datetime | None:
        value = found.get("time")
        try:
            time = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            time = None
        if time is None or time.tzinfo is None:
            self._add("time", "it is no ISO 8601 time with a zone, as 2026-01-31T09:30:00Z")
            return None
        return time


def _number(value: object) -> float | None:
    """Returns a finite number, or None for anything else; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _shown(key: str, most: int = 40) -> str:
    """Returns a key as it may be shown: it might be anything."""
    cut = key if len(key) <= most else f"{key[: most - 1]}…"
    return "".join(one if one.isprintable() else "�" for one in cut)
