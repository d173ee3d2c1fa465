"""What models are measured with: sample prompts, each with the checks that its answer has to pass.

A check gives a score from 0 to 1. Checks that grade are averaged; constraints multiply the result,
so that an answer which breaks one can't make up for it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from tierwise_server.catalog.ids import Location, TaskId

Score = float
"""From 0 (useless) to 1 (as good as can be)."""


class CheckKind(Enum):
    """What a check's score does."""

    GRADE = "grade"
    """It is averaged with the other grades."""
    CONSTRAINT = "constraint"
    """It multiplies the mean of the grades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One way of scoring an answer, which needs no model."""

    name: str
    kind: CheckKind
    score: Callable[[str], Score]
    """Scores the text of an answer. A pure function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt of a task, and what a good answer to it is."""

    id: str
    """Unique among the samples, and the same for the same task and prompt."""
    task: TaskId
    prompt: str
    system: str
    """Instructions in front of the prompt. Empty for none."""
    references: tuple[str, ...]
    """Good answers; empty where only a rubric or checks say what is good."""
    rubric: str
    """What a judge model goes by. Empty for samples that are not judged."""
    checks: tuple[Check, ...]
    """Without a rubric, at least one."""
    max_output_tokens: int | None
    """None means what the command says."""
    digest: str
    """Hash of all that was written of the sample."""
    location: Location

    @property
    def is_judged(self) -> bool:
        """Whether a judge model has a say."""
        return bool(self.rubric)


def quality(grades: Iterable[Score], constraints: Iterable[Score]) -> Score:
    """Returns the quality of an answer: the mean of its grades, times each constraint.

    Without grades, keeping the constraints is all that was asked.
    """
    known = list(grades)
    result = sum(known) / len(known) if known else 1.0
    for one in constraints:
        result *= one
    return result
