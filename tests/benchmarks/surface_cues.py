"""Measures how far length, case and punctuation alone give a tier away in the shipped utterances.

The classifier is that of `tierwise check`; in five-fold cross-validation it must hardly beat
guessing. A random forest, which also sees bands and mixtures of cues, is shown beside it, without
a bar.

    python tests/benchmarks/surface_cues.py [--catalog FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness import SHIPPED_CATALOG, Bar, report, rounded, run_program
from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]
from sklearn.model_selection import (  # type: ignore[import-untyped]
    StratifiedKFold,
    cross_val_score,
)

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.linting.surface import cues, surface_figures

MOST = 0.45
FOLDS = 5
TREES = 300
LEAST_ROWS_OF_A_LEAF = 10
SEED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--catalog", type=Path, default=SHIPPED_CATALOG, help="catalog folder")
    catalog = load_catalog(parser.parse_args(argv).catalog)
    rows = np.array([cues(one.text) for one in catalog.utterances])
    rank = {tier.id: tier.rank for tier in catalog.tiers}
    tiers = np.array(
        [rank[catalog.tasks[one.task_index].tier] for one in catalog.utterances],
        dtype=np.int64,
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=LEAST_ROWS_OF_A_LEAF, random_state=SEED, n_jobs=1
    )
    of_forest = float(cross_val_score(forest, rows, tiers, cv=folds).mean())
    figures = surface_figures([one.text for one in catalog.utterances], tiers)
    report(
        [Bar(name="accuracy on surface cues", value=figures.accuracy, limit=MOST)],
        {
            "utterances": len(tiers),
            "accuracy_of_a_forest": rounded(of_forest),
            "largest_tier_share": rounded(figures.largest_share),
            "median_words": {
                tier.id: float(np.median(rows[tiers == tier.rank, 1])) for tier in catalog.tiers
            },
        },
    )
    return 0


if __name__ == "__main__":
    run_program(main)
