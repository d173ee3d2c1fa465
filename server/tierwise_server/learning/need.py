"""Whether there is enough evidence to decide by, and how much is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise_server.evidence.rows import EvidenceRow
from tierwise_server.learning.evidence_set import is_usable


@dataclass(frozen=True, slots=True, kw_only=True)
class TierNeed:
    """How much evidence a tier has and needs."""

    tier: str
    prompt_count: int
    """Different prompts with a label of the tier."""
    needed_count: int

    @property
    def missing_count(self) -> int:
        """Prompts that are missing; 0 when there are enough."""
        return max(self.needed_count - self.prompt_count, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceNeed:
    """How much evidence a catalog has and needs."""

    row_count: int
    tiers: tuple[TierNeed, ...]
    """Cheapest first."""
    is_one_class: bool = False
    """Whether all labels are alike, so that there is nothing to learn from them."""
    foreign_count: int = 0
    """Rows whose vector is of another encoder; they count for nothing."""

    @property
    def is_met(self) -> bool:
        """Whether evidence decides wherever it lies near the prompt."""
        enough = all(tier.missing_count == 0 for tier in self.tiers)
        return len(self.tiers) > 1 and enough and not self.is_one_class

    def __str__(self) -> str:
        """Returns in a sentence what there is and what is missing."""
        found = f"{self.row_count} rows of evidence"
        if self.foreign_count:
            found += f", {self.foreign_count} of them of another encoder,"
        if self.is_met:
            return f"{found} decide where they lie near the prompt."
        if len(self.tiers) == 1:
            return f"{found} decide nothing, since there is one tier only."
        if missing := [one for one in self.tiers if one.missing_count]:
            listed = ", ".join(
                f"{one.missing_count} of {one.needed_count} for {one.tier}" for one in missing
            )
            return f"{found} do not decide yet: prompts with a label are missing, {listed}."
        return f"{found} decide nothing, since all labels are alike: there is nothing to learn."


def evidence_need(
    rows: Sequence[EvidenceRow],
    tiers: Sequence[str],
    *,
    needed_count: int,
    encoder_id: str = "",
    dimensions: int = 0,
) -> EvidenceNeed:
    """Returns how the evidence stands to what is needed.

    Args:
        rows: Merged rows, each with a tier that is known.
        tiers: All tiers, cheapest first.
        needed_count: Different prompts that every tier needs.
        encoder_id: Of the encoder in service; empty takes every vector for one of it.
        dimensions: Of its vectors.
    """
    usable = [row for row in rows if not encoder_id or is_usable(row, encoder_id, dimensions)]
    subjects: dict[str, set[object]] = {tier: set() for tier in tiers}
    for row in usable:
        subjects[row.tier].add(row.subject)
    return EvidenceNeed(
        row_count=len(rows),
        tiers=tuple(
            TierNeed(tier=tier, prompt_count=len(subjects[tier]), needed_count=needed_count)
            for tier in tiers
        ),
        is_one_class=len({row.quality for row in usable}) == 1,
        foreign_count=len(rows) - len(usable),
    )
