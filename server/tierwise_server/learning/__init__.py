"""Predicts from evidence how good each tier's answer to a prompt will be.

Owns the second vector index, over the prompts of labelled outcomes, and the formula that turns it
into a quality per tier with an interval. Works on vectors and numbers; it knows nothing of files,
of bars and of deciding.
"""

from tierwise_server.learning.evidence_set import EvidencePrompt, EvidenceSet, evidence_set
from tierwise_server.learning.need import EvidenceNeed, TierNeed, evidence_need
from tierwise_server.learning.parameters import PredictorParameters
from tierwise_server.learning.predictor import (
    Prediction,
    QualityPredictor,
    fit_predictor,
    length_of,
)

__all__ = [
    "EvidenceNeed",
    "EvidencePrompt",
    "EvidenceSet",
    "Prediction",
    "PredictorParameters",
    "QualityPredictor",
    "TierNeed",
    "evidence_need",
    "evidence_set",
    "fit_predictor",
    "length_of",
]
