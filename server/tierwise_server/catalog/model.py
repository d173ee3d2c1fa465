"""Owns the catalog as the rest of the server sees it: one immutable value.

It knows nothing of files beyond the place that each part came from, and nothing of vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from tierwise_server.catalog.calibration import NEUTRAL_DIAL, Bound, Calibration, StalePolicy
from tierwise_server.catalog.cases import Case
from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.limits import CallLimit, SpendLimit
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.paraphrases_file import Paraphrase
from tierwise_server.catalog.registry import Model
from tierwise_server.catalog.rules import RuleBook
from tierwise_server.evidence.rows import EvidenceRow

DEFAULT_THRESHOLD: Final = 0.4
"""Score that a task needs when the files don't say."""

DEFAULT_MARGIN: Final = 0.02
"""Margin below which two tiers are tied when the files don't say."""

DEFAULT_LANGUAGES: Final = ("en",)
"""Languages that the encoder handles when the files don't say."""


class TieBreak(StrEnum):
    """Where a prompt goes when two tiers are closer than the margin."""

    HIGHER = "higher"
    """To the higher of the two."""
    DEFAULT = "default"
    """To the default tier."""


class ShownEvidence(StrEnum):
    """What of the evidence's prompts explanations may show."""

    IDS = "ids"
    """File and line."""
    PROMPTS = "prompts"
    """The text as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSettings:
    """How evidence decides."""

    bar: float = 0.85
    """Quality that a tier must be expected to reach, with the dial at rest."""
    minimum_prompts: int = 500
    """Different prompts with a label that every tier needs before evidence decides. With 300 of
    MMLU's, over its 57 subjects, routing by evidence is no better than by prompt length; with 500
    it is (APGR 0.62 against 0.59 in the mean of eight draws, which differ by 0.01). Where prompts
    are more alike, as in GSM8K, 300 are enough."""
    show: ShownEvidence = ShownEvidence.IDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One example prompt of a task."""

    text: str
    """Without white space at either end; never empty."""
    task_index: int
    """Position of its task in `Catalog.tasks`; for background, of its group behind them."""
    location: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A named group of similar utterances inside one tier."""

    id: TaskId
    index: int
    """Position in `Catalog.tasks`."""
    tier: TierId
    description: str
    threshold: float | None
    """Score that this task needs. None means the tier's; see `Catalog.threshold_of`."""
    utterances: tuple[Utterance, ...]
    """At least one."""
    location: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundGroup:
    """Utterances of one kind that stand for prompts that no tier is for."""

    id: str
    """Unique among the groups."""
    description: str
    utterances: tuple[Utterance, ...]
    """At least one. Their task index goes on behind that of the last task."""
    location: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A level of capability and price."""

    id: TierId
    rank: int
    """Position in `Catalog.tiers`; 0 is the cheapest."""
    description: str
    """Empty when the file has none."""
    threshold: float | None
    """Score that the tier's tasks need. None means the catalog's."""
    tasks: tuple[Task, ...]
    """At least one."""
    location: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that operators edit, checked as a whole."""

    tiers: tuple[Tier, ...]
    """Cheapest first; at least one."""
    default_tier: TierId
    encoder: str | None
    """Model id of the encoder that the thresholds were tuned for. None means not stated."""
    threshold: float
    """Score that a task needs unless it or its tier says otherwise."""
    margin: float
    """Two tiers whose scores are closer than this are tied."""
    tie: TieBreak
    languages: tuple[str, ...]
    """ISO 639-1 codes that the encoder handles; others go to the default tier."""
    rules: RuleBook
    models: tuple[Model, ...]
    """In the order of the file. Empty means that decisions carry no model."""
    baseline_model: ModelId | None
    """Model of the counterfactual. None means the dearest of the top tier by resolved prices."""
    cases: tuple[Case, ...]
    content_revision: str
    """Hex hash of everything but cases and locations; formatting changes nothing."""
    spend_limits: tuple[SpendLimit, ...] = ()
    """In the order of the file; empty when there is no such file."""
    call_limits: tuple[CallLimit, ...] = ()
    """The same of how much callers may call."""
    background: tuple[BackgroundGroup, ...] = ()
    """What must match nothing; empty when there is no such file."""
    paraphrases: tuple[Paraphrase, ...] = ()
    """What should reach the same tier; empty when there is no such file."""
    ignored_lint: tuple[LintRule, ...] = ()
    """Rules of `tierwise check` that the operator has silenced."""
    learned: LearnedSettings = LearnedSettings()
    evidence: tuple[EvidenceRow, ...] = ()
    """One row for each prompt and model, each with the tier that the model is of."""
    calibration: Calibration | None = None
    """What `tierwise calibrate` fitted; its thresholds take the place of all others."""
    stale_calibration: StalePolicy = StalePolicy.WARN
    """What is done with a calibration that no longer fits."""
    stale_bounds: tuple[Bound, ...] = ()
    """What the calibration no longer fits, as the snapshot that serves the catalog found."""

    tasks: tuple[Task, ...] = field(init=False, repr=False, compare=False)
    """Tasks of all tiers, tier by tier."""
    utterances: tuple[Utterance, ...] = field(init=False, repr=False, compare=False)
    """Utterances of all tasks, task by task."""
    background_utterances: tuple[Utterance, ...] = field(init=False, repr=False, compare=False)
    """Utterances of all background groups, group by group."""
    tier_by_id: Mapping[TierId, Tier] = field(init=False, repr=False, compare=False)
    task_by_id: Mapping[TaskId, Task] = field(init=False, repr=False, compare=False)
    model_by_id: Mapping[ModelId, Model] = field(init=False, repr=False, compare=False)
    models_by_tier: Mapping[TierId, tuple[Model, ...]] = field(
        init=False, repr=False, compare=False
    )
    """Has an entry for every tier."""

    def __post_init__(self) -> None:
        """Derives the flat lists and the lookups, so that they can't disagree with the tiers."""
        tasks = tuple(task for tier in self.tiers for task in tier.tasks)
        derived: dict[str, object] = {
            "tasks": tasks,
            "utterances": tuple(one for task in tasks for one in task.utterances),
            "background_utterances": tuple(
                one for group in self.background for one in group.utterances
            ),
            "tier_by_id": MappingProxyType({tier.id: tier for tier in self.tiers}),
            "task_by_id": MappingProxyType({task.id: task for task in tasks}),
            "model_by_id": MappingProxyType({model.id: model for model in self.models}),
            "models_by_tier": MappingProxyType(
                {
                    tier.id: tuple(model for model in self.models if model.tier == tier.id)
                    for tier in self.tiers
                }
            ),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def is_compared(self) -> bool:
        """Whether prompts are compared with utterances, or left to rules for now."""
        return not self.stale_bounds or self.stale_calibration is not StalePolicy.RULES

    @property
    def resting_dial(self) -> float:
        """Where the cost-to-quality dial rests."""
        return NEUTRAL_DIAL if self.calibration is None else self.calibration.dial

    @property
    def base_threshold(self) -> float:
        """Score that a task needs where neither it nor its tier has a threshold of its own."""
        calibrated = None if self.calibration is None else self.calibration.threshold
        return self.threshold if calibrated is None else calibrated

    def threshold_of(self, task: Task) -> float:
        """Returns the score that the task needs.

        That of the calibration, where it has thresholds; otherwise the task's own, else its
        tier's, else the catalog's.
        """
        if self.calibration is not None:
            calibrated = self.calibration.threshold_of(task.id, task.tier)
            if calibrated is not None:
                return calibrated
        if task.threshold is not None:
            return task.threshold
        tier_threshold = self.tier_by_id[task.tier].threshold
        return self.threshold if tier_threshold is None else tier_threshold
