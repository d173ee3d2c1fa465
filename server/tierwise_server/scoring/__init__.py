"""Scores a prompt's vector against the tasks and tiers of a catalog.

Owns the exact search over utterances and the formula that turns it into scores. Works on
vectors and whole numbers only, into which `phrases` turns the words of a text: it keeps no text,
and knows nothing of files, thresholds or gRPC.
"""

from tierwise_server.scoring.index import FlatIndex
from tierwise_server.scoring.parameters import ScorerParameters
from tierwise_server.scoring.phrases import NO_PHRASES, Phrases, phrases_of
from tierwise_server.scoring.scorer import (
    BACKGROUND,
    Lead,
    Neighbors,
    Scorer,
    Scores,
    fit_scorer,
)

__all__ = [
    "BACKGROUND",
    "NO_PHRASES",
    "FlatIndex",
    "Lead",
    "Neighbors",
    "Phrases",
    "Scorer",
    "ScorerParameters",
    "Scores",
    "fit_scorer",
    "phrases_of",
]
