"""Counts how the decisions of two revisions differ. Holds nothing of any prompt."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from tierwise_server.arms import Arm
from tierwise_server.deciding.decision import Verdict
from tierwise_server.planning.choice import ModelChoice
from tierwise_server.snapshot import Snapshot


class NotCompared(StrEnum):
    """Why a decision was not made twice."""

    KEEP_NOTHING = "keep-nothing"
    """The caller has nothing kept, so nothing of the prompt is there after the answer."""
    BUSY = "busy"
    """Too much waited to be compared."""
    SPEND_LIMIT = "spend-limit"
    """The caller's spend limit decided."""
    FAILED = "failed"
    """The other catalog could not decide on it: it names what is not there, or no model meets its
    limits."""


class Decided(NamedTuple):
    """What one revision decided."""

    task: str
    tier: str
    """Tier in use: that of the model, where there is one."""
    cost_nano_usd: int | None
    """Estimated, of calling the model once. None where it is not known or there is no model."""

    @classmethod
    def of(cls, verdict: Verdict, choice: ModelChoice | None) -> Decided:
        """Returns what is compared of a decision."""
        return cls(
            task=str(verdict.task.id) if verdict.task is not None else "",
            tier=str(choice.model.model.tier if choice is not None else verdict.tier.id),
            cost_nano_usd=choice.estimated_cost_nano_usd if choice is not None else None,
        )


class Cell(NamedTuple):
    """Decisions that are counted together. Bounded by what the two catalogs have."""

    task: str
    """Task by the catalog in service. Empty where it saw none."""
    tier: str
    candidate_tier: str


@dataclass(slots=True, kw_only=True)
class Counts:
    """What one cell came to."""

    decisions: int = 0
    other_task: int = 0
    """Decisions, of those, whose tasks differ."""
    priced: int = 0
    """Decisions, of those, that both know the estimated cost of."""
    cost_nano_usd: int = 0
    """Of the priced ones, by the catalog in service."""
    candidate_cost_nano_usd: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Tally:
    """The comparison of one pair of revisions."""

    live: Snapshot
    candidate: Snapshot
    start_time: datetime.datetime = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC)
    )
    cells: dict[Cell, Counts] = field(default_factory=dict)
    not_compared: Counter[NotCompared] = field(default_factory=Counter)
    arms: Counter[Arm] = field(default_factory=Counter)
    """Decisions that callers got, by who made them."""
    spells_alike: bool = field(init=False)
    """Whether both put the same typos right, so that a prompt has the same vector for both."""

    def __post_init__(self) -> None:
        """Compares the words once, since doing so for each prompt takes a third of its time."""
        ours, theirs = self.live.spelling, self.candidate.spelling
        self.spells_alike = ours.known == theirs.known and ours.common == theirs.common

    def is_of(self, live: Snapshot, candidate: Snapshot) -> bool:
        """Returns whether it compares these two."""
        return self.live is live and self.candidate is candidate

    def add(self, live: Decided, candidate: Decided) -> None:
        """Counts a prompt that both decided on."""
        counts = self.cells.setdefault(Cell(live.task, live.tier, candidate.tier), Counts())
        counts.decisions += 1
        counts.other_task += live.task != candidate.task
        if live.cost_nano_usd is not None and candidate.cost_nano_usd is not None:
            counts.priced += 1
            counts.cost_nano_usd += live.cost_nano_usd
            counts.candidate_cost_nano_usd += candidate.cost_nano_usd
