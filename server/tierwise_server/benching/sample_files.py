"""Owns the files of samples: YAML with what all samples of a file share, or JSONL.

All faults are found at once, each with file and line. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from tierwise_server.benching.check_files import (
    MAX_TEXT_LENGTH,
    Answers,
    CheckDraft,
    bound_checks,
    plain_value,
    read_checks,
)
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.json_lines import json_line_nodes
from tierwise_server.benching.samples import Sample
from tierwise_server.catalog.document import (
    Mapping,
    Node,
    Scalar,
    read_document,
)
from tierwise_server.catalog.faults import FaultLog, FaultRule, FileFaults
from tierwise_server.catalog.ids import Location, TaskId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.schema import Record, list_items, listing, read_record
from tierwise_server.catalog.values import identifier, integer, text
from tierwise_server.catalog.wording import normalized

MAX_SAMPLES: Final = 20_000
"""Most samples of one file."""

MAX_FILE_BYTES: Final = 64 << 20

_SHIPPED: Final = files("tierwise_server.benching").joinpath("samples")
_ID_DIGITS: Final = 12
_OWN: Final = ("prompt", "reference", "references", "source")
_SHARED: Final = ("task", "system", "rubric", "checks", "max_output_tokens")

_text = text(most=MAX_TEXT_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """A file of samples, and the task that they are for where it is not the file's own."""

    name: str
    """As it is shown in faults."""
    content: bytes
    task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defaults:
    """What a file says for all of its samples."""

    task: Scalar | None = None
    system: str = ""
    rubric: str = ""
    checks: CheckDraft | None = None
    max_output_tokens: int | None = None
    written: object = None


def shipped_sets() -> dict[str, str]:
    """Returns the names of the sets that come with the product, and what each is."""
    return {
        one.name.removesuffix(".yaml"): _description(one.read_bytes())
        for one in sorted(_SHIPPED.iterdir(), key=lambda entry: entry.name)
        if one.name.endswith(".yaml")
    }


def open_source(given: str) -> SampleSource:
    """Opens a file, or a set that comes with the product: `PATH`, `NAME`, or either with `=TASK`.

    Raises:
        BenchError: There is none of that name, or it can't be read.
    """
    name, _, task = (given, "", "") if Path(given).exists() else given.partition("=")
    shipped = _SHIPPED.joinpath(f"{name}.yaml")
    try:
        if Path(name).is_file():
            if Path(name).stat().st_size > MAX_FILE_BYTES:
                raise BenchError(f"{name} has more than {MAX_FILE_BYTES >> 20} MiB; split it")
            content = Path(name).read_bytes()
        elif "/" not in name and shipped.is_file():
            content = shipped.read_bytes()
        else:
            raise BenchError(
                f"there is no file of samples {name!r}; sets that come along:"
                f" {', '.join(shipped_sets())}"
            )
    except OSError as error:
        raise BenchError(f"cannot read {name}: {error.strerror}") from error
    return SampleSource(name=name, content=content, task=task)


def read_samples(sources: Iterable[SampleSource], tasks: Sequence[str]) -> tuple[Sample, ...]:
    """Returns the samples of all files, in their order.

    Args:
        sources: The files.
        tasks: Tasks that samples may be for: those of the catalog.

    Raises:
        BenchError: With every fault of every file, one a line.
    """
    log = FaultLog()
    known = KnownIds(tiers=None, tier_of_task=dict.fromkeys(tasks, ""), models=None)
    reading = _Reading(known)
    samples = [one for source in sources for one in reading.read(source, log)]
    if log.faults:
        count = len(log.faults)
        head = f"{count} fault{'' if count == 1 else 's'} in the samples:"
        raise BenchError("\n".join((head, *map(str, sorted(log.faults)))))
    return tuple(samples)


class _Reading:
    """Reads files one after another; remembers the prompts, so that none comes twice."""

    def __init__(self, known: KnownIds) -> None:
        self._known = known
        self._places: dict[tuple[str, str], tuple[Location, tuple[str, ...]]] = {}

    def read(self, source: SampleSource, log: FaultLog) -> Iterator[Sample]:
        faults = log.in_file(source.name)
        task = Scalar(source.task, 1, 1, False) if source.task else None
        if source.name.endswith(".jsonl"):
            defaults = _Defaults(task=task)
            for node in json_line_nodes(source.content, faults):
                yield from self._sample(node, defaults, faults, own_task=task is None)
            return
        top = read_document(source.content, faults)
        record = None
        if top is not None:
            record = read_record(
                top,
                faults,
                what="a file of samples",
                required=("samples",),
                optional=("description", *_SHARED),
            )
        if record is None:
            return
        record.read("description", _text)
        defaults = _defaults(record, task)
        items = record.read("samples", list_items) or ()
        if len(items) > MAX_SAMPLES:
            message = f"The file has more than {MAX_SAMPLES} samples."
            faults.add(items[MAX_SAMPLES], FaultRule.LIST_TOO_LONG, message)
            return
        for item in items:
            yield from self._sample(item, defaults, faults, own_task=task is None)

    def _sample(
        self, node: Node, defaults: _Defaults, faults: FileFaults, *, own_task: bool
    ) -> Iterator[Sample]:
        record = read_record(
            node, faults, what="a sample", required=("prompt",), optional=(*_OWN[1:], *_SHARED)
        )
        if record is None:
            return
        task = record.read("task", identifier) if record.has("task") and own_task else defaults.task
        if task is None and not record.has("task"):
            faults.add(node, FaultRule.MISSING_KEY, "The sample has no task.", "Add `task:`.")
        if task is not None:
            self._known.check_task(task, faults)
        prompt = record.read("prompt", _text)
        answers = _answers(record, prompt or "", faults)
        draft = record.read("checks", read_checks) if record.has("checks") else defaults.checks
        checks = bound_checks(draft, answers, record, faults) if draft is not None else ()
        rubric = _own_or(record, "rubric", defaults.rubric)
        system = _own_or(record, "system", defaults.system)
        most = record.read("max_output_tokens", integer(least=1, most=1_000_000))
        if not rubric and draft is None and not record.has("checks"):
            faults.add(
                node,
                FaultRule.UNSCORED_SAMPLE,
                "Nothing says how an answer to the sample is scored.",
                "Add `checks:` or a `rubric:`.",
            )
        if task is None or prompt is None:
            return
        location = Location(file=faults.file, line=record.node.line)
        self._check_prompt(task.text, prompt, answers.references, location, record, faults)
        yield Sample(
            id=f"{task.text}-{_hash(task.text, prompt)[:_ID_DIGITS]}",
            task=TaskId(task.text),
            prompt=prompt,
            system=system,
            references=answers.references,
            rubric=rubric,
            checks=checks,
            max_output_tokens=most or defaults.max_output_tokens,
            digest=_hash(plain_value(record.node), defaults.written),
            location=location,
        )

    def _check_prompt(
        self,
        task: str,
        prompt: str,
        references: tuple[str, ...],
        location: Location,
        record: Record,
        faults: FileFaults,
    ) -> None:
        key = (task, normalized(prompt))
        place, others = self._places.setdefault(key, (location, references))
        if place == location:
            return
        if set(map(normalized, others)) != set(map(normalized, references)):
            faults.add(
                record.key("prompt"),
                FaultRule.CONTRADICTORY_REFERENCES,
                f"The same prompt has other references at {place}.",
                "Keep one, with the references that are right.",
            )
        else:
            message = f"The same prompt of the same task is already at {place}."
            faults.add(
                record.key("prompt"), FaultRule.DUPLICATE_SAMPLE, message, "Remove one of the two."
            )


def _defaults(record: Record, task: Scalar | None) -> _Defaults:
    return _Defaults(
        task=task or record.read("task", identifier),
        system=record.read("system", _text) or "",
        rubric=record.read("rubric", _text) or "",
        checks=record.read("checks", read_checks),
        max_output_tokens=record.read("max_output_tokens", integer(least=1, most=1_000_000)),
        written=[
            plain_value(value) for key in _SHARED[1:] if (value := record.value(key)) is not None
        ],
    )


def _answers(record: Record, prompt: str, faults: FileFaults) -> Answers:
    references = record.read("references", listing(_text)) or ()
    single = record.read("reference", _text)
    if record.has("references") and record.has("reference"):
        faults.add(
            record.key("reference"),
            FaultRule.UNKNOWN_KEY,
            "There are `reference` and `references`.",
            "Put all of them under `references`.",
        )
    elif single is not None:
        references = (single,)
    return Answers(references=references, source=record.read("source", _text) or prompt)


def _own_or(record: Record, key: str, default: str) -> str:
    return (record.read(key, _text) or "") if record.has(key) else default


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _description(content: bytes) -> str:
    node = read_document(content, FaultLog().in_file(""))
    entries = node.entries if isinstance(node, Mapping) else ()
    found = next((one.value for one in entries if one.key.text == "description"), None)
    return found.text if isinstance(found, Scalar) else ""
