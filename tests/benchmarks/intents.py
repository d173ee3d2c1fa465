"""Measures the shipped scorer on CLINC150 and Banking77 against simple ways to score.

    python tests/benchmarks/intents.py <eval-data folder> <encoder folder> --cache <folder>

Prints one JSON object. Accuracy is that of the best task over in-scope test rows, without a
threshold; AUROC tells in-scope from out-of-scope test rows by the score of the best task. The
formula's figures were chosen on validation rows and on halves of training rows; nothing here is
chosen on test rows, the threshold included. Intervals are 95 % bootstrap intervals over test rows.
Timings hold for an otherwise idle machine; set OMP_NUM_THREADS=1 for those of one core.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.scoring import Scorer, ScorerParameters, fit_scorer

OUT_OF_SCOPE = "oos"
BOOTSTRAP_SAMPLES = 1000
SEED = 20240229
FIT_REPEATS = 5
TIMED_SCORES = 1000
TOP = 5

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Grid = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Vectors with the number of their label; -1 stands for out of scope."""

    vectors: Vectors
    labels: Labels

    def where(self, mask: NDArray[np.bool_]) -> "Split":
        """Returns the rows that the mask keeps."""
        return Split(vectors=self.vectors[mask], labels=self.labels[mask])

    @property
    def in_scope(self) -> "Split":
        """The rows with a task."""
        return self.where(self.labels >= 0)

    @property
    def out_of_scope(self) -> "Split":
        """The rows without a task."""
        return self.where(self.labels < 0)


class EvalData:
    """Reads the intent files and embeds their texts, each file once."""

    def __init__(self, folder: Path, encoder: OnnxEncoder, cache: Path | None) -> None:
        self._folder = folder / "intents"
        self._encoder = encoder
        self._cache = cache
        self._loaded: dict[str, tuple[list[dict[str, str]], Vectors]] = {}

    def split(self, name: str, split: str, labels: Sequence[str]) -> Split:
        """Returns the rows of one split of a file, with labels numbered by their place."""
        rows, vectors = self._read(name)
        number = {label: place for place, label in enumerate(labels)} | {OUT_OF_SCOPE: -1}
        kept = [place for place, row in enumerate(rows) if row["split"] == split]
        return Split(
            vectors=vectors[kept],
            labels=np.array([number[rows[place]["label"]] for place in kept], dtype=np.int64),
        )

    def labels(self, name: str) -> list[str]:
        """Returns the labels of a file in alphabetical order, out of scope left out."""
        return sorted({row["label"] for row in self._read(name)[0]} - {OUT_OF_SCOPE})

    def _read(self, name: str) -> tuple[list[dict[str, str]], Vectors]:
        if name not in self._loaded:
            content = (self._folder / f"{name}.jsonl").read_bytes()
            rows = [json.loads(line) for line in content.splitlines()]
            self._loaded[name] = rows, self._embed(content, [row["text"] for row in rows])
        return self._loaded[name]

    def _embed(self, content: bytes, texts: Sequence[str]) -> Vectors:
        digest = hashlib.sha256(content).hexdigest()[:12]
        kept = self._cache and self._cache / f"{self._encoder.encoder_id}-{digest}.npy"
        if kept and kept.exists():
            vectors: Vectors = np.load(kept)
            return vectors
        vectors = np.stack([self._encoder.encode(text) for text in texts])
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, vectors)
        return vectors


def mean_of_top(train: Split, vectors: Vectors, task_count: int) -> Grid:
    """Scores a task by the mean of its similarities among the overall top 5; 0 if it has none."""
    grid = np.zeros((len(vectors), task_count), dtype=np.float32)
    for place, vector in enumerate(vectors):
        similarities = train.vectors @ vector
        top = np.argpartition(-similarities, TOP)[:TOP]
        for task in np.unique(train.labels[top]):
            grid[place, task] = similarities[top[train.labels[top] == task]].mean()
    return grid


def nearest(train: Split, vectors: Vectors, task_count: int) -> Grid:
    """Scores a task by its nearest utterance."""
    grid = np.empty((len(vectors), task_count), dtype=np.float32)
    for task in range(task_count):
        grid[:, task] = (vectors @ train.vectors[train.labels == task].T).max(axis=1)
    return grid


def centroid(train: Split, vectors: Vectors, task_count: int) -> Grid:
    """Scores a task by the cosine to the mean of its utterances."""
    means = np.stack([train.vectors[train.labels == task].mean(0) for task in range(task_count)])
    grid: Grid = vectors @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    return grid


class Score(Protocol):
    """A simple way to score tasks."""

    def __call__(self, train: Split, vectors: Vectors, task_count: int) -> Grid:
        """Returns the scores of each vector (rows) for each task (columns)."""


BASELINES: dict[str, Score] = {
    "mean_of_overall_top_5": mean_of_top,
    "nearest_utterance": nearest,
    "task_centroid": centroid,
}


def area_under_roc(inside: NDArray[np.float32], outside: NDArray[np.float32]) -> float:
    """Returns the probability that an inside value exceeds an outside one, ties counted half."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left")
    not_above = np.searchsorted(ordered, inside, side="right")
    return float((below + not_above).mean() / (2 * len(outside)))


def interval(statistic: Callable[[np.random.Generator], float]) -> list[float]:
    """Returns the 95 % bootstrap interval of a statistic that resamples by itself."""
    chance = np.random.default_rng(SEED)
    drawn = [statistic(chance) for _ in range(BOOTSTRAP_SAMPLES)]
    return [round(float(bound), 4) for bound in np.percentile(drawn, (2.5, 97.5))]


def resampled(values: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """Draws as many values as there are, with replacement."""
    return values[chance.integers(0, len(values), len(values))]


def quality(inside: Grid, labels: Labels, outside: Grid | None) -> dict[str, Any]:
    """Returns accuracy and, with out-of-scope rows, AUROC, each with its interval."""
    right = inside.argmax(axis=1) == labels
    figures: dict[str, Any] = {
        "accuracy": round(float(right.mean()), 4),
        "accuracy_interval": interval(lambda chance: float(resampled(right, chance).mean())),
    }
    if outside is not None:
        best_in, best_out = inside.max(axis=1), outside.max(axis=1)
        figures["auroc"] = round(area_under_roc(best_in, best_out), 4)
        figures["auroc_interval"] = interval(
            lambda chance: area_under_roc(resampled(best_in, chance), resampled(best_out, chance))
        )
    return figures


def score_all(scorer: Scorer, vectors: Vectors) -> Grid:
    """Scores vectors one by one, as the service does."""
    return np.stack([scorer.score(vector).task_scores for vector in vectors])


def thresholded(scorer: Scorer, validation: Split, test: Split) -> dict[str, float]:
    """Chooses the threshold on validation rows, for accuracy with out of scope as one more class.

    Returns the threshold and what it does on test rows.
    """
    grid = score_all(scorer, validation.vectors)
    best, right = grid.max(axis=1), grid.argmax(axis=1) == validation.labels
    inside = validation.labels >= 0
    candidates = np.unique(best)
    hits = [
        ((best >= bar) & right & inside).sum() + ((best < bar) & ~inside).sum()
        for bar in candidates
    ]
    threshold = candidates[int(np.argmax(hits))]
    grid = score_all(scorer, test.vectors)
    accepted = grid.max(axis=1) >= threshold
    right = (grid.argmax(axis=1) == test.labels) & accepted
    return {
        "threshold": round(float(threshold), 4),
        "in_scope_accuracy": round(float(right[test.labels >= 0].mean()), 4),
        "out_of_scope_recall": round(float((~accepted[test.labels < 0]).mean()), 4),
    }


def timings(train: Split, vectors: Vectors, tier_of_task: Labels) -> dict[str, float]:
    """Returns the median time of a fit in ms and of a score in microseconds."""
    fits = []
    for _ in range(FIT_REPEATS):
        started = time.perf_counter()
        scorer = fit_scorer(train.vectors, train.labels, tier_of_task)
        fits.append(time.perf_counter() - started)
    scores = []
    for vector in vectors[:TIMED_SCORES]:
        started = time.perf_counter()
        scorer.score(vector)
        scores.append(time.perf_counter() - started)
    return {
        "fit_ms": round(1e3 * float(np.median(fits)), 1),
        "score_us": round(1e6 * float(np.median(scores)), 1),
    }


def measure(train: Split, test: Split, validation: Split | None) -> dict[str, Any]:
    """Measures the shipped scorer and the baselines on one training set. All tasks in one tier."""
    tier_of_task = np.zeros(int(train.labels.max()) + 1, dtype=np.int64)
    scorer = fit_scorer(train.vectors, train.labels, tier_of_task)
    outside = test.out_of_scope.vectors if len(test.out_of_scope.labels) else None

    def both(score: Callable[[Vectors], Grid]) -> dict[str, Any]:
        return quality(
            score(test.in_scope.vectors),
            test.in_scope.labels,
            None if outside is None else score(outside),
        )

    result: dict[str, Any] = {
        "utterances": len(train.labels),
        "tasks": len(tier_of_task),
        "in_scope_rows": len(test.in_scope.labels),
        "out_of_scope_rows": len(test.out_of_scope.labels),
        "scorer": both(lambda vectors: score_all(scorer, vectors))
        | timings(train, test.vectors, tier_of_task),
        "baselines": {
            name: both(partial(score, train, task_count=len(tier_of_task)))
            for name, score in BASELINES.items()
        }
        | {"random": {"accuracy": round(1 / len(tier_of_task), 4)}},
    }
    if validation is not None:
        result["at_threshold"] = thresholded(scorer, validation, test)
    return result


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="folder of the evaluation data")
    parser.add_argument("encoder", type=Path, help="folder of the encoder artifact")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors between runs")
    arguments = parser.parse_args()

    encoder = OnnxEncoder.load(arguments.encoder)
    data = EvalData(arguments.data, encoder, arguments.cache)
    clinc, banking = data.labels("clinc150_full"), data.labels("banking77")
    validation = data.split("clinc150_full", "val", clinc)
    test = data.split("clinc150_full", "test", clinc)
    training = {
        "clinc150_5": data.split("clinc150_fewshot_train", "train_5", clinc),
        "clinc150_10": data.split("clinc150_fewshot_train", "train_10", clinc),
        "clinc150_100": data.split("clinc150_full", "train", clinc).in_scope,
    }
    results = {name: measure(train, test, validation) for name, train in training.items()}
    results["banking77_10"] = measure(
        data.split("banking77_fewshot_train", "train_10", banking),
        data.split("banking77", "test", banking),
        None,
    )
    configuration = {
        "encoder_id": encoder.encoder_id,
        "scorer_id": ScorerParameters().scorer_id,
        "parameters": asdict(ScorerParameters()),
        "bootstrap_samples": BOOTSTRAP_SAMPLES,
        "seed": SEED,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    print(json.dumps({"configuration": configuration, "results": results}, indent=2))


if __name__ == "__main__":
    main()
