"""Labelled prompts as rows to calibrate on, each opened and compared as the service does it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tierwise_server.calibration.binding import cases_hash, digest, evidence_hash
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.needed import needed_tiers
from tierwise_server.calibration.rows import Label, LabelledText, Row, without_repetition
from tierwise_server.catalog.calibration import CASES, EVIDENCE
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.wording import normalized
from tierwise_server.deciding.decide import open_decision
from tierwise_server.deciding.language import detect_language
from tierwise_server.encoder.base import TextEncoder
from tierwise_server.learned import Learned
from tierwise_server.learning import Prediction
from tierwise_server.questions import (
    Question,
    case_question,
    file_questions,
    prompt_question,
)
from tierwise_server.scoring import Lead, phrases_of
from tierwise_server.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuestions:
    """Labelled prompts as they are asked, and where they come from."""

    questions: list[Question]
    source: str
    """`cases`, `evidence`, or the name of a file."""
    hash: str
    untold_count: int = 0
    """Prompts of the evidence that don't tell which tier they need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """Labelled prompts, ready to be fitted to."""

    rows: tuple[Row, ...]
    asked: LabelledQuestions
    left_out_count: int
    """Prompts that stand among the utterances, which say nothing of others."""


def read_questions(
    file: Path | None, catalog: Catalog, *, from_evidence: bool = False
) -> LabelledQuestions:
    """Returns the labelled prompts of a file; of the evidence or of the cases, where there is none.

    Raises:
        LabelledFileError: The file cannot be read.
    """
    if from_evidence:
        tiers = [str(tier.id) for tier in catalog.tiers]
        told, untold = needed_tiers(catalog.evidence, tiers, catalog.learned.bar)
        return LabelledQuestions(
            questions=[
                prompt_question(one.prompt, tier=one.tier, source=one.source) for one in told
            ],
            source=EVIDENCE,
            hash=evidence_hash(catalog),
            untold_count=untold,
        )
    if file is None:
        return LabelledQuestions(
            questions=[case_question(one) for one in catalog.cases],
            source=CASES,
            hash=cases_hash(catalog.cases),
        )
    questions = list(file_questions(file, catalog))
    rows = sorted([one.shown, one.tier, one.task] for one in questions)
    return LabelledQuestions(questions=questions, source=file.name, hash=digest(rows))


def read_rows(
    asked: LabelledQuestions,
    snapshot: Snapshot,
    catalog: Catalog,
    encoder: TextEncoder,
    threads: int,
) -> LabelledData:
    """Embeds and scores labelled prompts.

    Args:
        asked: The prompts.
        snapshot: What scores them.
        catalog: The snapshot's, without a calibration.
        encoder: The snapshot's.
        threads: How many to embed with.

    Raises:
        CalibrationError: Labels contradict each other.
    """
    questions = {one.source: one for one in asked.questions}
    texts = without_repetition(
        LabelledText(text=_key(one), label=_label(one, catalog), source=one.source)
        for one in questions.values()
    )
    known = {normalized(one.text) for one in catalog.utterances}
    fresh = [one for one in texts if normalized(questions[one.source].shown) not in known]
    if texts and not fresh:
        raise CalibrationError(
            "all prompts stand among the utterances, so they say nothing of others; give prompts"
            " that the catalog does not have"
        )
    # Evidence can't be asked of the very prompts that it is about: what is fitted on it is how
    # utterances decide, where there is too little of it.
    learned = None if asked.source == EVIDENCE else snapshot.learned
    pairs = [(questions[one.source], one) for one in fresh]
    with ThreadPoolExecutor(threads) as pool:
        rows = tuple(
            pool.map(
                lambda pair: _row(pair[0], pair[1], snapshot, learned, (catalog, encoder)), pairs
            )
        )
    return LabelledData(rows=rows, asked=asked, left_out_count=len(texts) - len(fresh))


def _key(question: Question) -> str:
    request = question.query.request
    # Where a conversation stood before, or which language is stated, changes what is right.
    return "\n".join(
        filter(None, (question.query.embedded_text, request.previous_tier, request.language))
    )


def _label(question: Question, catalog: Catalog) -> Label:
    if question.tier:
        return Label(tier=question.tier, task=question.task)
    tier = next(one.tier for one in catalog.tasks if one.id == question.task)
    return Label(tier=tier, task=question.task)


def _row(
    question: Question,
    labelled: LabelledText,
    snapshot: Snapshot,
    learned: Learned | None,
    by: tuple[Catalog, TextEncoder],
) -> Row:
    catalog, encoder = by
    request = question.query.request
    language = request.language or detect_language(request.text) or ""
    opening = open_decision(catalog, request, language)
    leads: tuple[Lead, ...] | None = None
    predictions: tuple[Prediction, ...] = ()
    if opening.needs_vector:
        text = snapshot.spelling.corrected(question.query.embedded_text)
        vector = encoder.encode(text)
        leads = snapshot.scorer.leads(vector, phrases_of(text))
        if learned is not None:
            predictions = learned.predictions(vector, request.text)
    return Row(
        label=labelled.label,
        key=labelled.text,
        opening=opening,
        leads=leads,
        predictions=predictions,
    )
