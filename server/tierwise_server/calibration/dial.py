"""Where the dial has to rest for a limit to hold.

The dial leads to dearer tiers as it rises, so its positions are one path from safe to cheap. They
are tried in that order, fixed beforehand, and the last one before the first that fails is taken.
So the chance that the limit does not hold stays within `1 - level`, however many are tried
(fixed-sequence testing; Angelopoulos et al., Learn then Test, 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tierwise_server.calibration.bounds import is_at_most, labels_needed
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.objective import LimitedShare, LimitedUnderRouting
from tierwise_server.calibration.reliability import Flags

_FAR = 10.0
DIALS: tuple[float, ...] = (
    -_FAR,
    *(round(-6.0 + 0.5 * step, 2) for step in range(10)),
    *(round(-1.0 + 0.05 * step, 2) for step in range(80)),
    *(round(3.0 + 0.5 * step, 2) for step in range(7)),
    _FAR,
)
"""Positions that are tried, ascending. At either end all prompts go to the outermost tiers."""


def resting_place(
    objective: LimitedUnderRouting | LimitedShare,
    ranks: NDArray[np.int64],
    *,
    rank: int,
    needs_tier: Flags,
) -> int:
    """Returns the place in `DIALS` where the dial is to rest.

    Args:
        objective: The limit.
        ranks: Rank of the tier that each prompt gets (rows) at each dial (columns).
        rank: Rank of the objective's tier.
        needs_tier: Whether each prompt needs that tier.

    Raises:
        CalibrationError: The data cannot show that the limit holds anywhere.
    """
    if isinstance(objective, LimitedUnderRouting):
        hits = (ranks[needs_tier] < rank).sum(axis=0)
        path = range(len(DIALS) - 1, -1, -1)
        trials = int(needs_tier.sum())
        what = f"labels of {objective.tier}"
    else:
        hits = (ranks >= rank).sum(axis=0)
        path = range(len(DIALS))
        trials = len(ranks)
        what = "labelled prompts"
    least = labels_needed(objective.limit, objective.level) or 0
    if trials < least:
        raise CalibrationError(
            f"{trials} {what} are too few to show {objective.limit:.3g} with"
            f" {objective.level:.3g} confidence: {least} are needed even if none goes wrong, so"
            f" {least - trials} are missing"
        )
    found: int | None = None
    for place in path:
        if not is_at_most(int(hits[place]), trials, objective.limit, objective.level):
            break
        found = place
    if found is None:
        raise CalibrationError(_refusal(objective, int(hits[path[0]]), trials, what))
    return found


def _refusal(
    objective: LimitedUnderRouting | LimitedShare, hits: int, trials: int, what: str
) -> str:
    text = (
        f"{objective.limit:.3g} cannot be shown with {objective.level:.3g} confidence: even with"
        f" the dial at its end it is {hits} of {trials} {what}"
    )
    needed = labels_needed(objective.limit, objective.level, hits / trials)
    if needed is None:
        return f"{text}, which is no less; rules or defaults send them there"
    return f"{text}; {needed - trials} labels are missing at that rate"
