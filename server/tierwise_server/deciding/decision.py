"""The result of deciding, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tierwise_server.catalog.model import Task, Tier
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import Rule
from tierwise_server.deciding.learned import LearnedOutcome
from tierwise_server.deciding.semantic import Abstention, SemanticOutcome


class DecisionKind(IntEnum):
    """What decided, named as in the contract."""

    PINNED = 1
    OVERRIDE_RULE = 2
    LEARNED = 3
    SEMANTIC = 4
    DEFAULT_RULE = 5
    PREVIOUS_TIER = 6
    DEFAULT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Tier and task of one prompt, and how they came about."""

    kind: DecisionKind
    tier: Tier
    """Tier to use, within the request's bounds."""
    reason: str
    """The verdict in one English sentence; holds nothing of the prompt."""
    task: Task | None = None
    """Task that the prompt was taken for."""
    rule: Rule | None = None
    """Rule that decided."""
    model: str = ""
    """Model that a pin or a rule names; empty leaves the choice open."""
    semantic: SemanticOutcome | None = None
    """What the comparison with utterances said; None when there was none."""
    abstention: Abstention | None = None
    """Why the comparison with utterances did not decide, when something later did."""
    similarity: float | None = None
    """Cosine of the prompt and the nearest utterance of the task."""
    learned: LearnedOutcome | None = None
    """What the evidence said, where enough of it lies near the prompt."""
    confidence: float | None = None
    """Calibrated probability that the tier is right, or with such a calibration the task."""
    required_capabilities: frozenset[Capability] = frozenset()
    """What rules ask of the model, beside the request's own constraints."""
