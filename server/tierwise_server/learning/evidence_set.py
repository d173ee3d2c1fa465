"""From rows of evidence to the numbers that a predictor is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.evidence.rows import FLOAT_BYTES, EvidenceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePrompt:
    """One prompt with all its labels."""

    rows: tuple[EvidenceRow, ...]
    """At least one; their models differ."""

    @property
    def text(self) -> str:
        """The prompt; empty where only its vector is known."""
        return self.rows[0].prompt

    def quality_of(self, tier: str) -> float:
        """Returns the mean quality of the tier's models; NaN where none has a label."""
        found = sorted(row.quality for row in self.rows if row.tier == tier)
        return sum(found) / len(found) if found else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvidenceSet:
    """The prompts of the evidence in an order of their own, whatever that of the rows."""

    prompts: tuple[EvidencePrompt, ...]
    quality: NDArray[np.float64]
    """Shape (prompts, tiers): mean quality of the tier's models, NaN where none has a label."""


def is_usable(row: EvidenceRow, encoder_id: str, dimensions: int) -> bool:
    """Returns whether a row has a prompt, or a vector of the encoder in service."""
    is_ours = row.encoder == encoder_id and len(row.embedding) == FLOAT_BYTES * dimensions
    return is_ours or not row.embedding


def evidence_set(
    rows: Sequence[EvidenceRow], tier_ranks: Mapping[str, int], *, encoder_id: str, dimensions: int
) -> EvidenceSet:
    """Groups rows by their prompts; those whose vector is of another encoder count for nothing.

    Args:
        rows: Merged rows, each with a tier that is known.
        tier_ranks: Place of each tier, from 0.
        encoder_id: Of the encoder in service.
        dimensions: Of its vectors.
    """
    groups: dict[tuple[str, bytes], list[EvidenceRow]] = {}
    for row in rows:
        if is_usable(row, encoder_id, dimensions):
            groups.setdefault(row.subject, []).append(row)
    prompts = tuple(
        EvidencePrompt(rows=tuple(sorted(groups[key], key=lambda row: (row.tier, row.model))))
        for key in sorted(groups)
    )
    quality = np.full((len(prompts), len(tier_ranks)), np.nan)
    for place, prompt in enumerate(prompts):
        for tier in {row.tier for row in prompt.rows}:
            quality[place, tier_ranks[tier]] = prompt.quality_of(tier)
    return EvidenceSet(prompts=prompts, quality=quality)
