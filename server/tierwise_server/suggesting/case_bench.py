"""Decides held-out prompts with a catalog as it is, and as it would be with additions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.ids import Location, TaskId
from tierwise_server.catalog.model import BackgroundGroup, Catalog, Task, Tier, Utterance
from tierwise_server.catalog.tier_files import tier_file
from tierwise_server.deciding.decide import Opening, close_decision, open_decision
from tierwise_server.deciding.language import detect_language
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.evaluation import Judgement
from tierwise_server.questions import Question, case_question, judge
from tierwise_server.routing import Query
from tierwise_server.scoring import Phrases, Scorer, phrases_of
from tierwise_server.snapshot import embedded_texts, fit_catalog
from tierwise_server.spelling import Spelling
from tierwise_server.suggesting.logged import LoggedPrompt

NOWHERE: Final = 0
"""Line of an utterance that is in no file yet."""

Vector = NDArray[np.float32]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """One utterance to add, to a task that is there or to a new one."""

    text: str
    task: str
    tier: str
    description: str = ""
    """Of a new task; empty where the task is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A prompt that is decided, never learnt from, with what is known of it beforehand."""

    question: Question
    opening: Opening
    vector: Vector
    phrases: Phrases
    logged_text: str = ""
    """Text of a logged prompt, which may become an utterance itself; empty for a case."""


class CaseBench:
    """A catalog with its held-out cases, to try additions on."""

    def __init__(self, catalog: Catalog, embed: Embed, embed_cases: Embed) -> None:
        """Embeds everything; blocking.

        Args:
            catalog: The catalog as it is.
            embed: Embeds its utterances.
            embed_cases: Embeds its cases.
        """
        self.catalog = catalog
        texts = embedded_texts(catalog)
        self._vectors: dict[str, Vector] = dict(zip(texts, embed(texts), strict=True))
        self._phrases: dict[str, Phrases] = {text: phrases_of(text) for text in texts}
        self.spelling = Spelling.of(texts)
        questions = [case_question(case) for case in catalog.cases]
        asked = [self.spelling.corrected(one.query.embedded_text) for one in questions]
        self.held_out: tuple[HeldOut, ...] = tuple(
            _held_out(catalog, question, text, vector)
            for question, text, vector in zip(questions, asked, embed_cases(asked), strict=True)
        )
        self.scorer = self._fitted(catalog)
        self.before = self.judged(catalog, self.scorer)

    def know(self, text: str, vector: Vector) -> None:
        """Takes the vector of a text that may be added."""
        self._vectors[text] = vector
        self._phrases[text] = phrases_of(text)

    def measure_on(self, logged: Sequence[LoggedPrompt]) -> None:
        """Takes logged prompts whose tier is known among those that are decided."""
        further = []
        for one in logged:
            question = Question(
                query=Query(request=RoutingRequest(text=one.text, character_count=len(one.text))),
                tier=one.tier,
                task=one.task,
                source=one.source,
                shown=one.text,
            )
            held = _held_out(self.catalog, question, one.text, self.vector_of(one.text))
            further.append(replace(held, logged_text=one.text))
        self.held_out += tuple(further)
        self.before = self.judged(self.catalog, self.scorer)

    def vector_of(self, text: str) -> Vector:
        """Returns the vector of an utterance or of what may become one."""
        return self._vectors[text]

    def with_additions(self, additions: Sequence[Addition]) -> tuple[Catalog, Scorer]:
        """Returns the catalog with additions, and the scorer that it would have."""
        catalog = with_additions(self.catalog, additions)
        return catalog, self._fitted(catalog)

    def judged(self, catalog: Catalog, scorer: Scorer) -> list[Judgement]:
        """Decides every held-out prompt."""
        judgements = []
        for one in self.held_out:
            leads = scorer.leads(one.vector, one.phrases) if one.opening.needs_vector else None
            verdict = close_decision(catalog, one.opening, leads)
            judgements.append(judge(one.question, verdict))
        return judgements

    def _fitted(self, catalog: Catalog) -> Scorer:
        texts = embedded_texts(catalog)
        vectors = np.array([self._vectors[text] for text in texts], dtype=np.float32)
        return fit_catalog(catalog, vectors, [self._phrases[text] for text in texts])


def _held_out(catalog: Catalog, question: Question, text: str, vector: Vector) -> HeldOut:
    request = question.query.request
    language = request.language or detect_language(request.text) or ""
    return HeldOut(
        question=question,
        opening=open_decision(catalog, request, language),
        vector=vector,
        phrases=phrases_of(text),
    )


def with_additions(catalog: Catalog, additions: Sequence[Addition]) -> Catalog:
    """Returns a catalog with further utterances, and with the tasks that they bring."""
    by_task: dict[str, list[Addition]] = {}
    for one in additions:
        by_task.setdefault(one.task, []).append(one)
    tiers = []
    for tier in catalog.tiers:
        tasks = [_longer(task, by_task.get(task.id, ())) for task in tier.tasks]
        tasks += [
            _new_task(tier, ours)
            for task, ours in by_task.items()
            if TaskId(task) not in catalog.task_by_id and ours[0].tier == tier.id
        ]
        tiers.append(replace(tier, tasks=tuple(tasks)))
    return replace(catalog, tiers=_renumbered(tiers), background=_moved(catalog, tiers))


def _longer(task: Task, additions: Sequence[Addition]) -> Task:
    file = task.location.file
    return replace(task, utterances=(*task.utterances, *_utterances(additions, file)))


def _new_task(tier: Tier, additions: Sequence[Addition]) -> Task:
    file = tier_file(tier.id)
    return Task(
        id=TaskId(additions[0].task),
        index=0,
        tier=tier.id,
        description=additions[0].description,
        threshold=None,
        utterances=_utterances(additions, file),
        location=Location(file=file, line=NOWHERE),
    )


def _utterances(additions: Sequence[Addition], file: str) -> tuple[Utterance, ...]:
    at = Location(file=file, line=NOWHERE)
    return tuple(Utterance(text=one.text, task_index=0, location=at) for one in additions)


def _renumbered(tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    """Returns the tiers with tasks numbered in order."""
    count = 0
    numbered = []
    for tier in tiers:
        tasks = []
        for task in tier.tasks:
            utterances = tuple(replace(one, task_index=count) for one in task.utterances)
            tasks.append(replace(task, index=count, utterances=utterances))
            count += 1
        numbered.append(replace(tier, tasks=tuple(tasks)))
    return tuple(numbered)


def _moved(catalog: Catalog, tiers: Sequence[Tier]) -> tuple[BackgroundGroup, ...]:
    start = sum(len(tier.tasks) for tier in tiers)
    return tuple(
        replace(
            group,
            utterances=tuple(replace(one, task_index=number) for one in group.utterances),
        )
        for number, group in enumerate(catalog.background, start=start)
    )


def best_task(catalog: Catalog, scorer: Scorer, vector: Vector, phrases: Phrases, tier: str) -> str:
    """Returns the task, of one tier or of all, that a prompt reads most like."""
    leads = scorer.leads(vector, phrases)
    chosen = [leads[one.rank] for one in catalog.tiers if tier in ("", one.id)]
    return str(catalog.tasks[max(chosen, key=lambda lead: lead.score).task].id)
