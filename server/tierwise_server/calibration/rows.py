"""Labelled prompts as a calibration sees them, and what decisions make of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.catalog.calibration import Subject
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.decide import Opening
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.learning import Prediction
from tierwise_server.scoring import Lead

OUT_OF_SCOPE = "none"
"""What is expected of prompts that must match nothing."""

MATCHED_KINDS = frozenset(
    {
        DecisionKind.OVERRIDE_RULE,
        DecisionKind.LEARNED,
        DecisionKind.SEMANTIC,
        DecisionKind.DEFAULT_RULE,
    }
)
"""What decided where a prompt matched something, rather than a default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is expected of a prompt."""

    tier: str
    """A tier, or `none` for what must match nothing."""
    task: str = ""
    """A task of the tier; empty where any will do."""

    @property
    def in_scope(self) -> bool:
        """Whether something is to be matched."""
        return self.tier != OUT_OF_SCOPE

    def __str__(self) -> str:
        """Returns the label as it is shown."""
        return f"{self.tier}/{self.task}" if self.task else self.tier


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """A prompt with what is expected of it, before anything is decided."""

    text: str
    label: Label
    source: str
    """File and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A labelled prompt with what its decision rests on."""

    label: Label
    key: str
    """Tells the prompt from others, and puts it into its fold."""
    opening: Opening
    leads: tuple[Lead, ...] | None
    """Each tier's best task; None where the prompt is not compared with utterances."""
    predictions: tuple[Prediction, ...] = ()
    """What the evidence lets expect of each tier; empty where there is too little of it."""

    def is_right(self, verdict: Verdict, subject: Subject) -> bool:
        """Returns whether a decision is what was expected."""
        if not self.label.in_scope:
            return verdict.kind not in MATCHED_KINDS
        if subject is Subject.TASK:
            return verdict.task is not None and verdict.task.id == self.label.task
        return verdict.tier.id == self.label.tier


def without_repetition(texts: Iterable[LabelledText]) -> list[LabelledText]:
    """Returns each prompt once.

    Raises:
        CalibrationError: A prompt stands twice with different labels.
    """
    first: dict[str, LabelledText] = {}
    clashes: list[str] = []
    for one in texts:
        before = first.setdefault(" ".join(one.text.split()), one)
        if before.label != one.label:
            clashes.append(f"{one.source} says {one.label}, {before.source} says {before.label}")
    if clashes:
        more = f", and {len(clashes) - 3} more" if len(clashes) > 3 else ""  # noqa: PLR2004
        raise CalibrationError(
            f"the same prompt has different labels: {'; '.join(clashes[:3])}{more};"
            " keep one label of each"
        )
    return list(first.values())


def subject_of(labels: Sequence[Label]) -> Subject:
    """Returns what labels are about: tasks where all that are in scope name one, else tiers."""
    inside = [label for label in labels if label.in_scope]
    return Subject.TASK if inside and all(label.task for label in inside) else Subject.TIER


def count_by_label(rows: Iterable[Row]) -> Mapping[str, int]:
    """Returns how many prompts each tier has, `none` included."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.label.tier] = counts.get(row.label.tier, 0) + 1
    return counts


def check_labels(rows: Sequence[Row], subject: Subject, catalog: Catalog) -> None:
    """Refuses labels that nothing can be learned from.

    Raises:
        CalibrationError: There are none, all are the same, or tasks are missing.
    """
    if not rows:
        raise CalibrationError("there are no labelled prompts; add cases, or give a file")
    if len({(row.label.tier, row.label.task) for row in rows}) == 1:
        raise CalibrationError(
            f"all {len(rows)} labels are {rows[0].label}: nothing can be told from one class;"
            f" label prompts of other tiers ({', '.join(one.id for one in catalog.tiers)})"
            " or, for what must match nothing, `oos`"
        )
    if subject is Subject.TASK:
        bare = sum(1 for row in rows if row.label.in_scope and not row.label.task)
        if bare:
            raise CalibrationError(
                f"{bare} of {len(rows)} labels name no task; label them with one, or calibrate"
                " `--of tier`"
            )
