"""Scores a prompt's vector against the tasks and tiers of a catalog.

Owns the exact search over utterances and the formula that turns it into scores. Works on
vectors and whole numbers only: it knows nothing of files, texts, thresholds or gRPC.
"""

from tierwise_server.scoring.index import FlatIndex
from tierwise_server.scoring.parameters import ScorerParameters
from tierwise_server.scoring.scorer import (
    Neighbors,
    Scorer,
    Scores,
    fit_scorer,
)

__all__ = ["FlatIndex", "Neighbors", "Scorer", "ScorerParameters", "Scores", "fit_scorer"]
