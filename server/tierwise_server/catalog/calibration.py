"""Owns a calibration as the rest of the server sees it: thresholds, dial and confidence curve.

`tierwise calibrate` fits it and writes it down; `calibration_file` reads it. A calibration holds
for what it was fitted on: the encoder, the formula, the utterances, the catalog's settings and the
labelled data, each of which it names by hash.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

ID_DIGITS: Final = 12
"""Hex digits of a calibration's id: enough to tell the calibrations of one catalog apart."""

NEUTRAL_DIAL: Final = 0.5
"""Where the cost-to-quality dial rests unless a calibration moves it."""

CASES: Final = "cases"
EVIDENCE: Final = "evidence"
"""Sources of data that stand in the catalog's own folder, so that a server can compare them."""


class Subject(StrEnum):
    """What a confidence is the probability of."""

    TIER = "tier"
    """That the tier is right."""
    TASK = "task"
    """That the task is right."""


class StalePolicy(StrEnum):
    """What a server does with a calibration that no longer fits its catalog."""

    WARN = "warn"
    """Keeps it, and says so."""
    RULES = "rules"
    """Compares no prompt with utterances until the catalog is calibrated anew, and says so."""


class Bound(StrEnum):
    """What a calibration was fitted on and is bound to."""

    ENCODER = "encoder"
    SCORER = "scorer"
    UTTERANCES = "utterances"
    SETTINGS = "settings"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceCurve:
    """Logistic curve from a match to the probability that it is right (Platt scaling).

    `1 / (1 + exp(-(intercept + score * s + margin * m + similarity * c)))`, never falling in any
    of the three.
    """

    intercept: float
    score: float
    """Weight of the score of the chosen tier's best task, at least 0."""
    margin: float
    """Weight of that score minus the best of the others, at least 0."""
    similarity: float
    """Weight of the cosine of the task's nearest utterance, at least 0."""

    def at(self, score: float, margin: float, similarity: float) -> float:
        """Returns the probability for a match. A margin that does not exist is 0."""
        exponent = (
            self.intercept
            + self.score * score
            + self.margin * margin
            + self.similarity * similarity
        )
        if exponent >= 0.0:
            return 1.0 / (1.0 + math.exp(-min(exponent, 700.0)))
        grown = math.exp(max(exponent, -700.0))
        return grown / (1.0 + grown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a calibration was fitted on. Each text is compared as it is."""

    encoder: str
    """Encoder id."""
    scorer: str
    """Scorer id: the formula and its figures."""
    utterances: str
    """Hex hash of tiers, tasks, utterances and background."""
    settings: str
    """Hex hash of what else turns scores into decisions."""
    data_source: str
    """`cases`, `evidence`, or the name of a file."""
    data: str
    """Hex hash of the labelled prompts."""
    row_count: int
    """How many there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Thresholds, the dial's rest and a confidence curve, with what they were fitted on."""

    subject: Subject
    objective: str
    """What was asked for, in words; shown, and read by nobody."""
    threshold: float | None
    """Score that a task needs. None leaves all thresholds as the files have them."""
    tier_thresholds: Mapping[str, float]
    """Thresholds of tiers that have one of their own."""
    task_thresholds: Mapping[str, float]
    """Thresholds of tasks that have one of their own."""
    dial: float
    """Where the cost-to-quality dial rests; 0.5 changes nothing."""
    curve: ConfidenceCurve | None
    """None where only thresholds were fitted."""
    binding: Binding
    figures: Mapping[str, float]
    """What was measured when it was fitted; shown, and used by nothing."""

    id: str = field(init=False, compare=False)
    """Hash of everything that decides, and of the binding."""

    def __post_init__(self) -> None:
        """Derives the id."""
        content = [
            self.subject,
            self.threshold,
            sorted(self.tier_thresholds.items()),
            sorted(self.task_thresholds.items()),
            self.dial,
            None if self.curve is None else asdict(self.curve),
            asdict(self.binding),
        ]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "id", digest[:ID_DIGITS])
        for name in ("tier_thresholds", "task_thresholds", "figures"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def threshold_of(self, task: str, tier: str) -> float | None:
        """Returns the threshold of a task: its own, else its tier's, else that of all."""
        own = self.task_thresholds.get(task)
        if own is not None:
            return own
        return self.tier_thresholds.get(tier, self.threshold)
