"""What is served: one catalog with its vectors and scorer, immutable under one revision."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tierwise_server.calibration.binding import stale_bounds
from tierwise_server.catalog.faults import CatalogInvalidError, Fault, FaultRule
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.deciding_text import of_prompt
from tierwise_server.learned import Learned, learn
from tierwise_server.planning.prices import PriceFault, resolve_prices
from tierwise_server.planning.registry import ModelRegistry, build_registry
from tierwise_server.scoring import (
    BACKGROUND,
    Phrases,
    Scorer,
    ScorerParameters,
    fit_scorer,
    phrases_of,
)
from tierwise_server.spelling import Spelling

REVISION_DIGITS = 16
"""Hex digits of a revision: 64 bits tell any number of edits apart."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A catalog as it decides. A request reads it once; a reload replaces it as a whole."""

    catalog: Catalog
    vectors: NDArray[np.float32]
    """Unit vector of each text of `embedded_texts`."""
    phrases: tuple[Phrases, ...]
    """Phrases of each of them."""
    scorer: Scorer
    spelling: Spelling
    """The words of the utterances, by which prompts are put right before they are embedded."""
    learned: Learned
    """What the evidence teaches."""
    models: ModelRegistry
    """The models with the prices of the day on which the snapshot was built."""
    encoder_id: str
    revision: str
    """Equal for equal content, encoder, scorer and prices, on every machine."""
    load_time: datetime.datetime
    """When it was built, in UTC."""


def embedded_texts(catalog: Catalog) -> list[str]:
    """Returns the texts that scoring needs: `catalog.utterances`, then the background's."""
    return [one.text for one in (*catalog.utterances, *catalog.background_utterances)]


def evidence_texts(catalog: Catalog) -> list[str]:
    """Returns what stands for the evidence's prompts before the encoder, in no order."""
    prompts = dict.fromkeys(row.prompt for row in catalog.evidence if row.prompt)
    return list(dict.fromkeys(of_prompt(one).embedded_text for one in prompts))


def build_snapshot(
    catalog: Catalog,
    vectors: NDArray[np.float32],
    encoder_id: str,
    *,
    evidence_vectors: NDArray[np.float32] | None = None,
    before: Learned | None = None,
) -> Snapshot:
    """Prices the models, fits the scorer, learns from the evidence and returns the snapshot.

    Args:
        catalog: The catalog.
        vectors: Unit vector of each text of `embedded_texts`.
        encoder_id: The encoder that they come from.
        evidence_vectors: Unit vector of each text of `evidence_texts`; None when it has none.
        before: What an earlier snapshot learned, to be taken over when nothing changed.

    Raises:
        CatalogInvalidError: A model has no price and does not say that it is unknown.
    """
    now = datetime.datetime.now(datetime.UTC)
    models = price_models(catalog, now.date())
    phrases = tuple(map(phrases_of, embedded_texts(catalog)))
    scorer = fit_catalog(catalog, vectors, phrases)
    learned = learn(
        catalog,
        {}
        if evidence_vectors is None
        else dict(zip(evidence_texts(catalog), evidence_vectors, strict=True)),
        encoder_id=encoder_id,
        dimensions=vectors.shape[1],
        before=before,
    )
    parts = [catalog.content_revision, encoder_id, scorer.scorer_id, models.revision]
    if learned.predictor is not None:
        parts.append(learned.predictor.parameters.predictor_id)
    stale = stale_bounds(catalog, encoder_id, scorer.scorer_id)
    if stale:
        catalog = replace(catalog, stale_bounds=stale)
    parts += stale
    content = "\0".join(parts)
    return Snapshot(
        catalog=catalog,
        vectors=vectors,
        phrases=phrases,
        scorer=scorer,
        spelling=Spelling.of(embedded_texts(catalog)),
        learned=learned,
        models=models,
        encoder_id=encoder_id,
        revision=hashlib.sha256(content.encode()).hexdigest()[:REVISION_DIGITS],
        load_time=now,
    )


def price_models(catalog: Catalog, on: datetime.date) -> ModelRegistry:
    """Returns the models of a catalog with the prices of a day.

    Raises:
        CatalogInvalidError: A model has no price and does not say that it is unknown.
    """
    prices = resolve_prices(catalog.models, on)
    if prices.faults:
        raise CatalogInvalidError(map(_fault, prices.faults))
    return build_registry(catalog, prices)


def _fault(fault: PriceFault) -> Fault:
    location = fault.model.location
    return Fault(
        file=location.file,
        line=location.line,
        column=1,
        rule=FaultRule.UNUSABLE_PRICE,
        message=fault.message,
        suggestion=fault.suggestion,
    )


def fit_catalog(
    catalog: Catalog,
    vectors: NDArray[np.float32],
    phrases: Sequence[Phrases],
    kept: NDArray[np.bool_] | None = None,
) -> Scorer:
    """Fits a scorer to a catalog, or to a part of its utterances.

    Args:
        catalog: Where the labels come from.
        vectors: Unit vector of each text of `embedded_texts`.
        phrases: Phrases of each of them.
        kept: Which of `catalog.utterances` to use; None means all. The background stays whole.
    """
    utterances = (*catalog.utterances, *catalog.background_utterances)
    task_of_utterance = np.array([one.task_index for one in utterances], dtype=np.int64)
    ranks = [catalog.tier_by_id[task.tier].rank for task in catalog.tasks]
    tier_of_task = np.array(ranks + [BACKGROUND] * len(catalog.background), dtype=np.int64)
    if kept is not None:
        chosen = np.flatnonzero(
            np.pad(kept, (0, len(utterances) - len(kept)), constant_values=True)
        )
        vectors, task_of_utterance = vectors[chosen], task_of_utterance[chosen]
        phrases = [phrases[one] for one in chosen.tolist()]
    return fit_scorer(
        vectors,
        task_of_utterance,
        tier_of_task,
        ScorerParameters(),
        tier_count=len(catalog.tiers),
        phrases=phrases,
    )
