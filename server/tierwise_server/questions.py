"""What is asked to see how well a catalog decides: its cases, or the rows of a labelled file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tierwise_server.calibration.rows import MATCHED_KINDS, OUT_OF_SCOPE
from tierwise_server.catalog.cases import Case, Role
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.deciding_text import Turn, of_conversation, of_prompt
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.evaluation import Judgement
from tierwise_server.routing import Query

_OOS_LABELS = frozenset({"oos", OUT_OF_SCOPE})


class LabelledFileError(Exception):
    """A labelled file that cannot be read; the message says where and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt and what is expected of it."""

    query: Query
    tier: str
    task: str = ""
    tags: tuple[str, ...] = field(default=())
    source: str
    """File and line."""
    shown: str
    """The prompt as it is shown where the decision is wrong."""


def case_question(case: Case) -> Question:
    """Returns a case as a query with what is expected."""
    if case.prompt is not None:
        deciding = of_prompt(case.prompt)
    else:
        turns = [Turn(by_user=one.role is Role.USER, text=one.text) for one in case.messages]
        deciding = of_conversation(turns)
    text = deciding.text
    return Question(
        query=Query(
            request=RoutingRequest(
                text=text,
                character_count=len(text),
                previous_tier=case.previous_tier or "",
                language=case.language or "",
            ),
            embedded_text=deciding.embedded_text,
        ),
        tier=case.tier or OUT_OF_SCOPE,
        task=case.task or "",
        tags=case.tags,
        source=str(case.location),
        shown=text,
    )


def file_questions(file: Path, catalog: Catalog) -> Iterator[Question]:
    """Yields the rows of a JSONL file of `text` and `label` (a tier, a task, or `oos`).

    Raises:
        LabelledFileError: A row cannot be read, or its label is nothing that the catalog has.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelledFileError(f"{file}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _file_question(line, f"{file}:{number}", catalog)


def _file_question(line: str, source: str, catalog: Catalog) -> Question:
    try:
        row = json.loads(line)
        text, label = row["text"], row["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise LabelledFileError(f"{source}: needs an object with `text` and `label`") from error
    if not (isinstance(text, str) and text.strip() and isinstance(label, str)):
        raise LabelledFileError(f"{source}: `text` and `label` must be text, and not empty")
    if not text.isascii() and text.encode(errors="ignore").decode() != text:
        raise LabelledFileError(f"{source}: `text` has half a character (a lone surrogate)")
    if label in _OOS_LABELS:
        tier, task = OUT_OF_SCOPE, ""
    elif label in catalog.tier_by_id:
        tier, task = label, ""
    elif label in catalog.task_by_id:
        tier, task = "", label
    else:
        raise LabelledFileError(f"{source}: {label!r} is no tier or task of the catalog, nor oos")
    return prompt_question(text, tier=tier, task=task, source=source)


def prompt_question(text: str, *, tier: str, task: str = "", source: str) -> Question:
    """Returns a prompt alone as a query with what is expected."""
    return Question(
        query=Query(
            request=RoutingRequest(text=text, character_count=len(text)),
            embedded_text=of_prompt(text).embedded_text,
        ),
        tier=tier,
        task=task,
        source=source,
        shown=text,
    )


def judge(question: Question, verdict: Verdict) -> Judgement:
    """Returns what was expected of a question beside what was decided."""
    return Judgement(
        expected_tier=question.tier,
        expected_task=question.task,
        decided_tier=verdict.tier.id,
        decided_task=verdict.task.id if verdict.task is not None else "",
        matched=verdict.kind in MATCHED_KINDS,
        score=verdict.semantic.best.score if verdict.semantic is not None else None,
        tags=question.tags,
        confidence=verdict.confidence,
    )
