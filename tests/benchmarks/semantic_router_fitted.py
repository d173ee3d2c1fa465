"""Fits semantic-router to validation rows and routes test rows, with vectors that it is given.

Started by `calibration.py` in a virtual environment of semantic-router's own, with a folder that
holds `rows.json` (utterances by route, validation and test texts with their route or null) and
`vectors.npz` (the vector of each text). Prints one JSON object. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import DenseEncoder

AGGREGATIONS = ("mean", "max")


class TableEncoder(DenseEncoder):
    """Gives each text the vector that a table has for it."""

    table: dict[str, Any]

    def __call__(self, docs: list[Any]) -> list[list[float]]:
        """Returns the vectors of texts."""
        return [self.table[text] for text in docs]


def main(folder: str) -> None:
    """Prints, for each aggregation, the threshold chosen on validation and each test answer."""
    rows = json.loads((Path(folder) / "rows.json").read_text(encoding="utf-8"))
    stored = np.load(Path(folder) / "vectors.npz")
    table = dict(zip(rows["texts"], stored["vectors"].tolist(), strict=True))
    results = {}
    for aggregation in AGGREGATIONS:
        router = IndexedRouter(
            encoder=TableEncoder(name="table", table=table),
            routes=[Route(name=name, utterances=texts) for name, texts in rows["routes"].items()],
            aggregation=aggregation,
        )
        router.fit([row[0] for row in rows["validation"]], [row[1] for row in rows["validation"]])
        answers = [answer(router, text) for text, _ in rows["validation"]]
        threshold, right = best_threshold(answers, [row[1] for row in rows["validation"]])
        results[aggregation] = {
            "threshold": threshold,
            "validation_accuracy": right,
            "test": [answer(router, text) for text, _ in rows["test"]],
        }
    print(json.dumps(results))


def answer(router: IndexedRouter, text: str) -> list[Any]:
    """Returns the best route and its calibrated confidence."""
    choice = router(text)
    return [choice.name, choice.confidence]


def best_threshold(answers: list[list[Any]], truth: list[str | None]) -> tuple[float, float]:
    """Returns the threshold with the most right answers, out of scope as one more class."""
    confidences = np.array([confidence for _, confidence in answers])
    right = np.array([name == label for (name, _), label in zip(answers, truth, strict=True)])
    outside = np.array([label is None for label in truth])
    shares = [
        (float(np.where(confidences >= bar, right, outside).mean()), float(bar))
        for bar in np.unique(confidences)
    ]
    best = max(shares)
    return best[1], best[0]


if __name__ == "__main__":
    main(sys.argv[1])
