"""The figures of the predictor, each with its source."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

FORMULA: Final = "ridge-neighbors-1"
"""Name and version of the formula: the version changes when equal figures predict otherwise."""

DIGEST_DIGITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorParameters:
    """What the formula leaves open.

    Chosen by cross-validation on training folds of public outcome data (MMLU, GSM8K; GPT-4 against
    Mixtral), never on the rows that a figure is reported for.
    """

    penalties: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    """Penalties of the ridge regression to choose among, by the leave-one-out error of the
    differences between tiers."""
    length_scale: float = 1.0
    """Weight of the prompt's length among the components of a unit vector, in standard deviations
    of its logarithm. GSM8K gains 0.03 of APGR by it; 0.3 and 1 are alike."""
    neighbors: int = 100
    """Most neighbours that correct the regression."""
    sharpness: float = 5.0
    """How fast a neighbour's weight falls with its cosine: `exp(sharpness * (cosine - 1))`."""
    credibility: float = 3.0
    """Weight of neighbours at which the prompt's surroundings and the regression count alike."""
    least_support: float = 1.0
    """Weight of labelled neighbours below which nothing is predicted: one identical prompt, or
    seven at a cosine of 0.6."""
    observations: float = 4.0
    """Observations that a unit of weight stands for in the interval. Measured on MMLU's subjects:
    how far a subject's mean lies from the mean prediction, sampling noise taken off, is what 3 to 5
    give, with 1,500 labels as with 11,000."""
    confidence_z: float = 1.0
    """Standard deviations of the interval to either side: a lower bound that holds 84 % of the
    time."""

    def __post_init__(self) -> None:
        """Refuses figures outside their range.

        Raises:
            ValueError: A figure is out of range.
        """
        is_valid = {
            "penalties": bool(self.penalties) and min(self.penalties) > 0.0,
            "length_scale": self.length_scale >= 0.0,
            "neighbors": self.neighbors >= 1,
            "sharpness": self.sharpness >= 0.0,
            "credibility": self.credibility > 0.0,
            "least_support": self.least_support >= 0.0,
            "observations": self.observations > 0.0,
            "confidence_z": self.confidence_z >= 0.0,
        }
        if faults := [name for name, valid in is_valid.items() if not valid]:
            raise ValueError(f"out of range: {', '.join(faults)}")

    @property
    def predictor_id(self) -> str:
        """Names the formula, its version and these figures, equal on every machine."""
        content = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_DIGITS]
        return f"{FORMULA}-{digest}"
