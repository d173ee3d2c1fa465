"""Holds a catalog to its own cases before it goes into service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.case_files import CASE_FOLDER
from tierwise_server.catalog.faults import Fault, FaultRule
from tierwise_server.evaluation import Judgement, figures
from tierwise_server.offline import close_by, open_by
from tierwise_server.questions import Question, case_question, judge
from tierwise_server.scoring import phrases_of
from tierwise_server.snapshot import Snapshot

MAX_NAMED = 5
"""Wrong cases that the fault names, by file and line."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class SelfTest:
    """Decides a catalog's cases by its snapshot, and finds a fault below the bar."""

    def __init__(self, bar: float, embed: Embed) -> None:
        """Takes the bar and what embeds the cases.

        Args:
            bar: Least accuracy, above 0 and at most 1, as `tierwise evaluate` counts it.
            embed: Returns a unit vector for each text; blocking, and cheap for texts that it has
                seen before.
        """
        self._bar = bar
        self._embed = embed

    def __call__(self, snapshot: Snapshot) -> Fault | None:
        """Returns what is wrong; None where the bar is reached."""
        questions = [case_question(one) for one in snapshot.catalog.cases]
        if not questions:
            return _fault(
                f"The self-test needs cases to reach {self._bar:g} on, and there are none.",
                "Add some, or serve without --self-test-bar.",
            )
        judged = self._judged(snapshot, questions)
        accuracy = figures(judged).accuracy or 0.0
        if accuracy >= self._bar:
            return None
        wrong = [
            question.source
            for question, one in zip(questions, judged, strict=True)
            if not one.right
        ]
        more = f" and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        return _fault(
            f"The self-test decides {len(questions) - len(wrong)} of {len(questions)} cases as they"
            f" say: {accuracy:.3f}, below {self._bar:g}. Wrong are"
            f" {', '.join(wrong[:MAX_NAMED])}{more}.",
            "See `tierwise evaluate --wrong --catalog FOLDER`.",
        )

    def _judged(self, snapshot: Snapshot, questions: Sequence[Question]) -> list[Judgement]:
        texts = [snapshot.spelling.corrected(one.query.embedded_text) for one in questions]
        vectors = self._embed(texts)
        judged = []
        for question, text, vector in zip(questions, texts, vectors, strict=True):
            opening = open_by(snapshot, question.query.request)
            needed = vector if opening.needs_vector else None
            judged.append(judge(question, close_by(snapshot, opening, needed, phrases_of(text))))
        return judged


def _fault(message: str, suggestion: str) -> Fault:
    return Fault(
        file=CASE_FOLDER.rstrip("/"),
        line=1,
        column=1,
        rule=FaultRule.SELF_TEST,
        message=message,
        suggestion=suggestion,
    )
