"""Decides by one snapshot with nothing else: no encoder, no caller's limits, nothing that waits.

What the router does around it, self-tests and comparisons of catalogs do without.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tierwise_server.deciding.decide import Opening, close_decision, open_decision
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.language import detect_language
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.learning import Prediction
from tierwise_server.scoring import Phrases
from tierwise_server.snapshot import Snapshot

INLINE_CHARACTERS = 20_000
"""Texts up to this length are matched against rules on the event loop (under 0.3 ms); longer ones
on another thread."""


def open_by(snapshot: Snapshot, request: RoutingRequest) -> Opening:
    """Tries what needs no vector.

    Raises:
        RequestError: The request names what the catalog does not have, or contradicts itself.
    """
    language = request.language or detect_language(request.text) or ""
    return open_decision(snapshot.catalog, request, language)


def close_by(
    snapshot: Snapshot, opening: Opening, vector: NDArray[np.float32] | None, phrases: Phrases
) -> Verdict:
    """Decides with the vector of the prompt; None where the opening needs none."""
    if vector is None:
        return close_decision(snapshot.catalog, opening, None, ())
    leads = snapshot.scorer.leads(vector, phrases)
    return close_decision(snapshot.catalog, opening, leads, predict(snapshot, opening, vector))


def predict(
    snapshot: Snapshot, opening: Opening, vector: NDArray[np.float32]
) -> tuple[Prediction, ...]:
    """Returns what the evidence lets expect of each tier; nothing where there is too little."""
    if snapshot.learned.predictor is None:
        return ()
    request = opening.request
    return snapshot.learned.predictions(vector, request.text if request.text_given else None)
