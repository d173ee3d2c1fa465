"""Recorded outcomes of models with their prompts' vectors, and how routers are compared on them.

CPT and APGR follow Ong et al., "RouteLLM" (arXiv 2406.18665): the share of the quality gap between
a weak and a strong model that is recovered, averaged over all shares of strong calls; on a grid of
ten bins of equal size, ties broken at random by a fixed seed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tierwise_server.deciding.deciding_text import of_prompt
from tierwise_server.deciding.learned import shortfall
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.learning import Prediction, QualityPredictor, fit_predictor, length_of

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

BINS = 10
NEVER = -1e9
"""Score of a prompt that has no prediction: the last to go to the strong model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Prompts with the quality and cost of each model."""

    prompts: list[str]
    groups: list[str]
    models: list[str]
    vectors: NDArray[np.float32]
    lengths: Floats
    quality: Floats
    """Shape (prompts, models), from 0 to 1."""
    cost: Floats
    """Shape (prompts, models), in USD; 0 where it is not recorded."""

    def __len__(self) -> int:
        """Returns the number of prompts."""
        return len(self.prompts)

    def folds(self, count: int, seed: int = 0) -> Rows:
        """Returns the fold of each prompt; equal prompts are in the same one."""
        number: dict[str, int] = {}
        ids = np.array([number.setdefault(one, len(number)) for one in self.prompts])
        drawn: Rows = np.random.default_rng(seed).integers(0, count, len(number))[ids]
        return drawn


def read_outcomes(
    folder: Path, name: str, encoder: OnnxEncoder, cache: Path | None, models: Sequence[str] = ()
) -> Outcomes:
    """Reads a file of outcomes and embeds its prompts, as the service would.

    Args:
        folder: Of the evaluation data.
        name: Of the file, without its ending.
        encoder: The encoder.
        cache: Folder that keeps vectors between runs; None keeps none.
        models: Which to read, in this order; empty means all.
    """
    content = (folder / "outcomes" / f"{name}.jsonl").read_bytes()
    rows = [json.loads(line) for line in content.splitlines()]
    prompts = [row["prompt"] for row in rows]
    names = list(models) or sorted(rows[0]["quality"])
    digest = hashlib.sha256(content).hexdigest()[:12]
    kept = cache and cache / f"{encoder.encoder_id}-{digest}.npy"
    if kept and kept.exists():
        vectors = np.load(kept)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            texts = (of_prompt(one).embedded_text for one in prompts)
            vectors = np.stack(list(pool.map(encoder.encode, texts)))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, vectors)
    return Outcomes(
        prompts=prompts,
        groups=[row["group"] for row in rows],
        models=names,
        vectors=vectors,
        lengths=np.array([length_of(one) for one in prompts]),
        quality=np.array([[row["quality"][one] for one in names] for row in rows], dtype=float),
        cost=np.array([[row.get("cost_usd", {}).get(one, 0.0) for one in names] for row in rows]),
    )


def learned_from(data: Outcomes, rows: Rows, columns: Sequence[int]) -> QualityPredictor:
    """Returns the predictor that the service would have with some prompts as its evidence.

    Args:
        data: The outcomes.
        rows: Prompts whose outcomes are known.
        columns: Model of each tier, cheapest first.
    """
    quality = data.quality[np.ix_(rows, list(columns))]
    return fit_predictor(data.vectors[rows], data.lengths[rows], quality)


def predicted(data: Outcomes, predictor: QualityPredictor, rows: Rows) -> list[list[Prediction]]:
    """Returns the predictions for prompts, one by one as the service makes them."""
    return [predictor.predict(data.vectors[row], float(data.lengths[row])) for row in rows]


def needed_bar(tiers: Sequence[Prediction]) -> float:
    """Returns the quality bar above which the service leaves the cheapest of two tiers.

    By this score, raising the bar (or the dial) sends prompts to the strong model.
    """
    return -(tiers[0].lower + shortfall(tiers)) if tiers else NEVER


def expected_gain(tiers: Sequence[Prediction]) -> float:
    """Returns by how much the dearest of two tiers is expected to be better."""
    return tiers[-1].quality - tiers[0].quality if tiers else NEVER


def apgr(weak: Floats, strong: Floats, scores: Floats) -> float:
    """Returns the average share of the quality gap recovered, going to strong by scores."""
    order = np.lexsort((np.random.default_rng(0).random(len(scores)), scores))[::-1]
    gain = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    cuts = np.round(np.linspace(0, len(scores), BINS + 1)).astype(int)
    return float(np.trapezoid(gain[cuts], cuts / len(scores)) / gain[-1])


def calls_for(weak: Floats, strong: Floats, scores: Floats, share: float) -> float:
    """Returns the least share of strong calls, in percent, that recovers a share of the gap."""
    order = np.lexsort((np.random.default_rng(0).random(len(scores)), scores))[::-1]
    gain = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    cuts = np.round(np.linspace(0, len(scores), BINS + 1)).astype(int)
    reached = gain[cuts] / gain[-1]
    last = int(np.argmax(reached >= share))
    step = (share - reached[last - 1]) / (reached[last] - reached[last - 1])
    return 100 * (last - 1 + step) / BINS


def interval(values: Sequence[float]) -> list[float]:
    """Returns the 95 % interval of bootstrap values."""
    return [round(float(bound), 4) for bound in np.quantile(values, (0.025, 0.975))]


def group_gain(data: Outcomes, gain: Floats, train: Rows, test: Rows) -> Floats:
    """Returns the mean gain of each test prompt's group among train prompts."""
    groups = np.array(data.groups)
    mean = {one: float(gain[train][groups[train] == one].mean()) for one in set(groups[train])}
    default = float(gain[train].mean())
    return np.array([mean.get(one, default) for one in groups[test]])
