"""What a snapshot has learned from its evidence: the predictor, or what is missing for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.model import Catalog, LearnedSettings
from tierwise_server.deciding.deciding_text import of_prompt
from tierwise_server.evidence.rows import EvidenceRow
from tierwise_server.learning import (
    EvidenceNeed,
    EvidencePrompt,
    EvidenceSet,
    Prediction,
    QualityPredictor,
    evidence_need,
    evidence_set,
    fit_predictor,
    length_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceMatch:
    """One prompt of the evidence near another."""

    prompt: EvidencePrompt
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What the evidence of one catalog teaches. Immutable."""

    need: EvidenceNeed
    evidence: EvidenceSet | None = None
    predictor: QualityPredictor | None = None
    """None until there is enough evidence."""
    source: tuple[object, ...] = ()
    """What it was made from: equal sources teach the same."""

    def predictions(self, vector: NDArray[np.float32], text: str | None) -> tuple[Prediction, ...]:
        """Returns what to expect of each tier; empty where there is too little evidence.

        Args:
            vector: Unit vector of the prompt.
            text: The prompt; None where only its vector is known.
        """
        if self.predictor is None:
            return ()
        return tuple(self.predictor.predict(vector, None if text is None else length_of(text)))

    def nearest(self, vector: NDArray[np.float32], count: int) -> tuple[EvidenceMatch, ...]:
        """Returns the prompts of the evidence that are nearest to one, closest first."""
        if self.predictor is None or self.evidence is None:
            return ()
        return tuple(
            EvidenceMatch(prompt=self.evidence.prompts[row], similarity=similarity)
            for row, similarity in self.predictor.nearest(vector, count)
        )


def learn(
    catalog: Catalog,
    vectors: Mapping[str, NDArray[np.float32]],
    *,
    encoder_id: str,
    dimensions: int,
    before: Learned | None = None,
) -> Learned:
    """Learns from a catalog's evidence where there is enough of it.

    Args:
        catalog: The catalog.
        vectors: Unit vector of what stands for each prompt before the encoder.
        encoder_id: The encoder that they come from.
        dimensions: Of its vectors.
        before: What was learned earlier, returned when nothing of what counts has changed.
    """
    tiers = tuple(tier.id for tier in catalog.tiers)
    source = (catalog.evidence, tiers, catalog.learned.minimum_prompts, encoder_id)
    if before is not None and before.source == source:
        return before
    need = evidence_need(
        catalog.evidence,
        tiers,
        needed_count=catalog.learned.minimum_prompts,
        encoder_id=encoder_id,
        dimensions=dimensions,
    )
    if not need.is_met:
        return Learned(need=need, source=source)
    evidence = evidence_set(
        catalog.evidence,
        {tier: rank for rank, tier in enumerate(tiers)},
        encoder_id=encoder_id,
        dimensions=dimensions,
    )
    rows = np.stack([_vector(one.rows[0], vectors) for one in evidence.prompts])
    lengths = np.array([length_of(one.text) if one.text else np.nan for one in evidence.prompts])
    predictor = fit_predictor(rows, lengths, evidence.quality)
    return Learned(need=need, evidence=evidence, predictor=predictor, source=source)


def catalog_need(catalog: Catalog) -> EvidenceNeed:
    """Returns how a catalog's evidence stands, every vector taken for one of its encoder."""
    settings: LearnedSettings = catalog.learned
    tiers = tuple(tier.id for tier in catalog.tiers)
    return evidence_need(catalog.evidence, tiers, needed_count=settings.minimum_prompts)


def _vector(row: EvidenceRow, vectors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    if row.prompt:
        return vectors[of_prompt(row.prompt).embedded_text]
    wide = np.frombuffer(row.embedding, dtype="<f4").astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)
